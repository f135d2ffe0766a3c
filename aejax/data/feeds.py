"""Batches for training: a feed says which images step N sees, as a pure function of (seed, N)."""

import abc
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng
from aejax.batching import inputs, put, rows_of
from aejax.data import augmentation
from aejax.data.augmentation import Augmentation
from aejax.errors import UserError

Order = Any
Tree = Any


class Block(NamedTuple):
    """Images on the devices that the compiled steps can go on with.

    Attributes:
      images: as the feed's `batch` takes them.
      order: where in them a step's images are, as `batch` takes it.
      stop: the step of the run, counted over all epochs, that needs the next block.
    """

    images: Tree
    order: Order
    stop: int


@dataclass(frozen=True, eq=False)
class Feed(abc.ABC):
    """The interface of feeds. Steps are counted over all epochs; all feeds show step N the same images.

    The images are shuffled anew in each epoch, whose last incomplete batch is left out.

    Attributes:
      images: uint8 (n, height, width, channels), or a tree of arrays with n rows each, such as images with labels.
      batch_size: rows per step over all devices.
      mesh: the devices, along the axis "data".
      augment: what training does to images, in the compiled step.
    """

    images: Tree
    batch_size: int
    mesh: Mesh
    augment: tuple[Augmentation, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        return rows_of(self.images) // self.batch_size

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image: of a row of the tree's first array."""
        return jax.tree.leaves(self.images)[0].shape[1:]

    def zeros(self) -> Tree:
        """Returns a batch of zeros, of the shapes and types of every batch. Traced."""
        return inputs(jax.tree.map(lambda a: jnp.zeros((self.batch_size, *a.shape[1:]), a.dtype), self.images))

    def indices(self, root: Array, step: int) -> np.ndarray:
        """Returns the rows of `images` that step `step` of the run with this root sees: int32 (batch_size,)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return np.asarray(shuffled(root, epoch, rows_of(self.images), self.batch_size)[place])

    def augmented(self, batch: Tree, root: Array, step: Array) -> Tree:
        """Returns what training sees of step `step`'s batch in the run with this root. Traced."""
        return augmentation.augment(self.augment, rng.stream(root, "augmentation", step), batch)

    @property
    @abc.abstractmethod
    def seed_axes(self) -> tuple[int | None, int | None]:
        """The seeds' axis in a block's images and in its order; None where the seeds share them."""

    @abc.abstractmethod
    def blocks(self, root: Array, first: int, last: int) -> Generator[Block]:
        """Yields the blocks for the steps `first` ... `last - 1`, in order.

        `root` is the key of a run, or of several, (seeds,), whose images have the axis `seed_axes`. To be closed.
        """

    @abc.abstractmethod
    def batch(self, images: Tree, order: Order, step: Array) -> Tree:
        """Takes step `step` from a block, as `inputs` gives it: batch_size rows, split over the mesh. Traced."""


class DeviceFeed(Feed):
    """A whole dataset on the devices: `images` are a copy on every device of the mesh."""

    @property
    def seed_axes(self) -> tuple[int | None, int | None]:
        return None, 0

    def order(self, root: Array, epoch: int | Array) -> Array:
        """Returns the epoch's order, which `batch` reads: int32 ([seeds,] steps_per_epoch, batch_size). Traced."""
        return shuffled(root, epoch, rows_of(self.images), self.batch_size)

    def blocks(self, root: Array, first: int, last: int) -> Generator[Block]:
        """Yields one block per epoch."""
        order_of = jax.jit(self.order, out_shardings=NamedSharding(self.mesh, PartitionSpec()))
        for epoch in range(first // self.steps_per_epoch, -(-last // self.steps_per_epoch)):
            yield Block(self.images, order_of(root, epoch), (epoch + 1) * self.steps_per_epoch)

    def batch(self, images: Tree, order: Order, step: Array) -> Tree:
        """`images` is the feed's own field; as an argument, no compiled program holds it as a constant."""
        split = NamedSharding(self.mesh, PartitionSpec("data"))
        rows = jax.lax.with_sharding_constraint(order[step % self.steps_per_epoch], split)
        return inputs(jax.tree.map(lambda array: array[rows], images))


def device_feed(images: Tree, batch_size: int, mesh: Mesh, augment: tuple[Augmentation, ...] = ()) -> DeviceFeed:
    """Puts uint8 images (n, height, width, channels), or a tree of arrays with n rows, on the mesh's devices.

    Raises:
      UserError: if there are fewer images than a batch holds, or the devices do not divide the batch.
    """
    check_batch(images, batch_size, mesh)
    return DeviceFeed(put(images, NamedSharding(mesh, PartitionSpec())), batch_size, mesh, augment)


def check_batch(images: Tree, batch_size: int, mesh: Mesh) -> None:
    """Checks what a feed is made of.

    Raises:
      UserError: if there are fewer images than a batch holds, the devices do not divide the batch, or a uint8 array is
        not of images, which alone are divided by 255.
    """
    for leaf in jax.tree.leaves(images):
        if leaf.dtype == np.uint8 and len(leaf.shape) != 4:
            raise UserError(
                f"a uint8 array of shape {leaf.shape} is no images (n, height, width, channels) to divide by 255: give "
                "codes and labels as int32"
            )
    if batch_size > rows_of(images):
        raise UserError(f"--batch-size {batch_size} is more than the {rows_of(images)} training images: lower it")
    if batch_size % mesh.size:
        raise UserError(f"--batch-size {batch_size} cannot be split over {mesh.size} devices: change one of the two")


def shuffled(root: Array, epoch: int | Array, rows: int, batch_size: int) -> Array:
    """Draws the order of an epoch's rows: int32 (steps, batch_size), or (seeds, ...) for roots (seeds,). Traced."""
    if root.ndim:
        return jax.vmap(lambda one: shuffled(one, epoch, rows, batch_size))(root)
    steps = rows // batch_size
    permutation = jax.random.permutation(rng.stream(root, "shuffle", epoch), rows)
    return permutation[: steps * batch_size].reshape(steps, batch_size)
