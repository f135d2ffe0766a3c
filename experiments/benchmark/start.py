"""Seconds from the command to the first training step, with an empty cache of compiled programs and with a full one.

python -m experiments.benchmark.start                       autoencoder, VAE and AAE on MNIST, three rounds
python -m experiments.benchmark.start --dataset digits --experiments vae --rounds 1     a quick look

The experiments' own commands run as a user would start them, and are killed when their progress bar shows the first
steps taken.
"""

import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure
from tqdm import tqdm

from aejax import cli
from aejax.data import load
from aejax.errors import UserError
from aejax.paths import cache_folder
from aejax.plots.style import COLOURS
from aejax.tables import decimal, markdown
from aejax.training.config import RunConfig, at_least
from experiments.benchmark.harness import report
from experiments.benchmark.harness.rounds import until_stopped

_STEPS = re.compile(rb"(\d+)/\d+ \[[^\]]*step")  # of the progress bar
_COLOURS = {"cold": COLOURS[1], "warm": COLOURS[0]}


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Time the start of experiments; a table, results.json and a picture go to <runs>/benchmark_start/<name>/."""

    experiments: tuple[Literal["autoencoder", "denoise", "super_resolution", "vae", "aae"], ...] = (
        "autoencoder",
        "vae",
        "aae",
    )
    """the experiments whose commands are timed"""
    rounds: int = at_least(1, 3)
    """starts of each experiment, cold and warm in turn; medians are reported"""
    longest: float = at_least(1, 600.0)
    """seconds after which a start is given up"""
    name: str = ""
    """the folder <runs>/benchmark_start/<name>, which a newer one overwrites; empty: the dataset's name"""


class Start(NamedTuple):
    """Seconds from the start of a process.

    Attributes:
      ready: until the progress bar stood at 0: everything is compiled, and the first step begins.
      trained: until the bar moved.
      steps: that the bar then showed.
    """

    ready: float
    trained: float
    steps: int


class Result(NamedTuple):
    """The starts of an experiment, the number of programs that the first one left on the disk, and their bytes."""

    experiment: str
    cold: list[Start]
    warm: list[Start]
    programs: int
    program_bytes: int


def main(config: Config) -> None:
    if not config.experiments:
        raise UserError("--experiments is empty: name at least one")
    command(config, config.experiments[0], config.runs)  # a mistake in the options is found before data are fetched
    where = report.environment()
    for split in ("train", "test"):  # a dataset is fetched and decoded once, which no start is to pay for
        load(config.dataset, split, config.data_dir, config.raw_dir, config.image_size)
    names = list(dict.fromkeys(config.experiments))
    folder = report.open_folder(config, "benchmark_start")
    with tqdm(total=2 * config.rounds * len(names), unit="start") as bar:
        results, complete = until_stopped(names, lambda name: measure(config, name, bar))
    title = f"start-up, {config.dataset}"
    text, drawing = page(results, where, title), figure(results, title)
    report.show_and_write(folder, config, text, record(results, where), drawing, complete)


