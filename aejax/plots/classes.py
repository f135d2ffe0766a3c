"""Colours and names of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aejax.plots.style import FAINT

# Okabe and Ito's, and four that stay apart from them and from each other, for colour-blind readers too.
CLASS_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"),
    *("#56b4e9", "#24292f", "#7a2a8f", "#e3d21b", "#8c6d4a"),
)
UNKNOWN = "unknown"


def class_colours(labels: np.ndarray, class_names: Sequence[str] | None = None) -> list[str]:
    """Returns colours such as "#0072b2" of distinct labels (n,): `CLASS_COLOURS` for ten classes, else of a scale.

    A label below 0 is unknown and grey. The number of classes is that of `class_names`, or else the largest label + 1.
    """
    classes = len(class_names) if class_names is not None else int(labels.max(initial=-1)) + 1
    if classes <= len(CLASS_COLOURS):
        return [CLASS_COLOURS[label] if label >= 0 else FAINT for label in labels.tolist()]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    # The ends of this scale are nearly black.
    shares = 0.04 + 0.92 * labels / (classes - 1)
    return [
        to_hex(colormaps["turbo"](share)) if label >= 0 else FAINT
        for label, share in zip(labels.tolist(), shares.tolist(), strict=True)
    ]


def class_name(label: int, class_names: Sequence[str] | None = None) -> str:
    """Returns the name of a label: "unknown" below 0, else that in `class_names`, or the number itself.

    Raises:
      ValueError: for a label without a name.
    """
    if label < 0:
        return UNKNOWN
    if class_names is None:
        return str(label)
    if label >= len(class_names):
        raise ValueError(f"label {label} does not index {len(class_names)} class names")
    return class_names[label]
