"""The layout of a folder of image files: which file belongs to which split and class."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from aejax.data import image_files
from aejax.data.drawn_splits import path_fraction

PARTS = ("learn", "held_out", "validation", "test")
"""Parts of a dataset, in the order of `divided`; the first two are the train split."""

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SHARE = 0.1  # of the images for test, and of the rest to choose by


class File(NamedTuple):
    """An image file: its path below the folder, its part of the array and its class, "" where it has none."""

    path: str
    part: str
    label: str


def find(folder: Path) -> list[str]:
    """Lists the image files below a folder, by their suffix: relative paths with "/", sorted."""
    found, seen = [], set()
    for place, subfolders, files in os.walk(folder, followlinks=True):
        state = Path(place).stat()
        if (state.st_dev, state.st_ino) in seen:  # a link to a folder above
            subfolders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        below = Path(place).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        found += [prefix + name for name in files if name[0] != "." and _is_image(name)]
    return sorted(found)


def divided(paths: Iterable[str]) -> list[File]:
    """Gives every path its part and its class, and sorts them by part and, within it, by the hash of the path."""
    splits = _splits(paths)
    within = {path: path.split("/")[1:] if split else path.split("/") for path, split in splits.items()}
    splits = {path: split or "train" for path, split in splits.items()}
    classes = {path: steps[0] if len(steps) > 1 else "" for path, steps in within.items()}
    if len(set(classes.values()) - {""}) < 2:
        classes = dict.fromkeys(classes, "")
    official = set(splits.values())
    hashed = {path: path_fraction(path) for path in splits}
    parts = {path: _part(hashed[path], split, official) for path, split in splits.items()}
    _fill(parts, hashed, official)
    files = [File(path, parts[path], _name(classes[path])) for path in splits]
    return sorted(files, key=lambda file: (PARTS.index(file.part), hashed[file.path], file.path))


def _is_image(name: str) -> bool:
    return f".{name.rpartition('.')[2].lower()}" in image_files.SUFFIXES


def has_test(paths: Iterable[str]) -> bool:
    """Tells whether there is a folder of the test split."""
    return "test" in _splits(paths).values()


def limited(files: list[File], limit: int | None) -> list[File]:
    """Keeps the first `limit` files of every split; of the train split, the share to choose by stays."""
    if limit is None:
        return files
    counts = Counter(file.part for file in files)
    held_out = max(1, round(limit * _SHARE)) if counts["held_out"] else 0
    most = {"learn": max(1, limit - held_out), "held_out": held_out, "validation": limit, "test": limit}
    taken: Counter[str] = Counter()
    kept = []
    for file in files:
        taken[file.part] += 1
        if taken[file.part] <= most[file.part]:
            kept.append(file)
    return kept


def _splits(paths: Iterable[str]) -> dict[str, str]:
    """Returns every path's split by the folder's own subfolders, or "" for all unless these are named as splits."""
    splits = {path: _SPLITS.get(path.split("/")[0].lower(), "") if "/" in path else "" for path in paths}
    return dict.fromkeys(splits, "") if "" in splits.values() or "train" not in splits.values() else splits


def _name(folder: str) -> str:
    """Returns a class name that can be written anywhere."""
    return unicodedata.normalize("NFC", folder.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _part(fraction: float, split: str, official: set[str]) -> str:
    if split != "train":
        return split
    if "test" not in official:
        if fraction < _SHARE:
            return "test"
        fraction = (fraction - _SHARE) / (1 - _SHARE)
    return "held_out" if "validation" not in official and fraction < _SHARE else "learn"


def _fill(parts: dict[str, str], hashed: dict[str, float], official: set[str]) -> None:
    """Moves a file to each part to be drawn that has got none, as may be with few files."""
    drawn = ["learn", *["held_out"] * ("validation" not in official), *["test"] * ("test" not in official)]
    for part in drawn:
        counts = Counter(parts.values())
        largest = max(drawn, key=counts.__getitem__)
        if not counts[part] and counts[largest] > 1:
            parts[min((path for path in parts if parts[path] == largest), key=hashed.__getitem__)] = part
