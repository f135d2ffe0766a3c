"""Datasets prepared in a tfds data_dir: finding them without importing tfds, and decoding them without TensorFlow."""

import contextlib
import io
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from aejax.data.cache import Arrays
from aejax.data.resizing import resize_one
from aejax.data.split_syntax import Range
from aejax.errors import UserError

_BLOCK = 1000


@dataclass(frozen=True)
class Prepared:
    """One prepared dataset: its folder NAME/VERSION and, by split, the number of examples in each shard."""

    name: str
    folder: Path
    shard_lengths: dict[str, list[int]]

    def fingerprint(self) -> list[tuple[str, int, int]]:
        """Name, size in bytes and modification time in ns of every file of the dataset."""
        return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(self.folder.iterdir())]

    def image_shape(self, image_size: int | None) -> tuple[int, ...] | None:
        """(height, width, channels) of every image, resized to `image_size` if not None; None where they differ."""
        try:
            description = json.loads((self.folder / "features.json").read_text())
            shape = description["featuresDict"]["features"]["image"]["image"]["shape"]["dimensions"]
            height, width, channels = (int(n) for n in shape)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if image_size is not None:
            height = width = image_size
        return (height, width, channels) if min(height, width, channels) > 0 else None


class StoredImages:
    """Images on the disk, decoded anew at every use: indexed as a uint8 array (n, height, width, channels).

    Args:
      prepared: the dataset.
      ranges: which of its examples, in this order.
      image_size: None, or the square size in pixels to which every image is resized.

    Raises:
      UserError: where the dataset has no 8-bit images, or they differ in size; also later, where it cannot be read.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, prepared: Prepared, ranges: Sequence[Range], image_size: int | None) -> None:
        shape = prepared.image_shape(image_size)
        if shape is None:
            raise UserError(
                f"the images of {prepared.name!r} cannot be streamed, since they differ in size: set --image-size, or "
                "--feed resident"
            )
        self.shape = (sum(r.stop - r.start for r in ranges), *shape)
        self._prepared, self._ranges, self._image_size = prepared, tuple(ranges), image_size
        self._open()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        """uint8 images: one, a range, or an array of them of any shape, as numpy would."""
        wanted = np.arange(len(self))[rows]
        images = np.empty((wanted.size, *self.shape[1:]), np.uint8)
        with _readable(self._prepared):
            for start in range(0, wanted.size, _BLOCK):
                block = [int(i) for i in wanted.ravel()[start : start + _BLOCK]]
                for i, record in enumerate(self._source.__getitems__(block), start):
                    images[i] = _pixels(record, self._image_size)
        return images.reshape(*wanted.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them decoded, for what needs them at once."""
        return self[:].astype(dtype or np.uint8, copy=False)

    # Another process opens the files itself.
    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_source"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def _open(self) -> None:
        parts = [f"{r.name}[{r.start}:{r.stop}]" for r in self._ranges]
        with _readable(self._prepared), quiet_tfds():
            self._source = _builder(self._prepared).as_data_source(split="+".join(parts))
            self._source[0]  # what tfds has to say when it first decodes is said now


