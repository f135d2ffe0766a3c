"""Folders of image files: flat, with a subfolder for each class, or with train/ and test/."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from aejax.data import image_files
from aejax.data.assembly import Decoded, ReadOptions, assemble, decoded
from aejax.data.cache import Allocate, Arrays, cached
from aejax.data.folder_layout import PARTS, File, divided, find, has_test, limited
from aejax.data.image_files import UnreadableError
from aejax.data.labels import UNKNOWN
from aejax.data.sources import Source
from aejax.errors import UserError

_FORMAT = 1  # of what files become; another one decodes them anew
_AHEAD = 256  # files that are decoded while one is written
_MOST_NAMED = 3

T = TypeVar("T")
U = TypeVar("U")


def open_folder(folder: Path, options: ReadOptions) -> Source:
    """Opens a folder of image files; `image_files` says what each kind of file becomes.

    Args:
      folder: with subfolders train and test, and perhaps validation, or without. In it, or in each of them, the
        subfolders of the first level are the classes if there are two or more; images outside have no label. Hidden
        files and those without an image's suffix are passed over.
      options: how it is read.

    Returns:
      The splits in the order of a hash of each file's path. Where there is no test folder, a tenth of the files, and
      where there is no validation folder, a tenth of the rest, are drawn by that hash: adding a file to the folder
      moves no other from one split to another.

    Raises:
      UserError: for a folder with fewer than three images, a file that cannot be read, or images that differ in size.
    """
    paths = find(folder)
    files = limited(divided(paths), options.limit)
    if len(files) < len(PARTS) - 1:
        known = ", ".join(sorted(suffix[1:] for suffix in image_files.SUFFIXES))
        raise UserError(f"{folder} holds {len(files)} image files ({known}), and at least three are needed")
    names = tuple(sorted({file.label for file in files} - {""}))
    key = {"name": folder.resolve().name, "folder": str(folder.resolve()), "state": _state(folder, files)}
    options_key = [options.size.key(), options.skip_unreadable, options.limit, _FORMAT]
    arrays = cached(
        {**key, "options": options_key},
        lambda allocate: _build(folder, files, names, options, allocate),
        options.most_bytes,
    )
    lengths = [arrays.meta["lengths"].get(part, 0) for part in PARTS]
    stops = np.cumsum(lengths).tolist()
    rows = {"train": slice(0, stops[1]), "validation": slice(stops[1], stops[2]), "test": slice(stops[2], stops[3])}

    def read(split: str) -> Arrays:
        labels = None if arrays.labels is None else arrays.labels[rows[split]]
        return Arrays(arrays.images[rows[split]], labels, arrays.meta)

    sizes = {split: [part.stop - part.start] for split, part in rows.items() if part.stop > part.start}
    notes = (*_drawn(folder, paths, files), *arrays.meta["notes"])
    return Source(sizes, read, names, notes, held_out=lengths[1] or None)


def _drawn(folder: Path, paths: list[str], files: list[File]) -> tuple[str, ...]:
    counts = Counter(file.part for file in files)
    if has_test(paths):
        return ()
    more = f" (of {len(paths):,})" if len(files) < len(paths) else ""
    return (
        f"{folder}: {len(files):,} images{more}, no test folder: {counts['test']:,} of them, drawn by a hash of their "
        "path, are the test set",
    )


def _state(folder: Path, files: list[File]) -> str:
    """Returns a hash of the files' paths, sizes and times."""
    digest = hashlib.sha256()
    for file in files:
        try:
            state = (folder / file.path).stat()
        except OSError as error:
            raise UserError(f"{str(folder / file.path)!r} cannot be read ({error.strerror}): remove it") from error
        digest.update(f"{[*file, state.st_size, state.st_mtime_ns]}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _build(folder: Path, files: list[File], names: tuple[str, ...], options: ReadOptions, allocate: Allocate) -> Arrays:
    workers = max(1, options.workers if options.workers is not None else os.cpu_count() or 1)
    bar = tqdm(total=len(files), desc=f"decoding {folder.name}", unit=" images", delay=1, disable=None)
    with bar, ThreadPoolExecutor(workers) as pool:
        reading = _Reading(folder, options.skip_unreadable, pool)
        grey = all(reading.each(image_files.is_grey, files))

        def images(binary: bool) -> Iterator[Decoded]:
            def one(path: Path) -> Decoded:
                name = path.relative_to(folder).as_posix()
                return decoded(name, image_files.decode(path, grey), options.size, binary)

            bar.reset()
            for image in reading.each(one, files):
                bar.update()
                yield image

        array, binary = assemble(len(files) - len(reading.unreadable), images, allocate, str(folder))
    kept = [file for file in files if file.path not in reading.unreadable]
    index = {"": UNKNOWN} | {name: i for i, name in enumerate(names)}
    labels = np.array([index[file.label] for file in kept], np.int32) if names else None
    lengths = dict(Counter(file.part for file in kept))
    return Arrays(array, labels, {"lengths": lengths, "notes": _notes(folder, labels, reading.unreadable, binary)})


def _notes(folder: Path, labels: np.ndarray | None, unreadable: set[str], binary: bool) -> list[str]:
    notes = []
    if unreadable:
        named = ", ".join([*map(repr, sorted(unreadable)[:_MOST_NAMED]), *["..."] * (len(unreadable) > _MOST_NAMED)])
        notes.append(f"{folder}: {len(unreadable):,} of the files cannot be read and are left out ({named})")
    if binary:
        notes.append(f"{folder}: pixels of 0 and 1, read as black and white")
    if labels is not None and (labels == UNKNOWN).any():
        notes.append(f"{folder}: {(labels == UNKNOWN).sum():,} of {len(labels):,} images have no label")
    return notes


@dataclass
class _Reading:
    """Files of a folder, read by threads; those that are no images are refused, or left out and noted."""

    folder: Path
    skip_unreadable: bool
    pool: ThreadPoolExecutor
    unreadable: set[str] = field(default_factory=set)

    def each(self, read: Callable[[Path], T], files: list[File]) -> Iterator[T]:
        """Applies `read` to the path of every readable file, in order."""

        def attempt(file: File) -> T | UnreadableError:
            try:
                return read(self.folder / file.path)
            except UnreadableError as error:
                return error

        for file, result in _mapped(self.pool, attempt, [file for file in files if file.path not in self.unreadable]):
            if not isinstance(result, UnreadableError):
                yield result
            elif self.skip_unreadable:
                self.unreadable.add(file.path)
            else:
                raise UserError(
                    f"{str(self.folder / file.path)!r} cannot be read ({result}): remove it, or leave such files out "
                    "with --skip-unreadable"
                ) from result


def _mapped(pool: ThreadPoolExecutor, function: Callable[[T], U], items: list[T]) -> Iterator[tuple[T, U]]:
    """Applies a function in the pool, in order and a bounded number of items ahead."""
    waiting: deque[tuple[T, Any]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
