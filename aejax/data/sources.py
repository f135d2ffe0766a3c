"""A source of images: named splits with labels, wherever they come from."""

import functools
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aejax.data import drawn_splits
from aejax.data.cache import Arrays
from aejax.data.labels import UNKNOWN

VALIDATION = ("validation", "valid", "val", "dev")
"""Names of a split to choose by, as datasets have them."""


@dataclass(frozen=True, eq=False)
class Source:
    """A dataset with its splits.

    Attributes:
      shard_lengths: by split, the number of images in each shard.
      read: split -> all of its images, with class indices.
      class_names: the name of class 0, of class 1 and so on; empty where there are no labels.
      notes: what the user should know, a line each.
      held_out: the number of images at the end of "train" that are drawn to choose by; None: the last tenth.
    """

    shard_lengths: Mapping[str, Sequence[int]]
    read: Callable[[str], Arrays]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    held_out: int | None = None

    @property
    def validation(self) -> str | None:
        """The official split to choose by, if there is one."""
        return next((name for name in VALIDATION if name in self.shard_lengths), None)

    def held_out_ranges(self) -> tuple[str, str]:
        """Returns, in split syntax, the images to learn from and those to choose by."""
        if self.validation:
            return "train", self.validation
        if self.held_out is None:
            return "train[:90%]", "train[90%:]"
        return f"train[:-{self.held_out}]", f"train[-{self.held_out}:]"


def limited(source: Source, limit: int | None) -> Source:
    """Keeps the first `limit` images of every split; None keeps all."""
    if limit is None:
        return source

    def read(split: str) -> Arrays:
        whole = source.read(split)
        return Arrays(whole.images[:limit], None if whole.labels is None else whole.labels[:limit], whole.meta)

    lengths = {name: [min(limit, sum(shards))] for name, shards in source.shard_lengths.items()}
    return Source(lengths, read, source.class_names, source.notes)


def with_drawn_test(parts: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """Brings every split into an order that mixes the classes, and takes the last tenth of "train" for "test" if there
    is none; see `drawn_splits.mixed_order`.
    """
    orders = {name: drawn_splits.mixed_order(len(part.images), part.labels) for name, part in parts.items()}
    taken = {name: (parts[name], order) for name, order in orders.items()}
    if "test" not in parts:
        whole, order = taken["train"]
        cut = len(order) - test_size(len(order))
        taken |= {"train": (whole, order[:cut]), "test": (whole, order[cut:])}
    return {
        name: Arrays(part.images[rows], None if part.labels is None else part.labels[rows], part.meta)
        for name, (part, rows) in taken.items()
    }


def test_size(count: int) -> int:
    """Returns how many of n images without a test split become one: a tenth, and at least one of two."""
    return max(count // 10, min(1, count - 1))


def joined(parts: Sequence[tuple[Arrays, slice]]) -> tuple[np.ndarray, np.ndarray | None]:
    """Joins ranges of splits; images of splits without labels have unknown ones if others have labels."""
    images = [arrays.images[rows] for arrays, rows in parts]
    labels = [None if arrays.labels is None else arrays.labels[rows] for arrays, rows in parts]
    if all(part is None for part in labels):
        return _one(images), None
    filled = [np.full(len(i), UNKNOWN, np.int32) if a is None else a for i, a in zip(images, labels, strict=True)]
    return _one(images), _one(filled)


def digest(*arrays: np.ndarray) -> str:
    """Returns the SHA-256 of arrays' types, shapes and values, in hexadecimal digits."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


@functools.cache  # a run opens a dataset more than once
def say(note: str) -> None:
    """Prints a line for the user on stderr, once."""
    print(note, file=sys.stderr)


def _one(parts: list[Any]) -> np.ndarray:
    array = parts[0] if len(parts) == 1 else np.concatenate(parts)
    array.setflags(write=False)
    return array
