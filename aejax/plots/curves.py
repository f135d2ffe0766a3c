"""Figures of values against the epoch or any other number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from aejax.plots.style import COLOURS, DPI, INK, LABELS, LINEAR, SPLITS, STYLES, figures, plain, ticker, transforms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_curves(
    metrics: Sequence[Mapping[str, Any]],
    y: str | Sequence[str] = "bce",
    x: str = "epoch",
    splits: Sequence[str] = SPLITS,
) -> Figure:
    """One panel per name in `y`, one line per split against `x`, each labelled with its last value.

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
    figure = figures.Figure(figsize=(6 if columns == 1 else 8.4, 0.4 + 3 * lines), dpi=DPI, layout="constrained")
    handles: dict[str, Any] = {}
    for i, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, i + 1)
        ends: list[tuple[float, str]] = []
        seen: list[float] = []
        for j, split in enumerate(splits):
            points = [
                (float(record[x]), float(record[name]), float(record.get(f"{name}_sd") or 0))
                for record in metrics
                if record.get("split") == split and record.get(name) is not None and record.get(x) is not None
            ]
            rows = np.array(sorted(points)).reshape(-1, 3)
            rows[~np.isfinite(rows)] = np.nan
            values, sd = rows[:, :2], rows[:, 2]
            finite = values[np.isfinite(values).all(axis=1), 1]
            if not finite.size:
                continue
            colour = COLOURS[j % len(COLOURS)]
            style = STYLES[j % len(STYLES)]
            marker = "o" if len(finite) <= 2 else None  # a line through one point is invisible
            if sd.any():
                low, high = values[:, 1] - sd, values[:, 1] + sd
                axes.fill_between(values[:, 0], low, high, color=colour, alpha=0.15, linewidth=0)
            (handles[split],) = axes.plot(*values.T, color=colour, linestyle=style, linewidth=1.8, marker=marker)
            ends.append((float(finite[-1]), colour))
            seen += finite.tolist()
        if name not in LINEAR and seen and min(seen) > 0 and max(seen) > 10 * min(seen):
            axes.set_yscale("log")
            subs = (1, 2, 5) if max(seen) < 1000 * min(seen) else (1,)
            axes.yaxis.set_major_locator(ticker.LogLocator(subs=subs))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(ticker.NullFormatter())
        else:
            axes.ticklabel_format(useOffset=False)
        axes.margins(x=0.01)
        axes.set_xlabel(LABELS.get(x, x), color=INK)
        axes.set_ylabel(LABELS.get(name, name), color=INK)
        _gridded(axes)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(7, integer=True, min_n_ticks=1))
        to_fraction = axes.transScale + axes.transLimits
        axes.get_ylim()  # settles the limits that the transform reads
        heights = [to_fraction.transform((1, value))[1] for value, _ in ends]
        beside = transforms.blended_transform_factory(axes.transAxes, axes.transAxes)
        for (value, colour), height in zip(ends, _spread(heights, [0.065] * len(ends)), strict=True):
            axes.text(1.015, height, f"{value:#.4g}".rstrip("."), color=colour, size=9, va="center", transform=beside)
    figure.align_ylabels()
    if handles:
        labels = [split.replace("_", "-") for split in handles]
        figure.legend(handles.values(), labels, loc="outside upper left", ncols=6, frameon=False, labelcolor=INK)
    return figure


def lines(x: ArrayLike, curves: Mapping[str, ArrayLike], x_label: str, y_label: str, title: str) -> Figure:
    """One line per entry, labelled in a legend: x and every curve are (n,)."""
    figure = figures.Figure(figsize=(6, 3.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for i, (label, values) in enumerate(curves.items()):
        colour, style = COLOURS[i % len(COLOURS)], STYLES[i % len(STYLES)]
        axes.plot(x, values, color=colour, linestyle=style, marker="o", markersize=4, linewidth=1.8, label=label)
    axes.set_title(title, size=11, color=INK, weight="bold", loc="left")
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    _gridded(axes)
    axes.legend(frameon=False, labelcolor=INK)
    return figure


def sorted_values(panels: Mapping[str, Mapping[str, ArrayLike]], x_label: str) -> Figure:
    """One panel per entry, in it one line per entry: values (n,) in ascending order, to compare their spreads."""
    figure = figures.Figure(figsize=(0.4 + 3.6 * len(panels), 3.6), dpi=DPI, layout="constrained")
    handles: dict[str, Any] = {}
    for i, (title, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1)
        for j, (label, values) in enumerate(curves.items()):
            heights = np.sort(np.asarray(values))
            (handles[label],) = axes.plot(
                np.arange(1, len(heights) + 1),
                heights,
                color=COLOURS[j % len(COLOURS)],
                linestyle=STYLES[j % len(STYLES)],
                marker="o" if len(heights) <= 10 else None,
                markersize=4,
                linewidth=1.8,
            )
        axes.set_title(title, size=11, color=INK, weight="bold", loc="left")
        axes.set_xlabel(x_label, color=INK)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, min_n_ticks=1))
        _gridded(axes)
    figure.legend(handles.values(), handles, loc="outside lower left", ncols=6, frameon=False, labelcolor=INK)
    return figure


def labelled_points(
    points: Mapping[str, tuple[float, float]],
    sds: Mapping[str, tuple[float, float]],
    x_label: str,
    y_label: str,
    level: tuple[str, float] | None = None,
) -> Figure:
    """A point (x, y) for each entry, its name beside the axes at the end of a line to it, and a bar of one standard
    deviation, in x and y, to either side, where `sds` has it above zero. `level` is a named height, drawn across.

    The x axis is logarithmic where all x are positive and span more than a decade.
    """
    figure = figures.Figure(figsize=(9, 0.8 + max(3.4, 0.28 * len(points))), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for i, (name, place) in enumerate(points.items()):
        bars = {f"{side}err": sd for side, sd in zip("xy", sds.get(name, (0, 0)), strict=True) if sd > 0}
        axes.errorbar(*place, **bars, fmt="o", markersize=6, capsize=3, color=COLOURS[i % len(COLOURS)])
    if level:
        style = {"color": INK, "linewidth": 1, "linestyle": (0, (4, 2))}
        axes.axhline(level[1], label=f"{level[0]}: {level[1]:g}", **style)
        axes.legend(loc="lower left", frameon=False, labelcolor=INK)
    x = [place[0] for place in points.values()]
    if min(x) > 0 and max(x) > 10 * min(x):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(0.08)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    _gridded(axes)
    axes.get_ylim()  # settles the limits that the transform reads
    heights = [(axes.transScale + axes.transLimits).transform(place)[1] for place in points.values()]
    sizes = [0.02 + 0.05 * len(name.splitlines()) for name in points]
    for i, ((name, place), height) in enumerate(zip(points.items(), _spread(heights, sizes), strict=True)):
        axes.annotate(
            *(name, place, (1.03, height)),
            textcoords="axes fraction",
            va="center",
            size=9,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": COLOURS[i % len(COLOURS)], "linewidth": 0.8, "shrinkB": 3},
        )
    return figure


def _gridded(axes: Axes) -> None:
    axes.grid(color="#d8dee4", linewidth=0.6)
    axes.set_axisbelow(True)
    plain(axes)


def _spread(heights: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """The heights of what is so high each, moved as little as lets none overlap another."""
    order = np.argsort(heights, kind="stable")
    moved = np.array(heights, float)[order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + (sizes[order[i]] + sizes[order[i - 1]]) / 2)
    result = np.empty(len(moved))
    result[order] = moved - np.mean(moved - np.array(heights, float)[order]) if len(moved) else moved
    return result.tolist()
