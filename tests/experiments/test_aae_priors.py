"""Three priors with and without labels, from the command line."""

from pathlib import Path

import flax.linen as nn
import numpy as np
import pytest

from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import DeterministicPosterior
from aejax.models.priors import MixtureOnRing, Prior, StandardNormal
from aejax.models.trained import Trained
from experiments import aae_priors
from experiments.aae_priors import Config
from tests.experiments.conftest import figures, run, summary

SMALL = ["--dataset", "digits", "--limit", 400, "--batch-size", 64, "--epochs", 1, "--devices", 1, "--hidden", 16]
FLOOR, CODES = "prior match: two prior samples", "prior match: codes"


def test_one_command_trains_a_model_for_each_panel_and_draws_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aae_priors, "COLUMNS", {"swiss_roll": "Swiss roll"})  # for time
    run(aae_priors, *SMALL, "--labels", 300, "--name", "small", "--runs", tmp_path)
    models = ["swiss_roll", "swiss_roll-labels"]
    assert {path.name for path in (tmp_path / "aae").iterdir()} == {f"small-{model}" for model in models}
    folder = tmp_path / "aae_priors" / "small"
    assert figures(folder) == {"priors", "swiss_roll_walk"}
    rows = summary(folder)["splits"]
    assert list(rows) == ["swiss_roll", "swiss_roll, 300 labels"]
    for row, model in zip(rows.values(), models, strict=True):
        own = summary(tmp_path / "aae" / f"small-{model}")["splits"]
        assert row["bce"] == own["test"]["bce"]
        assert row["sliced_wasserstein"] == own[CODES]["sliced_wasserstein"] > row["floor"] > 0
        assert row["floor"] == own[FLOOR]["sliced_wasserstein"]
        assert 0 < row["knn"] <= 1


def test_the_panels_of_the_papers_figures_are_all_there() -> None:
    assert list(aae_priors.COLUMNS) == ["normal", "mixture", "swiss_roll"]
    config = Config(name="some", hidden=(7, 7), discriminator_rate=7e-4, generator_rate=3e-4, seeds=3, ema_decay=0.9)
    one = aae_priors.of_prior(config, "mixture", 100)
    assert (one.name, one.prior, one.labels, one.latents) == ("some-mixture-labels", "mixture", 100, 2)
    assert one.hidden == one.discriminator_hidden == (7, 7)
    assert (one.discriminator_rate, one.generator_rate) == (7e-4, 3e-4)
    assert (one.seeds, one.ema_decay) == (3, 0.9)


def test_samples_have_the_labels_of_their_parts() -> None:
    def trained(prior: Prior) -> Trained:
        model = LatentVariableModel(DeterministicPosterior(nn.Dense(2)), nn.Dense(2), prior)
        return Trained(model, {}, (1, 1, 1))

    points, labels = aae_priors.prior_samples(trained(MixtureOnRing(along=0.0, across=0.0)), 20)
    assert labels is not None
    angles = 2 * np.pi * labels / 10
    np.testing.assert_allclose(points, 4 * np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-5)
    points, labels = aae_priors.prior_samples(trained(StandardNormal(latents=2)), 20)
    assert labels is None
    assert points.shape == (20, 2)
