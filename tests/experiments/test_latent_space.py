"""The latent plane's experiment from its command line, and its arithmetic."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from aejax import cli
from aejax.data.datasets import Dataset
from aejax.training.splits import Splits
from experiments import latent_space
from experiments.latent_space import Config, Plane, grid, interpolations


def run(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiment", *map(str, arguments)])
        cli.run(latent_space.main, Config)


def test_one_command_draws_both_planes_and_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_space, "DRAWS", 3)
    small = ["--dataset", "digits", "--image-size", 12, "--batch-size", 128, "--epochs", 1, "--devices", 1]
    run(*small, "--html", "--html-points", 30, "--runs", tmp_path)
    folder = tmp_path / "latent_space"
    assert {path.name for path in folder.iterdir()} == {f"digits-seed0{end}" for end in ("", "-autoencoder", "-VAE")}
    folder /= "digits-seed0"
    models = [f"{model}_{what}.png" for model in ("autoencoder", "VAE") for what in ("grid", "interpolations", "noise")]
    assert {path.name for path in (folder / "figures").iterdir()} == {"plane.png", "noise.png", *models}
    for model in ("autoencoder", "VAE"):
        page = (folder / f"{model}.html").read_text(encoding="utf-8")
        assert "30" in page
        assert "://" not in page
    rows = json.loads((folder / "summary.json").read_text())["splits"]
    assert list(rows) == [f"noise {std:g}" for std in latent_space.NOISE]
    assert all(0 <= share <= 1 for row in rows.values() for share in row.values())


def test_the_grid_has_the_second_latent_upwards() -> None:
    axes = np.stack([np.arange(20.0), 100 + np.arange(20.0)], axis=1)
    places = grid(axes).reshape(20, 20, 2)
    np.testing.assert_array_equal(places[0, :, 0], axes[:, 0])
    np.testing.assert_array_equal(places[::-1, 0, 1], axes[:, 1])


def test_interpolations_start_and_end_at_the_two_images() -> None:
    images = np.zeros((6, 2, 2, 1), np.uint8)
    test = Dataset("test", "test", images, np.array([1, 0, 3, 2, 0, 1], np.int32))
    latents = np.asarray(jax.random.normal(jax.random.key(0), (6, 2)))
    plane = Plane("VAE", latents, latents, lambda z: z, None, None)  # type: ignore[arg-type]
    rows = interpolations(plane, Splits(test, test, test))
    assert list(rows) == ["0 to 1", "2 to 3"]
    for row, (start, end) in zip(rows.values(), [(1, 0), (3, 2)], strict=True):
        np.testing.assert_allclose(row[0], latents[start], rtol=1e-6)
        np.testing.assert_allclose(row[-1], latents[end], rtol=1e-6)
        np.testing.assert_allclose(np.diff(row, 2, axis=0), 0, atol=1e-6)
