"""Sprites: white shapes on black of which every factor of variation is known, drawn by formula.

The factors are those of dSprites (Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset): shape,
size, orientation and place. The grid is coarser, so that all images fit in memory: every combination occurs once.
"""

import math

import numpy as np

from aejax.data.cache import Arrays, cached
from aejax.data.drawn_splits import mixed_order
from aejax.data.resizing import resize

FACTORS = {"shape": 3, "size": 6, "orientation": 20, "x": 16, "y": 16}
"""Each factor, with the number of its values."""
SHAPES = ("square", "ellipse", "heart")
COUNT = math.prod(FACTORS.values())
_PIXELS, _TEST = 64, COUNT // 10
_BLOCK = 2048  # images drawn at once, which bounds the memory


def factors(rows: np.ndarray | None = None) -> np.ndarray:
    """Returns the factors of images of the whole grid: int32 (n, 5), in the order of FACTORS.

    Args:
      rows: numbers of images, in 0 ... COUNT - 1; None: all.
    """
    rows = np.arange(COUNT) if rows is None else rows
    return np.stack(np.unravel_index(rows, tuple(FACTORS.values())), axis=1).astype(np.int32)


def render(values: np.ndarray) -> np.ndarray:
    """Draws images of given factors: integers (n, 5) -> uint8 (n, 64, 64, 1), 0 or 255.

    Sizes grow evenly from half of the largest one, orientations cover a whole turn, and centres are spread evenly over
    the square in which the largest shape stays inside the picture.
    """
    blocks = [_drawn(values[start : start + _BLOCK]) for start in range(0, len(values), _BLOCK)]
    return np.concatenate(blocks)


def load_sprites(split: str, image_size: int | None) -> Arrays:
    """Loads one split: "test" is a tenth of the grid, drawn by a fixed hash and from every shape alike.

    Returns:
      Images uint8 (n, size, size, 1), of 64 pixels if `image_size` is None, and the shapes as labels int32 (n,).
    """
    size = image_size or _PIXELS
    images, labels, _ = cached({"name": "sprites", "image_size": size, "version": 1}, lambda _: _build(size))
    rows = rows_of(split)
    assert labels is not None
    return Arrays(images[rows], labels[rows])


def rows_of(split: str) -> np.ndarray:
    """Returns the numbers of a split's images in the whole grid: "train" or "test"."""
    order = mixed_order(COUNT, factors()[:, 0])
    return order[: COUNT - _TEST] if split == "train" else order[COUNT - _TEST :]


SHARD_LENGTHS = {"train": [COUNT - _TEST], "test": [_TEST]}


def _build(size: int) -> Arrays:
    values = factors()
    return Arrays(resize(render(values), size), values[:, 0])


def _drawn(values: np.ndarray) -> np.ndarray:
    shape, size, orientation, x, y = (values[:, i, None, None] for i in range(5))
    counts = list(FACTORS.values())
    radius = (0.5 + 0.5 * size / (counts[1] - 1)) * 0.2  # in widths of the picture
    angle = 2 * math.pi * orientation / counts[2]
    grid = (np.arange(_PIXELS) + 0.5) / _PIXELS
    across = grid[None, None, :] - (0.25 + 0.5 * x / (counts[3] - 1))
    down = grid[None, :, None] - (0.25 + 0.5 * y / (counts[4] - 1))
    u = (np.cos(angle) * across + np.sin(angle) * down) / radius
    v = (np.cos(angle) * down - np.sin(angle) * across) / radius
    square = np.maximum(np.abs(u), np.abs(v)) <= 0.75
    ellipse = u**2 + (v / 0.5) ** 2 <= 1
    a, b = 1.2 * u, 0.1 - 1.2 * v
    heart = (a**2 + b**2 - 1) ** 3 - a**2 * b**3 <= 0
    inside = np.where(shape == 0, square, np.where(shape == 1, ellipse, heart))
    return (255 * inside[..., None]).astype(np.uint8)