def measure(config: Config, experiment: str, bar: tqdm) -> Result:
    """Starts the experiment cold and then warm, round after round, each in folders of its own."""
    cold: list[Start] = []
    warm: list[Start] = []
    for _ in range(config.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            cache = Path(scratch, "cache")
            cache.mkdir()
            (cache / "datasets").symlink_to((cache_folder() / "datasets").absolute())
            for kind, starts in (("cold", cold), ("warm", warm)):
                bar.set_description(f"{experiment}, {kind}")
                starts.append(first_step(command(config, experiment, Path(scratch, kind)), cache, config.longest))
                bar.update()
            sizes = [path.stat().st_size for path in (cache / "programs").glob("*-cache")]
    return Result(experiment, cold, warm, len(sizes), sum(sizes))


def command(config: Config, experiment: str, runs: Path) -> list[str]:
    """The experiment's own command line."""
    return [sys.executable, "-m", f"experiments.{experiment}", "--runs", str(runs), *report.options_of_runs(config)]


def first_step(words: Sequence[str], cache: Path, longest: float) -> Start:
    """Runs the command until its progress bar moves, and kills it.

    Args:
      words: the command.
      cache: its cache folder, whose compiled programs it takes and adds to.
      longest: seconds to wait.

    Raises:
      UserError: if it ends before, or takes longer.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    # Every update of the bar is shown, not one in 0.1 s.
    variables |= {"AEJAX_CACHE_DIR": str(cache), "TQDM_MININTERVAL": "0"}
    began = time.perf_counter()
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=variables, start_new_session=True
    )
    assert process.stderr is not None
    said, ready = b"", None
    try:
        while select.select([process.stderr], [], [], max(0, began + longest - time.perf_counter()))[0]:
            chunk = os.read(process.stderr.fileno(), 2**16)
            now = time.perf_counter() - began
            if not chunk:
                last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                raise UserError(f"{words[-1]} ended with status {process.wait()}: {last[0]}")
            said += chunk
            steps = [int(step) for step in _STEPS.findall(said)]
            if steps and ready is None:
                ready = now
            if ready is not None and any(steps):
                return Start(ready, now, next(step for step in steps if step))
        raise UserError(f"no step was taken in {longest:g} s: raise --longest")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def table(results: Sequence[Result]) -> str:
    """The medians as Markdown."""
    cells = {}
    for result in results:
        cold = statistics.median(start.ready for start in result.cold)
        for kind, starts in (("cold", result.cold), ("warm", result.warm)):
            ready = [start.ready for start in starts]
            trained = statistics.median(start.trained for start in starts)
            cells[f"{result.experiment}, {kind}"] = {
                "first step begins, s": decimal(statistics.median(ready)),
                "min to max": report.spread(ready),
                "of cold": f"{statistics.median(ready) / cold:.2f}",
                f"{starts[0].steps} steps taken, s": decimal(trained),
                "programs on the disk": f"{result.programs}, {result.program_bytes / 2**20:.1f} MiB",
            }
    return markdown(cells, "experiment")


def page(results: Sequence[Result], where: Mapping[str, Any], title: str) -> str:
    """All of it as Markdown; `where` is the `environment`."""
    return "\n\n".join(
        [
            *report.heading(where, title),
            table(results),
            f"Seconds from the start of the experiment's command, medians of {len(results[0].cold)}, cold and warm in "
            "turn. Cold: no compiled program on the disk; warm: those that the cold start left. Both find the dataset "
            "decoded. The first step begins when the progress bar appears; it first moves when as many steps as shown "
            "are taken.",
        ]
    )


def record(results: Sequence[Result], where: Mapping[str, Any]) -> dict[str, Any]:
    """All of it as JSON values; `where` is the `environment`."""
    starts = {
        result.experiment: {
            "cold": [start._asdict() for start in result.cold],
            "warm": [start._asdict() for start in result.warm],
            "programs": result.programs,
            "program_bytes": result.program_bytes,
        }
        for result in results
    }
    return {"environment": where, "experiments": starts}


def figure(results: Sequence[Result], title: str) -> Figure:
    """Horizontal bars: medians, lines from minimum to maximum."""
    drawing = report.drawing(title, 1.2 + 0.7 * len(results))
    axes = drawing.subplots()
    drawn = {}
    for result in results:
        for kind, starts in (("cold", result.cold), ("warm", result.warm)):
            ready = [start.ready for start in starts]
            median = statistics.median(ready)
            drawn[f"{result.experiment}, {kind}"] = (ready, median, f"{decimal(median)} s", _COLOURS[kind])
    report.bars(axes, drawn)
    axes.margins(x=0.15)
    report.label(axes, "", "seconds from the command to the first training step")
    return drawing


if __name__ == "__main__":
    cli.run(main, Config)
