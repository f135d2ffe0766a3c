"""Time per epoch and peak memory as images become more and larger, with images on the devices and streamed.

python -m experiments.benchmark.growth                      MNIST, 1, 4, 16 times its images; 28, 64, 128 pixels
python -m experiments.benchmark.growth --systems vae --multiples 1 4 --sizes 28 --steps 50      a quick look

More images are the dataset's own, repeated; larger ones are the same, resized.
"""

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from aejax import cli
from aejax.data import load
from aejax.errors import UserError
from aejax.training.config import RunConfig, at_least
from experiments.benchmark.contenders.jax_feeds import FeedName, spec_of
from experiments.benchmark.contenders.jax_systems import SYSTEMS, check_systems
from experiments.benchmark.harness import report
from experiments.benchmark.harness.rounds import Timed, until_stopped
from experiments.benchmark.harness.worker import VARIABLES, Worker, WorkerError
from experiments.benchmark.reports import growth as growth_report
from experiments.benchmark.reports.growth import Case, Measured

_SPLIT = "train[:90%]"
_NEXT_SIZES = 8  # the convolutional networks take one size in eight


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Time epochs of growing datasets, each in a process of its own, one after another; a table, results.json and a
    picture go to <runs>/benchmark_growth/<name>/."""

    systems: tuple[str, ...] = ("autoencoder", "vae")
    """the systems that are trained"""
    multiples: tuple[int, ...] = at_least(1, (1, 4, 16))
    """how many times the training images, at the first size"""
    sizes: tuple[int, ...] = at_least(1, (28, 64, 128))
    """sizes of the images in pixels, at the first multiple; a network that refuses one gets the next that it takes"""
    feeds: tuple[FeedName, ...] = ("resident", "streaming", "memory")
    """resident: images on the devices; streaming: read from a file while training; memory: moved from the host's memory
    while training"""
    rounds: int = at_least(1, 1)
    """measurements of each case; their median is reported"""
    steps: int | None = at_least(1, None)
    """steps per measurement, rounded up to what the feed moves at once; None: a whole epoch"""
    batch_size: int = at_least(1, 256)
    """images per step, over all devices"""
    name: str = ""
    """the folder <runs>/benchmark_growth/<name>, which a newer one overwrites; empty: the dataset's name"""


def main(config: Config) -> None:
    report.refuse_other_recipes(config)
    check_systems(config.systems)
    for option in ("multiples", "sizes", "feeds"):
        if not getattr(config, option):
            raise UserError(f"--{option} is empty: name at least one")
    where = report.environment()
    count, channels = _examine(config)
    feeds = list(dict.fromkeys(config.feeds))
    cases = [
        case
        for system in dict.fromkeys(config.systems)
        for case in cases_of(system, config.multiples, sizes_for(system, config.sizes, channels), feeds)
    ]
    folder = report.open_folder(config, "benchmark_growth")
    with (
        (folder / "workers.log").open("w") as log,
        tempfile.TemporaryDirectory(dir=folder) as scratch,  # where there is room for runs, there is for images
        tqdm(total=len(cases) * config.rounds, unit="run") as bar,
    ):
        measured, complete = measure(
            config, cases, count, Path(scratch), lambda spec: Worker(spec, log, VARIABLES), bar
        )
    title = f"growing data, {config.dataset}, batches of {config.batch_size}"
    page = growth_report.page(measured, where, title, config.steps, channels)
    values, drawing = growth_report.record(measured, where), growth_report.figure(measured, title)
    report.show_and_write(folder, config, page, values, drawing, complete)


def sizes_for(system: str, sizes: Sequence[int], channels: int) -> list[int]:
    """Replaces each size that the system's network refuses by the next one that it takes."""

    def fits(size: int) -> bool:
        try:
            SYSTEMS[system].method((size, size, channels))
        except UserError:
            return False
        return True

    found = [next((n for n in range(size, size + _NEXT_SIZES) if fits(n)), None) for size in sizes]
    if None in found:
        raise UserError(f"--sizes {sizes[found.index(None)]}: {system} takes no images of about this size; set others")
    return list(dict.fromkeys(size for size in found if size is not None))


def cases_of(system: str, multiples: Sequence[int], sizes: Sequence[int], feeds: Sequence[FeedName]) -> list[Case]:
    """Lists the cases: more images at the first size, then larger ones at the first multiple."""
    grown = [(multiple, sizes[0]) for multiple in dict.fromkeys(multiples)]
    grown += [(multiples[0], size) for size in sizes[1:]]
    return [Case(system, multiple, size, feed) for multiple, size in grown for feed in feeds]


def measure(
    config: Config,
    cases: Sequence[Case],
    count: int,
    scratch: Path,
    start: Callable[[Mapping[str, Any]], Timed],
    bar: tqdm,
) -> tuple[list[Measured], bool]:
    """Times the cases; multiple 1 has `count` images. The images of one are written to `scratch`.

    Each runs alone, in a process that ends with its measurement, so that the reading of no other takes its cores. They
    take turns, so that a drift of the machine's speed meets all alike. Ctrl-C ends it early.

    Returns:
      A row for each case, and whether all were measured.
    """
    rows = [Measured(case, count * case.multiple) for case in cases]

    def once(row: Measured) -> None:
        bar.set_description(str(row.case))
        if not row.note:
            _measure_once(config, row, scratch / "images.npy", start)
        bar.update()

    _, complete = until_stopped(rows * config.rounds, once)
    for row in rows:
        if not row.seconds and not row.note:
            row.note = "stopped before"
    return rows, complete


def _measure_once(config: Config, row: Measured, file: Path, start: Callable[[Mapping[str, Any]], Timed]) -> None:
    case, per_epoch = row.case, row.images // config.batch_size
    write_multiple(file, load(config.dataset, _SPLIT, config.data_dir, config.raw_dir, case.size).images, case.multiple)
    spec = spec_of(config, config.batch_size, file, system=case.system, feed=case.feed, seeds=1)
    with contextlib.closing(start(spec)) as worker:
        try:
            ready = worker.setup()
            steps = -(-(config.steps or per_epoch) // ready["unit"]) * ready["unit"]
            reply = worker.run(steps)
        except WorkerError as error:
            row.seconds.clear()
            row.note = f"failed: {error}"
            return
    row.device = ready["device"]
    row.seconds.append(reply["seconds"] * per_epoch / steps)
    row.memory_mib, row.host_mib = max(row.memory_mib, reply["memory_mib"]), max(row.host_mib, reply["host_mib"])


def write_multiple(file: Path, images: np.ndarray, multiple: int) -> None:
    """Writes the images `multiple` times, one after another, to an .npy file, without holding them all in memory."""
    written = np.lib.format.open_memmap(file, "w+", images.dtype, (multiple * len(images), *images.shape[1:]))
    for first in range(0, len(written), len(images)):
        written[first : first + len(images)] = images
    written.flush()


def _examine(config: Config) -> tuple[int, int]:
    """Finds the number of training images and of their channels."""
    images = load(config.dataset, _SPLIT, config.data_dir, config.raw_dir, config.sizes[0]).images
    if config.batch_size > len(images):
        raise UserError(f"--batch-size {config.batch_size} is more than the {len(images)} training images: lower it")
    return len(images), images.shape[-1]


if __name__ == "__main__":
    cli.run(main, Config)
