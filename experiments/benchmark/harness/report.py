"""What all benchmarks share: the machine, the first lines of a page, cells, bars, and the folder of the results."""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aejax import plots
from aejax.errors import UserError
from aejax.plots.style import INK
from aejax.tables import decimal
from aejax.training.config import RunConfig, options_as_json, plain_name
from aejax.training.devices import cores
from aejax.training.runs import write_json, write_text
from experiments.benchmark.harness.rounds import STOPPED, Row

# The options of every run that a benchmark takes.
_OPTIONS = frozenset({"dataset", "image_size", "seed", "devices", "data_dir", "raw_dir", "runs", "name"})
_ROOT = Path(__file__).parents[3]


def refuse_other_recipes(config: RunConfig) -> None:
    """UserError for an option of every run that would change what is trained, on what, or where."""
    for field in dataclasses.fields(RunConfig):
        if field.name not in _OPTIONS and getattr(config, field.name) != field.default:
            option = f"--{field.name.replace('_', '-')}"
            raise UserError(f"{option} has no meaning here, where recipes are timed as they are: leave it out")


def options_of_runs(config: RunConfig) -> list[str]:
    """The options of every run that differ from their defaults, but for the folder, as words for an experiment.

    Raises:
      UserError: for --distributed, as the processes that this one starts are one each.
    """
    if config.distributed:
        raise UserError("--distributed belongs to the experiments themselves: leave it out")
    words = []
    for field in dataclasses.fields(RunConfig):
        value = getattr(config, field.name)
        if field.name not in ("runs", "name") and value != field.default:
            option = f"--{field.name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return words


def require_pytorch() -> None:
    """UserError where PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise UserError("the benchmark needs PyTorch: pip install -e '.[benchmark]'")


def open_folder(config: RunConfig, kind: str) -> Path:
    """Makes the folder <runs>/<kind>/<name> where it is not there; the name is by default that of the dataset.

    Raises:
      UserError: where it cannot be written.
    """
    folder = config.runs.expanduser() / kind / (config.name or plain_name(config.dataset))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "workers.log").unlink(missing_ok=True)  # of an earlier benchmark; also, the folder can be written
        return folder
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): choose another folder with --runs") from None


def write(folder: Path, config: RunConfig, page: str, values: Mapping[str, Any], drawing: Figure) -> None:
    """Leaves table.md, results.json and benchmark.png in the folder, each whole or not at all."""
    write_text(folder / "table.md", page + "\n")
    plots.save(drawing, folder / "benchmark.png")
    write_json(folder / "results.json", {"config": options_as_json(config), **values})


def show_and_write(
    folder: Path, config: RunConfig, page: str, values: Mapping[str, Any], drawing: Figure, complete: bool
) -> None:
    """Does `write`, with the page on the terminal. Ends the command if it was stopped before all was complete."""
    print(page)
    write(folder, config, page, {"complete": complete, **values}, drawing)
    print(f"table, results.json and picture: {folder}")
    if not complete:
        print("stopped; the table holds what was complete", file=sys.stderr)
        sys.exit(STOPPED)


def environment() -> dict[str, Any]:
    """Describes the machine as it is now, and the code: what the figures depend on."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else None
    versions = {name: importlib.metadata.version(name) for name in ("jax", "flax", "torch") if _installed(name)}
    return {
        "cpu": found[1] if found else platform.processor() or platform.machine(),
        "cores": cores(),
        "load_average": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), **versions},
        "code": _code(),
        "date": time.strftime("%Y-%m-%d"),
    }


def heading(where: Mapping[str, Any], title: str) -> list[str]:
    """The first paragraphs of a page; `where` is the `environment`."""
    machine = f"{where['cpu']}, {where['cores']} cores, load average {where['load_average']:.2f} before"
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return [f"# Benchmark: {title}", f"{where['date']}, {machine}; {versions}; sources {where['code']}."]


def open_on_gpu(devices: Iterable[str]) -> list[str]:
    """The line of a page that no figure is a GPU's, where all devices are CPUs."""
    used = {device for device in devices if device}
    return ["GPU: open, as JAX found none here."] if all(device.endswith("cpu") for device in used) else []


def gpu_row(found: str) -> list[Row]:
    """A row that says that no GPU was there to measure on, where JAX found another platform."""
    return [] if found == "gpu" else [Row("GPU", "ours", note=f"open: JAX found no GPU here, only a {found}")]


def spread(seconds: Sequence[float]) -> str:
    """The smallest and the largest value, as a cell."""
    return f"{decimal(min(seconds))} to {decimal(max(seconds))}" if seconds else ""


def start_up(row: Row) -> str:
    """The start-up time, as a cell."""
    return "" if row.start_up_s is None else f"{row.start_up_s:.1f}"


def last_cells(row: Row) -> dict[str, str]:
    """The cells with which the row of every table ends."""
    memory = "" if row.memory_mib is None else f"{row.memory_mib:,}"
    return {"peak memory, MiB": memory, "device": row.device, "note": row.note}


def bars(axes: Axes, rows: Mapping[str, tuple[Sequence[float], float, str, str]]) -> None:
    """Draws a horizontal bar for each name of `rows`, from top to bottom.

    Args:
      axes: to draw on.
      rows: by name (values, length, words, colour): a bar of that length with a line from the smallest value to the
        largest, and the words after it.
    """
    for y, (values, length, words, colour) in enumerate(rows.values()):
        axes.barh(y, length, 0.62, color=colour)
        axes.plot([min(values), max(values)], [y, y], color=INK, linewidth=1.4, solid_capstyle="butt")
        end = max(length, *values)
        axes.annotate(words, (end, y), (6, 0), textcoords="offset points", va="center", size=9, color=INK)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)


def drawing(title: str, height: float) -> Figure:
    """An empty figure of the width of all benchmarks' pictures, with its title; `height` is in inches."""
    figure = Figure(figsize=(8.4, height), dpi=plots.DPI, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", size=11, weight="bold", color=INK)
    return figure


def label(axes: Axes, title: str, below: str) -> None:
    """Names a panel and its horizontal axis, and takes away what ink it does not need."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_title(title, loc="left", size=10, color=INK)
    axes.set_xlabel(below, color=INK)


def _code() -> str:
    """The first digits of a hash of the sources that are timed, which no two versions share."""
    found = hashlib.sha256()
    for file in sorted([*_ROOT.glob("aejax/**/*.py"), *_ROOT.glob("experiments/**/*.py")]):
        found.update(file.read_bytes())
    return found.hexdigest()[:10]


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
