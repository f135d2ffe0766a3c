"""This project against PyTorch: both timed alternately in one run, each contender in a process of its own.

python -m experiments.benchmark                         MNIST, full epochs, five rounds
python -m experiments.benchmark --dataset digits        no download
python -m experiments.benchmark --rounds 2 --steps 20   a quick look

Needs PyTorch: pip install -e '.[benchmark]'
"""

import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from aejax import cli
from aejax.data import load
from aejax.errors import UserError
from aejax.training.config import RunConfig, at_least
from experiments import benchmark_report as report
from experiments.benchmark_jax import SYSTEMS
from experiments.benchmark_limits import Limits
from experiments.benchmark_report import Result
from experiments.benchmark_rounds import Entry, Plan, Row, measure, stop_without_a_trace
from experiments.benchmark_worker import VARIABLES, Worker, WorkerError

PYTORCH_SETTINGS: dict[str, list[str]] = {
    "PyTorch": [],
    "PyTorch, fused Adam": ["fused"],
    "PyTorch, channels_last": ["channels_last"],
    "PyTorch, channels_last, fused Adam": ["channels_last", "fused"],
    "PyTorch, channels_last, compiled": ["channels_last", "compiled"],
    "PyTorch, channels_last, compiled, fused Adam": ["channels_last", "compiled", "fused"],
}


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Time this project and PyTorch alternately; a table, results.json and a picture go to <runs>/benchmark/<name>/."""

    systems: tuple[str, ...] = tuple(SYSTEMS)
    """what is trained"""
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
    if config.clip_norm is not None:
        raise UserError("--clip-norm has no meaning here, where recipes are timed as they are: leave it out")
    if config.distributed:
        raise UserError("--distributed belongs to the experiments themselves: leave it out")
    if importlib.util.find_spec("torch") is None:
        raise UserError("the benchmark needs PyTorch: pip install -e '.[benchmark]'")
    if not config.systems or not set(config.systems) <= set(SYSTEMS):
        raise UserError(f"--systems {' '.join(config.systems)}: choose from {', '.join(SYSTEMS)}")
    where = report.environment()
    if where["load_average"] > where["cores"] / 4:
        print(
            f"warning: other processes are busy here (load average {where['load_average']:.2f}), which slows PyTorch's "
            "threads more than this project's: these ratios will flatter it",
            file=sys.stderr,
        )
    images = load(config.dataset, "train[:90%]", config.data_dir, config.raw_dir, config.image_size).images
    folder = report.open_folder(config, "benchmark")
    with (folder / "workers.log").open("w") as log, tempfile.TemporaryDirectory() as scratch:
        np.save(Path(scratch) / "images.npy", images)
        variables = VARIABLES | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "TORCHINDUCTOR_CACHE_DIR": scratch}
        spec = {
            "images": f"{scratch}/images.npy",
            "batch_size": config.batch_size,
            "devices": config.devices,
            "seed": config.seed,
        }
        with stop_without_a_trace():
            results = [
                compare(config, {**spec, "system": system}, lambda spec: Worker(spec, log, variables))
                for system in dict.fromkeys(config.systems)
            ]

    title = f"{config.dataset}, batches of {config.batch_size}"
    page, values = report.page(results, where, title), report.record(results, where)
    report.write(folder, config, page, values, report.figure(results, title))


def compare(config: Config, spec: Mapping[str, Any], start: Callable[[Mapping[str, Any]], Worker]) -> Result:
    """Checks that both sides compute the same, times them, and measures what limits this project's."""
    with contextlib.closing(start({**spec, "side": "check"})) as worker:
        checked = worker.setup()
    per_epoch = checked["steps_per_epoch"]
    plan = Plan(config.rounds, config.steps or per_epoch, config.screening_steps, per_epoch)
    contenders = entries(spec, checked["platform"], checked["devices"])
    with tqdm(total=len(contenders) * (1 + config.rounds), unit="run") as bar:
        rows = measure(contenders, start, plan, bar)
    limits = None
    with contextlib.closing(start({**spec, "side": "limits"})) as worker, contextlib.suppress(WorkerError):
        limits = Limits(**worker.setup())
    if checked["platform"] != "gpu":
        rows.append(Row("GPU", "ours", note=f"open: JAX found no GPU here, only a {checked['platform']}"))
    return Result(spec["system"], checked, plan, spec["batch_size"], rows, limits)


def entries(spec: Mapping[str, Any], platform: str, devices: int) -> list[Entry]:
    """Both sides' contenders for a machine with this JAX platform and number of devices to use by default."""
    ours, torch = {**spec, "side": "jax"}, {**spec, "side": "torch", "platform": platform}
    one_device = [Entry("aejax, 1 device", "ours", {**ours, "devices": 1})] if devices > 1 else []
    return [
        Entry("aejax", "ours", ours),
        *one_device,
        *(Entry(name, "rival", {**torch, "setting": setting}) for name, setting in PYTORCH_SETTINGS.items()),
        Entry("lesson's form (DataLoader)", "once", {**torch, "setting": ["lesson"]}),
    ]


if __name__ == "__main__":
    cli.run(main, Config)
