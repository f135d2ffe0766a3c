"""The adversarial experiment from its command line."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from aejax import cli
from aejax.errors import UserError
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
        ({"critic": "wgan_gp", "r1": 1.0}, "--r1 1 belongs to --critic gan"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config(**options)
