"""Figures of a latent plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from aejax.plots.style import CLASS_COLOURS, DPI, FAINT, INK, figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scatter(panels: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """One panel per entry, latents (n, 2) as points coloured by their labels, integers (n,); both axes in one scale.

    A panel shows all but the outermost 0.1% of the points on each side, so that a few do not squeeze the rest.
    Colours repeat after ten labels.
    """
    figure = figures.Figure(figsize=(4.4 * len(panels) + 0.8, 4.6), dpi=DPI, layout="constrained")
    for i, (title, latents) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1)
        low, high = np.quantile(latents, [0.001, 0.999], axis=0)
        half = 0.55 * (high - low).max()
        axes.set_xlim((low + high)[0] / 2 - half, (low + high)[0] / 2 + half)
        axes.set_ylim((low + high)[1] / 2 - half, (low + high)[1] / 2 + half)
        axes.set_box_aspect(1)
        colours = np.array(CLASS_COLOURS)[labels % len(CLASS_COLOURS)]
        # All in one call and in the order of the data, so that no label hides the others.
        axes.scatter(*latents.T, s=2, c=colours, alpha=0.7, linewidths=0, rasterized=True)
        axes.set_title(title, size=11, color=INK, weight="bold", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(FAINT)
        axes.tick_params(colors=INK, labelsize=9, color=FAINT)
    for label in np.unique(labels):
        axes.scatter([], [], s=24, color=CLASS_COLOURS[label % len(CLASS_COLOURS)], label=str(label))
    figure.legend(loc="outside right center", frameon=False, labelcolor=INK)
    return figure
