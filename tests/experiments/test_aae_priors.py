"""Three priors with and without labels, from the command line."""

import json
import sys
from pathlib import Path

import flax.linen as nn
import numpy as np
import pytest
from aejax.priors import Prior

from aejax import cli, priors
from aejax.methods.adversarial import Model
from experiments import aae_priors
from experiments.aae import Trained
from experiments.aae_priors import Config

SMALL = ["--dataset", "digits", "--image-size", 12, "--batch-size", 128, "--epochs", 1, "--devices", 1, "--hidden", 16]


def test_one_command_trains_a_model_for_each_panel_and_draws_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*SMALL, "--labels", 300, "--name", "small", "--runs", tmp_path]
    monkeypatch.setattr(sys, "argv", ["experiment", *map(str, arguments)])
    monkeypatch.setattr(aae_priors, "COLUMNS", {"swiss_roll": "Swiss roll"})  # for time
    cli.run(aae_priors.main, Config)
    models = ["swiss_roll", "swiss_roll-labels"]
    assert {path.name for path in (tmp_path / "aae").iterdir()} == {f"small-{model}" for model in models}
    folder = tmp_path / "aae_priors" / "small"
    figures = {path.stem for path in (folder / "figures").iterdir()}
    assert figures == {"priors", "swiss_roll_walk"}
    rows = json.loads((folder / "summary.json").read_text())["splits"]
    assert list(rows) == ["swiss_roll", "swiss_roll, 300 labels"]
    for row, model in zip(rows.values(), models, strict=True):
        own = json.loads((tmp_path / "aae" / f"small-{model}" / "summary.json").read_text())["splits"]
        assert row["bce"] == own["test"]["bce"]
        assert row["sliced_wasserstein"] == own["prior match: AAE"]["sliced_wasserstein"] > row["floor"] > 0
        assert 0 < row["knn"] <= 1


def test_the_panels_of_the_papers_figures_are_all_there() -> None:
    assert list(aae_priors.COLUMNS) == ["normal", "mixture", "swiss_roll"]
    config = Config(name="some", hidden=(7, 7), discriminator_rate=7e-4, generator_rate=3e-4)
    one = aae_priors.of_prior(config, "mixture", 100)
    assert (one.name, one.prior, one.labels, one.latents) == ("some-mixture-labels", "mixture", 100, 2)
    assert one.hidden == one.discriminator_hidden == (7, 7)
    assert (one.discriminator_rate, one.generator_rate) == (7e-4, 3e-4)


def test_samples_have_the_labels_of_their_parts() -> None:
    def trained(prior: Prior) -> Trained:
        return Trained(Model(nn.Dense(2), nn.Dense(2), nn.Dense(1), prior), None, None, {})  # type: ignore[arg-type]

    points, labels = aae_priors.samples(Config(), trained(priors.mixture_on_ring(along=0.0, across=0.0)), 20)
    assert labels is not None
    angles = 2 * np.pi * labels / 10
    np.testing.assert_allclose(points, 4 * np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-5)
    points, labels = aae_priors.samples(Config(), trained(priors.standard_normal(2)), 20)
    assert labels is None
    assert points.shape == (20, 2)
