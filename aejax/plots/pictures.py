"""Grids of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from aejax.plots.style import DPI, INK, WIDTH, new_figure, printable, styled, textpath

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAD = 8  # pixels around a canvas
_MOST = 2**14  # pixels of a canvas in each direction, as Agg draws fewer than 2**16; larger ones are thinned out


@styled()
def image_grid(rows: Mapping[str, ArrayLike], title: str | None = None) -> Figure:
    """Draws a labelled row of pictures per entry, in the mapping's order, every pixel as a whole square.

    Each entry is a floating-point (n, h, w, c) in [0, 1] (values outside are clipped, NaN is black), with one n for
    all. One channel is grey, three are RGB; of any other number the mean is drawn, in grey, and the title says so.
    Sizes may differ where the largest is a multiple of the others, as for the input of super-resolution. About 900
    pixels wide at 150 dpi, or as wide as the title.

    Raises:
      ValueError: for anything else; it names the shapes.
    """
    if not rows:
        raise ValueError("image_grid needs at least one row")
    labels = [printable(label, 60, lines=True) for label in rows]
    pictures = [_to_rgb(images) for images in rows.values()]
    shapes = [images.shape for images in pictures]
    n, h, w = shapes[0][0], max(shape[1] for shape in shapes), max(shape[2] for shape in shapes)
    if n == 0 or any(shape[0] != n or h % shape[1] or w % shape[2] for shape in shapes):
        raise ValueError(f"rows need one number of images and sizes that divide the largest, got {shapes}")
    longest = max(_text_width(line, 10) for label in labels for line in label.split("\n"))
    left, gap = int(1.05 * longest) + 28, 4
    scale = _scale(WIDTH - left, n, h, w)
    cells = np.concatenate([_enlarge(images, h * scale, w * scale) for images in pictures])
    canvas = _mosaic(cells, columns=n, gap=gap)
    heights = [i * (h * scale + gap) + h * scale / 2 for i in range(len(labels))]
    return _framed(canvas, left, list(zip(heights, labels, strict=True)), _with_channels(title, *rows.values()))


@styled()
def mosaic(images: ArrayLike, columns: int, title: str | None = None) -> Figure:
    """Draws pictures row by row without labels, such as samples: floating-point (n, h, w, c) in [0, 1].

    Values and channels are as in `image_grid`, and the last row is filled with white. About 900 pixels wide at 150 dpi.

    Raises:
      ValueError: for other shapes and for columns < 1.
    """
    pictures = _to_rgb(images)
    if columns < 1 or not len(pictures):
        raise ValueError(f"mosaic needs an image and a column at least, got {pictures.shape}, columns {columns}")
    h, w = pictures.shape[1:3]
    scale = _scale(WIDTH, columns, h, w)
    canvas = _mosaic(_enlarge(pictures, h * scale, w * scale), columns, gap=2)
    return _framed(canvas, _PAD, [], _with_channels(title, images))


def tile(images: ArrayLike, columns: int) -> np.ndarray:
    """Puts images side by side, row by row, for TensorBoard: floating-point (n, h, w, c) in [0, 1] -> uint8 (H, W, 3).

    One white pixel separates the images and white fills the last row; no border, so that W = columns * (w + 1) - 1.
    Values and channels are as in `image_grid`.

    Raises:
      ValueError: for other shapes and for columns < 1.
    """
    pictures = _to_rgb(images)
    if columns < 1 or not len(pictures):
        raise ValueError(f"tile needs at least one image and one column, got shape {pictures.shape}, columns {columns}")
    return _mosaic(pictures, columns, gap=1)


def _framed(canvas: np.ndarray, left: int, labels: list[tuple[float, str]], title: str | None) -> Figure:
    """Makes a figure around uint8 pixels (H, W, 3): labels by their height on the left, a title above."""
    skip_y, skip_x = (-(-size // _MOST) for size in canvas.shape[:2])
    canvas = canvas[::skip_y, ::skip_x]
    height, width = canvas.shape[:2]
    title = title and printable(title)
    right = max(width, int(_text_width(title, 11, "bold")) + 4) if title else width
    size = np.array([left + right + _PAD, _PAD + height + (46 if title else _PAD)])
    figure = new_figure(*(size / DPI))
    axes = figure.add_axes((left / size[0], _PAD / size[1], width / size[0], height / size[1]))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for middle, label in labels:
        axes.text(-14, middle / skip_y, label, size=10, color=INK, ha="right", va="center", linespacing=1.3)
    if title:
        axes.text(0, -12, title, size=11, color=INK, weight="bold", ha="left", va="bottom")
    return figure


def _scale(room: int, columns: int, height: int, width: int) -> int:
    """Returns the whole number, which keeps the pixels even, that enlarges rows to about `room` pixels."""
    return max(1, min(round(room / (columns * width)), 120 // width, 480 // height))


def _to_rgb(images: ArrayLike) -> np.ndarray:
    array = np.asarray(images)
    if array.ndim != 4 or 0 in array.shape[1:]:
        raise ValueError(f"expected images of shape (n, h, w, c), got {array.shape}")
    if array.dtype.kind in "iub":
        raise ValueError(f"expected floating-point images in [0, 1], got {array.dtype} of shape {array.shape}")
    values = np.clip(np.nan_to_num(array.astype(np.float32)), 0, 1)
    if array.shape[-1] not in (1, 3):
        values = values.mean(axis=-1, keepdims=True)
    levels = np.rint(255 * values).astype(np.uint8)
    return np.broadcast_to(levels, (*levels.shape[:3], 3))


def _with_channels(title: str | None, *arrays: ArrayLike) -> str | None:
    """Adds to the title that pictures are drawn as the mean of their channels, where they are."""
    averaged = sorted({np.shape(images)[-1] for images in arrays} - {1, 3})
    if not averaged:
        return title
    drawn = f"mean of {' or '.join(map(str, averaged))} channels"
    return f"{title} ({drawn})" if title else drawn


def _enlarge(images: np.ndarray, height: int, width: int) -> np.ndarray:
    return images.repeat(height // images.shape[1], axis=1).repeat(width // images.shape[2], axis=2)


def _mosaic(images: np.ndarray, columns: int, gap: int) -> np.ndarray:
    n, h, w, c = images.shape
    lines = -(-n // columns)
    cells = np.full((lines * columns, h + gap, w + gap, c), 255, np.uint8)
    cells[:n, :h, :w] = images
    canvas = cells.reshape(lines, columns, h + gap, w + gap, c).swapaxes(1, 2)
    return canvas.reshape(lines * (h + gap), columns * (w + gap), c)[:-gap, :-gap]


def _text_width(text: str, size: float, weight: str = "normal") -> float:
    """Measures text in pixels."""
    path = textpath.TextPath((0, 0), text or " ", size=size, prop={"weight": weight})
    return path.get_extents().width * DPI / 72
