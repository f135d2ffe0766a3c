"""The comparison of methods from its command line, and what each method is made of."""

from pathlib import Path
from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import compare
from tests.experiments.conftest import after_a_step, figures, parsed, run, summary

SHAPE = (8, 8, 1)
SMALL = ["--latents", 3, "--hidden", 8, "--batch-size", 8, "--devices", 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted({*get_args(compare.MethodName)} - {*compare.VARIATIONAL}), "factor_vae"])
def test_every_method_has_a_model_that_reconstructs_and_samples(name: str) -> None:
    model, method = compare.build(parsed(compare, *SMALL), name, SHAPE, 16)
    images = jnp.full((8, *SHAPE), 0.5)
    params, metrics, values = after_a_step(method, images)
    assert all(np.isfinite(value).all() for value in (*metrics.values(), *values.values()))
    assert values["loss"].shape == (8,)
    assert model.reconstruct(params, images).shape == images.shape
    assert model.prior.latents == 3


@pytest.mark.slow
def test_methods_share_a_table_and_pictures_and_a_restart_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--methods", "autoencoder", "vae", "--dataset", "digits", "--limit", 300, "--epochs", 1, *SMALL]
    options += ["--nll-samples", 10, "--nll-images", 20, "--seeds", 2, "--runs", tmp_path]
    run(compare, *options)
    folder = tmp_path / "compare" / "digits-seeds0-1"
    assert figures(folder) == {"reconstructions", "samples"}
    table = summary(folder)["splits"]
    assert list(table) == ["autoencoder", "vae", "training images"]
    assert "nll (10 latents, 20 images)" in table["vae"]
    assert not [name for name in table["autoencoder"] if name.startswith("nll")]
    for name in ("autoencoder", "vae"):
        assert {"mse", "mse_sd", "knn", "frechet", "frechet, mixture"} <= set(table[name])
    assert capsys.readouterr().out.count("code: ") == 1  # one table, not one for each run
    run(compare, *options)
    assert summary(folder)["splits"] == table
