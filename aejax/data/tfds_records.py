"""Datasets prepared in a tfds data_dir: finding them without importing tfds, and decoding them without TensorFlow."""

import contextlib
import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from aejax.data import tfds_features
from aejax.data.assembly import Decoded, Size, assemble, decoded
from aejax.data.cache import Allocate, Arrays
from aejax.errors import UserError

_BLOCK = 1000


@dataclass(frozen=True)
class Prepared:
    """One prepared dataset: its folder NAME/VERSION and, by split, the number of examples in each shard."""

    name: str
    folder: Path
    shard_lengths: dict[str, list[int]]

    def fingerprint(self) -> list[tuple[str, int, int]]:
        """Returns name, size in bytes and modification time in ns of every file of the dataset."""
        return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(self.folder.iterdir())]


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(folder, error) from error
    if (form := info.get("fileFormat", "tfrecord")) != "array_record":
        raise UserError(
            f"{folder} is in the {form} format, which needs TensorFlow; name another --data-dir, or convert it to "
            "array_record with `tfds convert_format`"
        )
    return Prepared(name, folder, lengths)


def names(data_dir: Path) -> list[str]:
    """Returns the names, with configuration, of all datasets prepared in the data_dir."""
    found = [*data_dir.glob("*/*/dataset_info.json"), *data_dir.glob("*/*/*/dataset_info.json")]
    return sorted({p.parent.parent.relative_to(data_dir).as_posix() for p in found if _version(p.parent)})


def decode(prepared: Prepared, split: str, rows: np.ndarray, size: Size, allocate: Allocate) -> Arrays:
    """Decodes examples of one split.

    Args:
      prepared: the dataset.
      split: the name of one of its splits, without a slice.
      rows: integers (n,), which of the split's examples, in this order.
      size: what every image is resized to.
      allocate: makes the array of images.

    Returns:
      Images uint8 (n, height, width, channels), 0 and 255 where the dataset holds only 0 and 1; labels int32 (n,), or
      None if there is no class label; in `meta`, "binary": whether images were scaled so.

    Raises:
      UserError: for a dataset without 8-bit images of one size, or one that cannot be read.
    """
    with _readable(prepared), quiet_tfds():
        source, has_labels = _source(prepared, split, decoders=None)
        labels = np.empty(len(rows), np.int32) if has_labels else None
        bar = tqdm(total=len(rows), desc=f"decoding {prepared.name}", unit=" images", delay=1, disable=None)

        def images(binary: bool) -> Iterator[Decoded]:
            bar.reset()
            for start in range(0, len(rows), _BLOCK):
                block = rows[start : start + _BLOCK].tolist()
                for i, record in enumerate(source.__getitems__(block), start):
                    if labels is not None:
                        labels[i] = record["label"]
                    yield decoded(f"example {rows[i]} of {split}", record["image"], size, binary)
                bar.update(len(block))

        with bar:
            array, binary = assemble(len(rows), images, allocate, repr(prepared.name))
    return Arrays(array, labels, {"binary": binary})


def class_labels(prepared: Prepared, split: str) -> np.ndarray | None:
    """Reads the class labels of a whole split without decoding its images.

    Returns:
      int32 (n,), or None if there are none.

    Raises:
      UserError: as of `decode`.
    """
    import tensorflow_datasets as tfds

    with _readable(prepared), quiet_tfds():
        source, has_labels = _source(prepared, split, {"image": tfds.decode.SkipDecoding()})
        if not has_labels:
            return None
        found = np.empty(len(source), np.int32)
        for start in tqdm(range(0, len(source), _BLOCK), desc=f"labels of {prepared.name}", delay=1, disable=None):
            block = list(range(start, min(start + _BLOCK, len(source))))
            found[block] = [record["label"] for record in source.__getitems__(block)]
        return found


def _source(prepared: Prepared, split: str, decoders: Any) -> tuple[Any, bool]:
    """Opens a split; also returns whether its examples have a class label."""
    tfds_features.check(prepared.folder)
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(prepared.folder)
    features = dict(builder.info.features or {})
    image = features.get("image")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise UserError(f"the dataset {prepared.name!r} has no feature 'image' of 8 bits")
    source = builder.as_data_source(split=split, decoders=decoders)
    return source, isinstance(features.get("label"), tfds.features.ClassLabel)


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Mutes tfds's own bars, prints and warnings; ours replace them."""
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
