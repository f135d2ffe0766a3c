"""The stages of the accelerator benchmark, most valuable first. Each runs in processes of its own."""

import contextlib
import functools
import importlib.util
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.contenders.settings import (
    LOWERINGS,
    PRECISIONS,
    PYTORCH_GPU_SETTINGS,
    PYTORCH_SETTINGS,
)
from experiments.benchmark.harness.stages import Bench, Options, Stage

# The names of contenders.jax_systems.SYSTEMS, which only a machine with all requirements can import.
SYSTEMS = ("autoencoder", "vae", "conv_vae", "aae", "denoiser", "super_resolver")
_DENSE = ("vae", "aae")
GROUPS = ("prepare", "smoke", "equality", "whole", "speed", "limits", "seeds", "feeds", "settings")
_FIRST = ("autoencoder", "vae", "aae")  # of the experiments, in the smoke test
_NO_TRAINING = ("export", "summarize", "aae_tradeoff", "reproduce")
# The settings of PyTorch that are likely to be its best, by platform.
_FIRST_SETTINGS = {
    "gpu": ("PyTorch, channels_last, fused Adam, tf32", "PyTorch, channels_last, CUDA graphs, fused Adam, tf32"),
    "cpu": ("PyTorch, channels_last, fused Adam",),
}
_SEEDS = (1, 4, 16)
_OURS = "aejax"
_SMOKE_LIMIT = 150.0  # seconds for each experiment


def all_stages(options: Options) -> list[Stage]:
    """All stages in their order."""
    systems = [system for system in SYSTEMS if system in options.systems]
    torch = importlib.util.find_spec("torch") is not None
    settings = PYTORCH_SETTINGS | (PYTORCH_GPU_SETTINGS if options.platform == "gpu" else {})
    known: dict[str, Sequence[str]] = {name: setting for name, setting in settings.items() if torch}
    first = {name: known[name] for name in _FIRST_SETTINGS.get(options.platform, ()) if name in known}
    timed = functools.partial(_speed_stages, systems, options)
    return [
        Stage("device", _device),
        Stage("images", _images),
        *(Stage(f"smoke/{name}", functools.partial(_smoke, name), overlaps=True) for name in experiments()),
        *(Stage(f"equality/{system}", functools.partial(_equality, system), overlaps=True) for system in systems),
        *([Stage("whole/autoencoder", _whole)] if "autoencoder" in systems else []),
        *timed("speed", {_OURS: ()} | first | dict.fromkeys(LOWERINGS, ())),
        *(Stage(f"limits/{system}", functools.partial(_limits, system)) for system in systems),
        *(
            Stage(f"seeds/{system}/{seeds}", functools.partial(_training, system, "resident", seeds))
            for system in systems[:2]
            for seeds in _SEEDS
        ),
        *(Stage(f"feeds/{system}", functools.partial(_feed, system)) for system in systems[:2]),
        *timed("settings", {name: setting for name, setting in known.items() if name not in first}),
    ]


def experiments() -> list[str]:
    """The experiments that train, from what the folder has: the most important first."""
    files = Path(__file__).parents[1].glob("*.py")
    commands = [file.stem for file in files if re.search(r"cli\.run\(main", file.read_text())]
    names = sorted(set(commands) - set(_NO_TRAINING))
    return sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))


def _speed_stages(
    systems: Sequence[str], options: Options, group: str, contenders: Mapping[str, Sequence[str]]
) -> Iterator[Stage]:
    """By contender before system, so that each system has its most important rows before any has its last."""
    for contender, setting in contenders.items():
        for system in systems:
            if contender == _OURS:
                spec: dict[str, Any] = {"side": "jax"}
            elif contender in LOWERINGS:
                spec = {"side": "jax", "lowering": LOWERINGS[contender]}
            else:
                spec = {"side": "torch", "platform": options.platform, "setting": setting}
            if contender not in LOWERINGS or system not in _DENSE:
                run = functools.partial(_speed, {**spec, "system": system})
                yield Stage(f"{group}/{system}/{contender}", run)


def _device(bench: Bench) -> dict[str, Any]:
    with bench.worker({"side": "card", "ask": "device"}) as worker:
        return worker.setup()


def _images(bench: Bench) -> dict[str, Any]:
    spec = {"dataset": bench.options.dataset, "count": bench.options.images, "to": bench.images}
    with bench.worker({"side": "card", "ask": "images", **spec}) as worker:
        return worker.setup()


def _smoke(name: str, bench: Bench) -> dict[str, Any]:
    """Runs one epoch of the experiment by its own command, with all that it evaluates and draws."""
    with tempfile.TemporaryDirectory() as runs, tempfile.TemporaryFile("w+") as said:
        words = [sys.executable, "-m", f"experiments.{name}", "--dataset", bench.options.dataset, "--epochs", "1"]
        variables = os.environ | bench.variables(bench.options.platform)
        process = subprocess.Popen(
            [*words, "--runs", runs], stdout=said, stderr=said, env=variables, start_new_session=True
        )

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        with bench.ended_by(kill):
            try:
                status = process.wait(_SMOKE_LIMIT)
            except subprocess.TimeoutExpired:
                kill()
                process.wait()
                raise TimeoutError(f"not done in {_SMOKE_LIMIT:.0f} s") from None
        files = sum(path.is_file() for path in Path(runs).rglob("*"))
        said.seek(0)
        last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
    if status:
        raise RuntimeError(f"status {status}: {last}")
    return {"files": files}


