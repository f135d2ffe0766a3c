"""Figures of values against the epoch or any other number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from aejax.plots.style import (
    COLOURS,
    INK,
    LABELS,
    LINEAR,
    SPLITS,
    STYLES,
    new_figure,
    panel_title,
    plain,
    printable,
    styled,
    ticker,
    transforms,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled()
def learning_curves(
    metrics: Sequence[Mapping[str, Any]],
    y: str | Sequence[str] = "bce",
    x: str = "epoch",
    splits: Sequence[str] = SPLITS,
) -> Figure:
    """Draws a panel per name in `y`, in it a line per split against `x`, labelled with its last value.

    Records are such as {"epoch": 3, "step": 630, "split": "train", "bce": 0.12}, in any order. Splits and values that
    are absent are left out, and so are non-finite values, which interrupt the line. Where a record has name + "_sd", a
    band of one such deviation surrounds the line. The y axis is logarithmic where
    positive values span more than a decade, except for PSNR and SSIM.
    """
    names = [y] if isinstance(y, str) else list(y)
    if not names:
        raise ValueError("learning_curves needs at least one name in y")
    columns = min(len(names), 2)
    lines = -(-len(names) // columns)
    figure = new_figure(6 if columns == 1 else 8.4, 0.4 + 3 * lines, layout="constrained")
    handles: dict[str, Any] = {}
    for i, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, i + 1)
        series = {split: _series(metrics, split, x, name) for split in splits}
        handles |= _draw_series(axes, series, logarithmic=name not in LINEAR)
        axes.set_xlabel(printable(LABELS.get(x, x)), color=INK)
        axes.set_ylabel(printable(LABELS.get(name, name)), color=INK)
    figure.align_ylabels()
    if handles:
        labels = [printable(split.replace("_", "-")) for split in handles]
        figure.legend(handles.values(), labels, loc="outside upper left", ncols=6, frameon=False, labelcolor=INK)
    return figure


@styled()
def lines(
    x: ArrayLike,
    curves: Mapping[str, ArrayLike],
    x_label: str,
    y_label: str,
    title: str,
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
) -> Figure:
    """Draws a line per entry, labelled in a legend: x and every curve are (n,).

    `bands` has the lower and upper ends of intervals, (n,) each, by the curves' names.
    """
    figure = new_figure(6, 3.6, layout="constrained")
    axes = figure.add_subplot()
    for i, (name, values) in enumerate(curves.items()):
        axes.plot(x, values, **_line(i), marker="o", markersize=4, label=printable(name, 40))
        if bands and name in bands:
            axes.fill_between(np.asarray(x), *bands[name], color=COLOURS[i % len(COLOURS)], alpha=0.15, linewidth=0)
    axes.set_title(printable(title, 70), size=11, color=INK, weight="bold", loc="left")
    axes.set_xlabel(printable(x_label), color=INK)
    axes.set_ylabel(printable(y_label), color=INK)
    _gridded(axes)
    if curves:
        axes.legend(frameon=False, labelcolor=INK)
    return figure


@styled()
def sorted_values(panels: Mapping[str, Mapping[str, ArrayLike]], x_label: str) -> Figure:
    """Draws a panel per entry, in it a line per entry: values (n,) in ascending order, to compare their spreads."""
    figure = new_figure(0.4 + 3.6 * len(panels), 3.6, layout="constrained")
    handles: dict[str, Any] = {}
    for i, (title, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1)
        for j, (label, values) in enumerate(curves.items()):
            heights = np.sort(np.asarray(values))
            marker = "o" if len(heights) <= 10 else None
            ranks = np.arange(1, len(heights) + 1)
            (handles[printable(label, 40)],) = axes.plot(ranks, heights, **_line(j), marker=marker, markersize=4)
        panel_title(axes, title)
        axes.set_xlabel(printable(x_label), color=INK)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, min_n_ticks=1))
        _gridded(axes)
    figure.legend(handles.values(), handles, loc="outside lower left", ncols=6, frameon=False, labelcolor=INK)
    return figure


@styled()
def labelled_points(
    points: Mapping[str, tuple[float, float]],
    sds: Mapping[str, tuple[float, float]],
    x_label: str,
    y_label: str,
    level: tuple[str, float] | None = None,
) -> Figure:
    """Draws a point (x, y) for each entry, its name at the end of a line from it to the right of the axes.

    Where `sds` has it above zero, a bar in x and y reaches one standard deviation to either side. `level` is a named
    height, drawn across. The x axis is logarithmic where all x are positive and span more than a decade.
    """
    figure = new_figure(9, 0.8 + max(3.4, 0.28 * len(points)), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, place) in enumerate(points.items()):
        bars: dict[str, Any] = {
            f"{side}err": sd for side, sd in zip("xy", sds.get(name, (0, 0)), strict=True) if sd > 0
        }
        axes.errorbar(*place, **bars, fmt="o", markersize=6, capsize=3, color=COLOURS[i % len(COLOURS)])
    if level:
        label = printable(f"{level[0]}: {level[1]:g}")
        axes.axhline(level[1], label=label, color=INK, linewidth=1, linestyle=(0, (4, 2)))
        axes.legend(loc="lower left", frameon=False, labelcolor=INK)
    x = [place[0] for place in points.values()]
    if min(x) > 0 and max(x) > 10 * min(x):
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis, (1, 2, 5))
    axes.margins(0.08)
    axes.set_xlabel(printable(x_label), color=INK)
    axes.set_ylabel(printable(y_label), color=INK)
    _gridded(axes)
    _name_points(axes, points)
    return figure


def _series(metrics: Sequence[Mapping[str, Any]], split: str, x: str, name: str) -> np.ndarray:
    """Returns (x, value, standard deviation) of a split's records in ascending order, (n, 3); NaN for non-finite."""
    points = [
        (float(record[x]), float(record[name]), float(record.get(f"{name}_sd") or 0))
        for record in metrics
        if record.get("split") == split and record.get(name) is not None and record.get(x) is not None
    ]
    rows = np.array(sorted(points)).reshape(-1, 3)
    rows[~np.isfinite(rows)] = np.nan
    return rows


