"""scikit-learn's bundled handwritten digits: real data with no download at all.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository (its test part).
"""

from importlib import metadata

import numpy as np

from aejax.data.cache import Arrays, cached
from aejax.data.resizing import resize

# In scikit-learn's order, which goes writer by writer: those who wrote the last fifth wrote nothing of the rest.
SHARD_LENGTHS = {"train": [1437], "test": [360]}


def load_digits(split: str, image_size: int | None) -> Arrays:
    """Loads one split of the 1,797 digits: "train" is the first 1,437 in scikit-learn's order, "test" the last 360.

    Returns:
      Images uint8 (n, size, size, 1), 8 x 8 pixels of 0..16 scaled to 0..255 and resized to `image_size` (28 if
      None), and labels int32 (n,) in 0..9.
    """
    size = image_size or 28
    key = {"name": "digits", "image_size": size, "version": metadata.version("scikit-learn")}
    images, labels, _ = cached(key, lambda _: _build(size))
    assert labels is not None
    part = slice(0, 1437) if split == "train" else slice(1437, 1797)
    return Arrays(images[part], labels[part])


def _build(size: int) -> Arrays:
    from sklearn import datasets

    digits = datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return Arrays(resize(images[..., np.newaxis], size), digits.target.astype(np.int32))
