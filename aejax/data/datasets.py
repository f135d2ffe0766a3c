"""Image datasets by name: `load("mnist", "train[90%:]")`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aejax import paths
from aejax.data import (
    digits,
    folders,
    npz,
    sources,
    split_syntax,
    sprites,
    tfds_features,
    tfds_preparation,
    tfds_records,
)
from aejax.data.assembly import ReadOptions, Size
from aejax.data.cache import Arrays, cached
from aejax.data.drawn_splits import mixed_order
from aejax.data.labels import UNKNOWN
from aejax.data.resizing import Fit
from aejax.data.sources import Source
from aejax.errors import UserError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their labels, in memory or mapped from the cache; read-only.

    Attributes:
      name: as given to `load`.
      split: as given to `load`.
      images: uint8 (n, height, width, channels), C-contiguous.
      labels: int32 (n,), class indices in 0 ... classes - 1, or -1 where the label is unknown; None if none is known.
      class_names: the name of class 0, of class 1 and so on, of all splits together; empty where there are no labels.
      notes: what the user should know of these images, a line each.
    """

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """The number of classes; 0 where there are no labels."""
        return len(self.class_names)

    def one_per_class(self, most: int = 10) -> np.ndarray:
        """Returns the first image of each class, in the order of the classes, or the first images if no label is known.

        Returns:
          uint8 (n, height, width, channels), n <= most.
        """
        if self.labels is None or not (self.labels != UNKNOWN).any():
            return np.array(self.images[:most])
        classes, first = np.unique(self.labels, return_index=True)
        return np.array(self.images[first[classes != UNKNOWN][:most]])


def load(
    name: str,
    split: str = "train",
    data_dir: str | Path | None = None,
    raw_dir: str | Path | None = None,
    image_size: int | None = None,
    most_bytes: int | None = None,
    *,
    fit: Fit = "crop",
    skip_unreadable: bool = False,
    limit: int | None = None,
) -> Dataset:
    """Loads a dataset, preparing it first where that is needed and possible.

    Args:
      name: "mnist", "fashion_mnist", "cifar10"; with no download "digits" (scikit-learn's) and "sprites" (drawn shapes
        of known factors); the name of any image dataset that is prepared in the data_dir, such as "kmnist" or
        "emnist/letters"; the path of an .npz or .npy file (`npz.open_arrays`) or of a folder of images
        (`folders.open_folder`).
      split: tfds split syntax, such as "train", "train[90%:]", "train[:1000]" or "train[10%:20%]+test".
      data_dir: the tfds data_dir; $TFDS_DATA_DIR if None, else ~/tensorflow_datasets.
      raw_dir: a folder with the dataset's official raw files, used where the dataset must be prepared.
      image_size: resizes every image to this many pixels square, antialiased; None keeps the dataset's own size (28 for
        "digits").
      most_bytes: the largest images that may be decoded into memory where the cache folder cannot take them; None: any.
      fit: what becomes of images that are not square where image_size is set.
      skip_unreadable: leaves out files of a folder that are no images, instead of refusing the folder.
      limit: keeps at most this many images of each split.

    Returns:
      The examples in the dataset's stored order; own arrays and files in a fixed order that mixes the classes.

    Raises:
      UserError: for an unknown name or split, an empty result, bad arrays or files, a dataset that cannot be fetched
        (within 5 s if there is no network) or a folder that cannot be written.
    """
    options = ReadOptions(Size(image_size, fit), skip_unreadable, limit, None, most_bytes)
    source = open_source(name, data_dir, raw_dir, options)
    dataset = take(name, source, split)
    for note in (*source.notes, *dataset.notes):
        sources.say(note)
    return dataset


def take(name: str, source: Source, split: str) -> Dataset:
    """Reads a split, in tfds split syntax, of the source of the dataset `name`; raises as `load` does."""
    ranges = split_syntax.resolve(split, source.shard_lengths)
    wholes = {part: source.read(part) for part in {r.name for r in ranges}}
    images, labels = sources.joined([(wholes[r.name], slice(r.start, r.stop)) for r in ranges])
    binary = any(whole.meta.get("binary") for whole in wholes.values())
    notes = (f"{name}: pixels of 0 and 1, read as black and white",) if binary else ()
    return Dataset(name, split, images, labels, source.class_names, notes)


def available() -> list[str]:
    """Returns the names that `load` can make available by itself, for error messages; paths are not among them."""
    return sorted([*tfds_preparation.supported(), "digits", "sprites"])


