import numpy as np
import pytest
from PIL import Image

from aejax.data import load


def test_shapes_range_and_division() -> None:
    from sklearn.datasets import load_digits

    train, test = load("digits"), load("digits", "test")
    assert train.images.shape == (1437, 28, 28, 1)
    assert test.images.shape == (360, 28, 28, 1)
    assert train.images.dtype == np.uint8
    assert (train.images.min(), train.images.max()) == (0, 255)
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), load_digits().target)


@pytest.mark.parametrize(("split", "row"), [("train", 0), ("test", 1437)])
def test_images_are_the_scaled_originals(split: str, row: int) -> None:
    from sklearn.datasets import load_digits

    original = np.rint(load_digits().images[row] * 255 / 16).astype(np.uint8)
    np.testing.assert_array_equal(load("digits", split, image_size=8).images[0, ..., 0], original)
    enlarged = Image.fromarray(original).resize((28, 28), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(load("digits", split).images[0, ..., 0], enlarged)
