"""Tables of figures: means and standard deviations over examples and seeds, as text and as Markdown."""

from collections.abc import Mapping, Sequence

import numpy as np

Row = dict[str, float | np.ndarray]
Table = dict[str, Row]
"""Figures by row and column: a number, or an array (seeds,) of each seed's own."""
Reduced = dict[str, dict[str, float]]
"""The same with means over seeds; the sample standard deviation of column "x" is the column "x_sd"."""


def mean_of_examples(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Averages metrics given one value per example."""
    return {name: float(np.mean(v, dtype=np.float64)) for name, v in values.items()}


def mean_and_sd(values: Mapping[str, float | np.ndarray]) -> dict[str, float]:
    """Averages scalars (), or one per seed (seeds,), by name; of several seeds also the sample sd, by name + "_sd"."""
    result = {}
    for name, value in values.items():
        per_seed = np.atleast_1d(np.asarray(value, np.float64))
        result[name] = float(per_seed.mean())
        if len(per_seed) > 1:
            result[f"{name}_sd"] = float(per_seed.std(ddof=1))
    return result


def by_seed(rows: Sequence[Mapping[str, float]]) -> Row:
    """Puts one row of figures per seed together, as arrays (seeds,)."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def reduced(table: Table) -> Reduced:
    """Averages each figure over its seeds, as `mean_and_sd` does."""
    return {name: mean_and_sd(row) for name, row in table.items()}


def joined(*tables: Table) -> Table:
    """Puts tables together; rows of one name become one row."""
    result: Table = {}
    for table in tables:
        for row, figures in table.items():
            result[row] = result.get(row, {}) | figures
    return result


def markdown(table: Mapping[str, Mapping[str, str]], corner: str = "", width: int | None = None) -> str:
    """Formats rows of named cells as Markdown tables, aligned so that they also read well on a terminal.

    With `width`, columns that would make a table wider than that number of characters go into a further table below,
    without the rows that are empty there.
    """
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    tables: list[list[str]] = []
    taken: list[str] = []
    for name in columns:
        if width is not None and taken and len(_lines(table, [*taken, name], corner)[0]) > width:
            tables.append(taken)
            taken = []
        taken.append(name)
    return "\n\n".join("\n".join(_lines(table, names, corner)) for names in [*tables, taken])


def _lines(table: Mapping[str, Mapping[str, str]], columns: Sequence[str], corner: str) -> list[str]:
    """Returns the lines of one table, with these columns and the rows that have one of them."""
    rows = {name: row for name, row in table.items() if not columns or any(column in row for column in columns)}
    lines = [[corner, *columns], *([name, *(row.get(c, "") for c in columns)] for name, row in rows.items())]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    rule = ["-" * width for width in widths]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in [lines[0], rule, *lines[1:]]
    ]


def cells(row: Mapping[str, float]) -> dict[str, str]:
    """Formats figures as text; where "name_sd" stands next to "name", the two become one cell "mean ± sd"."""
    return {
        name: plus_minus(value, row[f"{name}_sd"]) if f"{name}_sd" in row else decimal(value)
        for name, value in row.items()
        if not (name.endswith("_sd") and name.removesuffix("_sd") in row)
    }


def plus_minus(mean: float, sd: float) -> str:
    """Formats "mean ± sd", or the mean alone where the sd is no more than rounding."""
    return decimal(mean) if sd <= 1e-9 * abs(mean) else f"{decimal(mean)} ± {sd:.2g}"


def decimal(value: float) -> str:
    """Formats a number with four significant digits."""
    return f"{value:#.4g}".rstrip(".")
