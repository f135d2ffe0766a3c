"""Figures of a latent plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from aejax.plots.style import CLASS_COLOURS, DPI, FAINT, INK, figures, plain, ticker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = tuple[np.ndarray, np.ndarray | None]


def scatter(panels: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """One panel per entry, latents (n, 2) as points coloured by their labels, integers (n,); both axes in one scale.

    A panel shows all but the outermost 0.1% of the points on each side, so that a few do not squeeze the rest.
    Colours repeat after ten labels.
    """
    figure = figures.Figure(figsize=(4.4 * len(panels) + 0.8, 4.6), dpi=DPI, layout="constrained")
    for i, (title, latents) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1)
        _square(axes, latents)
        _points(axes, latents, labels)
        axes.set_title(title, size=11, color=INK, weight="bold", loc="left")
    _name(axes, labels)
    figure.legend(loc="outside right center", frameon=False, labelcolor=INK)
    return figure


def planes(rows: Mapping[str, Mapping[str, Points]]) -> Figure:
    """A table of panels by row and column: points (n, 2) coloured by their labels, integers (n,), or all grey for None.

    The panels of a column show one square, as `scatter` chooses it for all of their points. The columns are those of
    the first row; where another row lacks one, the first such place has the legend.
    """
    columns = list(next(iter(rows.values())))
    figure = figures.Figure(figsize=(3 * len(columns) + 0.3, 3 * len(rows) + 0.3), dpi=DPI, layout="constrained")
    empty = []
    seen = [labels for cells in rows.values() for _, labels in cells.values() if labels is not None]
    for i, (row, cells) in enumerate(rows.items()):
        for j, column in enumerate(columns):
            axes = figure.add_subplot(len(rows), len(columns), i * len(columns) + j + 1)
            if not j:
                axes.set_ylabel(row, size=11, color=INK, weight="bold")
            if column not in cells:
                axes.spines[:].set_visible(False)
                axes.set(xticks=[], yticks=[])
                empty.append(axes)
                continue
            _square(axes, np.concatenate([other[column][0] for other in rows.values() if column in other]))
            _points(axes, *cells[column])
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(ticker.MaxNLocator(6, integer=True))
            if not i:
                axes.set_title(column, size=11, color=INK, weight="bold", loc="left")
    figure.align_ylabels()
    if empty and seen:
        _name(empty[0], np.concatenate(seen))
        empty[0].legend(loc="center", ncols=2, frameon=False, labelcolor=INK, fontsize=11, title="label")
    return figure


def density(panels: Mapping[str, np.ndarray]) -> Figure:
    """One panel per entry, a 2-D histogram of points (n, 2), all over the same square and in the same colours."""
    figure = figures.Figure(figsize=(3.4 * len(panels) + 0.4, 3.9), dpi=DPI, layout="constrained")
    points = np.concatenate(list(panels.values()))
    low, high = np.quantile(points, [0.002, 0.998], axis=0)
    middle, half = (low + high) / 2, 0.55 * (high - low).max()
    bounds = [(float(m - half), float(m + half)) for m in middle]
    counts = {
        name: np.histogram2d(p[:, 0], p[:, 1], bins=60, range=bounds, density=True)[0] for name, p in panels.items()
    }
    most = np.quantile(np.concatenate([c[c > 0] for c in counts.values()]), 0.99)
    for i, (title, values) in enumerate(counts.items()):
        axes = figure.add_subplot(1, len(panels), i + 1)
        extent = (*bounds[0], *bounds[1])
        axes.imshow(values.T, origin="lower", extent=extent, cmap="magma", vmin=0, vmax=most, interpolation="nearest")
        axes.set_title(title, size=11, color=INK, weight="bold", loc="left")
        axes.tick_params(colors=INK, labelsize=9, color=FAINT)
    return figure


def _square(axes: Axes, latents: np.ndarray) -> None:
    low, high = np.quantile(latents, [0.001, 0.999], axis=0)
    half = 0.55 * (high - low).max()
    axes.set_xlim((low + high)[0] / 2 - half, (low + high)[0] / 2 + half)
    axes.set_ylim((low + high)[1] / 2 - half, (low + high)[1] / 2 + half)
    axes.set_box_aspect(1)


def _points(axes: Axes, latents: np.ndarray, labels: np.ndarray | None) -> None:
    # All in one call and in the order of the data, so that no label hides the others.
    axes.scatter(
        latents[:, 0],
        latents[:, 1],
        s=float(np.clip(20_000 / len(latents), 2, 16)),
        c=FAINT if labels is None else np.array(CLASS_COLOURS)[labels % len(CLASS_COLOURS)],
        alpha=0.7,
        linewidths=0,
        rasterized=True,
    )
    plain(axes)


def _name(axes: Axes, labels: np.ndarray) -> None:
    """Handles for a legend."""
    for label in np.unique(labels):
        axes.scatter([], [], s=24, color=CLASS_COLOURS[label % len(CLASS_COLOURS)], label=str(label))
