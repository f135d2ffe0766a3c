"""The streaming feed: images read from the disk, or from the host's memory, while the devices compute.

Grain reads in threads, and moves blocks of steps to the devices two ahead of the one computed on. Memory holds a few
blocks and the order of an epoch (4 bytes per image), however large the images are.
"""

import contextlib
import functools
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import lazy_loader
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng
from aejax.batching import inputs
from aejax.data.augmentation import Augmentation
from aejax.data.feeds import Block, Feed, Tree, check_batch, shuffled

grain = lazy_loader.load("grain", suppress_warning=True)  # only runs that stream pay for it

_BLOCK_BYTES = 16 * 2**20
_THREADS = 4  # more only wait for each other's Python


@dataclass(frozen=True, eq=False)
class StreamingFeed(Feed):
    """Blocks of consecutive steps, each moved to the devices while the one before is computed on.

    Attributes:
      images: as of every feed, with arrays of numpy, in memory or mapped from a file.
    """

    @property
    def seed_axes(self) -> tuple[int | None, int | None]:
        return 0, None

    def blocks(self, root: Array, first: int, last: int) -> Generator[Block]:
        """Yields images ([seeds,] steps, batch_size, ...), split over the devices; the order is their first step."""
        leaves, structure = jax.tree.flatten(self.images)
        steps = self._steps_per_block(root.size)
        sharding = NamedSharding(self.mesh, PartitionSpec(*[None] * (root.ndim + 1), "data"))
        source = _Batches(leaves, self.batch_size, rng.words(root), first, last, self._own_rows())
        options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_THREADS)
        dataset = grain.MapDataset.source(source).to_iter_dataset(options)
        stack = functools.partial(_stacked, steps=steps, axis=root.ndim)
        dataset = dataset.batch(steps, drop_remainder=False, batch_fn=stack)
        dataset = grain.experimental.ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=1)
        dataset = dataset.map(
            functools.partial(_put, sharding=sharding, batch_size=self.batch_size, axis=root.ndim + 1)
        )
        dataset = grain.experimental.ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=1)
        with contextlib.closing(iter(dataset)) as iterator:
            for begin in range(first, last, steps):
                images = jax.tree.unflatten(structure, next(iterator))
                yield Block(images, np.int32(begin), min(begin + steps, last))

    def batch(self, images: Tree, order: Array, step: Array) -> Tree:
        split = NamedSharding(self.mesh, PartitionSpec("data"))
        here = jax.tree.map(lambda array: array[step - order], images)
        return inputs(jax.lax.with_sharding_constraint(here, split))

    def _own_rows(self) -> slice:
        """Returns the rows of each batch that this process's devices compute on; these are consecutive in the mesh."""
        split = NamedSharding(self.mesh, PartitionSpec("data"))
        indices = split.addressable_devices_indices_map((self.batch_size,)).values()
        rows = [np.arange(self.batch_size)[index] for index in indices]
        return slice(int(min(r[0] for r in rows)), int(max(r[-1] for r in rows)) + 1)

    def _steps_per_block(self, seeds: int) -> int:
        row = sum(int(np.prod(a.shape[1:])) * a.dtype.itemsize for a in jax.tree.leaves(self.images))
        return max(1, min(_BLOCK_BYTES // (row * self.batch_size * seeds), self.steps_per_epoch))


def streaming_feed(images: Tree, batch_size: int, mesh: Mesh, augment: tuple[Augmentation, ...] = ()) -> StreamingFeed:
    """Makes a feed that keeps the images where they are and shows training what a `device_feed` would.

    Args:
      images: uint8 (n, height, width, channels), in numpy; or a tree of such arrays, n rows each.
      batch_size: rows per step over all devices.
      mesh: the devices.
      augment: as of every feed.

    Raises:
      UserError: if there are fewer images than a batch holds, or the devices do not divide the batch.
    """
    check_batch(images, batch_size, mesh)
    return StreamingFeed(images, batch_size, mesh, augment)


class _Batches:
    """A sequence for Grain: item k is the `own` rows of step `first` + k, a list of arrays ([seeds,] rows, ...)."""

    def __init__(
        self, leaves: Sequence[Any], batch_size: int, words: np.ndarray, first: int, last: int, own: slice
    ) -> None:
        self._leaves, self._batch_size, self._words = leaves, batch_size, words
        self._first, self._last, self._own = first, last, own

    def __len__(self) -> int:
        return self._last - self._first

    def __getitem__(self, item: int) -> list[np.ndarray]:
        rows = len(self._leaves[0])
        epoch, index = divmod(self._first + int(item), rows // self._batch_size)
        order = _order(self._words.tobytes(), self._words.shape, epoch, rows, self._batch_size)
        return [leaf[order[..., index, self._own]] for leaf in self._leaves]


@functools.lru_cache(maxsize=2)
def _order(words: bytes, shape: tuple[int, ...], epoch: int, rows: int, batch_size: int) -> np.ndarray:
    # On the CPU: an accelerator would compute it only after the steps that are under way.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        root = rng.from_words(np.frombuffer(words, np.uint32).reshape(shape))
        return np.asarray(_shuffled(root, epoch, rows, batch_size))


_shuffled = jax.jit(shuffled, static_argnums=(2, 3))


def _stacked(batches: Sequence[list[np.ndarray]], steps: int, axis: int) -> list[np.ndarray]:
    """Stacks batches along `axis` into `steps` steps; a run's last are filled up, so that one shape is compiled."""
    filled = [*batches, *[batches[-1]] * (steps - len(batches))]
    return [np.stack(arrays, axis) for arrays in zip(*filled, strict=True)]


def _put(arrays: Sequence[np.ndarray], sharding: NamedSharding, batch_size: int, axis: int) -> list[Array]:
    """Puts this process's rows, along `axis`, of arrays on the devices of all processes."""
    shapes = [(*a.shape[:axis], batch_size, *a.shape[axis + 1 :]) for a in arrays]
    return [jax.make_array_from_process_local_data(sharding, a, s) for a, s in zip(arrays, shapes, strict=True)]
