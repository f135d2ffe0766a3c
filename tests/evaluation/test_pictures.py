"""Rows of pictures: reconstructions next to PCA's, and straight lines between latents."""

import flax.linen as nn
import jax
import numpy as np

from aejax.batching import as_float
from aejax.evaluation import judge, pca
from aejax.evaluation.pictures import interpolations, reconstructions
from aejax.models.image_to_image import ImageToImage
from aejax.models.likelihoods import SquaredError
from aejax.models.trained import Trained
from aejax.nn.heads import Autoencoder

IMAGES = np.random.default_rng(0).integers(0, 256, (13, 4, 3, 2), np.uint8)


class Times(nn.Module):
    """A network without parameters: what it is given times a factor."""

    factor: float

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.factor * x


def model(encoder: float, decoder: float) -> Trained:
    network = Autoencoder(Times(encoder), Times(decoder))
    return Trained(ImageToImage(network, SquaredError()), {}, IMAGES.shape[1:])


def test_every_model_and_pca_have_a_row_under_the_images() -> None:
    linear = pca.fit(IMAGES, 3)
    rows = reconstructions({"half": model(1, 0.5), "same": model(4, 0.25)}, IMAGES, linear)
    assert list(rows) == ["input", "half", "same", "PCA, 3"]
    np.testing.assert_array_equal(rows["input"], as_float(IMAGES))
    np.testing.assert_allclose(rows["half"], as_float(IMAGES) / 2, rtol=1e-6)
    np.testing.assert_allclose(rows["same"], as_float(IMAGES), rtol=1e-6)
    np.testing.assert_array_equal(rows["PCA, 3"], linear.reconstruct(IMAGES))


def test_pca_has_no_row_where_it_would_keep_every_value() -> None:
    same = model(1, 1)
    train = type("Train", (), {"images": IMAGES, "labels": None})()
    assert judge.linear_baseline(same, train) is None  # its latents are as many as the values of an image
    assert list(reconstructions({"same": same}, IMAGES)) == ["input", "same"]


def test_a_line_leads_from_one_image_to_the_next_in_equal_steps() -> None:
    rows = interpolations(model(3, 1 / 3), IMAGES)
    assert list(rows) == ["1 to 2", "3 to 4", "5 to 6", "7 to 8", "9 to 10"]
    pixels = as_float(IMAGES)
    for i, row in enumerate(rows.values()):
        assert row.shape == (14, 4, 3, 2)
        np.testing.assert_array_equal(row[[0, -1]], pixels[2 * i : 2 * i + 2])  # the images themselves
        np.testing.assert_allclose(row[[1, -2]], pixels[2 * i : 2 * i + 2], atol=1e-6)  # decoded
        np.testing.assert_allclose(np.diff(row[1:-1], 2, axis=0), 0, atol=1e-6)


def test_one_image_makes_no_line() -> None:
    assert interpolations(model(1, 1), IMAGES[:1]) == {}
    assert list(interpolations(model(1, 1), IMAGES[:3])) == ["1 to 2"]
