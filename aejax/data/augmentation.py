"""Augmentation: training images that are flipped or shifted at random, anew at every step."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from aejax import rng
from aejax.errors import UserError

Augmentation = Literal["flip", "crop"]
Tree = Any
_SHARE = 8  # a crop shifts images by up to this part of their shorter side: 4 pixels at 32 x 32


def check(names: Sequence[Augmentation], image_shape: tuple[int, ...]) -> None:
    """Raises UserError for a name that is given twice, and for images (height, width, channels) too small to shift."""
    if len(set(names)) < len(names):
        raise UserError(f"--augment {' '.join(names)} names one twice: leave it out")
    if "crop" in names and min(image_shape[:2]) < _SHARE:
        raise UserError(
            f"--augment crop needs images of at least {_SHARE} x {_SHARE} pixels, not {image_shape[0]} x "
            f"{image_shape[1]}: leave it out"
        )


def augment(names: Sequence[Augmentation], key: Array, batch: Tree) -> Tree:
    """Augments every array of images in a batch, each image on its own. Traced.

    Args:
      names: what to do; flips come first, whatever the order.
      key: of this step; equal keys give equal results.
      batch: floats (batch, height, width, channels), or a tree with such arrays; what has other shapes stays as it is.

    Returns:
      The same tree. "flip" mirrors an image left to right with probability 1/2. "crop" cuts a window of the image's own
      size out of the image with a margin of an eighth of its shorter side, at a random place; the margin mirrors the
      image, so that no border is learnt. He et al. (2015, https://arxiv.org/abs/1512.03385), section 4.2, has the same
      of both with a black margin.
    """
    leaves, structure = jax.tree.flatten(batch)
    steps: dict[str, Callable[[Array, Array], Array]] = {"flip": _flip, "crop": _crop}
    for i, leaf in enumerate(leaves):
        if leaf.ndim != 4:
            continue
        for name, step in steps.items():
            if name in names:
                leaves[i] = step(rng.stream(key, name, i), leaves[i])
    return jax.tree.unflatten(structure, leaves)


def _flip(key: Array, images: Array) -> Array:
    mirrored = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)


def _crop(key: Array, images: Array) -> Array:
    n, height, width, channels = images.shape
    margin = min(height, width) // _SHARE
    padded = jnp.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    corners = jax.random.randint(key, (n, 2), 0, 2 * margin + 1)

    def window(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))

    return jax.vmap(window)(padded, corners)
