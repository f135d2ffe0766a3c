"""Runs next to each other: one row for each configuration, with the standard deviation over its seeds, and a picture.

python -m experiments.summarize runs/autoencoder/mnist-seed*
python -m experiments.summarize runs/vae/mnist-*                                    named by the options that differ
python -m experiments.summarize runs/aae/mnist-* --x "prior match: codes/sliced_wasserstein" --y test/bce
"""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

from aejax import cli, plots
from aejax.errors import UserError
from aejax.tables import Reduced, cells, markdown, mean_and_sd

_WIDTH = 42  # characters of a label's line, which leaves the picture its room


@dataclass(frozen=True, kw_only=True)
class Config:
    """Print Markdown tables of finished runs: mean and sample standard deviation over seeds, for each configuration."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """finished runs, <runs>/<experiment>/<name>"""
    rows: tuple[str, ...] = ()
    """rows of the runs' tables to print, such as test; none: all"""
    x: str | None = None
    """with --y: draw the configurations as points; the row and the column of a figure, as row/column"""
    y: str | None = None
    """the other figure, as row/column"""
    figure: Path = Path("runs/summary.png")
    """the picture to write"""


class Finished(NamedTuple):
    """A finished run: the options that it was started with, its seeds, and each figure by row, column and seed."""

    folder: Path
    options: dict[str, Any]
    seeds: list[int]
    table: dict[str, dict[str, list[float]]]
    environment: dict[str, Any]


def main(config: Config) -> None:
    if not config.folders:
        raise UserError("one or more runs are needed")
    if (config.x is None) != (config.y is None):
        raise UserError("a picture needs both --x and --y: set the other one too")
    runs = [read(folder) for folder in config.folders]
    groups = by_configuration(runs)
    tables = {name: averaged(group) for name, group in groups.items()}
    rows = config.rows or tuple(dict.fromkeys(row for table in tables.values() for row in table))
    for row in rows:
        found = {name: cells(table[row]) for name, table in tables.items() if row in table}
        if not found:
            raise UserError(f"no run's table has the row {row!r}: there are {', '.join(next(iter(tables.values())))}")
        print(f"\n{row}\n\n{markdown(found, 'run', 140)}")
    for name, group in groups.items():
        seeds = sorted(seed for run in group for seed in run.seeds)
        print(f"\n{name}: mean ± sd over seeds {', '.join(map(str, seeds))}; {group[0].environment}")
    if config.x is not None and config.y is not None:
        draw(config.figure, tables, config.x, config.y)


def read(folder: Path) -> Finished:
    """Reads a run's summary.json.

    Raises:
      UserError: if there is none, or it is damaged or of another version.
    """
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        options, table = dict(summary["options"]), summary["per_seed"]
        count = int(options.pop("seeds", 1))
        first = int(options.pop("seed"))
        table = {
            row: {
                name: np.broadcast_to(np.atleast_1d(np.asarray(v, float)), count).tolist() for name, v in cols.items()
            }
            for row, cols in table.items()
        }
        options = {"experiment": summary["experiment"], **options}
        return Finished(folder, options, list(range(first, first + count)), table, summary["environment"])
    except FileNotFoundError:
        raise UserError(f"{folder} holds no finished run (no summary.json)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} is damaged, or of another version ({type(error).__name__}: {error})") from None


def by_configuration(runs: list[Finished]) -> dict[str, list[Finished]]:
    """Groups runs that differ in their seeds alone, by name: the options in which the groups differ.

    Raises:
      UserError: for two runs of one configuration and seed.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.options))
    varied = [name for name in names if len({str(run.options.get(name)) for run in runs}) > 1 and name != "name"]
    groups: dict[str, list[Finished]] = {}
    for run in runs:
        label = ", ".join(f"{name} {run.options.get(name)}" for name in varied)
        group = groups.setdefault(label or run.options["experiment"], [])
        for other in group:
            if twice := set(run.seeds) & set(other.seeds):
                raise UserError(f"{run.folder} and {other.folder} are both of seed {min(twice)}: leave one out")
        group.append(run)
    return groups


def averaged(group: list[Finished]) -> Reduced:
    """Averages the figures that all runs of a group have over the seeds of all."""
    first = group[0].table
    return {
        row: mean_and_sd(
            {
                name: np.concatenate([run.table[row][name] for run in group])
                for name in columns
                if all(name in run.table.get(row, {}) for run in group)
            }
        )
        for row, columns in first.items()
        if all(row in run.table for run in group)
    }


def draw(file: Path, tables: dict[str, Reduced], x: str, y: str) -> None:
    """Draws each configuration as a point with error bars."""

    def figure(table: Reduced, address: str) -> tuple[float, float]:
        row, _, column = address.rpartition("/")
        if column not in table.get(row, {}):
            known = ", ".join(f"{row}/{name}" for row in table for name in table[row] if not name.endswith("_sd"))
            raise UserError(f"no run has the figure {address!r}: there are {known}")
        return table[row][column], table[row].get(f"{column}_sd", 0.0)

    pairs = {textwrap.fill(name, _WIDTH): (figure(table, x), figure(table, y)) for name, table in tables.items()}
    points = {name: (a[0], b[0]) for name, (a, b) in pairs.items()}
    sds = {name: (a[1], b[1]) for name, (a, b) in pairs.items()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        plots.save(plots.labelled_points(points, sds, x, y), file)
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}): choose another --figure") from None
    print(f"\n{file}")


if __name__ == "__main__":
    cli.run(main, Config)
