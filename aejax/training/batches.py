"""A function of a batch applied to all images of an array."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng
from aejax.data.feeds import inputs, put, rows_of
from aejax.training import distributed

Tree = Any


def over_images(
    function: Callable[[Any, Any, Array], Tree], mesh: Mesh, batch_size: int = 512
) -> Callable[[Any, Tree], Tree]:
    """Applies `function` in batches of one size, so that arrays of all lengths share one compiled program.

    Args:
      function: (state, images, key) -> a tree of arrays with one row per image; images are float32 (batch, height,
        width, channels) in [0, 1]. The key depends on the position in the array alone: evaluation is the same for all
        seeds and epochs.
      mesh: the devices that batches are split over.
      batch_size: rounded up to a multiple of the devices.

    Returns:
      (state, images uint8 (n, height, width, channels), or a tree of arrays with n rows as a feed takes it) -> the tree
      of numpy arrays with n rows. ValueError where n is 0.
    """
    batch_size += -batch_size % mesh.size
    split = NamedSharding(mesh, PartitionSpec("data"))
    # Of an array that is split over processes, each would see its own part alone.
    whole = NamedSharding(mesh, PartitionSpec()) if distributed.count() > 1 else None
    root = rng.stream(rng.root_key(0), "evaluation")

    def padded(array: np.ndarray, start: int) -> np.ndarray:
        block = array[start : start + batch_size]
        return np.pad(block, [(0, batch_size - len(block)), *[(0, 0)] * (array.ndim - 1)])

    def run(state: Any, images: Tree) -> Tree:
        outputs, count = [], rows_of(images)
        if not count:
            raise ValueError("there are no images to apply the function to")
        for start in range(0, count, batch_size):
            batch = put(jax.tree.map(lambda array, start=start: padded(array, start), images), split)
            outputs.append(_apply(function, whole, state, batch, rng.stream(root, "batch", start // batch_size)))
        return jax.tree.map(lambda *rows: np.concatenate([np.asarray(r) for r in rows])[:count], *outputs)

    return run


def drawn(
    generate: Callable[[Any, Array, int], Array], state: Any, root: Array, count: int, block: int = 1000
) -> np.ndarray:
    """`count` rows of what `generate(state, key, n)` draws, by blocks of one size, each from a key of its own."""
    draw = jax.jit(generate, static_argnums=2)
    blocks = [np.asarray(draw(state, rng.stream(root, "block", i), block)) for i in range(-(-count // block))]
    return np.concatenate(blocks)[:count]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(
    function: Callable[[Any, Any, Array], Tree], sharding: NamedSharding | None, state: Any, images: Tree, key: Array
) -> Tree:
    outputs = function(state, inputs(images), key)
    return outputs if sharding is None else jax.lax.with_sharding_constraint(outputs, sharding)