def _draw_series(axes: Axes, series: Mapping[str, np.ndarray], logarithmic: bool) -> dict[str, Any]:
    """Draws a line, a band and a last value for each split that has any; returns the lines by split."""
    handles: dict[str, Any] = {}
    ends: list[tuple[float, str]] = []
    seen: list[float] = []
    for j, (split, rows) in enumerate(series.items()):
        places, values, sd = rows.T
        finite = values[np.isfinite(places) & np.isfinite(values)]
        if not finite.size:
            continue
        colour = COLOURS[j % len(COLOURS)]
        if sd.any():
            axes.fill_between(places, values - sd, values + sd, color=colour, alpha=0.15, linewidth=0)
        marker = "o" if len(finite) <= 2 else None  # a line through one point is invisible
        (handles[split],) = axes.plot(places, values, **_line(j), marker=marker)
        ends.append((float(finite[-1]), colour))
        seen += finite.tolist()
    if logarithmic and seen and min(seen) > 0 and max(seen) > 10 * min(seen):
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis, (1, 2, 5) if max(seen) < 1000 * min(seen) else (1,))
    else:
        axes.ticklabel_format(useOffset=False)
    axes.margins(x=0.01)
    _gridded(axes)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(7, integer=True, min_n_ticks=1))
    _write_ends(axes, ends)
    return handles


def _write_ends(axes: Axes, ends: Sequence[tuple[float, str]]) -> None:
    """Writes the last values, each in its colour, to the right of the axes."""
    to_fraction = axes.transScale + axes.transLimits
    axes.get_ylim()  # settles the limits that the transform reads
    heights = [to_fraction.transform((1, value))[1] for value, _ in ends]
    outside = transforms.blended_transform_factory(axes.transAxes, axes.transAxes)
    for (value, colour), height in zip(ends, _spread(heights, [0.065] * len(ends)), strict=True):
        axes.text(1.015, height, f"{value:#.4g}".rstrip("."), color=colour, size=9, va="center", transform=outside)


def _name_points(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Writes the points' names to the right of the axes, each joined to its point by a line."""
    axes.get_ylim()  # settles the limits that the transform reads
    heights = [(axes.transScale + axes.transLimits).transform(place)[1] for place in points.values()]
    names = [printable(name, 60, lines=True) for name in points]
    heights = _spread(heights, [0.02 + 0.05 * len(name.splitlines()) for name in names])
    for i, (name, place, height) in enumerate(zip(names, points.values(), heights, strict=True)):
        axes.annotate(
            name,
            xy=place,
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            size=9,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": COLOURS[i % len(COLOURS)], "linewidth": 0.8, "shrinkB": 3},
        )


def _line(i: int) -> dict[str, Any]:
    """Returns the look of the i-th line of a panel."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": STYLES[i % len(STYLES)], "linewidth": 1.8}


def _plain_ticks(axis: Any, subs: tuple[int, ...]) -> None:
    """Labels a logarithmic axis with plain numbers."""
    axis.set_major_locator(ticker.LogLocator(subs=subs))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(ticker.NullFormatter())


def _gridded(axes: Axes) -> None:
    axes.grid(color="#d8dee4", linewidth=0.6)
    axes.set_axisbelow(True)
    plain(axes)


def _spread(heights: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Moves labels of these sizes apart from their heights, as little as possible, so that none overlap."""
    order = np.argsort(heights, kind="stable")
    moved = np.array(heights, float)[order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + (sizes[order[i]] + sizes[order[i - 1]]) / 2)
    result = np.empty(len(moved))
    result[order] = moved - np.mean(moved - np.array(heights, float)[order]) if len(moved) else moved
    return result.tolist()
