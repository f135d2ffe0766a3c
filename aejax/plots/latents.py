"""Figures of a latent plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aejax.plots.classes import CLASS_COLOURS, class_colours, class_name
from aejax.plots.style import FAINT, INK, new_figure, panel_title, plain, printable, styled, ticker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = tuple[np.ndarray, np.ndarray | None]

_IN_LEGEND = 12  # of more classes than have colours of their own


@styled()
def scatter(panels: Mapping[str, np.ndarray], labels: np.ndarray, class_names: Sequence[str] | None = None) -> Figure:
    """Draws a panel per entry, latents (n, 2) as points coloured by their labels, integers (n,), in one scale.

    A panel shows all but the outermost 0.1% of the points on each side, so that a few do not squeeze the rest. Points
    that are not finite are left out. `class_names` are those of labels 0, 1, ...; labels below 0 are unknown, and grey.
    Of more than ten classes the legend has the commonest.
    """
    figure = new_figure(4.4 * len(panels) + 0.8, 4.6, layout="constrained")
    for i, (title, latents) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1)
        _square(axes, latents)
        _points(axes, latents, labels, class_names)
        panel_title(axes, title)
    heading = _legend_handles(axes, labels, class_names)
    legend = figure.legend(loc="outside right center", frameon=False, labelcolor=INK, title=heading)
    legend.get_title().set_color(INK)
    return figure


@styled()
def planes(rows: Mapping[str, Mapping[str, Points]], class_names: Sequence[str] | None = None) -> Figure:
    """Draws panels by row and column: points (n, 2) coloured by their labels, integers (n,), or all grey for None.

    The panels of a column show one square, as `scatter` chooses it for all of their points. The columns are those of
    the first row; where another row lacks one, the first such place has the legend. Labels and names are as in
    `scatter`.
    """
    columns = list(next(iter(rows.values())))
    figure = new_figure(3 * len(columns) + 0.3, 3 * len(rows) + 0.3, layout="constrained")
    empty = []
    seen = [labels for cells in rows.values() for _, labels in cells.values() if labels is not None]
    for i, (row, cells) in enumerate(rows.items()):
        for j, column in enumerate(columns):
            axes = figure.add_subplot(len(rows), len(columns), i * len(columns) + j + 1)
            if not j:
                axes.set_ylabel(printable(row, 30), size=11, color=INK, weight="bold")
            if column not in cells:
                axes.spines[:].set_visible(False)
                axes.set(xticks=[], yticks=[])
                empty.append(axes)
                continue
            _square(axes, np.concatenate([other[column][0] for other in rows.values() if column in other]))
            _points(axes, *cells[column], class_names)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(ticker.MaxNLocator(6, integer=True))
            if not i:
                panel_title(axes, column)
    figure.align_ylabels()
    if empty and seen:
        heading = _legend_handles(empty[0], np.concatenate(seen), class_names)
        short = all(len(str(name)) <= 10 for name in empty[0].get_legend_handles_labels()[1])
        size: dict[str, Any] = {"ncols": 2, "fontsize": 11} if short else {"ncols": 1, "fontsize": 9}
        empty[0].legend(loc="center", frameon=False, labelcolor=INK, title=heading or "label", **size)
    return figure


@styled()
def density(panels: Mapping[str, np.ndarray]) -> Figure:
    """Draws a panel per entry, a 2-D histogram of points (n, 2), all over the same square and in the same colours."""
    figure = new_figure(3.4 * len(panels) + 0.4, 3.9, layout="constrained")
    (left, right), (low, high) = bounds = _bounds(np.concatenate(list(panels.values())), 0.002)
    counts = {}
    for name, points in panels.items():
        finite = points[np.isfinite(points).all(axis=1)]
        histogram = np.histogram2d(finite[:, 0], finite[:, 1], bins=60, range=bounds)[0]
        counts[name] = histogram / max(1.0, histogram.sum()) / ((right - left) / 60) ** 2
    most = np.quantile(np.concatenate([c[c > 0] for c in counts.values()] or [np.ones(1)]), 0.99)
    for i, (title, values) in enumerate(counts.items()):
        axes = figure.add_subplot(1, len(panels), i + 1)
        axes.imshow(
            values.T,
            origin="lower",
            extent=(left, right, low, high),
            cmap="magma",
            vmin=0,
            vmax=most,
            interpolation="nearest",
        )
        panel_title(axes, title)
        axes.tick_params(colors=INK, labelsize=9, color=FAINT)
    return figure


def _bounds(points: np.ndarray, share: float) -> list[tuple[float, float]]:
    """Returns a square around all but this share of the points (n, 2) on each side; its size is never 0."""
    finite = points[np.isfinite(points).all(axis=1)].astype(np.float64)
    if not len(finite):
        return [(-1.0, 1.0), (-1.0, 1.0)]
    low, high = np.quantile(finite, [share, 1 - share], axis=0)
    middle = (low + high) / 2
    half = 0.55 * float((high - low).max())
    smallest = 1e-3 * float(np.abs(middle).max())  # below it, the ticks' labels would be equal
    half = half if half > 1e-3 * smallest else smallest or 1.0
    return [(float(m - half), float(m + half)) for m in middle]


def _square(axes: Axes, latents: np.ndarray) -> None:
    x, y = _bounds(latents, 0.001)
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    axes.set_box_aspect(1)


def _points(axes: Axes, latents: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str] | None) -> None:
    colours: str | np.ndarray = FAINT
    if labels is not None:
        present, index = np.unique(labels, return_inverse=True)
        colours = np.array(class_colours(present, class_names))[index]
    # All in one call and in the order of the data, so that no label hides the others.
    axes.scatter(
        latents[:, 0],
        latents[:, 1],
        s=float(np.clip(20_000 / max(1, len(latents)), 2, 16)),
        c=colours,
        alpha=0.7,
        linewidths=0,
        rasterized=True,
    )
    plain(axes)


def _legend_handles(axes: Axes, labels: np.ndarray, class_names: Sequence[str] | None) -> str | None:
    """Gives the axes handles for a legend: of all classes, or of the commonest; returns a title that says so."""
    present, counts = np.unique(labels, return_counts=True)
    colours = dict(zip(present.tolist(), class_colours(present, class_names), strict=True))
    known = present >= 0
    shown, title = present[known], None
    if len(shown) > len(CLASS_COLOURS):
        commonest = np.argsort(-counts[known], kind="stable")[:_IN_LEGEND]
        title = f"{len(commonest)} commonest\nof {len(shown)} classes"
        shown = np.sort(shown[commonest])
    for label in [*shown.tolist(), *present[~known][:1].tolist()]:
        name = printable(class_name(label, class_names), 24)
        axes.scatter([], [], s=24, color=colours[label], label=name)
    return title
