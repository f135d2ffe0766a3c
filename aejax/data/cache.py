"""Decoded arrays on disk, so that a dataset is decoded once and mapped into memory from then on."""

import contextlib
import errno
import functools
import glob
import json
import math
import mmap
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aejax.errors import UserError
from aejax.paths import cache_folder

Allocate = Callable[[tuple[int, ...]], np.ndarray]
"""shape -> a new uint8 array to write images to, backed by a file where one of that size can be made."""

_STALE_SECONDS = 3600
_WHOLE_BYTES = 2**29  # larger files are checked in places: reading all of one would take longer than a start may
_PLACES, _PLACE_BYTES = 256, 2**20


class Arrays(NamedTuple):
    """Images with what is known of them.

    Attributes:
      images: uint8 (n, height, width, channels).
      labels: int32 (n,) class indices, -1 where unknown; None where there are none.
      meta: further facts, as JSON values.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    meta: Mapping[str, Any] = {}


def cached(key: Mapping[str, object], build: Callable[[Allocate], Arrays], most_bytes: int | None = None) -> Arrays:
    """Returns what `build` returns, from the disk if an undamaged copy is there.

    Args:
      key: everything that the arrays depend on, as JSON values; `key["name"]` also names the files, and `key["state"]`
        is what changes as the source does: once arrays are written, those of other states are removed.
      build: makes the arrays; images that it writes to an array of `allocate` never have to fit into memory.
      most_bytes: the largest images that may be held in memory where the disk cannot take them; None: any.

    Returns:
      Read-only maps of the files where these could be written, else the built arrays.

    Raises:
      UserError: if the images can be held neither on the disk nor in memory.
    """
    source = _digest({name: value for name, value in key.items() if name != "state"})
    state = _digest(key.get("state"))
    prefix = f"{key['name']}-{source}-".replace("/", "-")
    stem = cache_folder() / "datasets" / f"{prefix}{state}"
    if (arrays := _read(stem)) is not None:
        return arrays
    with _workspace(stem.parent) as folder:
        arrays = build(functools.partial(_allocate, folder, most_bytes))
        # A cache that cannot be written costs time, not correctness.
        with contextlib.suppress(OSError):
            if folder is not None:
                _write(folder, stem, arrays)
                for other in stem.parent.glob(f"{glob.escape(prefix)}*"):
                    if not other.name.startswith(stem.name):
                        other.unlink()
                return _read(stem) or arrays
        return arrays


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _read(stem: Path) -> Arrays | None:
    try:
        entry = json.loads(Path(f"{stem}.json").read_text())
        images = _map(stem, "images", entry["images"])
        labels = None if entry["labels"] is None else _map(stem, "labels", entry["labels"])
        return Arrays(images, labels, dict(entry["meta"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _map(stem: Path, part: str, checksum: int) -> np.ndarray:
    path = Path(f"{stem}.{part}.npy")
    # The file is checked before its header is parsed: a flipped bit is as bad as a missing end.
    if _checksum(path) != checksum:
        raise ValueError(f"{path} is damaged")
    return np.asarray(np.load(path, mmap_mode="r"))


def _checksum(path: Path) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        size = len(content)
        if size <= _WHOLE_BYTES:
            return zlib.crc32(content)
        checksum = size
        for start in np.linspace(0, size - _PLACE_BYTES, _PLACES).astype(int):
            checksum = zlib.crc32(content[start : start + _PLACE_BYTES], checksum)
        return checksum


@contextlib.contextmanager
def _workspace(parent: Path) -> Iterator[Path | None]:
    """A temporary folder inside `parent`, or None where none can be made; old ones of killed processes are removed."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for stale in parent.glob("incomplete-*"):
            if time.time() - stale.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(stale, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="incomplete-", dir=parent))
    except OSError:
        yield None
        return
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _allocate(folder: Path | None, most_bytes: int | None, shape: tuple[int, ...]) -> np.ndarray:
    size = math.prod(shape)
    if folder is not None:
        path = folder / "allocated"
        try:
            array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            _reserve(path, array.offset + size)
            return array
        except OSError:
            path.unlink(missing_ok=True)
    if most_bytes is not None and size > most_bytes:
        raise UserError(
            f"{size / 1e9:.1f} GB of decoded images fit neither into memory nor into {cache_folder()}: name a folder "
            "with more space with $AEJAX_CACHE_DIR, or lower --image-size or --limit"
        )
    return np.empty(shape, np.uint8)


def _reserve(path: Path, size: int) -> None:
    """Reserves a file's blocks: else a full disk would kill the process at a later write to the map."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def _write(folder: Path, stem: Path, arrays: Arrays) -> None:
    entry: dict[str, Any] = {"meta": dict(arrays.meta)}
    for part, array in (("images", arrays.images), ("labels", arrays.labels)):
        entry[part] = None
        if array is None:
            continue
        path = _saved(folder, part, array)
        entry[part] = _checksum(path)
        path.replace(f"{stem}.{part}.npy")
    # Last, so that a reader that finds the checksums finds the arrays.
    path = folder / "entry"
    path.write_text(json.dumps(entry))
    path.replace(f"{stem}.json")


def _saved(folder: Path, part: str, array: np.ndarray) -> Path:
    path = folder / "allocated"
    if isinstance(array, np.memmap) and path.exists() and array.offset + array.nbytes == path.stat().st_size:
        array.flush()
        return path
    path = folder / part
    with path.open("wb") as file:
        np.save(file, array)
    return path
