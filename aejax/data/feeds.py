"""Batches for training: a feed says which images step N sees, as a pure function of (seed, N)."""

from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng
from aejax.errors import UserError

Order = Any
Tree = Any
Pixels = TypeVar("Pixels", Array, np.ndarray)


class Feed(NamedTuple):
    """A whole dataset on the devices, shuffled anew in each epoch; the last incomplete batch of an epoch is left out.

    Attributes:
      images: uint8 (n, height, width, channels), or a tree of arrays with n rows each, such as images with labels; a
        copy on every device of the mesh.
      batch_size: rows per step over all devices.
      mesh: the devices, along the axis "data".
    """

    images: Tree
    batch_size: int
    mesh: Mesh

    @property
    def steps_per_epoch(self) -> int:
        return rows_of(self.images) // self.batch_size

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of the tree's first array."""
        return jax.tree.leaves(self.images)[0].shape[1:]

    def order(self, root: Array, epoch: Array) -> Order:
        """The epoch's order, which `batch` reads: int32 (steps_per_epoch, batch_size). Traced."""
        permutation = jax.random.permutation(rng.stream(root, "shuffle", epoch), rows_of(self.images))
        return permutation[: self.steps_per_epoch * self.batch_size].reshape(self.steps_per_epoch, -1)

    def batch(self, images: Tree, order: Order, index: Array) -> Tree:
        """Step `index` of the epoch, as `inputs` gives it: batch_size rows, split over the mesh.

        `images` is the feed's own field, passed as an argument so that no compiled program holds it as a constant.
        """
        split = NamedSharding(self.mesh, PartitionSpec("data"))
        rows = jax.lax.with_sharding_constraint(order[index], split)
        return inputs(jax.tree.map(lambda array: array[rows], images))

    def zeros(self) -> Tree:
        """What a batch looks like."""
        return inputs(jax.tree.map(lambda a: jnp.zeros((self.batch_size, *a.shape[1:]), a.dtype), self.images))


def device_feed(images: Tree, batch_size: int, mesh: Mesh) -> Feed:
    """Puts uint8 images (n, height, width, channels), or a tree of arrays with n rows, on the mesh's devices.

    Raises:
      UserError: if there are fewer images than a batch holds, or the devices do not divide the batch.
    """
    if batch_size > rows_of(images):
        raise UserError(f"--batch-size {batch_size} is more than the {rows_of(images)} training images: lower it")
    if batch_size % mesh.size:
        raise UserError(f"--batch-size {batch_size} cannot be split over {mesh.size} devices: change one of the two")
    return Feed(jax.device_put(images, NamedSharding(mesh, PartitionSpec())), batch_size, mesh)


def inputs(tree: Tree) -> Tree:
    """What a method gets to see of stored arrays: uint8 ones as floats in [0, 1], others as they are."""
    return jax.tree.map(lambda array: as_float(array) if array.dtype == np.uint8 else array, tree)


def rows_of(tree: Tree) -> int:
    """How many rows the tree's arrays have."""
    return len(jax.tree.leaves(tree)[0])


def as_float(images: Pixels) -> Pixels:
    """uint8 in 0 ... 255 -> float32 in [0, 1], by numpy or JAX as the argument is."""
    return images.astype(np.float32) / np.float32(255)
