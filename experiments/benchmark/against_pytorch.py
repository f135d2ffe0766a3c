"""This project against PyTorch: both timed alternately in one run, each contender in a process of its own.

python -m experiments.benchmark                         MNIST, full epochs, five rounds
python -m experiments.benchmark --dataset digits        no download
python -m experiments.benchmark --rounds 2 --steps 20   a quick look

Needs PyTorch: pip install -e '.[benchmark]'
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from aejax.data import load
from aejax.training.config import RunConfig, at_least, options_as_json
from experiments.benchmark.contenders.jax_systems import SYSTEMS, check_systems
from experiments.benchmark.contenders.limits import Limits
from experiments.benchmark.contenders.settings import LOWERINGS, PYTORCH_GPU_SETTINGS, PYTORCH_SETTINGS
from experiments.benchmark.harness import report
from experiments.benchmark.harness.rounds import STOPPED, Entry, Plan, measure, until_stopped
from experiments.benchmark.harness.worker import VARIABLES, Worker, WorkerError
from experiments.benchmark.reports import against_pytorch as comparison
from experiments.benchmark.reports.against_pytorch import Result


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Time this project and PyTorch alternately. A table, results.json and a picture go to <runs>/benchmark/<name>/.

    Each system is printed and kept there when its rounds are done; after a stop (Ctrl-C), the same command goes on with
    the next one. Other commands, each with its own --help: python -m experiments.benchmark.growth (more and larger
    images), .seeds (many seeds in one program), .start (from the command to the first step), .likelihood
    (importance-sampled), .soak (killed and resumed), .scaling (a cluster, on paper), .accelerator (all that needs a
    GPU).
    """

    systems: tuple[str, ...] = tuple(SYSTEMS)
    """the systems that are trained"""
    rounds: int = at_least(1, 5)
    """measurements of each contender; their median is reported"""
    steps: int | None = at_least(1, None)
    """steps per measurement; None: one epoch"""
    screening_steps: int = at_least(1, 20)
    """steps of the first round, after which settings of PyTorch that are 1.5 times slower than its best are left out"""
    batch_size: int = at_least(1, 256)
    """images per step, over all devices"""
    name: str = ""
    """the folder <runs>/benchmark/<name>, which a newer benchmark overwrites; empty: the dataset's name"""


def main(config: Config) -> None:
    report.refuse_other_recipes(config)
    report.require_pytorch()
    check_systems(config.systems)
    where = report.environment()
    if where["load_average"] > where["cores"] / 4:
        print(
            f"warning: other processes are busy here (load average {where['load_average']:.2f}), which slows PyTorch's "
            "threads more than this project's: these ratios will flatter it",
            file=sys.stderr,
        )
    images = load(config.dataset, "train[:90%]", config.data_dir, config.raw_dir, config.image_size).images
    folder = report.open_folder(config, "benchmark")
    title = f"{config.dataset}, batches of {config.batch_size}"
    kept = stopped_before(folder / "results.json", config, where)
    systems = list(dict.fromkeys(config.systems))
    results: list[Result] = []
    print("\n\n".join(report.heading(where, title)), end="\n\n")
    with (folder / "workers.log").open("w") as log, tempfile.TemporaryDirectory() as scratch:
        np.save(Path(scratch) / "images.npy", images)
        variables = VARIABLES | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "TORCHINDUCTOR_CACHE_DIR": scratch}
        spec = {"images": f"{scratch}/images.npy", "batch_size": config.batch_size}
        spec |= {"devices": config.devices, "seed": config.seed}

        def measured(system: str) -> Result:
            """Measures the system, shows it, and writes all that is complete."""
            result = kept.get(system) or compare(
                config, {**spec, "system": system}, lambda spec: Worker(spec, log, variables)
            )
            results.append(result)
            print(comparison.section(result), end="\n\n", flush=True)
            page = comparison.page(results, where, title)
            values = comparison.record(results, where, len(results) == len(systems))
            report.write(folder, config, page, values, comparison.figure(results, title))
            return result

        _, complete = until_stopped(systems, measured)
    print(f"table, results.json and picture: {folder}")
    if not complete:
        done = ", ".join(result.system for result in results)
        print(f"stopped; {folder} keeps {done}; the same command goes on from there", file=sys.stderr)
        sys.exit(STOPPED)


def stopped_before(file: Path, config: Config, where: Mapping[str, Any]) -> dict[str, Result]:
    """Finds the systems that a benchmark of the same kind had measured when it was stopped.

    Empty where results.json is that of a complete benchmark, or where its settings, machine, versions or sources
    differ.
    """
    try:
        values = json.loads(file.read_text())
        same = all(values["environment"][name] == where[name] for name in ("cpu", "cores", "versions", "code"))
        if values["complete"] or not same or _settings(values["config"]) != _settings(options_as_json(config)):
            return {}
        return {result.system: result for result in comparison.results_of(values)}
    except (OSError, ValueError, KeyError, TypeError):  # none, or of another version of this program
        return {}


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """All that a system's figures depend on: all but the names of the systems."""
    return {name: value for name, value in config.items() if name != "systems"}


def compare(config: Config, spec: Mapping[str, Any], start: Callable[[Mapping[str, Any]], Worker]) -> Result:
    """Checks that both sides compute the same, times them, and measures what limits this project's."""
    load_average, began = os.getloadavg()[0], time.perf_counter()
    with contextlib.closing(start({**spec, "side": "check"})) as worker:
        checked = worker.setup()
    per_epoch = checked["steps_per_epoch"]
    plan = Plan(config.rounds, config.steps or per_epoch, config.screening_steps, per_epoch)
    contenders = entries(spec, checked["platform"], checked["devices"])
    with tqdm(total=len(contenders) * (1 + config.rounds), unit="run") as bar:
        rows, spent = measure(contenders, start, plan, bar)
    limits = None
    with contextlib.closing(start({**spec, "side": "limits"})) as worker, contextlib.suppress(WorkerError):
        limits = Limits(**worker.setup())
    spent = spent._replace(checking=time.perf_counter() - began - sum(spent))
    rows += report.gpu_row(checked["platform"])
    return Result(spec["system"], checked, plan, spec["batch_size"], rows, limits, spent, load_average)


def entries(spec: Mapping[str, Any], platform: str, devices: int) -> list[Entry]:
    """Lists the contenders of both sides on this JAX platform, where `devices` are used by default."""
    ours, torch = {**spec, "side": "jax"}, {**spec, "side": "torch", "platform": platform}
    settings = PYTORCH_SETTINGS | (PYTORCH_GPU_SETTINGS if platform == "gpu" else {})
    # On a CPU the native lowering is known to be the slower one, by minutes.
    lowerings = LOWERINGS if platform == "gpu" and not SYSTEMS[spec["system"]].dense else {}
    one_device = [Entry("aejax, 1 device", "ours", {**ours, "devices": 1})] if devices > 1 else []
    return [
        Entry("aejax", "ours", ours),
        *one_device,
        *(Entry(name, "ours", {**ours, "lowering": lowering}) for name, lowering in lowerings.items()),
        *(Entry(name, "rival", {**torch, "setting": setting}) for name, setting in settings.items()),
        Entry("tutorial's form (DataLoader)", "once", {**torch, "setting": ["tutorial"]}),
    ]
