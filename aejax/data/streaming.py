"""The streaming feed: images read from the disk, or from the host's memory, while the devices compute.

Threads read blocks of steps ahead, and the next one moves to the devices while one is computed on. Memory holds a few
blocks and the order of an epoch (4 bytes per image), however large the images are.
"""

import functools
import itertools
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax import rng
from aejax.batching import inputs
from aejax.data.augmentation import Augmentation
from aejax.data.feeds import Block, Feed, Tree, check_batch, shuffled

_BLOCK_BYTES = 16 * 2**20
_AHEAD = 2  # blocks that are read at once, each by a thread


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
        read = functools.partial(_read, leaves, self.batch_size, rng.words(root), self._own_rows(), steps)
        begins = range(first, last, steps)
        pool = ThreadPoolExecutor(_AHEAD, "feed")
        try:
            waiting = iter(begins)
            reading = deque(pool.submit(read, begin, last) for begin in itertools.islice(waiting, _AHEAD))
            moved: deque[list[Array]] = deque()
            for begin in begins:
                # On its way to the devices while the block before it is computed on.
                while reading and len(moved) < 2:
                    moved.append(_put(reading.popleft().result(), sharding, self.batch_size, root.ndim + 1))
                    reading.extend(pool.submit(read, later, last) for later in itertools.islice(waiting, 1))
                yield Block(jax.tree.unflatten(structure, moved.popleft()), np.int32(begin), min(begin + steps, last))
        finally:
            pool.shutdown(cancel_futures=True)

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


def _read(
    leaves: Sequence[Any],
    batch_size: int,
    words: np.ndarray,
    own: slice,
    steps: int,
    begin: int,
    last: int,
) -> list[np.ndarray]:
    """Reads the `own` rows of `steps` steps from `begin` on: an array ([seeds,] steps, rows, ...) for each leaf.

    `words` are the seeds' root keys. Steps from `last` on, which do not exist, are zeros, so that all blocks have one
    shape and share a compiled program.
    """
    rows, seeds, width = len(leaves[0]), words.shape[:-1], own.stop - own.start
    per_epoch = rows // batch_size
    arrays = [np.zeros((*seeds, steps, width, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
    step, end = begin, min(begin + steps, last)
    while step < end:
        epoch, place = divmod(step, per_epoch)
        count = min(end - step, per_epoch - place)
        order = _order(words.tobytes(), words.shape, epoch, rows, batch_size)
        for seed in np.ndindex(seeds):
            wanted = order[seed][place : place + count, own].ravel()
            for leaf, array in zip(leaves, arrays, strict=True):
                out = array[seed][step - begin : step - begin + count].reshape(len(wanted), *leaf.shape[1:])
                # Into place, without a copy between. A mode other than "raise" leaves out a buffer of numpy's.
                np.take(leaf, wanted, axis=0, out=out, mode="clip")
        step += count
    return arrays


@functools.lru_cache(maxsize=2)
def _order(words: bytes, shape: tuple[int, ...], epoch: int, rows: int, batch_size: int) -> np.ndarray:
    # On the CPU: an accelerator would compute it only after the steps that are under way.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        root = rng.from_words(np.frombuffer(words, np.uint32).reshape(shape))
        return np.asarray(_shuffled(root, epoch, rows, batch_size))


_shuffled = jax.jit(shuffled, static_argnums=(2, 3))


def _put(arrays: Sequence[np.ndarray], sharding: NamedSharding, batch_size: int, axis: int) -> list[Array]:
    """Puts this process's rows, along `axis`, of arrays on the devices of all processes."""
    shapes = [(*a.shape[:axis], batch_size, *a.shape[axis + 1 :]) for a in arrays]
    return [jax.make_array_from_process_local_data(sharding, a, s) for a, s in zip(arrays, shapes, strict=True)]
