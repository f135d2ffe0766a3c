"""A function of a batch applied to all images of an array."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng
from aejax.data.feeds import as_float

Tree = Any


def over_images(
    function: Callable[[Any, Array, Array], Tree], mesh: Mesh, batch_size: int = 512
) -> Callable[[Any, np.ndarray], Tree]:
    """Applies `function` in batches of one size, so that arrays of all lengths share one compiled program.

    Args:
      function: (state, images, key) -> a tree of arrays with one row per image; images are float32 (batch, height,
        width, channels) in [0, 1]. The key depends on the position in the array alone: evaluation is the same for all
        seeds and epochs.
      mesh: the devices that batches are split over.
      batch_size: rounded up to a multiple of the devices.

    Returns:
      (state, images uint8 (n, height, width, channels)) -> the tree of numpy arrays with n rows.
    """
    batch_size += -batch_size % mesh.size
    split = NamedSharding(mesh, PartitionSpec("data"))
    root = rng.stream(rng.root_key(0), "evaluation")

    def run(state: Any, images: np.ndarray) -> Tree:
        outputs = []
        for start in range(0, len(images), batch_size):
            block = images[start : start + batch_size]
            padding = [(0, batch_size - len(block)), *[(0, 0)] * (images.ndim - 1)]
            batch = jax.device_put(np.pad(block, padding), split)
            outputs.append(_apply(function, state, batch, rng.stream(root, "batch", start // batch_size)))
        return jax.tree.map(lambda *rows: np.concatenate([np.asarray(r) for r in rows])[: len(images)], *outputs)

    return run


@functools.partial(jax.jit, static_argnums=0)
def _apply(function: Callable[[Any, Array, Array], Tree], state: Any, images: Array, key: Array) -> Tree:
    return function(state, as_float(images), key)
