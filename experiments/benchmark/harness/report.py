"""What all benchmarks share: the machine, a page's first lines, pictures' style, and the folder of the results."""

import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from aejax import plots
from aejax.errors import UserError
from aejax.training.config import RunConfig, identity, plain_name
from aejax.training.runs import write_json, write_text

_INK = "#24292f"


def heading(where: Mapping[str, Any], title: str) -> list[str]:
    """A page's first paragraphs; `where` is the `environment`."""
    machine = f"{where['cpu']}, {where['cores']} cores, load average {where['load_average']:.2f} before"
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return [f"# Benchmark: {title}", f"{where['date']}, {machine}; {versions}."]


def open_on_gpu(devices: Iterable[str]) -> list[str]:
    """For a page, the line that no figure is a GPU's, where all devices are CPUs."""
    used = {device for device in devices if device}
    return ["GPU: open, as JAX found none here."] if all(device.endswith("cpu") for device in used) else []


def titled(drawing: Figure, title: str) -> Figure:
    """A benchmark's picture with its title, and no more ink around its panels than they need."""
    for axes in drawing.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_INK, labelsize=9)
    drawing.suptitle(title, x=0.01, ha="left", size=11, weight="bold", color=_INK)
    return drawing


def refuse_other_recipes(config: RunConfig) -> None:
    """UserError for an option that would change what is trained, or where."""
    if config.clip_norm is not None:
        raise UserError("--clip-norm has no meaning here, where recipes are timed as they are: leave it out")
    if config.distributed:
        raise UserError("--distributed belongs to the experiments themselves: leave it out")


def open_folder(config: RunConfig, kind: str) -> Path:
    """The folder <runs>/<kind>/<name>, by default that of the dataset's name, made if it is not there.

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
    """Leaves table.md, results.json and benchmark.png in the folder, and the table on the terminal."""
    print(page)
    write_text(folder / "table.md", page + "\n")
    write_json(folder / "results.json", {"config": identity(config), **values})
    plots.save(drawing, folder / "benchmark.png")
    print(f"table, results.json and picture: {folder}")


def environment() -> dict[str, Any]:
    """What the figures depend on besides the code, as the machine is now."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else None
    versions = {name: importlib.metadata.version(name) for name in ("jax", "flax", "torch") if _installed(name)}
    return {
        "cpu": found[1] if found else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), **versions},
        "date": time.strftime("%Y-%m-%d"),
    }


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