def _equality(system: str, bench: Bench) -> dict[str, Any]:
    """One step on the CPU and one on the device from the same state: how far apart is what they leave?"""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        common = {"side": "card", "ask": "step", "system": system, "start": f"{scratch}/start.npz"}
        for name, platform in (("cpu", "cpu"), ("device", bench.options.platform)):
            with bench.worker({**common, "to": f"{scratch}/{name}"}, platform) as worker:
                worker.setup()
        for precision in PRECISIONS:
            apart = differences(Path(scratch, "cpu-highest.npz"), Path(scratch, f"device-{precision}.npz"))
            found |= {f"{what} differ by, {precision} precision": value for what, value in apart.items()}
    return found


def differences(one: Path, other: Path) -> dict[str, float]:
    """The largest difference of two steps' losses, gradients and parameters, as a share of each array's largest value.

    Gradients are compared as the optimiser's moments, which after a first step are multiples of them.
    """
    found = {"losses": 0.0, "gradients": 0.0, "parameters": 0.0}
    with np.load(one) as a, np.load(other) as b:
        for name in a.files:
            # A step returns (state, metrics), whose paths begin with [0] and [1].
            what = "losses" if name.startswith("[1]") else "parameters" if ".params" in name else "gradients"
            largest = np.abs(a[name]).max(initial=1e-30)
            found[what] = max(found[what], float(np.abs(a[name] - b[name]).max(initial=0) / largest))
    return found


def _whole(bench: Bench) -> dict[str, Any]:
    """A whole training from the start of its process: imports, data, compilation and all epochs."""
    began = time.monotonic()
    per_epoch = bench.options.images // bench.options.batch_size
    with bench.worker({"side": "jax", "system": "autoencoder"}) as worker:
        ready = worker.setup()
        reply = worker.run(bench.options.epochs * per_epoch)
    start_up = ready["build_s"] + ready["first_step_s"]
    return {
        "epochs": bench.options.epochs,
        "all_s": time.monotonic() - began,
        "build_and_compile_s": start_up,
        "epochs_s": reply["seconds"],
        "memory_mib": reply["memory_mib"],
        "device": ready["device"],
    }


def _speed(spec: Mapping[str, Any], bench: Bench) -> dict[str, Any]:
    """Milliseconds per step of a contender: the median of several measurements in one process."""
    steps = bench.options.steps
    with bench.worker(spec) as worker:
        ready = worker.setup()
        steps = -(-steps // ready["unit"]) * ready["unit"]
        replies = [worker.run(steps) for _ in range(bench.options.repeats)]
    per_step = [1000 * reply["seconds"] / steps for reply in replies]
    return {
        "ms_per_step": statistics.median(per_step),
        "min": min(per_step),
        "max": max(per_step),
        "images_per_s": 1000 * bench.options.batch_size / statistics.median(per_step),
        "start_up_s": ready["build_s"] + ready["first_step_s"],
        "memory_mib": replies[-1]["memory_mib"],
        "device": ready["device"],
    }


def _limits(system: str, bench: Bench) -> dict[str, Any]:
    """What the step reaches of the card's operations and bytes per second."""
    with bench.worker({"side": "limits", "system": system}) as worker:
        found = worker.setup()
    speed = bench.results.get(f"speed/{system}/{_OURS}", {})
    if "ms_per_step" in speed:
        per_s = 1000 / speed["ms_per_step"]
        found |= {"flops_per_s": found["flops"] * per_s, "bytes_per_s": found["bytes"] * per_s}
        found["share_of_flops"] = found["flops_per_s"] / found["peak_flops"]
        found["share_of_bytes"] = found["bytes_per_s"] / found["peak_bytes"]
    return found


def _training(system: str, feed: str, seeds: int, bench: Bench) -> dict[str, Any]:
    """`_speed` on one of the feeds, perhaps with many seeds in one program."""
    found = _speed({"side": "jax_feeds", "system": system, "feed": feed, "seeds": seeds}, bench)
    return found | {"ms_per_step_and_seed": found["ms_per_step"] / seeds}


def _feed(system: str, bench: Bench) -> dict[str, Any]:
    """The share of the resident feed's speed that images moved from the host's memory reach."""
    resident = bench.results.get(f"seeds/{system}/1", {})
    if "ms_per_step" not in resident:
        resident = _training(system, "resident", 1, bench)
    moved = _training(system, "memory", 1, bench)
    share = resident["ms_per_step"] / moved["ms_per_step"]
    return {"share_of_resident": share, **{f"{name}, moved": moved[name] for name in ("ms_per_step", "memory_mib")}}


def ratios(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each system: the time of this project's step over that of PyTorch's best."""
    for system in SYSTEMS:
        found = {
            name.split("/", 2)[2]: result["ms_per_step"]
            for name, result in results.items()
            if name.split("/")[0] in ("speed", "settings") and name.split("/")[1] == system and "ms_per_step" in result
        }
        rivals = {name: value for name, value in found.items() if name.startswith("PyTorch")}
        if _OURS in found and rivals:
            best = min(rivals, key=lambda name: rivals[name])
            yield (
                f"{system}: {found[_OURS]:.3f} ms per step, {found[_OURS] / rivals[best]:.2f} of PyTorch's best "
                f"({best}, {rivals[best]:.3f} ms)"
            )