def open_source(
    name: str,
    data_dir: str | Path | None = None,
    raw_dir: str | Path | None = None,
    options: ReadOptions = ReadOptions(),  # noqa: B008, immutable
) -> Source:
    """Finds a dataset and its splits; arguments and errors are those of `load`."""
    size = options.size
    if size.image_size is not None and size.image_size < 1:
        raise UserError(f"the image size must be at least 1 pixel, not {size.image_size}")
    if options.limit is not None and options.limit < 1:
        raise UserError(f"the limit must be at least 1 image, not {options.limit}")
    if name.endswith((".npz", ".npy")):
        source = npz.open_arrays(paths.local(name, "--dataset"), size, options.most_bytes)
        return sources.limited(source, options.limit)
    if name == "digits":
        class_names = tuple(str(digit) for digit in range(10))
        lengths = digits.SHARD_LENGTHS
        source = Source(lengths, lambda part: digits.load_digits(part, size.image_size), class_names)
        return sources.limited(source, options.limit)

    if name == "sprites":
        lengths = sprites.SHARD_LENGTHS
        source = Source(lengths, lambda part: sprites.load_sprites(part, size.image_size), sprites.SHAPES)
        return sources.limited(source, options.limit)

    root = _tfds_folder(data_dir)
    prepared = tfds_records.find(name, root) if re.fullmatch(r"\w+(/[\w.-]+)?", name) else None
    if prepared is None and name in tfds_preparation.supported():
        prepared = tfds_preparation.prepare(name, root, None if raw_dir is None else paths.local(raw_dir, "--raw-dir"))
    if prepared is not None:
        return _open_prepared(prepared, options)
    if name and (folder := paths.local(name, "--dataset")).is_dir():
        return folders.open_folder(folder, options)
    there = ", ".join(tfds_records.names(root)) or "none"
    raise UserError(
        f"unknown dataset {name!r}: choose {', '.join(available())}, a folder of images, a path ending in .npz or "
        f".npy, or a dataset prepared in {root} ({there})"
    )


def _tfds_folder(data_dir: str | Path | None) -> Path:
    if data_dir:
        return paths.local(data_dir, "--data-dir").resolve()
    if named := os.environ.get("TFDS_DATA_DIR"):
        return paths.local(named, "TFDS_DATA_DIR").resolve()
    return paths.in_home("tensorflow_datasets").resolve()


def _open_prepared(prepared: tfds_records.Prepared, options: ReadOptions) -> Source:
    """Opens a dataset of tfds; if it has no test split, a tenth of its train split becomes one."""
    description = tfds_features.check(prepared.folder)
    class_names = tfds_features.class_names(prepared.folder, description) or ()
    lengths = {split: sum(shards) for split, shards in prepared.shard_lengths.items()}
    if "test" in lengths or "train" not in lengths:
        source = Source(prepared.shard_lengths, lambda part: _decoded(prepared, part, None, options), class_names)
        return sources.limited(source, options.limit)

    labels = _stored_labels(prepared, "train")
    order = mixed_order(lengths["train"], labels)
    size = sources.test_size(len(order))
    drawn = {"train": order[: len(order) - size], "test": order[len(order) - size :]}
    note = (
        f"{prepared.name}: {len(order):,} images, no test split: {size:,} of them, drawn by a fixed hash of their "
        "place and from every class alike, are the test set"
    )

    def read(part: str) -> Arrays:
        return _decoded(prepared, "train" if part in drawn else part, drawn.get(part), options)

    shards = {**prepared.shard_lengths, **{part: [len(rows)] for part, rows in drawn.items()}}
    return sources.limited(Source(shards, read, class_names, (note,)), options.limit)


def _decoded(prepared: tfds_records.Prepared, split: str, rows: np.ndarray | None, options: ReadOptions) -> Arrays:
    """Decodes the first examples of a split, as many as the limit says, or of `rows` of it."""
    rows = np.arange(sum(prepared.shard_lengths[split])) if rows is None else rows
    rows = rows[: options.limit]
    key = {
        "name": f"{prepared.name}-{split}",
        "folder": str(prepared.folder),
        "state": prepared.fingerprint(),
        "size": options.size.key(),
        "rows": sources.digest(rows),
        "format": 2,
    }
    found = cached(key, lambda new: tfds_records.decode(prepared, split, rows, options.size, new), options.most_bytes)
    known = found.labels is not None and bool((found.labels != UNKNOWN).any())
    return found if known else Arrays(found.images, None, found.meta)


def _stored_labels(prepared: tfds_records.Prepared, split: str) -> np.ndarray | None:
    key = {
        "name": f"{prepared.name}-{split}-labels",
        "folder": str(prepared.folder),
        "state": prepared.fingerprint(),
        "format": 2,
    }
    return cached(key, lambda _: Arrays(np.empty(0, np.uint8), tfds_records.class_labels(prepared, split))).labels
