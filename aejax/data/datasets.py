"""Image datasets by name: `load("mnist", "train[90%:]")`."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from aejax.data import digits, npz, split_syntax, tfds_preparation, tfds_records
from aejax.data.cache import Arrays, cached
from aejax.data.resizing import resize
from aejax.errors import UserError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their labels, in memory, mapped from the cache or decoded at each use; read-only.

    Attributes:
      name: as given to `load`.
      split: as given to `load`.
      images: uint8 (n, height, width, channels), C-contiguous; or `tfds_records.StoredImages`, which are indexed alike.
      labels: int32 (n,), or None for a dataset without labels.
    """

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray | None

    def one_per_class(self, most: int = 10) -> np.ndarray:
        """The first image of each class, in the order of the classes, or the first images where there are no labels.

        Returns:
          uint8 (n, height, width, channels), n <= most.
        """
        if self.labels is None:
            return np.array(self.images[:most])
        return np.array(self.images[np.unique(self.labels, return_index=True)[1][:most]])


@dataclass(frozen=True)
class _Source:
    shard_lengths: Mapping[str, Sequence[int]]
    read: Callable[[str], Arrays]
    prepared: tfds_records.Prepared | None = None


def load(
    name: str,
    split: str = "train",
    data_dir: str | Path | None = None,
    raw_dir: str | Path | None = None,
    image_size: int | None = None,
    most_bytes: int | None = None,
) -> Dataset:
    """Loads a dataset, preparing it first where that is needed and possible.

    Args:
      name: "mnist", "fashion_mnist", "cifar10"; "digits" (scikit-learn's, with no download); the name of any image
        dataset that is prepared in the data_dir, such as "kmnist" or "emnist/letters"; or the path of an .npz file
        (see `npz.load_npz`).
      split: tfds split syntax, such as "train", "train[90%:]", "train[:1000]" or "train[10%:20%]+test".
      data_dir: the tfds data_dir; $TFDS_DATA_DIR if None, else ~/tensorflow_datasets.
      raw_dir: a folder with the dataset's official raw files, used where the dataset must be prepared.
      image_size: resizes every image to this many pixels square, antialiased; None keeps the dataset's own size (28 for
        "digits").
      most_bytes: images of a dataset that is prepared on the disk stay there if those of the splits named, decoded
        whole, would take more than this; None: everything is decoded.

    Returns:
      The examples in the dataset's stored order.

    Raises:
      UserError: for an unknown name or split, an empty result, bad arrays, a dataset that cannot be fetched (within 5 s
        if there is no network) or a folder that cannot be written.
    """
    if image_size is not None and image_size < 1:
        raise UserError(f"the image size must be at least 1 pixel, not {image_size}")
    source = _source(name, data_dir, raw_dir, image_size)
    ranges = split_syntax.resolve(split, source.shard_lengths)
    if source.prepared and most_bytes is not None and _bytes(source, ranges, image_size) > most_bytes:
        return _on_disk(name, split, source.prepared, ranges, image_size)
    wholes = {part: source.read(part) for part in {r.name for r in ranges}}
    images = _join([wholes[r.name][0][r.start : r.stop] for r in ranges])
    labelled = all(labels is not None for _, labels in wholes.values())
    labels = _join([wholes[r.name][1][r.start : r.stop] for r in ranges]) if labelled else None  # type: ignore[index]
    return Dataset(name, split, images, labels)


def available() -> list[str]:
    """The names that `load` can make available by itself, for error messages; .npz paths come on top."""
    return sorted([*tfds_preparation.supported(), "digits"])


def _source(name: str, data_dir: str | Path | None, raw_dir: str | Path | None, image_size: int | None) -> _Source:
    if name.endswith(".npz"):
        parts = npz.load_npz(Path(name).expanduser())
        lengths = {part: [len(images)] for part, (images, _) in parts.items()}
        return _Source(lengths, lambda part: _resized(parts[part], image_size))
    if name == "digits":
        return _Source(digits.SHARD_LENGTHS, lambda part: digits.load_digits(part, image_size))

    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().resolve()
    prepared = tfds_records.find(name, root) if re.fullmatch(r"\w+(/[\w.-]+)?", name) else None
    if prepared is None:
        if name not in tfds_preparation.supported():
            there = ", ".join(tfds_records.names(root)) or "none"
            raise UserError(
                f"unknown dataset {name!r}: choose {', '.join(available())}, a path ending in .npz, or a dataset "
                f"prepared in {root} ({there})"
            )
        prepared = tfds_preparation.prepare(name, root, None if raw_dir is None else Path(raw_dir).expanduser())
    return _Source(prepared.shard_lengths, lambda part: _read_prepared(prepared, part, image_size), prepared)


def _bytes(source: _Source, ranges: Sequence[split_syntax.Range], image_size: int | None) -> float:
    """What the images of the whole splits that the ranges are of would take; 0.5 where their sizes differ."""
    assert source.prepared
    shape = source.prepared.image_shape(image_size)
    count = sum(sum(source.shard_lengths[name]) for name in {r.name for r in ranges})
    return count * math.prod(shape) if shape else 0.5


def _on_disk(
    name: str, split: str, prepared: tfds_records.Prepared, ranges: Sequence[split_syntax.Range], image_size: int | None
) -> Dataset:
    images = tfds_records.StoredImages(prepared, ranges, image_size)
    wholes = {part: _stored_labels(prepared, part) for part in {r.name for r in ranges}}
    parts = [labels[r.start : r.stop] for r in ranges if (labels := wholes[r.name]) is not None]
    return Dataset(name, split, cast(np.ndarray, images), _join(parts) if len(parts) == len(ranges) else None)


def _stored_labels(prepared: tfds_records.Prepared, split: str) -> np.ndarray | None:
    key = {
        "name": f"{prepared.name}-{split}-labels",
        "folder": str(prepared.folder),
        "files": prepared.fingerprint(),
    }
    return cached(key, lambda: (np.empty(0, np.uint8), tfds_records.class_labels(prepared, split)))[1]


def _read_prepared(prepared: tfds_records.Prepared, split: str, image_size: int | None) -> Arrays:
    key = {
        "name": f"{prepared.name}-{split}",
        "folder": str(prepared.folder),
        "files": prepared.fingerprint(),
        "image_size": image_size,
    }
    return cached(key, lambda: tfds_records.decode(prepared, split, image_size))


def _resized(whole: Arrays, image_size: int | None) -> Arrays:
    images, labels = whole
    return (images if image_size is None else resize(images, image_size)), labels


def _join(parts: list[np.ndarray]) -> np.ndarray:
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    joined.setflags(write=False)
    return joined
