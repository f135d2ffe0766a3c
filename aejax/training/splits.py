"""The three parts of a dataset that every experiment uses, and the feed of the first."""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from aejax.data import load
from aejax.data.datasets import Dataset
from aejax.data.feeds import Feed, Tree, device_feed
from aejax.data.streaming import streaming_feed
from aejax.errors import UserError
from aejax.training import distributed
from aejax.training.config import RunConfig
from aejax.training.devices import cores, device_memory

# Of a device's memory. The rest is for the parameters, the activations and, while they are moved, a second copy.
_RESIDENT_SHARE = 0.25
_MOST_WORKERS = 16  # each has libraries of its own in memory


class Splits(NamedTuple):
    """The first 90% of the train split to learn from, its last 10% to choose by, and the test split to report.

    Where nothing is held out, `train` is the whole train split and `held_out` is `test` itself.
    """

    train: Dataset
    held_out: Dataset
    test: Dataset

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The images' height, width and channels."""
        return self.train.images.shape[1:]

    def parts(self) -> dict[str, Dataset]:
        """The splits by name, without "held_out" where nothing is."""
        return {name: data for name, data in self._asdict().items() if name != "held_out" or data is not self.test}


def load_splits(config: RunConfig, *, hold_out: bool = True) -> Splits:
    """Loads the configured dataset.

    Where the feed is to stream, images of the train split that are on the disk stay there; those of test are decoded.

    Raises:
      UserError: as of `load`, and for images that no figure can show.
    """
    most_bytes = _most_resident_bytes(config)

    def part(split: str, most_bytes: int | None = most_bytes) -> Dataset:
        return load(config.dataset, split, config.data_dir, config.raw_dir, config.image_size, most_bytes)

    test = part("test", None)
    splits = Splits(part("train[:90%]"), part("train[90%:]"), test) if hold_out else Splits(part("train"), test, test)
    if (channels := splits.train.images.shape[-1]) not in (1, 3):
        raise UserError(f"--dataset {config.dataset} has {channels} channels: experiments take grey (1) or RGB (3)")
    return splits


def open_feed(config: RunConfig, images: Tree, batch_size: int, mesh: Mesh) -> Feed:
    """The feed of --feed for training images, or a tree of arrays; UserError as of `device_feed`."""
    leaves = jax.tree.leaves(images)
    most_bytes = _most_resident_bytes(config)
    in_memory = all(isinstance(leaf, np.ndarray) for leaf in leaves)
    if in_memory and (most_bytes is None or sum(leaf.nbytes for leaf in leaves) <= most_bytes):
        return device_feed(images, batch_size, mesh)
    if in_memory:  # there is nothing to decode
        return streaming_feed(images, batch_size, mesh)
    return streaming_feed(images, batch_size, mesh, decoding_workers(config))


def decoding_workers(config: RunConfig) -> int:
    """The processes of --workers that decode for the streaming feed; 0: threads do."""
    return config.workers if config.workers is not None else min(max(1, cores() - 1), _MOST_WORKERS)


def _most_resident_bytes(config: RunConfig) -> int | None:
    """Images that take more are streamed; None: none are."""
    match config.feed:
        case "resident":
            return None
        case "streaming":
            return 0
        case "auto":
            return int(distributed.gather(int(_RESIDENT_SHARE * device_memory(config.devices))).min())
