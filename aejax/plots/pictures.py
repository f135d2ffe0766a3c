"""Grids of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from aejax.plots.style import DPI, INK, WIDTH, figures, textpath

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAD = 8  # pixels around a canvas


def image_grid(rows: Mapping[str, ArrayLike], title: str | None = None) -> Figure:
    """One labelled row of pictures per entry, drawn in the mapping's order, every pixel as a whole square.

    Each entry is a floating-point (n, h, w, c) in [0, 1] (values outside are clipped, NaN is black), c = 1 (grey) or
    3 (RGB), with one n for all. Sizes may differ where the largest is a multiple of the others, as for the input of
    super-resolution. About 900 pixels wide at 150 dpi. Raises ValueError, naming the shapes, for anything else.
    """
    if not rows:
        raise ValueError("image_grid needs at least one row")
    pictures = {label: _to_rgb(images) for label, images in rows.items()}
    shapes = [images.shape for images in pictures.values()]
    n, h, w = shapes[0][0], max(shape[1] for shape in shapes), max(shape[2] for shape in shapes)
    if n == 0 or any(shape[0] != n or h % shape[1] or w % shape[2] for shape in shapes):
        raise ValueError(f"rows need one number of images and sizes that divide the largest, got {shapes}")
    longest = max(_text_width(line, 10) for label in pictures for line in label.split("\n"))
    left, gap = int(1.05 * longest) + 28, 4
    scale = max(1, min(round((WIDTH - left) / (n * w)), 120 // w))  # a whole number keeps the pixels even
    cells = np.concatenate([_enlarge(images, h * scale, w * scale) for images in pictures.values()])
    canvas = _mosaic(cells, columns=n, gap=gap)
    labels = {i * (h * scale + gap) + h * scale / 2: label for i, label in enumerate(pictures)}
    return _framed(canvas, left, labels, title)


def mosaic(images: ArrayLike, columns: int, title: str | None = None) -> Figure:
    """Pictures row by row without labels, such as samples: floating-point (n, h, w, 1 or 3) in [0, 1].

    Values outside are clipped, NaN is black, and the last row is filled with white. About 900 pixels wide at 150 dpi.
    Raises ValueError for other shapes and for columns < 1.
    """
    pictures = _to_rgb(images)
    if columns < 1 or not len(pictures):
        raise ValueError(f"mosaic needs an image and a column at least, got {pictures.shape}, columns {columns}")
    h, w = pictures.shape[1:3]
    scale = max(1, min(round(WIDTH / (columns * w)), 120 // w))
    return _framed(_mosaic(_enlarge(pictures, h * scale, w * scale), columns, gap=2), _PAD, {}, title)


def tile(images: ArrayLike, columns: int) -> np.ndarray:
    """A plain mosaic, row by row, for TensorBoard: floating-point (n, h, w, 1 or 3) in [0, 1] -> uint8 (H, W, 3).

    One white pixel separates the images and white fills the last row; no border, so that W = columns * (w + 1) - 1.
    Values outside [0, 1] are clipped, NaN is black. Raises ValueError for other shapes and for columns < 1.
    """
    pictures = _to_rgb(images)
    if columns < 1 or not len(pictures):
        raise ValueError(f"tile needs at least one image and one column, got shape {pictures.shape}, columns {columns}")
    return _mosaic(pictures, columns, gap=1)


def _framed(canvas: np.ndarray, left: int, labels: Mapping[float, str], title: str | None) -> Figure:
    """A figure of just this size around uint8 pixels (H, W, 3): labels by their height on the left, a title above."""
    height, width = canvas.shape[:2]
    size = np.array([left + width + _PAD, _PAD + height + (46 if title else _PAD)])
    figure = figures.Figure(figsize=tuple(size / DPI), dpi=DPI)
    axes = figure.add_axes((left / size[0], _PAD / size[1], width / size[0], height / size[1]))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for middle, label in labels.items():
        axes.text(-14, middle, label, size=10, color=INK, ha="right", va="center", linespacing=1.3)
    if title:
        axes.text(0, -12, title, size=11, color=INK, weight="bold", ha="left", va="bottom")
    return figure


def _to_rgb(images: ArrayLike) -> np.ndarray:
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape[1:]:
        raise ValueError(f"expected images of shape (n, h, w, 1 or 3), got {array.shape}")
    if array.dtype.kind in "iub":
        raise ValueError(f"expected floating-point images in [0, 1], got {array.dtype} of shape {array.shape}")
    levels = np.rint(255 * np.clip(np.nan_to_num(array.astype(np.float32)), 0, 1)).astype(np.uint8)
    return np.broadcast_to(levels, (*levels.shape[:3], 3))


def _enlarge(images: np.ndarray, height: int, width: int) -> np.ndarray:
    return images.repeat(height // images.shape[1], axis=1).repeat(width // images.shape[2], axis=2)


def _mosaic(images: np.ndarray, columns: int, gap: int) -> np.ndarray:
    n, h, w, c = images.shape
    lines = -(-n // columns)
    cells = np.full((lines * columns, h + gap, w + gap, c), 255, np.uint8)
    cells[:n, :h, :w] = images
    canvas = cells.reshape(lines, columns, h + gap, w + gap, c).swapaxes(1, 2)
    return canvas.reshape(lines * (h + gap), columns * (w + gap), c)[:-gap, :-gap]


def _text_width(text: str, size: float) -> float:
    """In pixels."""
    return textpath.TextPath((0, 0), text or " ", size=size).get_extents().width * DPI / 72
