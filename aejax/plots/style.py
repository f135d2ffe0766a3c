"""What all figures share: names, colours, resolution, and how they are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# `--help` need not pay for them.
figures = lazy_loader.load("matplotlib.figure", suppress_warning=True)
textpath = lazy_loader.load("matplotlib.textpath", suppress_warning=True)
ticker = lazy_loader.load("matplotlib.ticker", suppress_warning=True)
transforms = lazy_loader.load("matplotlib.transforms", suppress_warning=True)

DPI = 150
WIDTH = 900  # pixels: what a README shows without scaling
SPLITS = ("train", "held_out", "test")
LABELS = {
    "bce": "mean BCE (nats per pixel)",
    "mse": "MSE",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "loss": "loss (nats per image)",
    "distortion": "distortion (nats per image)",
    "rate": "rate (nats per image)",
    "epoch": "epoch",
    "step": "step",
}
INK = "#24292f"
FAINT = "#8c959f"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito, colour-blind safe
STYLES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))  # curves of different splits often coincide
LINEAR = {"psnr", "ssim"}  # logarithmic already, and bounded

# Okabe and Ito's, and four that stay apart from them and from each other, for colour-blind readers too.
CLASS_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"),
    *("#56b4e9", "#24292f", "#7a2a8f", "#e3d21b", "#8c6d4a"),
)


def plain(axes: Axes) -> None:
    """Two spines of four, and ticks that stay in the background."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, color=FAINT)


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
