"""The three parts of a dataset that every experiment uses, and the feed of the first."""

import sys
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from aejax.data import augmentation, sources
from aejax.data.assembly import ReadOptions, Size
from aejax.data.datasets import Dataset, open_source, take
from aejax.data.feeds import Feed, Tree, device_feed
from aejax.data.labels import missing_classes
from aejax.data.streaming import streaming_feed
from aejax.training import distributed
from aejax.training.config import RunConfig
from aejax.training.devices import cores, device_memory

# Of a device's memory. The rest is for the parameters, the activations and, while they are moved, a second copy.
_RESIDENT_SHARE = 0.25
_MOST_WORKERS = 16
_MOST_COMPARED_BYTES = 2**30  # of images that are looked through for duplicates, which takes a second or two


class Splits(NamedTuple):
    """Images to learn from, to choose by and to report.

    The official validation split is `held_out`, if there is one, and else a tenth of the train split: the last tenth of
    official ones, and of other data one that is drawn by a fixed hash. Where nothing is held out, `train` is the whole
    train split and `held_out` is `test` itself.
    """

    train: Dataset
    held_out: Dataset
    test: Dataset

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of class 0, of class 1 and so on; empty where there are no labels."""
        return self.train.class_names

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The images' height, width and channels."""
        return self.train.images.shape[1:]

    def parts(self) -> dict[str, Dataset]:
        """Returns the splits by name, without "held_out" if nothing is held out."""
        return {name: data for name, data in self._asdict().items() if name != "held_out" or data is not self.test}

    def fingerprint(self) -> dict[str, Any]:
        """Identifies the data that a run learnt from, as JSON values.

        Returns:
          "images": the number of images in each split; "shape": of an image; "classes": their number; "sha256": of the
          splits' images, labels and names of classes, at some 2 GB/s.
        """
        names = np.frombuffer("\0".join(self.class_names).encode("utf-8", "surrogateescape"), np.uint8)
        nothing = np.empty(0, np.int32)
        arrays = [array for data in self.parts().values() for array in (data.images, data.labels)]
        return {
            "images": {name: len(data.images) for name, data in self.parts().items()},
            "shape": list(self.train.images.shape[1:]),
            "classes": self.train.classes,
            "sha256": sources.digest(names, *(nothing if array is None else array for array in arrays)),
        }


def load_splits(config: RunConfig, *, hold_out: bool = True) -> Splits:
    """Loads the configured dataset, and prints a line for each thing that the user should know of it.

    Raises:
      UserError: as of `load`, and for images that --augment cannot be applied to.
    """
    size = Size(config.image_size, config.fit)
    most_bytes = _most_resident_bytes(config)
    options = ReadOptions(size, config.skip_unreadable, config.limit, decoding_workers(config), most_bytes or None)
    source = open_source(config.dataset, config.data_dir, config.raw_dir, options)
    learn, choose = source.held_out_ranges()
    if hold_out:
        splits = Splits(*(take(config.dataset, source, part) for part in (learn, choose, "test")))
    else:
        test = take(config.dataset, source, "test")
        splits = Splits(take(config.dataset, source, "train"), test, test)
    augmentation.check(config.augment, splits.image_shape)
    if distributed.first():
        of_parts = [note for data in splits.parts().values() for note in data.notes]
        remarks = [f"{config.dataset}: {remark}" for remark in _remarks(splits)]
        for note in dict.fromkeys([*source.notes, *of_parts, *remarks]):
            print(note, file=sys.stderr)
    return splits


def open_feed(config: RunConfig, images: Tree, batch_size: int, mesh: Mesh) -> Feed:
    """Opens the feed of --feed for training images, or a tree of arrays; UserError as of `device_feed`."""
    most_bytes = _most_resident_bytes(config)
    if most_bytes is None or sum(leaf.nbytes for leaf in jax.tree.leaves(images)) <= most_bytes:
        return device_feed(images, batch_size, mesh, config.augment)
    return streaming_feed(images, batch_size, mesh, config.augment)


def decoding_workers(config: RunConfig) -> int:
    """Returns the number of threads that decode image files."""
    return config.workers if config.workers is not None else min(max(1, cores()), _MOST_WORKERS)


def _remarks(splits: Splits) -> list[str]:
    notes: list[str] = []
    for name, data in splits.parts().items():
        notes += missing_classes(data.labels, data.class_names, name)
    if duplicates := _duplicates(splits):
        notes.append(
            f"{duplicates:,} of the {len(splits.test.images):,} test images are, pixel for pixel, also among those to "
            "learn from or choose by"
        )
    return notes


def _duplicates(splits: Splits) -> int:
    """Returns the number of test images that equal one of another split; 0 where there are too many to compare."""
    parts = splits.parts()
    if sum(data.images.nbytes for data in parts.values()) > _MOST_COMPARED_BYTES:
        return 0
    hashes = {name: [hash(image.tobytes()) for image in data.images] for name, data in parts.items()}
    others = set().union(*(rows for name, rows in hashes.items() if name != "test"))
    return sum(row in others for row in hashes["test"])


def _most_resident_bytes(config: RunConfig) -> int | None:
    """Images that take more are streamed; None: none are."""
    match config.feed:
        case "resident":
            return None
        case "streaming":
            return 0
        case "auto":
            return int(distributed.gather(int(_RESIDENT_SHARE * device_memory(config.devices))).min())
