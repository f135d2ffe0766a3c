"""A run's final figures: a table on the terminal, and summary.json with what is needed to repeat them."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from aejax.training import distributed

_STARTED = time.monotonic()


def mean_of_examples(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means of metrics given one value per example."""
    return {name: float(np.mean(v, dtype=np.float64)) for name, v in values.items()}


def note(lines: Iterable[str]) -> None:
    """Tells the user something of a run, on stderr; of several processes, process 0 alone does."""
    if distributed.first():
        for line in lines:
            print(line, file=sys.stderr)


def environment(mesh: Mesh) -> dict[str, Any]:
    """Returns what a figure depends on besides its configuration: code, devices and versions."""
    device = mesh.devices.flat[0]
    hosts = f" of {distributed.count()} processes" if distributed.count() > 1 else ""
    return {
        "commit": commit(),
        "machine": machine(),
        "devices": f"{mesh.size} x {device.platform} ({device.device_kind}){hosts}",
        "python": sys.version.split()[0],
        **{name: importlib.metadata.version(name) for name in ("jax", "flax", "optax")},
        "finished": time.strftime("%Y-%m-%d"),
        "peak_memory_mib": peak_memory_mib(),
    }


@functools.cache
def commit(folder: Path = Path(__file__).parents[2]) -> str | None:
    """Returns the git commit of this package's code, with "+ changes" where files differ from it.

    None where the code is no git checkout of its own, or git is missing.
    """
    if not (folder / ".git").exists():
        return None
    try:
        head, status = (
            subprocess.run(
                ["git", "--no-optional-locks", "-C", str(folder), *words],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head} + changes" if status else head


def command() -> str:
    """Returns the command that started this program, with plain "python" in place of the interpreter's path."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def seconds() -> float:
    """Returns the seconds since this program began to run."""
    return round(time.monotonic() - _STARTED, 1)


@functools.cache
def machine() -> str:
    """Returns the processor's name, where the system tells it, and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def peak_memory_mib() -> int:
    """The process's largest resident size so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20
