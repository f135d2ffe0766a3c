"""The arithmetic, table, record and picture of this project against PyTorch, in seconds per epoch."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from aejax.plots.style import COLOURS, FAINT
from aejax.tables import decimal, markdown
from experiments.benchmark.contenders import limits
from experiments.benchmark.contenders.limits import Limits
from experiments.benchmark.harness import report
from experiments.benchmark.harness.rounds import Plan, Row, Spent

_COLOURS = {"ours": COLOURS[0], "rival": COLOURS[1], "once": FAINT}
_ROW = [field.name for field in fields(Row)]


class Result(NamedTuple):
    """A system as it was measured.

    Attributes:
      system: its name.
      checked: what was found before the rounds: "parameters", "logits_differ_by", ...
      plan: how it was timed.
      batch_size: images per step.
      rows: of the contenders.
      limits: what limits this project's training, or None where that could not be measured.
      spent: the time that all this took.
      load_average: of the machine before it.
    """

    system: str
    checked: Mapping[str, Any]
    plan: Plan
    batch_size: int
    rows: Sequence[Row]
    limits: Limits | None = None
    spent: Spent | None = None
    load_average: float | None = None

    @property
    def images_per_epoch(self) -> int:
        return self.plan.steps_per_epoch * self.batch_size


def best_rival(rows: Sequence[Row]) -> Row | None:
    """PyTorch's setting with the lowest median over all rounds."""
    counted = [row for row in rows if row.role == "rival" and row.seconds and not row.note]
    return min(counted, key=lambda row: row.median, default=None)


def ratios(row: Row, best: Row) -> tuple[float, float | None]:
    """The ratio of the medians, and the median of the ratios round by round, which the machine's drift leaves alone."""
    by_round = None
    if not row.note:
        by_round = statistics.median(a / b for a, b in zip(row.seconds, best.seconds, strict=True))
    return row.median / best.median, by_round


def table(rows: Sequence[Row], images_per_epoch: int) -> str:
    """The rows as Markdown, the best of PyTorch's marked."""
    best = best_rival(rows)
    cells = {}
    for row in rows:
        line = {"s/epoch": "", "min to max": "", "images/s": "", "ratio to PyTorch's best": "", "by round": ""}
        if row.seconds:
            line["s/epoch"], line["images/s"] = decimal(row.median), f"{images_per_epoch / row.median:,.0f}"
            line["min to max"] = report.spread(row.seconds) if len(row.seconds) > 1 else ""
            if best is not None:
                of_medians, by_round = ratios(row, best)
                line["ratio to PyTorch's best"] = f"{of_medians:.3f}"
                line["by round"] = "" if by_round is None else f"{by_round:.3f}"
        line["start-up, s"] = report.start_up(row)
        line["warm-up, s"] = "" if row.warm_up_s is None else f"{row.warm_up_s:.2f}"
        line |= report.last_cells(row)
        if row is best:
            line["note"] = "PyTorch's best"
        cells[row.name] = line
    return markdown(cells, "contender")


def section(result: Result) -> str:
    """The part of the page that is about one system, as Markdown."""
    plan, checked = result.plan, result.checked
    parts = [
        f"## {result.system}",
        table(result.rows, result.images_per_epoch),
        f"An epoch is {plan.steps_per_epoch} steps of {result.batch_size} images, shuffled and gathered anew. There "
        f"were {plan.rounds} rounds in which all contenders took turns, {plan.steps} steps each. s/epoch is a median; "
        "PyTorch's best is its setting with the lowest one. By round: the median of the ratios within each round. "
        "Start-up: data to memory, initialisation, compilation and the first step; warm-up: 10 more; no epoch contains "
        "them. Peak memory is that of the contender's process, libraries included; on a GPU, of the GPU.",
        f"Checked before timing: both sides have {checked['parameters']} parameters. With this project's copied into "
        f"PyTorch and equal noise, logits differ by at most {checked['logits_differ_by']:.1e} of the largest one or of "
        f"1, and after one step of the optimiser by {checked['logits_after_a_step_differ_by']:.1e}.",
    ]
    if result.limits is not None and result.rows[0].seconds:
        parts.append(limits.sentence(result.limits, result.rows[0].median / plan.steps_per_epoch))
    if result.spent is not None:
        load = "" if result.load_average is None else f" The load average before was {result.load_average:.2f}."
        parts.append(f"{result.spent}{load}")
    return "\n\n".join(parts)


def page(results: Sequence[Result], where: Mapping[str, Any], title: str) -> str:
    """All of it as Markdown; `where` is the `environment`."""
    return "\n\n".join([*report.heading(where, title), *map(section, results)])


def record(results: Sequence[Result], where: Mapping[str, Any], complete: bool = True) -> dict[str, Any]:
    """All of it as JSON values; `where` is the `environment`, and `complete` says whether all systems are in it."""
    systems: dict[str, Any] = {}
    for result in results:
        best = best_rival(result.rows)
        values = [asdict(row) for row in result.rows]
        for row, value in zip(result.rows, values, strict=True):
            if row.seconds:
                value |= {"median": row.median, "images_per_second": result.images_per_epoch / row.median}
            if row.seconds and best is not None:
                value |= dict(zip(("ratio_of_medians", "median_of_ratios"), ratios(row, best), strict=True))
        systems[result.system] = {
            "checked": result.checked,
            **result.plan._asdict(),
            "batch_size": result.batch_size,
            "pytorch_best": best and best.name,
            "limits": result.limits and result.limits._asdict(),
            "spent": result.spent and result.spent._asdict(),
            "load_average": result.load_average,
            "rows": values,
        }
    return {"complete": complete, "environment": where, "systems": systems}


def results_of(values: Mapping[str, Any]) -> list[Result]:
    """The results that a `record` holds."""
    return [
        Result(
            name,
            system["checked"],
            Plan(**{field: system[field] for field in Plan._fields}),
            system["batch_size"],
            [Row(**{field: row[field] for field in _ROW}) for row in system["rows"]],
            system["limits"] and Limits(**system["limits"]),
            system["spent"] and Spent(**system["spent"]),
            system["load_average"],
        )
        for name, system in values["systems"].items()
    ]


def figure(results: Sequence[Result], title: str) -> Figure:
    """One panel of horizontal bars per system: medians, lines from minimum to maximum, ratios to PyTorch's best."""
    shown = {result.system: [row for row in result.rows if row.seconds] for result in results}
    heights = [0.9 + 0.34 * len(rows) for rows in shown.values()]
    drawing = report.drawing(title, 0.4 + sum(heights))
    panels = drawing.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, rows) in zip(panels, shown.items(), strict=True):
        best = best_rival(rows)
        report.bars(axes, {row.name: (row.seconds, row.median, _words(row, best), _COLOURS[row.role]) for row in rows})
        for bar, row in zip(axes.patches, rows, strict=True):
            bar.set_alpha(0.35 if row.note else 1)
        axes.set_xlim(0, 1.8 * max((max(row.seconds) for row in rows), default=1))  # room for the words
        report.label(axes, name, "seconds per epoch; ratio to PyTorch's best")
    return drawing


def _words(row: Row, best: Row | None) -> str:
    words = [f"{decimal(row.median)} s"]
    if best is not None:
        words.append("PyTorch's best" if row is best else f"ratio {ratios(row, best)[0]:.2f}")
    return ", ".join(words + (row.note.split(",")[:1] if row.note else []))
