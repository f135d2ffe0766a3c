"""A user's own arrays of images in an .npz or .npy file, checked before anything else sees them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data import pixel_arrays
from aejax.data.assembly import Size
from aejax.data.cache import Allocate, Arrays, cached
from aejax.data.drawn_splits import mixed_order
from aejax.data.labels import class_labels
from aejax.data.resizing import resize
from aejax.data.sources import Source, test_size, with_drawn_test
from aejax.errors import UserError

# By split, the names that its images and its labels go by, in lower case; the first that is there counts.
_IMAGES = {
    "train": ("train_images", "x_train", "train_x", "images", "imgs", "x", "data"),
    "validation": ("validation_images", "valid_images", "val_images", "x_validation", "x_valid", "x_val"),
    "test": ("test_images", "x_test", "test_x"),
}
_LABELS = {
    "train": ("train_labels", "y_train", "train_y", "labels", "label", "y", "targets", "target"),
    "validation": ("validation_labels", "valid_labels", "val_labels", "y_validation", "y_valid", "y_val"),
    "test": ("test_labels", "y_test", "test_y"),
}

_BLOCK = 1000


def open_arrays(path: Path, size: Size, most_bytes: int | None = None) -> Source:
    """Opens a file of arrays.

    Args:
      path: an .npz file with `images` and perhaps `labels`, or with `x_train`, `y_train`, `x_test`, `y_test`, or other
        names in use (`train_images`, `imgs`, `x`, `data`, ...), or with a single array of images under any name; or an
        .npy file of images. `pixel_arrays.understand` says what images may be, `labels.class_labels` what labels.
      size: what every image is resized to.
      most_bytes: as of `cached`, for an .npy file.

    Returns:
      The splits "train", "test" and perhaps "validation", each in a fixed order that mixes the classes. Without a test
      part, a tenth of the images is one, drawn from every class alike.

    Raises:
      UserError: for a file that cannot be read or is not as above.
    """
    if path.suffix == ".npy":
        return _open_npy(path, size, most_bytes)
    members = _read_npz(path)
    names = {split: _first(members, names) for split, names in _IMAGES.items()}
    if names["train"] is None:
        names["train"] = _only_images(path, members)
    images = {split: members[name] for split, name in names.items() if name is not None}
    pixels = pixel_arrays.understand({f"{path}: {names[split]!r}": array for split, array in images.items()})
    labels = {split: members[name] if (name := _first(members, _LABELS[split])) else None for split in images}
    classes = class_labels(labels, {split: len(array) for split, array in images.items()}, str(path))
    parts = {s: Arrays(_sized(pixels.convert(array), size), classes.parts[s]) for s, array in images.items()}
    notes = (*_drawn(str(path), {s: len(a) for s, a in images.items()}), *filter(None, (pixels.note,)), *classes.notes)
    return _source(with_drawn_test(parts), classes.class_names, notes)


def _open_npy(path: Path, size: Size, most_bytes: int | None) -> Source:
    """Converts the images once and keeps them in the cache, as the file may be larger than the memory."""
    array = _load(path, "r")
    state = path.stat()
    key = {"name": path.stem, "path": str(path.resolve()), "state": [state.st_size, state.st_mtime_ns]}

    def build(allocate: Allocate) -> Arrays:
        pixels = pixel_arrays.understand({str(path): array})
        order = mixed_order(len(array))
        images: np.ndarray | None = None
        for start in range(0, len(order), _BLOCK):
            block = _sized(pixels.convert(array[order[start : start + _BLOCK]]), size)
            images = allocate((len(order), *block.shape[1:])) if images is None else images
            images[start : start + _BLOCK] = block
        assert images is not None, "an empty array is refused before"
        return Arrays(images, meta={"note": pixels.note})

    images, _, meta = cached({**key, "size": size.key(), "format": 1}, build, most_bytes)
    cut = len(images) - test_size(len(images))
    notes = (*_drawn(str(path), {"train": len(images)}), *filter(None, (meta["note"],)))
    return _source({"train": Arrays(images[:cut]), "test": Arrays(images[cut:])}, (), notes)


def _source(parts: Mapping[str, Arrays], class_names: tuple[str, ...], notes: tuple[str, ...]) -> Source:
    lengths = {split: [len(part.images)] for split, part in parts.items()}
    return Source(lengths, parts.__getitem__, class_names, notes)


def _drawn(what: str, lengths: Mapping[str, int]) -> tuple[str, ...]:
    if "test" in lengths:
        return ()
    count = lengths["train"]
    return (
        f"{what}: {count:,} images, no test part: {test_size(count):,} of them, drawn by a fixed hash of their place "
        "and from every class alike, are the test set",
    )


def _load(path: Path, mmap_mode: Any = None) -> Any:
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except Exception as error:  # numpy, zipfile and the parsers under them raise errors of many types
        raise _unreadable(path, str(error)) from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads all members whose name is known or, if no images are among them, all that numpy reads without pickles."""
    loaded = _load(path)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise UserError(f"{path} is not an .npz file but a single array: rename it to .npy")
    known = {name for group in (*_IMAGES.values(), *_LABELS.values()) for name in group}
    with loaded as file:
        wanted = [name for name in file.files if name.lower() in known]
        others = [] if _first(dict.fromkeys(wanted), _IMAGES["train"]) else [n for n in file.files if n not in wanted]
        members: dict[str, np.ndarray] = {}
        for name in [*wanted, *others]:
            try:
                member = file[name]
            except Exception as error:  # as above
                if name in others and "allow_pickle" in str(error):
                    continue
                raise _unreadable(path, str(error)) from error
            if isinstance(member, np.ndarray):
                members[name] = member
            elif name in wanted:
                raise UserError(f"{path}: {name!r} is not an array")
    return members


def _first(members: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    by_lower = {name.lower(): name for name in members}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _only_images(path: Path, members: Mapping[str, np.ndarray]) -> str:
    known = {name for group in (*_IMAGES.values(), *_LABELS.values()) for name in group}
    found = [n for n, a in members.items() if n.lower() not in known and a.ndim in (3, 4) and a.dtype.kind in "buif"]
    if len(found) == 1:
        return found[0]
    several = f": several look like images ({', '.join(map(repr, found))})" if found else ""
    raise UserError(f"{path} holds no array named 'images', 'x_train', 'imgs', 'x' or 'data'{several}")


def _sized(images: np.ndarray, size: Size) -> np.ndarray:
    return images if size.image_size is None else resize(images, size.image_size, size.fit)


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(f"{path} cannot be read as a file of arrays ({' '.join(reason.split())[:200]})")
