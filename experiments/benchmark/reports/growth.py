"""The growth benchmark's arithmetic, table and picture."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from aejax.plots.style import COLOURS
from aejax.tables import decimal, markdown
from experiments.benchmark.contenders.jax_feeds import FeedName
from experiments.benchmark.harness import report

# Memory is called flat if it grows by less than this share of the size of the added images. The
# epoch's order takes 4 bytes per image.
_FLAT = 0.1
_COLOURS = dict(zip(("resident", "streaming", "memory"), COLOURS, strict=False))


class Case(NamedTuple):
    """A data set that is timed: `multiple` times the training images, resized to `size` pixels square, on a feed."""

    system: str
    multiple: int
    size: int
    feed: FeedName

    def __str__(self) -> str:
        return f"{self.system}, {self.multiple} x {self.size} px, {self.feed}"


@dataclass
class Measured:
    """The measurements of a case.

    Attributes:
      case: the case.
      images: their number in an epoch.
      seconds: per epoch, one value per round.
      memory_mib: the largest peak of the accelerator's memory, or on a CPU of the process.
      host_mib: the largest peak of the process's own memory, without files that are mapped into it.
      device: what it computed on.
      note: why there are no figures.
    """

    case: Case
    images: int
    seconds: list[float] = field(default_factory=list)
    memory_mib: int = 0
    host_mib: int = 0
    device: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def pixels(self) -> int:
        """The number of pixels in an epoch, for one channel."""
        return self.images * self.case.size**2


def growth(row: Measured, first: Measured) -> tuple[float, float]:
    """The ratios to `first` of the pixels and of the time."""
    return row.pixels / first.pixels, row.median / first.median


def busy(row: Measured, rows: Sequence[Measured]) -> float | None:
    """The share of an epoch in which the devices compute: the resident feed's time over this row's, all else equal."""
    same = (r for r in rows if r.seconds and r.case == row.case._replace(feed="resident"))
    resident = next(same, None)
    return None if resident is None or not row.seconds else resident.median / row.median


def table(rows: Sequence[Measured]) -> str:
    """The rows of one system as Markdown."""
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        line = {"s/epoch": "", "min to max": "", "images/s": "", "pixels": "", "time": "", "time / pixels": ""}
        if row.seconds:
            line["s/epoch"], line["images/s"] = decimal(row.median), f"{row.images / row.median:,.0f}"
            line["min to max"] = report.spread(row.seconds) if len(row.seconds) > 1 else ""
            if (first := _first(rows, row)) is not None:
                pixels, time = growth(row, first)
                line |= {"pixels": f"x {pixels:.2f}", "time": f"x {time:.2f}", "time / pixels": f"{time / pixels:.2f}"}
        share = busy(row, rows)
        line["device busy"] = "" if share is None else f"{share:.0%}"
        line["host's peak, MiB"] = f"{row.host_mib:,}" if row.seconds else ""
        line["device's peak, MiB"] = f"{row.memory_mib:,}" if row.seconds and "cpu" not in row.device else ""
        line["device"], line["note"] = row.device, row.note
        cells[f"{row.images:,} of {row.case.size} px, {row.case.feed}"] = line
    return markdown(cells, "images")


def memory_lines(rows: Sequence[Measured], channels: int = 1) -> list[str]:
    """A sentence for each feed: how much more memory the most images take than the fewest, and their own size."""
    lines = []
    for feed in dict.fromkeys(row.case.feed for row in rows):
        grown = [row for row in rows if row.case.feed == feed and row.seconds and row.case.size == rows[0].case.size]
        if len(grown) < 2:
            continue
        few, many = (pick(grown, key=lambda row: row.images) for pick in (min, max))
        more = many.host_mib - few.host_mib
        own = (many.pixels - few.pixels) * channels / 2**20
        verdict = "flat" if more <= _FLAT * own else "not flat"
        lines.append(
            f"{feed}: the host's memory is {verdict}: {many.images / few.images:.0f} times the images change it by "
            f"{more:+,} MiB, {more / own:.0%} of the {own:,.0f} MiB that the added ones are."
        )
    return lines


def page(
    measured: Sequence[Measured],
    where: Mapping[str, Any],
    title: str,
    steps: int | None,
    channels: int,
) -> str:
    """All of it as Markdown; `where` is the `environment`."""
    length = "whole epochs" if steps is None else f"{steps} steps, scaled to epochs"
    parts = [
        *report.heading(where, title),
        f"Timed: {length}, shuffled and gathered anew, without compilation, evaluation and checkpoints; each case "
        "alone in a process of its own. Pixels and time are against the same feed's first row; time / pixels is 1 "
        "where time is linear. Device busy: the resident feed's time over this one's. The host's peak is that of "
        "the process without the files that are mapped into it, whose pages the system takes back when it needs them. "
        "The file that the streaming feed reads has just been written, so the system may hold all of it in memory.",
    ]
    parts += report.open_on_gpu(row.device for row in measured)
    for system, rows in by_system(measured).items():
        parts += [f"## {system}", table(rows), " ".join(memory_lines(rows, channels))]
    return "\n\n".join(part for part in parts if part)


def record(measured: Sequence[Measured], where: Mapping[str, Any]) -> dict[str, Any]:
    """All of it as JSON values; `where` is the `environment`."""
    rows = []
    for row in measured:
        value = {**row.case._asdict(), **{k: v for k, v in asdict(row).items() if k != "case"}}
        if row.seconds:
            value |= {"median": row.median, "busy": busy(row, measured)}
        rows.append(value)
    return {"environment": where, "rows": rows}


def figure(measured: Sequence[Measured], title: str) -> Figure:
    """Time and memory by the pixels of an epoch, a row of panels per system; dashed lines are for larger images."""
    systems = by_system(measured)
    drawing = report.drawing(title, 0.4 + 3.2 * len(systems))
    panels = drawing.subplots(len(systems), 2, squeeze=False)
    for (times, memories), (system, rows) in zip(panels, systems.items(), strict=True):
        for feed in dict.fromkeys(row.case.feed for row in rows):
            mine = [row for row in rows if row.case.feed == feed and row.seconds]
            if not mine:
                continue
            more = [row for row in mine if row.case.size == mine[0].case.size]
            larger = [row for row in mine if row.case.multiple == mine[0].case.multiple]
            for part, style, what in ((more, "o-", "more images"), (larger, "s--", "larger images")):
                if len(part) == 1 and mine != part:
                    continue  # a first case alone, which the other line has too
                label = f"{feed}, {what}"
                pixels = [row.pixels / 1e6 for row in part]
                times.plot(pixels, [r.median for r in part], style, color=_COLOURS[feed], label=label, markersize=4)
                memories.plot(pixels, [r.host_mib for r in part], style, color=_COLOURS[feed], markersize=4)
        for axes, what in ((times, "seconds per epoch"), (memories, "peak of the process, MiB")):
            axes.set_xscale("log")
            axes.set_yscale("log")
            report.label(axes, f"{system}: {what}", "million pixels per epoch")
        times.legend(fontsize=7, frameon=False)
    return drawing


def by_system(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The rows by their system, in order."""
    names = dict.fromkeys(row.case.system for row in measured)
    return {name: [row for row in measured if row.case.system == name] for name in names}


def _first(rows: Sequence[Measured], row: Measured) -> Measured | None:
    return next((r for r in rows if r.case.feed == row.case.feed and r.seconds), None)
