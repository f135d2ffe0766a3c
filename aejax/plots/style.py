"""The style of all figures: settings, names, colours, resolution, and how they are written.

A figure is the same whatever matplotlibrc, style or backend its user has chosen: it is made and saved under
matplotlib's own defaults, on Agg.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lazy_loader

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
_STRIP = 30  # pixels above a figure for its caption
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

_FONT = "DejaVu Sans"  # comes with matplotlib
_LOCK = threading.RLock()  # matplotlib's settings are global: two threads must not restore each other's
# Settings of a process or a window, which no file shows.
_NOT_OF_THE_STYLE = ("backend", "interactive", "toolbar", "timezone", "tk.", "webagg.", "savefig.directory", "date.")


def _modules(*names: str) -> list[Any]:
    """Returns lazy handles of matplotlib's modules, as `--help` need not pay for them.

    The handles import matplotlib itself, which raises ValueError where MPLBACKEND names a backend that is not
    installed. Jupyter sets it for each program that a cell starts. Figures need no backend but Agg.
    """
    backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns where it has no home folder, and goes on without
    try:
        modules = [lazy_loader.load(f"matplotlib.{name}", suppress_warning=True) for name in names]
        if backend:
            import matplotlib

            with contextlib.suppress(ValueError):  # for pyplot, should the caller use it
                matplotlib.rcParams["backend"] = backend
    finally:
        logger.setLevel(level)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return modules


figure_module, font_manager, textpath, ticker, transforms = _modules(
    "figure", "font_manager", "textpath", "ticker", "transforms"
)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Sets the project's style, as a context or a decorator: matplotlib's defaults, and all text as it is."""
    with _default_settings(**{"text.parse_math": False}):
        yield


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """Makes a figure of this size in inches at `DPI`, without pyplot. Call it, and fill it, inside `styled`."""
    return figure_module.Figure(figsize=(width, height), dpi=DPI, **options)


def plain(axes: Axes) -> None:
    """Leaves two spines of four, and ticks that stay in the background."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, color=FAINT)


def panel_title(axes: Axes, title: str) -> None:
    """Titles a panel on its left; a long title is cut to 40 characters."""
    axes.set_title(printable(title, 40), size=11, color=INK, weight="bold", loc="left")


def printable(text: str, longest: int = 100, lines: bool = False) -> str:
    """Puts text into one line (with `lines`, its own lines) of at most `longest` characters that the font can draw.

    Characters that it lacks become Python's escapes, such as \\u4e2d, so that different names stay different. Leading
    underscores, which would hide a name from a legend, follow a space.
    """
    parts = [" ".join(part.split()) for part in str(text).splitlines()]
    parts = [_cut("".join(map(_drawn, part)), longest) for part in (parts if lines else [" ".join(parts)])]
    shown = "\n".join(parts)
    return f" {shown}" if shown.startswith("_") else shown


@styled()
def captioned(figure: Figure, caption: str) -> Figure:
    """Adds a strip above a finished figure with a line about all of it, such as which seed it shows."""
    width, height = (float(size) for size in figure.get_size_inches())
    strip = _STRIP / DPI
    share = strip / (height + strip)
    figure.set_size_inches(width, height + strip)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, 1 - share))  # type: ignore[call-arg]
    else:
        for axes in figure.axes:  # the same pixels
            x, y, w, h = axes.get_position().bounds
            axes.set_position((x, y * (1 - share), w, h * (1 - share)))
    right = 1 - 8 / DPI / width
    figure.text(right, 1 - share / 2, printable(caption), size=9, color=INK, ha="right", va="center")
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a PNG at 150 dpi, whole or not at all, and creates its folder.

    Raises:
      OSError: where it cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")
    try:
        with _default_settings():
            figure.savefig(partial, format="png", dpi=DPI)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _default_settings(**settings: Any) -> Iterator[None]:
    import matplotlib

    style: dict[Any, Any] = {
        name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith(_NOT_OF_THE_STYLE)
    }
    style |= {"font.family": _FONT, **settings}
    with _LOCK, matplotlib.rc_context(style):
        yield


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _drawn(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cs", "Cn") and ord(character) in _characters():
        return character
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


@functools.cache
def _characters() -> frozenset[int]:
    """Returns the code points that the font has in both weights."""
    fonts = [font_manager.FontProperties(family=_FONT, weight=weight) for weight in ("normal", "bold")]
    return frozenset.intersection(
        *(frozenset(font_manager.get_font(font_manager.findfont(font)).get_charmap()) for font in fonts)
    )
