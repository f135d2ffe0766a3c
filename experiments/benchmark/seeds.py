"""Several seeds in one program, against the same runs one after another: time, memory, and where it stops paying.

python -m experiments.benchmark.seeds                       autoencoder and VAE on MNIST, 2, 4 and 8 seeds
python -m experiments.benchmark.seeds --dataset digits --systems vae --counts 2 --steps 5      a quick look
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from aejax import cli
from aejax.data import load
from aejax.errors import UserError
from aejax.plots.style import COLOURS
from aejax.tables import decimal, markdown
from aejax.training.config import RunConfig, at_least
from experiments.benchmark.contenders.jax_feeds import spec_of
from experiments.benchmark.contenders.jax_systems import check_systems
from experiments.benchmark.harness import report
from experiments.benchmark.harness.rounds import Entry, Plan, Row, Spent, Timed, measure, until_stopped
from experiments.benchmark.harness.worker import VARIABLES, Worker

_SPLIT = "train[:90%]"
_ONE = "one run"
_PAYS = 0.98  # the ratio of vmapped to sequential time above which vmapping is reported as no faster


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Time several seeds in one program and one run alone, in turn; a table, results.json and a picture go to
    <runs>/benchmark_seeds/<name>/."""

    systems: tuple[str, ...] = ("autoencoder", "vae")
    """the systems that are trained"""
    counts: tuple[int, ...] = at_least(2, (2, 4, 8))
    """numbers of seeds to train at once, in addition to one"""
    rounds: int = at_least(1, 3)
    """measurements of each contender; their median is reported"""
    steps: int | None = at_least(1, None)
    """steps per measurement; None: one epoch"""
    batch_size: int = at_least(1, 256)
    """images per step of each seed, over all devices"""
    name: str = ""
    """the folder <runs>/benchmark_seeds/<name>, which a newer one overwrites; empty: the dataset's name"""


class Result(NamedTuple):
    """A system's rows by their number of seeds."""

    system: str
    plan: Plan
    rows: Mapping[int, Row]
    spent: Spent | None = None


def main(config: Config) -> None:
    report.refuse_other_recipes(config)
    check_systems(config.systems)
    if not config.counts:
        raise UserError("--counts is empty: name at least one number")
    where = report.environment()
    images = load(config.dataset, _SPLIT, config.data_dir, config.raw_dir, config.image_size).images
    if config.batch_size > len(images):
        raise UserError(f"--batch-size {config.batch_size} is more than the {len(images)} training images: lower it")
    per_epoch = len(images) // config.batch_size
    plan = Plan(config.rounds, config.steps or per_epoch, 1, per_epoch)
    folder = report.open_folder(config, "benchmark_seeds")
    with (folder / "workers.log").open("w") as log, tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "images.npy")
        np.save(file, images)
        results, complete = until_stopped(
            dict.fromkeys(config.systems),
            lambda system: compare(config, system, file, plan, lambda spec: Worker(spec, log, VARIABLES)),
        )
    title = f"many seeds, {config.dataset}, batches of {config.batch_size}"
    text = page(results, where, title, config.batch_size)
    report.show_and_write(folder, config, text, record(results, where), figure(results, title), complete)


def compare(
    config: Config, system: str, images: Path, plan: Plan, start: Callable[[Mapping[str, Any]], Timed]
) -> Result:
    """Times one run and all numbers of seeds in turn, on an .npy file of images."""

    def spec(seeds: int) -> dict[str, Any]:
        return spec_of(config, config.batch_size, images, system=system, feed="resident", seeds=seeds)

    counts = [1, *sorted(set(config.counts))]
    entries = [Entry(_ONE if count == 1 else f"{count} seeds at once", "ours", spec(count)) for count in counts]
    with tqdm(total=len(entries) * (1 + config.rounds), unit="run") as bar:
        rows, spent = measure(entries, start, plan, bar)
    return Result(system, plan, dict(zip(counts, rows, strict=True)), spent)


def ratio(result: Result, count: int) -> float | None:
    """The time of `count` seeds at once over that of `count` runs in turn; None where one was not measured."""
    one, many = result.rows[1], result.rows[count]
    return many.median / count / one.median if one.seconds and many.seconds else None


