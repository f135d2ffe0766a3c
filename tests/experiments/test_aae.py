"""The adversarial experiment from its command line."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import cli
from aejax.data.datasets import Dataset
from aejax.errors import UserError
from aejax.methods import variational as vae
from aejax.methods.adversarial import Labelled
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from aejax.training.devices import make_mesh
from experiments import aae, aae_vae
from experiments.aae import Config

SMALL = ["--dataset", "digits", "--image-size", 12, "--batch-size", 128, "--epochs", 1, "--devices", 1]
SMALL += ["--discriminator-hidden", 16, "--parzen-samples", 0]
DENSE = ["--hidden", 16]
GAN = ["--critic", "gan"]  # which compiles in half the time of the default


def run(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiment", *map(str, arguments)])
        cli.run(aae.main, Config)


def test_a_comparison_shows_the_prior_match_beside_the_floor_the_plain_autoencoder_and_the_vae(tmp_path: Path) -> None:
    run(*SMALL, *DENSE, *GAN, "--latents", 2, "--compare", "--parzen-samples", 50, "--runs", tmp_path)
    folder = tmp_path / "aae"
    name = "digits-normal2-deterministic-seed0"
    assert {path.name for path in folder.iterdir()} == {name, f"{name}-plain", f"{name}-vae"}
    rows = json.loads((folder / name / "summary.json").read_text())["splits"]
    who = ["two prior samples", "AAE", "plain autoencoder", "VAE"]
    assert list(rows) == ["train", "held_out", "test", *(f"prior match: {one}" for one in who)]
    floor, *others = (rows[f"prior match: {one}"]["sliced_wasserstein"] for one in who)
    assert 0 < floor < min(others)
    assert {"parzen", "parzen_standard_error", "parzen_bandwidth"} <= set(rows["test"])
    moments = json.loads((folder / name / "moments.json").read_text())
    assert list(moments) == who
    for one, values in moments.items():
        assert {moment: len(v) for moment, v in values.items()} == {"mean": 2, "std": 2, "kurtosis": 2}
        row = rows[f"prior match: {one}"]
        assert np.mean(values["std"]) == pytest.approx(row["std"])
        assert np.mean(np.abs(values["mean"])) == pytest.approx(row["absolute_mean"])
    figures = {path.stem for path in (folder / name / "figures").iterdir()}
    samples = {"samples", "samples_aae", "samples_plain_autoencoder", "samples_vae"}
    assert figures == {"codes", "moments", "plane", "reconstructions", "learning_curves", *samples}


def test_the_vaes_codes_are_drawn_from_its_posteriors() -> None:
    mesh = make_mesh(1, 4)
    model = vae.Model(GaussianEncoder(MLP((5,)), 2), DenseDecoder((5,), (4, 4, 1)))
    images = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 1), np.uint8)
    state = vae.vae(model, optax.identity()).init(jax.random.key(0), jnp.asarray(images / 255, jnp.float32))
    judged = aae_vae.judged(mesh, model, state, latents=2)
    codes = judged.encode(images.repeat(4000, axis=0))
    mean, log_variance = model.posterior(state.params, images / np.float32(255))
    np.testing.assert_allclose(codes.mean(axis=0), mean[0], atol=0.1)
    np.testing.assert_allclose(codes.std(axis=0), np.exp(log_variance[0] / 2), rtol=0.05)
    assert judged.reconstruct(images).shape == judged.generate(jax.random.key(1), 1).shape == (1, 4, 4, 1)


@pytest.mark.parametrize(
    "options",
    [
        ["--conv", "--encoder", "gaussian", *GAN],
        [*DENSE, "--encoder", "universal", "--spectral-norm"],
    ],
    ids=["conv", "universal"],
)
def test_options_reach_the_networks(tmp_path: Path, options: list[Any]) -> None:
    run(*SMALL, *options, "--latents", 3, "--runs", tmp_path)
    (summary,) = tmp_path.rglob("summary.json")
    assert "parzen" not in json.loads(summary.read_text())["splits"]["test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "mixture"}, "--prior mixture lies in the plane: set --latents 2, not 150"),
        ({"prior": "swiss_roll", "latents": 3}, "set --latents 2, not 3"),
        ({"labels": 5}, "--labels 5 needs a prior with parts"),
        ({"r1": 1.0}, "--r1 1 belongs to --critic gan"),
        ({"adversarial_b1": 1.0}, "--adversarial-b1 must be below 1, not 1"),
        ({"hidden": (5, 0)}, "--hidden must be at least 1, not 0"),
        ({"conv": True, "hidden": (5,)}, "leave it or --conv out"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config(**options)


def test_with_labels_the_first_are_told_and_the_others_not(tmp_path: Path) -> None:
    options = ["--latents", "2", "--prior", "swiss_roll", "--labels", "40", *GAN]
    run(*SMALL, *DENSE, *options, "--runs", tmp_path)
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
