"""The latent plane's experiment from its command line, and its arithmetic."""

from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest

from aejax.data.datasets import Dataset
from aejax.models.image_to_image import ImageToImage
from aejax.models.likelihoods import SquaredError
from aejax.models.trained import Trained
from aejax.nn.heads import Autoencoder
from aejax.training.splits import Splits
from experiments import latent_space
from experiments.latent_space import grid, interpolations
from tests.experiments.conftest import figures, run, summary


def test_one_command_draws_both_planes_and_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_space, "DRAWS", 3)
    small = ["--dataset", "digits", "--image-size", 12, "--limit", 300, "--batch-size", 64, "--epochs", 1]
    small += ["--network", "tutorial"]
    run(latent_space, *small, "--devices", 1, "--html", "--html-points", 30, "--runs", tmp_path)
    folder = tmp_path / "latent_space"
    assert {path.name for path in folder.iterdir()} == {
        f"digits-tutorial-seed0{end}" for end in ("", "-autoencoder", "-VAE")
    }
    folder /= "digits-tutorial-seed0"
    models = [f"{model}_{what}" for model in ("autoencoder", "VAE") for what in ("grid", "interpolations", "noise")]
    assert figures(folder) == {"plane", "noise", "reconstructions", *models}
    rows = summary(folder)["splits"]
    for model in ("autoencoder", "VAE"):
        page = (folder / f"{model}.html").read_text(encoding="utf-8")
        assert "30" in page
        assert "://" not in page
        own = summary(folder.with_name(f"digits-tutorial-seed0-{model}"))["splits"]
        for row in ("test", "test: PCA, 2 components"):
            assert rows[f"{model}: {row}"] == own[row]
    shares = {name: row for name, row in rows.items() if name.startswith("noise")}
    assert list(shares) == [f"noise {std:g}" for std in latent_space.NOISE]
    assert all(0 <= share <= 1 for row in shares.values() for share in row.values())


def test_the_grid_has_the_second_latent_upwards() -> None:
    axes = np.stack([np.arange(20.0), 100 + np.arange(20.0)], axis=1)
    places = grid(axes).reshape(20, 20, 2)
    np.testing.assert_array_equal(places[0, :, 0], axes[:, 0])
    np.testing.assert_array_equal(places[::-1, 0, 1], axes[:, 1])


class Same(nn.Module):
    """A network without parameters that gives back what it is given."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def test_interpolations_start_and_end_at_the_two_images() -> None:
    images = np.zeros((6, 2, 2, 1), np.uint8)
    test = Dataset("test", "test", images, np.array([1, 0, 3, 2, -1, 1], np.int32))
    latents = np.asarray(jax.random.uniform(jax.random.key(0), (6, 2)))
    trained = Trained(ImageToImage(Autoencoder(Same(), Same()), SquaredError()), {}, (2, 2, 1))
    rows = interpolations(trained, latents, Splits(test, test, test))
    assert list(rows) == ["0 to 1", "2 to 3"]
    for row, (start, end) in zip(rows.values(), [(1, 0), (3, 2)], strict=True):
        np.testing.assert_allclose(row[0], latents[start], rtol=1e-6)
        np.testing.assert_allclose(row[-1], latents[end], rtol=1e-6)
        np.testing.assert_allclose(np.diff(row, 2, axis=0), 0, atol=1e-6)
