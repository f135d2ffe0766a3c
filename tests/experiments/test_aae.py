"""The adversarial experiment from its command line."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.data.datasets import Dataset
from aejax.errors import UserError
from aejax.methods.adversarial import LabelledImages
from aejax.models.posteriors import GaussianPosterior, UniversalPosterior
from aejax.models.trained import Trained
from aejax.nn.convolutional import ConvEncoder
from experiments import aae
from experiments.aae import Config, build_method, build_model, training_examples
from tests.experiments.conftest import after_a_step, figures, parsed, run, summary

SMALL = ["--dataset", "digits", "--limit", 300, "--batch-size", 64, "--epochs", 1, "--devices", 1]
SMALL += ["--discriminator-hidden", 16, "--hidden", 16, "--latents", 2, "--no-judge-samples"]
GAN = ["--gan-loss", "gan"]  # which compiles in half the time of the default
FLOOR, CODES = "prior match: two prior samples", "prior match: codes"


def test_a_comparison_shows_the_prior_match_beside_the_floor_the_plain_autoencoder_and_the_vae(tmp_path: Path) -> None:
    options = [*SMALL, *GAN, "--compare", "--parzen-samples", 50, "--nll-samples", 5, "--nll-images", 20]
    run(aae, *options, "--runs", tmp_path)
    folder = tmp_path / "aae"
    name = "digits-normal2-deterministic-seed0"
    assert {path.name for path in folder.iterdir()} == {name, f"{name}-plain", f"{name}-vae"}
    rows = summary(folder / name)["splits"]
    others = {"plain autoencoder": f"{name}-plain", "VAE": f"{name}-vae"}
    theirs = [f"{CODES}, {one}" for one in others]
    assert list(rows) == ["train", "held_out", "test", "test: PCA, 2 components", CODES, FLOOR, *theirs]
    distances = {row: rows[row]["sliced_wasserstein"] for row in (FLOOR, CODES, *theirs)}
    assert 0 < distances.pop(FLOOR) < min(distances.values())
    for row, run_name in zip(theirs, others.values(), strict=True):
        own = summary(folder / run_name)["splits"]
        assert own[CODES] == rows[row]
        assert own[FLOOR] == rows[FLOOR]  # all are compared with the same samples
    assert {"parzen", "parzen_standard_error", "parzen_bandwidth"} <= set(rows["test"])
    assert "nll (5 latents, 20 images)" in summary(folder / f"{name}-vae")["splits"]["test"]
    assert not any(column.startswith("nll") for column in rows["test"])  # its posterior has no density
    moments = json.loads((folder / name / "moments.json").read_text())
    assert list(moments) == ["prior", "AAE", *others]
    for one, row in {"AAE": CODES, **dict(zip(others, theirs, strict=True))}.items():
        values = moments[one]
        assert {moment: len(v) for moment, v in values.items()} == {"mean": 2, "std": 2, "kurtosis": 2}
        assert np.mean(values["std"]) == pytest.approx(rows[row]["std"])
        assert np.mean(np.abs(values["mean"])) == pytest.approx(rows[row]["absolute_mean"])
    samples = {"samples", "samples_aae", "samples_plain_autoencoder", "samples_vae"}
    assert figures(folder / name) == {"codes", "moments", "plane", "reconstructions", "learning_curves", *samples}


def test_the_vaes_codes_are_drawn_from_its_posteriors() -> None:
    config = Config(latents=2, hidden=(5,))
    model = build_model(config, (4, 4, 1), "VAE")
    images = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 1), np.uint8)
    params = model.init(jax.random.key(0), jnp.asarray(images / 255, jnp.float32))
    judged = Trained(model, params, (4, 4, 1))
    codes = judged.sample_posterior(images.repeat(4000, axis=0))
    assert isinstance(model.posterior, GaussianPosterior)
    mean, log_variance = model.posterior.moments(params, images / np.float32(255))
    np.testing.assert_allclose(codes.mean(axis=0), mean[0], atol=0.1)
    np.testing.assert_allclose(codes.std(axis=0), np.exp(log_variance[0] / 2), rtol=0.05)
    assert judged.reconstruct(images).shape == judged.generate(1).shape == (1, 4, 4, 1)


def test_options_reach_the_networks() -> None:
    images = jax.random.uniform(jax.random.key(1), (2, 12, 12, 1))

    def trained_once(*options: Any) -> tuple[Any, Any]:
        config = parsed(aae, "--latents", 3, "--discriminator-hidden", 6, *options)
        model = build_model(config, (12, 12, 1))
        params, metrics, values = after_a_step(build_method(config, model, "AAE", 10), images)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((params, metrics, values)))
        return model.posterior, params["discriminator"]

    posterior, discriminator = trained_once("--network", "tutorial", "--encoder", "gaussian", *GAN)
    assert isinstance(posterior, GaussianPosterior)
    assert isinstance(posterior.encoder.trunk, ConvEncoder)
    assert {leaf.shape for leaf in jax.tree.leaves(discriminator)} == {(3, 6), (6,), (6, 1), (1,)}
    posterior, normed = trained_once("--hidden", 7, "--encoder", "universal", "--spectral-norm", *GAN)
    assert isinstance(posterior, UniversalPosterior)
    assert posterior.encoder.trunk.widths == (7,)
    kernel = max(jax.tree.leaves(normed), key=lambda leaf: leaf.size)
    assert kernel.shape == (3, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "mixture"}, "--prior mixture lies in the plane: set --latents 2, not 150"),
        ({"prior": "swiss_roll", "latents": 3}, "set --latents 2, not 3"),
        ({"labels": 5}, "--labels 5 needs a prior with parts"),
        ({"r1": 1.0}, "--r1 1 belongs to --gan-loss gan"),
        ({"adversarial_b1": 1.0}, "--adversarial-b1 must be below 1, not 1"),
        ({"hidden": (5, 0)}, "--hidden must be at least 1, not 0"),
        ({"network": "tutorial", "hidden": (5,)}, "leave it or --network out"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config(**options)


def test_with_labels_the_first_are_told_and_the_others_not(tmp_path: Path) -> None:
    run(aae, *SMALL, *GAN, "--prior", "swiss_roll", "--labels", 40, "--parzen-samples", 0, "--runs", tmp_path)
    rows = summary(tmp_path / "aae" / "digits-swiss_roll2-deterministic-labels40-seed0")["splits"]
    assert "parzen" not in rows["test"]
    data = Dataset("some", "train", np.zeros((5, 2, 2, 1), np.uint8), np.array([3, 1, -1, 1, 5], np.int32))
    config = Config(prior="mixture", latents=2, labels=3)
    examples = training_examples(config, data)
    assert isinstance(examples, LabelledImages)
    np.testing.assert_array_equal(examples.labels, [3, 1, -1, -1, -1])
    np.testing.assert_array_equal(aae.without_labels(config, "AAE", data).labels, [-1] * 5)  # type: ignore[union-attr]
    for changed, message in [
        (dataclasses.replace(data, labels=None), "has none"),
        (dataclasses.replace(data, labels=data.labels * 3), "has only 10 parts"),
    ]:
        with pytest.raises(UserError, match=message):
            training_examples(config, changed)
    with pytest.raises(UserError, match="--labels 6 is more than the 5 training images"):
        training_examples(dataclasses.replace(config, labels=6), data)
