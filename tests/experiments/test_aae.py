"""The adversarial experiment from its command line."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax import cli
from aejax.data.datasets import Dataset
from aejax.errors import UserError
from aejax.methods.adversarial import Labelled
from experiments import aae
from experiments.aae import Config

SMALL = ["--dataset", "digits", "--image-size", 12, "--batch-size", 128, "--epochs", 1, "--devices", 1]


def run(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiment", *map(str, arguments)])
        patch.setattr(aae, "HIDDEN", (16,))
        patch.setattr(aae, "DISCRIMINATOR", (16,))
        cli.run(aae.main, Config)


def test_a_comparison_shows_the_prior_match_beside_the_floor_and_the_plain_autoencoder(tmp_path: Path) -> None:
    run(*SMALL, "--latents", 2, "--prior", "mixture", "--compare", "--parzen-samples", 50, "--runs", tmp_path)
    folder = tmp_path / "aae"
    name = "digits-mixture2-deterministic-seed0"
    assert {path.name for path in folder.iterdir()} == {name, f"{name}-plain"}
    rows = json.loads((folder / name / "summary.json").read_text())["splits"]
    matches = [f"prior match: {who}" for who in ("two prior samples", "AAE", "plain autoencoder")]
    assert list(rows) == ["train", "held_out", "test", *matches]
    floor, ours, _ = (rows[match]["sliced_wasserstein"] for match in matches)
    assert 0 < floor < ours
    assert {"parzen", "parzen_standard_error", "parzen_bandwidth"} <= set(rows["test"])
    figures = {path.stem for path in (folder / name / "figures").iterdir()}
    samples = {"samples", "samples_aae", "samples_plain_autoencoder"}
    assert figures == {"codes", "plane", "reconstructions", "learning_curves", *samples}


@pytest.mark.parametrize(
    "options",
    [["--conv", "--encoder", "gaussian"], ["--encoder", "universal", "--critic", "wgan_gp", "--spectral-norm"]],
    ids=["conv", "universal"],
)
def test_options_reach_the_networks(tmp_path: Path, options: list[Any]) -> None:
    run(*SMALL, *options, "--latents", 3, "--parzen-samples", 0, "--runs", tmp_path)
    (summary,) = tmp_path.rglob("summary.json")
    assert "parzen" not in json.loads(summary.read_text())["splits"]["test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "mixture"}, "--prior mixture lies in the plane: set --latents 2, not 150"),
        ({"prior": "swiss_roll", "latents": 3}, "set --latents 2, not 3"),
        ({"labels": 5}, "--labels 5 needs a prior with parts"),
        ({"critic": "wgan_gp", "r1": 1.0}, "--r1 1 belongs to --critic gan"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config(**options)


def test_with_labels_the_first_are_told_and_the_others_not(tmp_path: Path) -> None:
    run(*SMALL, "--latents", 2, "--prior", "swiss_roll", "--labels", 40, "--parzen-samples", 0, "--runs", tmp_path)
    assert (tmp_path / "aae" / "digits-swiss_roll2-deterministic-labels40-seed0" / "summary.json").exists()
    data = Dataset("some", "train", np.zeros((5, 2, 2, 1), np.uint8), np.array([3, 1, 4, 1, 5], np.int32))
    config = Config(prior="mixture", latents=2, labels=2)
    examples = aae.told(config, data)
    assert isinstance(examples, Labelled)
    np.testing.assert_array_equal(examples.labels, [3, 1, -1, -1, -1])
    for changed, message in [
        (dataclasses.replace(data, labels=None), "has none"),
        (dataclasses.replace(data, labels=data.labels * 3), "has only 10 parts"),
    ]:
        with pytest.raises(UserError, match=message):
            aae.told(config, changed)
    with pytest.raises(UserError, match="--labels 6 is more than the 5 training images"):
        aae.told(dataclasses.replace(config, labels=6), data)
