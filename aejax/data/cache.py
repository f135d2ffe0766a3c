"""Decoded arrays on disk, so that a dataset is decoded once and mapped into memory from then on."""

import contextlib
import json
import mmap
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import platformdirs

Arrays = tuple[np.ndarray, np.ndarray | None]

_STALE_SECONDS = 3600


def directory() -> Path:
    """The cache folder: $AEJAX_CACHE_DIR, else the user's cache folder of the operating system."""
    return Path(os.environ.get("AEJAX_CACHE_DIR") or platformdirs.user_cache_dir("aejax"))


def cached(key: Mapping[str, object], build: Callable[[], Arrays]) -> Arrays:
    """Returns what `build()` returns, from the disk if an undamaged copy is there.

    Args:
      key: everything that the arrays depend on, as JSON values; `key["name"]` also names the files.
      build: makes (images, labels).

    Returns:
      (images, labels), read-only maps of the files where these could be written, else the built arrays.
    """
    digest = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    stem = directory() / "datasets" / f"{key['name']}-{digest}".replace("/", "-")
    if (arrays := _read(stem)) is not None:
        return arrays
    arrays = build()
    # A cache that cannot be written costs time, not correctness.
    with contextlib.suppress(OSError):
        _write(stem, arrays)
        return _read(stem) or arrays
    return arrays


def _read(stem: Path) -> Arrays | None:
    try:
        checksums = json.loads(Path(f"{stem}.json").read_text())
        images = _map(stem, "images", checksums["images"])
        labels = None if checksums["labels"] is None else _map(stem, "labels", checksums["labels"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return images, labels


def _map(stem: Path, part: str, checksum: int) -> np.ndarray:
    path = Path(f"{stem}.{part}.npy")
    # The whole file is checked before its header is parsed: a flipped bit is as bad as a missing end.
    if _checksum(path) != checksum:
        raise ValueError(f"{path} is damaged")
    return np.asarray(np.load(path, mmap_mode="r"))


def _checksum(path: Path) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return zlib.crc32(content)


def _write(stem: Path, arrays: Arrays) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for stale in stem.parent.glob("incomplete-*"):
        if time.time() - stale.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="incomplete-", dir=stem.parent) as folder:
        checksums: dict[str, int | None] = {}
        for part, array in zip(("images", "labels"), arrays, strict=True):
            checksums[part] = None
            if array is not None:
                path = Path(folder, part)
                with path.open("wb") as file:
                    np.save(file, array)
                checksums[part] = _checksum(path)
                path.replace(f"{stem}.{part}.npy")
        # Last, so that a reader that finds the checksums finds the arrays.
        path = Path(folder, "checksums")
        path.write_text(json.dumps(checksums))
        path.replace(f"{stem}.json")
