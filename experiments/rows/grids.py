"""Tables and figures of one number of several results: lines by columns, such as numbers of latents by networks."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from aejax import plots
from aejax.errors import UserError
from aejax.tables import markdown
from experiments.rows import result
from experiments.rows.result import Figure

_DATA = "data"  # the field of a picture's file that says what it was drawn from


class Grid(NamedTuple):
    """Figures by line and column.

    Attributes:
      corner: what the lines are, such as "latents".
      figures: by line and column.
      figure: the picture's file, from the page's folder; None: no picture.
      y: the label of its vertical axis.
    """

    corner: str
    figures: dict[str, dict[str, Figure]]
    figure: str | None
    y: str


def read(body: str) -> Grid:
    """Reads the text of a page's comment, whose form stands at the top of `experiments.rows.pages`.

    Raises:
      UserError: for a result or a figure that is not recorded, or a text of another form.
    """
    corner, *lines = body.splitlines()
    settings = dict(part.split(": ", 1) for part in lines if ": " in part)
    rows = [row.strip() for row in settings.pop("rows", "").split("|") if row.strip()]
    figure, y = settings.pop("figure", "").strip() or None, settings.pop("y", "").strip()
    if not rows or not settings or any(": " not in line for line in lines):
        raise UserError(f"grid: {corner}: lines 'rows: a | b' and '<column>: <result> <line>/<column>' are needed")
    figures = {
        row: {column: _figure(address.replace("{row}", row)) for column, address in settings.items()} for row in rows
    }
    return Grid(corner.strip(), figures, figure, y)


def table(grid: Grid) -> str:
    """Returns the figures as a Markdown table."""
    cells = {row: {name: figure.cell() for name, figure in line.items()} for row, line in grid.figures.items()}
    return markdown(cells, grid.corner)


def draw(grid: Grid, folder: Path) -> bool:
    """Draws a line for each column over the rows, which are numbers; returns whether the picture had to be drawn.

    Raises:
      UserError: if a row is no number.
    """
    if grid.figure is None or is_drawn(grid, folder):
        return False
    try:
        x = np.array([float(row) for row in grid.figures])
    except ValueError:
        raise UserError(f"{grid.figure}: rows that are drawn are numbers, not {', '.join(grid.figures)}") from None
    columns: dict[str, list[Figure]] = {}
    for line in grid.figures.values():
        for name, figure in line.items():
            columns.setdefault(name, []).append(figure)
    means = {name: np.array([figure.mean for figure in one], float) for name, one in columns.items()}
    sds = {name: np.array([figure.sd or 0.0 for figure in one]) for name, one in columns.items()}
    bands = {name: (means[name] - sds[name], means[name] + sds[name]) for name in means}
    picture = plots.lines(x, means, grid.corner, grid.y, "", bands=bands)
    if len(x) > 2 and x.min() > 0 and x.max() / x.min() > 10:
        axes = picture.axes[0]
        axes.set_xscale("log")
        axes.set_xticks(x, list(grid.figures))
        axes.minorticks_off()
    plots.save(picture, folder / grid.figure)
    with Image.open(folder / grid.figure) as image:
        image.load()
        note = PngImagePlugin.PngInfo()
        note.add_text(_DATA, _digest(grid))
        image.save(folder / grid.figure, pnginfo=note)
    return True


def is_drawn(grid: Grid, folder: Path) -> bool:
    """Says whether the grid's picture is there and was drawn from these figures."""
    if grid.figure is None or not (folder / grid.figure).is_file():
        return grid.figure is None
    with Image.open(folder / grid.figure) as image:
        image.load()
        return image.info.get(_DATA) == _digest(grid)


def _digest(grid: Grid) -> str:
    figures = {row: {name: figure.as_json() for name, figure in line.items()} for row, line in grid.figures.items()}
    return hashlib.sha256(json.dumps([figures, grid.corner, grid.y], sort_keys=True).encode()).hexdigest()


def _figure(address: str) -> Figure:
    name, _, figure = address.strip().partition(" ")
    return result.read(name).figure(figure)