def verdict(result: Result) -> str:
    """Says with which number of seeds each costs least, and from which number on runs in turn are as fast."""
    ratios = {count: found for count in result.rows if count > 1 and (found := ratio(result, count)) is not None}
    if not ratios:
        return "No seeds were measured."
    best = min(ratios, key=lambda count: ratios[count])
    dearer = [count for count, found in ratios.items() if found >= _PAYS]
    if ratios[best] >= _PAYS:
        return "Seeds at once train no faster than runs one after another; what they save are the start-ups."
    said = f"A seed costs least with {best} at once: {ratios[best]:.2f} of a run of its own."
    beyond = [count for count in ratios if count > best]
    if beyond:
        said += f" More stop paying: with {beyond[0]} it is {ratios[beyond[0]]:.2f}."
    if late := [count for count in dearer if count > best]:
        said += f" From {min(late)} on, runs one after another are as fast or faster."
    return said


def table(result: Result, batch_size: int) -> str:
    """The rows as Markdown."""
    cells: dict[str, dict[str, str]] = {}
    one = result.rows[1]
    for count, row in result.rows.items():
        line = {"s/epoch of all": "", "min to max": "", "s/epoch per seed": "", "images/s, all seeds": ""}
        if row.seconds:
            line["s/epoch of all"] = decimal(row.median)
            line["min to max"] = report.spread(row.seconds)
            line["s/epoch per seed"] = decimal(row.median / count)
            trained = result.plan.steps_per_epoch * batch_size * count
            line["images/s, all seeds"] = f"{trained / row.median:,.0f}"
        found = ratio(result, count)
        line["time / runs in turn"] = "" if found is None else f"{found:.2f}"
        line["start-up, s"] = report.start_up(row)
        in_turn = None if one.start_up_s is None else count * one.start_up_s
        line["runs' start-ups, s"] = "" if in_turn is None else f"{in_turn:.1f}"
        cells[row.name] = line | report.last_cells(row)
    return markdown(cells, "contender")


def page(results: Sequence[Result], where: Mapping[str, Any], title: str, batch_size: int) -> str:
    """All of it as Markdown; `where` is the `environment`."""
    parts = report.heading(where, title)
    for result in results:
        parts += [f"## {result.system}", table(result, batch_size), verdict(result)]
        parts += [str(result.spent)] if result.spent else []
    parts += report.open_on_gpu(row.device for result in results for row in result.rows.values())
    plan = results[0].plan
    parts.append(
        f"An epoch is {plan.steps_per_epoch} steps, each of {batch_size} images for each seed; {plan.rounds} rounds, "
        f"all contenders in turn, {plan.steps} steps each, medians. Time / runs in turn: below 1, seeds at once are "
        "faster than as many runs one after another, whose time is a multiple of one run's and whose memory is "
        "that of one. Start-up, which no epoch contains: data to memory, initialisation, compilation, the first step."
    )
    return "\n\n".join(parts)


def record(results: Sequence[Result], where: Mapping[str, Any]) -> dict[str, Any]:
    """All of it as JSON values; `where` is the `environment`."""
    systems = {}
    for result in results:
        rows = [
            {"seeds": count, **asdict(row), "time_over_runs_in_turn": ratio(result, count)}
            for count, row in result.rows.items()
        ]
        systems[result.system] = {**result.plan._asdict(), "verdict": verdict(result), "rows": rows}
        systems[result.system]["spent"] = result.spent and result.spent._asdict()
    return {"environment": where, "systems": systems}


def figure(results: Sequence[Result], title: str) -> Figure:
    """Time per seed and memory by the number of seeds, a row of panels per system; dashed: runs one after another."""
    drawing = report.drawing(title, 0.4 + 2.8 * len(results))
    panels = drawing.subplots(len(results), 2, squeeze=False)
    for (times, memories), result in zip(panels, results, strict=True):
        rows = {count: row for count, row in result.rows.items() if row.seconds}
        times.plot(list(rows), [row.median / count for count, row in rows.items()], "o-", color=COLOURS[0])
        memories.plot(list(rows), [row.memory_mib for row in rows.values()], "o-", color=COLOURS[0])
        one = result.rows[1]
        if one.seconds:
            times.axhline(one.median, linestyle="--", color=COLOURS[1])
            memories.axhline(one.memory_mib or 0, linestyle="--", color=COLOURS[1])
        for axes, what in ((times, "seconds per epoch and seed"), (memories, "peak memory, MiB")):
            report.label(axes, f"{result.system}: {what}", "seeds at once (dashed: one run after another)")
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
            axes.set_xticks(list(rows))
    return drawing


if __name__ == "__main__":
    cli.run(main, Config)
