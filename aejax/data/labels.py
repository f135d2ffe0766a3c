"""Labels as people have them, numbers or names, as class indices: one mapping for all splits of a dataset."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aejax.errors import UserError

UNKNOWN = -1
# More classes than this, with fewer than two images each, are identifiers of images.
_MOST_RARE_CLASSES = 100
_MOST_NAMED = 5


class ClassLabels(NamedTuple):
    """Class indices of every split.

    Attributes:
      parts: by split, int32 (n,) in 0 ... classes - 1, or -1 where the label is unknown; None where none is known.
      class_names: the name of class 0, of class 1 and so on; empty where no label is known.
      notes: what the user should know, a line each.
    """

    parts: dict[str, np.ndarray | None]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def class_labels(parts: Mapping[str, np.ndarray | None], lengths: Mapping[str, int], what: str) -> ClassLabels:
    """Numbers the distinct known labels 0, 1, ... in ascending order, over all splits together.

    Args:
      parts: by split, labels (n,) or (n, 1): integers, whole floats, booleans or text; None where there are none.
        -1, NaN and empty text mean "unknown".
      lengths: by split, the number of images n.
      what: names the source in messages.

    Returns:
      The class indices. All are None where no label is known, and where nearly every image has a label of its own.

    Raises:
      UserError: for labels of another type or shape, or text in one split and numbers in another.
    """
    known = {part: _known(f"{what}: {part} labels", a, lengths[part]) for part, a in parts.items() if a is not None}
    if len({values.dtype.kind == "U" for values, _ in known.values()}) > 1:
        raise UserError(f"{what}: labels are text in one split and numbers in another: save them alike")
    uniques = {part: np.unique(values[mask], return_inverse=True) for part, (values, mask) in known.items()}
    classes = sorted({label for values, _ in uniques.values() for label in values.tolist()})
    count, total = (sum(int(n(mask)) for _, mask in known.values()) for n in (np.sum, np.size))
    nothing: dict[str, np.ndarray | None] = dict.fromkeys(parts)
    if not classes:
        return ClassLabels(nothing, (), (f"{what}: no label is known",) if total else ())
    if len(classes) > max(_MOST_RARE_CLASSES, count / 2):
        note = f"{what}: {len(classes):,} different labels for {count:,} images are no classes, and are left out"
        return ClassLabels(nothing, (), (note,))
    index = {label: i for i, label in enumerate(classes)}
    indices = dict(nothing)
    for part, (_, mask) in known.items():
        if not mask.any():
            continue
        values, inverse = uniques[part]
        found = np.full(len(mask), UNKNOWN, np.int32)
        found[mask] = np.array([index[label] for label in values.tolist()], np.int32)[inverse]
        indices[part] = found
    notes = (f"{what}: {total - count:,} of {total:,} images have no label",) if count < total else ()
    return ClassLabels(indices, tuple(str(label) for label in classes), notes)


def missing_classes(labels: np.ndarray | None, class_names: Sequence[str], split: str) -> tuple[str, ...]:
    """Returns a line that names the classes without an image in a split, or nothing if there are none."""
    if labels is None or not class_names:
        return ()
    missing = [name for i, name in enumerate(class_names) if i not in set(np.unique(labels).tolist())]
    if not missing:
        return ()
    named = ", ".join(repr(name) for name in missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
    return (f"the {split} split has no image of {len(missing)} of the {len(class_names)} classes ({named})",)


def _known(what: str, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels (n,) as integers or text, and a mask (n,) of those that are known."""
    if labels.shape not in ((count,), (count, 1)):
        raise UserError(f"{what} have shape {labels.shape}, not ({count},): one label for each image")
    labels = labels.reshape(count)
    match labels.dtype.kind:
        case "S":
            labels = np.array([label.decode("utf-8", "replace") for label in labels.tolist()], str)
        case "f":
            return _whole(what, labels)
        case "b" | "i" | "u" | "U":
            pass
        case _:
            raise UserError(f"{what} have dtype {labels.dtype}, not integers or text")
    if labels.dtype.kind == "U":
        labels = np.char.strip(labels) if labels.size else labels
        return labels, labels != ""
    # A comparison of unsigned integers with -1 would be an error.
    return labels, labels != UNKNOWN if labels.dtype.kind == "i" else np.ones(count, bool)


def _whole(what: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mask = ~np.isnan(labels) & (labels != UNKNOWN)
    values = np.where(mask, labels, UNKNOWN)
    if not ((np.abs(values) < 2**53).all() and (values == np.rint(values)).all()):
        raise UserError(f"{what} have dtype {labels.dtype} and are not whole numbers: classes are integers or text")
    return values.astype(np.int64), mask