def find(name: str, data_dir: Path) -> Prepared | None:
    """Finds the newest prepared version of a dataset.

    Args:
      name: tfds name, with the configuration where there are several: "mnist", "emnist/letters".
      data_dir: the tfds data_dir.

    Returns:
      The dataset, or None where there is none.

    Raises:
      UserError: for a dataset that is damaged or written in a format that only TensorFlow reads.
    """
    versions = [p.parent for p in (data_dir / name).glob("*/dataset_info.json") if _version(p.parent)]
    if not versions:
        return None
    folder = max(versions, key=_version)
    try:
        info = json.loads((folder / "dataset_info.json").read_text())
        lengths = {s["name"]: [int(n) for n in s.get("shardLengths", [])] for s in info["splits"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error
    if (form := info.get("fileFormat", "tfrecord")) != "array_record":
        raise UserError(
            f"{folder} is in the {form} format, which needs TensorFlow; name another --data-dir, or convert it to "
            "array_record with `tfds convert_format`"
        )
    return Prepared(name, folder, lengths)


def names(data_dir: Path) -> list[str]:
    """The names, with configuration, of all datasets prepared in the data_dir."""
    found = [*data_dir.glob("*/*/dataset_info.json"), *data_dir.glob("*/*/*/dataset_info.json")]
    return sorted({p.parent.parent.relative_to(data_dir).as_posix() for p in found if _version(p.parent)})


def decode(prepared: Prepared, split: str, image_size: int | None) -> Arrays:
    """Decodes a whole split.

    Args:
      prepared: the dataset.
      split: the name of one of its splits, without a slice.
      image_size: None, or the square size in pixels to which every image is resized.

    Returns:
      Images uint8 (n, height, width, channels); labels int32 (n,), or None if there is no class label.

    Raises:
      UserError: for a dataset without 8-bit images of one size, or one that cannot be read.
    """
    with _readable(prepared), quiet_tfds():
        return _decode(prepared, split, image_size)


def class_labels(prepared: Prepared, split: str) -> np.ndarray | None:
    """The class labels of a whole split, int32 (n,), without decoding its images; None if there are none.

    Raises:
      UserError: as of `decode`.
    """
    import tensorflow_datasets as tfds

    with _readable(prepared), quiet_tfds():
        builder = _builder(prepared)
        if not isinstance(dict(builder.info.features).get("label"), tfds.features.ClassLabel):
            return None
        source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        found = np.empty(len(source), np.int32)
        for start in tqdm(range(0, len(source), _BLOCK), desc=f"labels of {prepared.name}", delay=1, disable=None):
            block = list(range(start, min(start + _BLOCK, len(source))))
            found[block] = [record["label"] for record in source.__getitems__(block)]
        return found


def _decode(prepared: Prepared, split: str, image_size: int | None) -> Arrays:
    import tensorflow_datasets as tfds

    builder = _builder(prepared)
    features = dict(builder.info.features)
    source = builder.as_data_source(split=split)
    count = len(source)
    images: np.ndarray | None = None
    labels = np.empty(count, np.int32) if isinstance(features.get("label"), tfds.features.ClassLabel) else None
    with tqdm(total=count, desc=f"decoding {prepared.name}", unit=" images", delay=1, disable=None) as bar:
        for start in range(0, count, _BLOCK):
            block = list(range(start, min(start + _BLOCK, count)))
            for i, record in zip(block, source.__getitems__(block), strict=True):
                pixels = _pixels(record, image_size)
                if images is None:
                    images = np.empty((count, *pixels.shape), np.uint8)
                if pixels.shape != images.shape[1:]:
                    raise UserError(f"the images of {prepared.name!r} differ in size or channels; set the image size")
                images[i] = pixels
                if labels is not None:
                    labels[i] = record["label"]
            bar.update(len(block))
    assert images is not None, "an empty split is refused before it is decoded"
    return images, labels


def _builder(prepared: Prepared) -> Any:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(prepared.folder)
    image = dict(builder.info.features or {}).get("image")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise UserError(f"the dataset {prepared.name!r} has no feature 'image' of 8 bits")
    return builder


def _pixels(record: Any, image_size: int | None) -> np.ndarray:
    return record["image"] if image_size is None else resize_one(record["image"], image_size)


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Mutes tfds's own bars, prints and warnings, of which ours take the place."""
    from tensorflow_datasets.core.utils import tqdm_utils

    log = logging.getLogger("absl")
    level, active = log.level, tqdm_utils._active
    log.setLevel(logging.ERROR)
    tqdm_utils.display_progress_bar(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
        tqdm_utils.display_progress_bar(active)


@contextlib.contextmanager
def _readable(prepared: Prepared) -> Iterator[None]:
    """Turns errors within it into a UserError; array_record, protobuf and Pillow raise them of many types."""
    try:
        yield
    except (UserError, ImportError):
        raise
    except Exception as error:
        raise _damaged(prepared.folder, error) from error


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(n) for n in folder.name.split(".")) if re.fullmatch(r"\d+\.\d+\.\d+", folder.name) else ()


def _damaged(folder: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"the dataset in {folder} cannot be read ({reason}); remove that folder to have it prepared again")
