"""The importance-sampled likelihood of test images: this project against loops over images, in JAX and in PyTorch.

python -m experiments.benchmark.likelihood              5000 samples, 1000 MNIST images, the loops on the first 50
python -m experiments.benchmark.likelihood --dataset digits --samples 100 --rounds 1       a quick look

Needs PyTorch: pip install -e '.[benchmark]'
"""

import contextlib
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from aejax import cli
from aejax.data import load
from aejax.errors import UserError
from aejax.plots.style import COLOURS
from aejax.tables import decimal, markdown
from aejax.training.config import RunConfig, at_least
from experiments.benchmark.harness import report
from experiments.benchmark.harness.rounds import Entry, Plan, Row, Spent, Timed, measure, until_stopped
from experiments.benchmark.harness.worker import VARIABLES, Worker

_TRAINING_IMAGES = 10_000
_STANDARD_ERRORS = 4.0

CONTENDERS: dict[str, tuple[str, str | int]] = {
    "aejax, batches of 20 images": ("jax_likelihood", "aejax"),
    "JAX, loop over images, not compiled": ("jax_likelihood", "eager"),
    "JAX, loop over images, body compiled": ("jax_likelihood", "compiled"),
    "PyTorch, loop over images, all samples at once": ("torch_likelihood", 2**31),
    "PyTorch, loop over images, 500 samples at once": ("torch_likelihood", 500),
    "PyTorch, loop over images, 100 samples at once": ("torch_likelihood", 100),
}


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Time the importance-sampled likelihood; a table, results.json and a picture go to
    <runs>/benchmark_likelihood/<name>/."""

    sizes: tuple[Literal["tutorial", "flax"], ...] = ("tutorial", "flax")
    """tutorial: 784-512-2, squared error; flax: 784-500-20, Bernoulli pixels of images split at a half"""
    samples: int = at_least(1, 5000)
    """latents drawn for each image"""
    images: int = at_least(1, 1000)
    """number of test images, from the first, that this project is timed on"""
    loop_images: int = at_least(1, 50)
    """number of them that the loops are timed on"""
    check_images: int = at_least(2, 20)
    """number of them whose estimates must agree before anything is timed"""
    training_steps: int = at_least(1, 500)
    """steps of training the model, beforehand"""
    rounds: int = at_least(1, 3)
    """measurements of each contender; their median is reported"""
    name: str = ""
    """the folder <runs>/benchmark_likelihood/<name>, which a newer one overwrites; empty: the dataset's name"""


class Agreement(NamedTuple):
    """The mean over images of a contender's estimate less this project's, in nats, and its standard error."""

    difference: float
    standard_error: float


class Result(NamedTuple):
    """The rows of a model, and how well each contender's estimates agree with the first one's."""

    size: str
    images: int
    loop_images: int
    rows: Sequence[Row]
    agreements: Mapping[str, Agreement]
    spent: Spent


def main(config: Config) -> None:
    report.refuse_other_recipes(config)
    report.require_pytorch()
    if not config.sizes:
        raise UserError("--sizes is empty: name at least one")
    where = report.environment()
    sources = (config.data_dir, config.raw_dir, config.image_size)
    train = load(config.dataset, "train", *sources).images[:_TRAINING_IMAGES]
    test = load(config.dataset, "test", *sources).images[: config.images]
    folder = report.open_folder(config, "benchmark_likelihood")
    with (folder / "workers.log").open("w") as log, tempfile.TemporaryDirectory() as scratch:

        def measured(size: str) -> Result:
            for name, images in (("train", train), ("test", test)):
                halves = np.where(images > 127, 255, 0).astype(np.uint8)
                np.save(Path(scratch, f"{name}.npy"), images if size == "tutorial" else halves)
            return compare(config, size, scratch, len(test), lambda spec: Worker(spec, log, VARIABLES))

        results, complete = until_stopped(dict.fromkeys(config.sizes), measured)
    title = f"likelihood of {config.dataset}, {config.samples} samples"
    text, drawing = page(results, where, title), figure(results, title)
    report.show_and_write(folder, config, text, record(results, where), drawing, complete)


