"""Arrays in, matplotlib figures out: pure functions, without pyplot and so without its global state."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lazy_loader
import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# `--help` need not pay for them.
figures = lazy_loader.load("matplotlib.figure", suppress_warning=True)
textpath = lazy_loader.load("matplotlib.textpath", suppress_warning=True)
ticker = lazy_loader.load("matplotlib.ticker", suppress_warning=True)
transforms = lazy_loader.load("matplotlib.transforms", suppress_warning=True)

DPI = 150
SPLITS = ("train", "held_out", "test")
LABELS = {
    "bce": "mean BCE (nats per pixel)",
    "mse": "MSE",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "epoch": "epoch",
    "step": "step",
}

_WIDTH = 900  # pixels: what a README shows without scaling
_INK = "#24292f"
_FAINT = "#8c959f"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito, colour-blind safe
_STYLES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))  # curves of different splits often coincide
_LINEAR = {"psnr", "ssim"}  # logarithmic already, and bounded


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
    left, pad, gap = int(1.05 * longest) + 28, 8, 4
    scale = max(1, min(round((_WIDTH - left) / (n * w)), 120 // w))  # a whole number keeps the pixels even
    cells = np.concatenate([_enlarge(images, h * scale, w * scale) for images in pictures.values()])
    canvas = _mosaic(cells, columns=n, gap=gap)
    height, width = canvas.shape[:2]
    top = 46 if title else pad
    size = np.array([left + width + pad, pad + height + top])
    figure = figures.Figure(figsize=tuple(size / DPI), dpi=DPI)
    axes = figure.add_axes((left / size[0], pad / size[1], width / size[0], height / size[1]))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for i, label in enumerate(pictures):
        middle = i * (h * scale + gap) + h * scale / 2
        axes.text(-14, middle, label, size=10, color=_INK, ha="right", va="center", linespacing=1.3)
    if title:
        axes.text(0, -12, title, size=11, color=_INK, weight="bold", ha="left", va="bottom")
    return figure


def mosaic(images: ArrayLike, columns: int, title: str | None = None) -> Figure:
    """Pictures row by row without labels, such as samples: floating-point (n, h, w, 1 or 3) in [0, 1].

    Values outside are clipped, NaN is black, and the last row is filled with white. About 900 pixels wide at 150 dpi.
    Raises ValueError for other shapes and for columns < 1.
    """
    pictures = _to_rgb(images)
    if columns < 1 or not len(pictures):
        raise ValueError(f"mosaic needs an image and a column at least, got {pictures.shape}, columns {columns}")
    h, w = pictures.shape[1:3]
    scale, pad, top = max(1, min(round(_WIDTH / (columns * w)), 120 // w)), 8, 46 if title else 8
    canvas = _mosaic(_enlarge(pictures, h * scale, w * scale), columns, gap=2)
    size = np.array([canvas.shape[1] + 2 * pad, canvas.shape[0] + pad + top])
    figure = figures.Figure(figsize=tuple(size / DPI), dpi=DPI)
    place = (pad / size[0], pad / size[1], canvas.shape[1] / size[0], canvas.shape[0] / size[1])
    axes = figure.add_axes(place)
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    if title:
        axes.text(0, -12, title, size=11, color=_INK, weight="bold", ha="left", va="bottom")
    return figure


def learning_curves(
    metrics: Sequence[Mapping[str, Any]],
    y: str | Sequence[str] = "bce",
    x: str = "epoch",
    splits: Sequence[str] = SPLITS,
) -> Figure:
    """One panel per name in `y`, one line per split against `x`, each labelled with its last value.

    Records are such as {"epoch": 3, "step": 630, "split": "train", "bce": 0.12}, in any order. Splits and values that
    are absent are left out, and so are non-finite values, which interrupt the line. The y axis is logarithmic where
    positive values span more than a decade, except for PSNR and SSIM.
    """
    names = [y] if isinstance(y, str) else list(y)
    if not names:
        raise ValueError("learning_curves needs at least one name in y")
    columns = min(len(names), 2)
    lines = -(-len(names) // columns)
    figure = figures.Figure(figsize=(6 if columns == 1 else 8.4, 0.4 + 3 * lines), dpi=DPI, layout="constrained")
    handles: dict[str, Any] = {}
    for i, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, i + 1)
        ends: list[tuple[float, str]] = []
        seen: list[float] = []
        for j, split in enumerate(splits):
            points = [
                (float(record[x]), float(record[name]))
                for record in metrics
                if record.get("split") == split and record.get(name) is not None and record.get(x) is not None
            ]
            values = np.array(sorted(points)).reshape(-1, 2)
            values[~np.isfinite(values)] = np.nan
            finite = values[np.isfinite(values).all(axis=1), 1]
            if not finite.size:
                continue
            colour = _COLOURS[j % len(_COLOURS)]
            style = _STYLES[j % len(_STYLES)]
            marker = "o" if len(finite) <= 2 else None  # a line through one point is invisible
            (handles[split],) = axes.plot(*values.T, color=colour, linestyle=style, linewidth=1.8, marker=marker)
            ends.append((float(finite[-1]), colour))
            seen += finite.tolist()
        if name not in _LINEAR and seen and min(seen) > 0 and max(seen) > 10 * min(seen):
            axes.set_yscale("log")
            subs = (1, 2, 5) if max(seen) < 1000 * min(seen) else (1,)
            axes.yaxis.set_major_locator(ticker.LogLocator(subs=subs))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(ticker.NullFormatter())
        else:
            axes.ticklabel_format(useOffset=False)
        axes.margins(x=0.01)
        axes.set_xlabel(LABELS.get(x, x), color=_INK)
        axes.set_ylabel(LABELS.get(name, name), color=_INK)
        axes.grid(color="#d8dee4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(_FAINT)
        axes.tick_params(colors=_INK, labelsize=9, color=_FAINT)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(7, integer=True, min_n_ticks=1))
        to_fraction = axes.transScale + axes.transLimits
        axes.get_ylim()  # settles the limits that the transform reads
        heights = [to_fraction.transform((1, value))[1] for value, _ in ends]
        beside = transforms.blended_transform_factory(axes.transAxes, axes.transAxes)
        for (value, colour), height in zip(ends, _spread(heights, 0.065), strict=True):
            axes.text(1.015, height, f"{value:#.4g}".rstrip("."), color=colour, size=9, va="center", transform=beside)
    figure.align_ylabels()
    if handles:
        labels = [split.replace("_", "-") for split in handles]
        figure.legend(handles.values(), labels, loc="outside upper left", ncols=6, frameon=False, labelcolor=_INK)
    return figure


def tile(images: ArrayLike, columns: int) -> np.ndarray:
    """A plain mosaic, row by row, for TensorBoard: floating-point (n, h, w, 1 or 3) in [0, 1] -> uint8 (H, W, 3).

    One white pixel separates the images and white fills the last row; no border, so that W = columns * (w + 1) - 1.
    Values outside [0, 1] are clipped, NaN is black. Raises ValueError for other shapes and for columns < 1.
    """
    pictures = _to_rgb(images)
    if columns < 1 or not len(pictures):
        raise ValueError(f"tile needs at least one image and one column, got shape {pictures.shape}, columns {columns}")
    return _mosaic(pictures, columns, gap=1)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG at 150 dpi, whole or not at all, and create its folder; OSError where that cannot be written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(partial, format="png", dpi=DPI)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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


def _spread(heights: Sequence[float], distance: float) -> list[float]:
    """The heights, moved as little as keeps them `distance` apart."""
    order = np.argsort(heights, kind="stable")
    moved = np.array(heights, float)[order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + distance)
    result = np.empty(len(moved))
    result[order] = moved - np.mean(moved - np.array(heights, float)[order]) if len(moved) else moved
    return result.tolist()
