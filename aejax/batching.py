"""Arrays of images to batches on devices and back: scaling, moving, and functions of a batch over a whole array."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng

Tree = Any
Images = TypeVar("Images", Array, np.ndarray)


def as_float(images: Images) -> Images:
    """Scales uint8 in 0 ... 255 to float32 in [0, 1], by numpy or JAX as the argument is."""
    return images.astype(np.float32) / np.float32(255)


def inputs(tree: Tree) -> Tree:
    """Turns stored arrays into what a method takes: uint8 arrays become floats in [0, 1], others stay as they are."""
    return jax.tree.map(lambda array: as_float(array) if array.dtype == np.uint8 else array, tree)


def put(tree: Tree, sharding: NamedSharding) -> Tree:
    """Moves arrays that every process holds whole onto the devices of all; each process moves its own part."""
    return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, a, a.shape), tree)


def rows_of(tree: Tree) -> int:
    """Returns the number of rows of the tree's arrays."""
    return len(jax.tree.leaves(tree)[0])


def over_images(
    function: Callable[[Any, Any, Array], Tree], mesh: Mesh, batch_size: int = 512
) -> Callable[[Any, Tree], Tree]:
    """Applies `function` to an array of images in batches of one size, so that all arrays share one compiled program.

    Args:
      function: (params or state, images, key) -> a tree of arrays with one row per image. Images are float32 (batch,
        height, width, channels) in [0, 1]. The key depends on the position in the array alone: evaluation is the same
        for all seeds and epochs. One function object is compiled once.
      mesh: the devices that batches are split over.
      batch_size: rounded up to a multiple of the number of devices.

    Returns:
      (params or state, images uint8 (n, height, width, channels), or a tree of arrays with n rows as a feed takes it)
      -> the tree of numpy arrays with n rows. ValueError where n is 0.
    """
    batch_size += -batch_size % mesh.size
    split = NamedSharding(mesh, PartitionSpec("data"))
    # Of an array that is split over processes, each process would see its own part alone.
    whole = NamedSharding(mesh, PartitionSpec()) if jax.process_count() > 1 else None
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
    """Draws `count` rows from `generate(state, key, n)`, in blocks of one size, each from a key of its own."""
    blocks = [
        np.asarray(_draw(generate, state, rng.stream(root, "block", i), block)) for i in range(-(-count // block))
    ]
    return np.concatenate(blocks)[:count]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _draw(generate: Callable[[Any, Array, int], Array], state: Any, key: Array, n: int) -> Array:
    return generate(state, key, n)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(
    function: Callable[[Any, Any, Array], Tree], sharding: NamedSharding | None, state: Any, images: Tree, key: Array
) -> Tree:
    outputs = function(state, inputs(images), key)
    return outputs if sharding is None else jax.lax.with_sharding_constraint(outputs, sharding)