def compare(
    config: Config, size: str, scratch: str, images: int, start: Callable[[Mapping[str, Any]], Timed]
) -> Result:
    """Trains the model, checks that all estimate the same, and times them.

    Raises:
      RuntimeError: where estimates differ by more than the samples explain.
    """
    common = {"size": size, "params": f"{scratch}/params.npz", "seed": config.seed, "devices": config.devices}
    training = {
        "side": "jax_likelihood",
        "form": "params",
        "images": f"{scratch}/train.npy",
        "steps": config.training_steps,
    }
    trained = _ask(start, {**common, **training})
    common |= {"samples": config.samples, "images": f"{scratch}/test.npy", "platform": trained["platform"]}
    specs = {name: {**common, "side": side, "form": form} for name, (side, form) in CONTENDERS.items()}

    checked = min(config.check_images, images)
    estimates = {name: np.array(_ask(start, {**spec, "check": checked})["nll"]) for name, spec in specs.items()}
    ours = next(iter(estimates.values()))
    agreements = {name: agreement(values, ours) for name, values in estimates.items()}

    loops = min(config.loop_images, images)
    entries = [Entry(name, "ours", spec, images if spec["form"] == "aejax" else loops) for name, spec in specs.items()]
    plan = Plan(config.rounds, loops, 1, images)
    with tqdm(total=len(entries) * (1 + config.rounds), unit="run") as bar:
        rows, spent = measure(entries, start, plan, bar)
    rows += report.gpu_row(trained["platform"])
    return Result(size, images, loops, rows, agreements, spent)


def agreement(estimates: np.ndarray, ours: np.ndarray) -> Agreement:
    """Of estimates (images,) with ours, both random; RuntimeError where they estimate different things."""
    differences = estimates - ours
    found = Agreement(float(differences.mean()), float(differences.std(ddof=1) / math.sqrt(len(differences))))
    if not abs(found.difference) <= _STANDARD_ERRORS * found.standard_error + 1e-3:
        raise RuntimeError(
            f"estimates differ from this project's by {found.difference:.3g} nats, with a standard error of "
            f"{found.standard_error:.2g}"
        )
    return found


def _ask(start: Callable[[Mapping[str, Any]], Timed], spec: Mapping[str, Any]) -> dict[str, Any]:
    with contextlib.closing(start(spec)) as worker:
        return worker.setup()


def table(result: Result) -> str:
    """The rows as Markdown."""
    cells: dict[str, dict[str, str]] = {}
    ours = result.rows[0]
    for i, row in enumerate(result.rows):
        line = {"images/s": "", f"s for {result.images} images": "", "min to max": "", "timed on": ""}
        if row.seconds:
            line["images/s"] = decimal(result.images / row.median)
            line[f"s for {result.images} images"] = decimal(row.median)
            line["min to max"] = report.spread(row.seconds)
            line["timed on"] = f"{result.loop_images if i else result.images} images"
            if ours.seconds:
                line["times aejax's"] = f"{row.median / ours.median:.2f}"
            found = result.agreements[row.name]
            line["nats from aejax's"] = f"{found.difference:+.4f} ± {found.standard_error:.4f}" if i else ""
        line["start-up, s"] = report.start_up(row)
        cells[row.name] = line | report.last_cells(row)
    return markdown(cells, "contender")


def page(results: Sequence[Result], where: Mapping[str, Any], title: str) -> str:
    """All of it as Markdown; `where` is the `environment`."""
    parts = report.heading(where, title)
    for result in results:
        parts += [f"## {result.size}", table(result), str(result.spent)]
    parts.append(
        "Medians over rounds in which all take turns, the loops scaled to all images from those that they were timed "
        "on. Start-up: params to memory, compilation and the first image; no time above contains it. Checked before: "
        "the mean difference of the estimates from aejax's, with the standard error that the samples of both leave."
    )
    return "\n\n".join(parts)


def record(results: Sequence[Result], where: Mapping[str, Any]) -> dict[str, Any]:
    """All of it as JSON values; `where` is the `environment`."""
    sizes = {
        result.size: {
            "images": result.images,
            "loop_images": result.loop_images,
            "spent": result.spent._asdict(),
            "rows": [asdict(row) | ({"median": row.median} if row.seconds else {}) for row in result.rows],
            "agreements": {name: found._asdict() for name, found in result.agreements.items()},
        }
        for result in results
    }
    return {"environment": where, "sizes": sizes}


def figure(results: Sequence[Result], title: str) -> Figure:
    """A panel of horizontal bars for each model: images per second."""
    drawing = report.drawing(title, 0.4 + 2.6 * len(results))
    panels = drawing.subplots(len(results), 1, squeeze=False)[:, 0]
    for axes, result in zip(panels, results, strict=True):
        rows = [row for row in result.rows if row.seconds]
        drawn = {}
        for row, colour in zip(rows, COLOURS[:1] + COLOURS[1:2] * len(rows), strict=False):
            speeds = [result.images / seconds for seconds in row.seconds]
            median = result.images / row.median
            drawn[row.name] = (speeds, median, decimal(median), colour)
        report.bars(axes, drawn)
        axes.margins(x=0.15)
        report.label(axes, result.size, "images per second")
    return drawing


if __name__ == "__main__":
    cli.run(main, Config)
