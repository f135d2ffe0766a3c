"""Folders of image files: flat, with a subfolder for each class, or with train/ and test/."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    unreadable: dict[str, str] = {}

    def refused(file: File, error: UnreadableError) -> None:
        if not options.skip_unreadable:
            raise UserError(
                f"{str(folder / file.path)!r} cannot be read ({error}): remove it, or leave such files out with "
                "--skip-unreadable"
            ) from error
        unreadable[file.path] = str(error)

    workers = options.workers if options.workers is not None else os.cpu_count() or 1
    with ThreadPoolExecutor(max(1, workers)) as pool:
        colours = _mapped(pool, lambda file: _attempt(image_files.is_grey, folder / file.path), files)
        greys = []
        for file, grey in colours:
            if isinstance(grey, UnreadableError):
                refused(file, grey)
            else:
                greys.append(grey)
        in_grey = all(greys)

        def images(binary: bool) -> Iterator[Decoded]:
            def one(file: File) -> Decoded | UnreadableError:
                pixels = _attempt(lambda path: image_files.decode(path, in_grey), folder / file.path)
                return (
                    pixels if isinstance(pixels, UnreadableError) else decoded(file.path, pixels, options.size, binary)
                )

            bar.reset()
            for file, image in _mapped(pool, one, [file for file in files if file.path not in unreadable]):
                bar.update()
                if isinstance(image, UnreadableError):
                    refused(file, image)
                else:
                    yield image

        with tqdm(total=len(files), desc=f"decoding {folder.name}", unit=" images", delay=1, disable=None) as bar:
            array, binary = assemble(len(files) - len(unreadable), images, allocate, str(folder))
    kept = [file for file in files if file.path not in unreadable]
    index = {"": UNKNOWN} | {name: i for i, name in enumerate(names)}
    labels = np.array([index[file.label] for file in kept], np.int32) if names else None
    return Arrays(array, labels, _meta(folder, kept, labels, unreadable, binary, len(files)))


def _meta(
    folder: Path, kept: list[File], labels: np.ndarray | None, unreadable: dict[str, str], binary: bool, count: int
) -> dict[str, Any]:
    notes = []
    if unreadable:
        named = ", ".join(map(repr, sorted(unreadable)[:_MOST_NAMED])) + (
            ", ..." if len(unreadable) > _MOST_NAMED else ""
        )
        notes.append(f"{folder}: {len(unreadable):,} of {count:,} files cannot be read and are left out ({named})")
    if binary:
        notes.append(f"{folder}: pixels of 0 and 1, read as black and white")
    if labels is not None and (labels == UNKNOWN).any():
        notes.append(f"{folder}: {(labels == UNKNOWN).sum():,} of {len(kept):,} images have no label")
    return {"lengths": dict(Counter(file.part for file in kept)), "notes": notes}


def _attempt(function: Callable[[Path], T], path: Path) -> T | UnreadableError:
    try:
        return function(path)
    except UnreadableError as error:
        return error


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
