"""The arithmetic, table and picture of this project against PyTorch. All times are seconds per epoch unless named
otherwise."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from aejax import plots
from aejax.training.report import decimal, markdown
from experiments.benchmark.contenders import limits
from experiments.benchmark.contenders.limits import Limits
from experiments.benchmark.harness.report import heading, titled
from experiments.benchmark.harness.rounds import Plan, Row

_COLOURS = {"ours": "#0072b2", "rival": "#d55e00", "once": "#8c959f"}
_INK = "#24292f"


class Result(NamedTuple):
    """A system's rows, what was checked before them ("parameters", "logits_differ_by", ...), how they were timed, and
    what limits this project's."""

    system: str
    checked: Mapping[str, Any]
    plan: Plan
    batch_size: int
    rows: Sequence[Row]
    limits: Limits | None = None

    @property
    def images_per_epoch(self) -> int:
        return self.plan.steps_per_epoch * self.batch_size


def best_rival(rows: Sequence[Row]) -> Row | None:
    """PyTorch's setting with the lowest median over all rounds."""
    counted = [row for row in rows if row.role == "rival" and row.seconds and not row.note]
    return min(counted, key=lambda row: row.median, default=None)


def ratios(row: Row, best: Row) -> tuple[float, float | None]:
    """Of the medians, and the median of the ratios round by round, which the machine's drift leaves alone."""
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
            if len(row.seconds) > 1:
                line["min to max"] = f"{decimal(min(row.seconds))} to {decimal(max(row.seconds))}"
            if best is not None:
                of_medians, by_round = ratios(row, best)
                line["ratio to PyTorch's best"] = f"{of_medians:.3f}"
                line["by round"] = "" if by_round is None else f"{by_round:.3f}"
        line["start-up, s"] = "" if row.start_up_s is None else f"{row.start_up_s:.1f}"
        line["warm-up, s"] = "" if row.warm_up_s is None else f"{row.warm_up_s:.2f}"
        line["peak memory, MiB"] = "" if row.memory_mib is None else str(row.memory_mib)
        line["device"], line["note"] = row.device, "PyTorch's best" if row is best else row.note
        cells[row.name] = line
    return markdown(cells, "contender")


def page(results: Sequence[Result], where: Mapping[str, Any], title: str) -> str:
    """All of it as Markdown; `where` is the `environment`."""
    parts = heading(where, title)
    for result in results:
        plan, checked = result.plan, result.checked
        parts += [
            f"## {result.system}",
            table(result.rows, result.images_per_epoch),
            f"An epoch is {plan.steps_per_epoch} steps of {result.batch_size} images, shuffled and gathered anew; "
            f"{plan.rounds} rounds, all contenders in turn, {plan.steps} steps each. s/epoch is a median, PyTorch's "
            "best its setting with the lowest. By round: the median of the ratios within each round. Start-up: data to "
            "memory, initialisation, compilation and the first step; warm-up: 10 more; no epoch contains them. Peak "
            "memory is that of the contender's process, libraries included; on a GPU, of the GPU.",
            f"Checked before timing: both sides have {checked['parameters']} parameters; with this project's copied "
            f"into PyTorch and equal noise, logits differ by at most {checked['logits_differ_by']:.1e} of the largest "
            f"one or of 1, and after one step of the optimiser by {checked['logits_after_a_step_differ_by']:.1e}.",
        ]
        if result.limits is not None and result.rows[0].seconds:
            parts.append(limits.sentence(result.limits, result.rows[0].median / plan.steps_per_epoch))
    return "\n\n".join(parts)


def record(results: Sequence[Result], where: Mapping[str, Any]) -> dict[str, Any]:
    """All of it as JSON values; `where` is the `environment`."""
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
            "pytorch_best": best and best.name,
            "limits": result.limits and result.limits._asdict(),
            "rows": values,
        }
    return {"environment": where, "systems": systems}


def figure(results: Sequence[Result], title: str) -> Figure:
    """One panel of horizontal bars per system: medians, lines from minimum to maximum, ratios to PyTorch's best."""
    shown = {result.system: [row for row in result.rows if row.seconds] for result in results}
    heights = [0.9 + 0.34 * len(rows) for rows in shown.values()]
    drawing = Figure(figsize=(8.4, 0.4 + sum(heights)), dpi=plots.DPI, layout="constrained")
    panels = drawing.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, rows) in zip(panels, shown.items(), strict=True):
        best = best_rival(rows)
        for y, row in enumerate(rows):
            low, high = min(row.seconds), max(row.seconds)
            axes.barh(y, row.median, 0.62, color=_COLOURS[row.role], alpha=0.35 if row.note else 1)
            axes.plot([low, high], [y, y], color=_INK, linewidth=1.4, solid_capstyle="butt")
            words = [f"{decimal(row.median)} s"]
            if best is not None:
                words.append("PyTorch's best" if row is best else f"ratio {ratios(row, best)[0]:.2f}")
            words += row.note.split(",")[:1] if row.note else []
            axes.annotate(
                ", ".join(words), (high, y), (6, 0), textcoords="offset points", va="center", size=9, color=_INK
            )
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
        axes.set_xlim(0, 1.8 * max((max(row.seconds) for row in rows), default=1))  # room for the words
        axes.set_title(name, loc="left", size=10, color=_INK)
        axes.set_xlabel("seconds per epoch; ratio to PyTorch's best", color=_INK)
    return titled(drawing, title)
