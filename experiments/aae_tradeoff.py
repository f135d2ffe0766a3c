"""Reconstruction against prior match, over adversarial autoencoders that differ in how their adversary learns.

python -m experiments.aae_tradeoff RUN RUN ...      folders such as runs/aae/mnist-normal150-deterministic-seed0
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

from aejax import cli, plots
from aejax.errors import UserError
from aejax.training.config import options_as_json
from aejax.training.report import cells, markdown
from aejax.training.seeds import mean_and_sd
from experiments import aae, summarize
from experiments.aae_report import FLOOR

LESSON = 0.0945  # mean BCE of held-out images that the lesson prints, for its networks and 30 epochs
ADVERSARY = {
    *("adversarial", "discriminator_rate", "generator_rate", "adversarial_b1"),
    *("critic", "r1", "spectral_norm", "discriminator_hidden"),
}
SAME = ("dataset", "image_size", "latents", "prior", "labels")  # without which neither figure can be compared


@dataclass(frozen=True, kw_only=True)
class Config:
    """Print a Markdown table, and draw it: a point for each configuration, mean and sample standard deviation over the
    seeds where there are several."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """finished runs of `experiments.aae`"""
    figure: Path = Path("runs/aae_tradeoff.png")
    """the picture to write"""


class Outcome(NamedTuple):
    """What one run came to, and the options that it was started with."""

    options: dict[str, Any]
    seed: int
    figures: dict[str, float]


def main(config: Config) -> None:
    if not config.folders:
        raise UserError("one or more runs are needed")
    outcomes = [read(folder) for folder in config.folders]
    groups = by_configuration(outcomes)
    rows = {
        name: mean_and_sd({figure: np.array([one.figures[figure] for one in group]) for figure in group[0].figures})
        for name, group in groups.items()
    }
    points = {wrapped(name): (row["above the floor"], row["bce"]) for name, row in rows.items()}
    sds = {wrapped(name): (row.get("above the floor_sd", 0.0), row.get("bce_sd", 0.0)) for name, row in rows.items()}
    labels = "sliced Wasserstein distance to the prior, above the floor", "mean BCE of held-out images (nats per pixel)"
    level = ("the lesson", LESSON) if outcomes[0].options["dataset"] == "mnist" else None
    picture = plots.labelled_points(points, sds, *labels, level)
    try:
        plots.save(picture, config.figure)
    except OSError as error:
        raise UserError(f"{config.figure} cannot be written ({error.strerror}): choose another --figure") from None
    print(markdown({name: cells(row) for name, row in rows.items()}, "run"))
    print(f"seeds: {'; '.join(','.join(str(one.seed) for one in group) for group in groups.values())}; {config.figure}")


def wrapped(name: str) -> str:
    """In lines short enough to leave the picture its room."""
    return textwrap.fill(name, 42)


def read(folder: Path) -> Outcome:
    summary = summarize.read(folder)
    splits, options = summary["splits"], summary["config"]
    if FLOOR not in splits or "discriminator_rate" not in options:
        raise UserError(f"{folder} holds no run of experiments.aae: leave it out")
    own = next(row for name, row in splits.items() if name.startswith("prior match: ") and name != FLOOR)
    distance, floor = own["sliced_wasserstein"], splits[FLOOR]["sliced_wasserstein"]
    figures = {
        "bce": splits["held_out"]["bce"],
        "above the floor": distance - floor,
        "sliced_wasserstein": distance,
        "floor": floor,
        "std": own["std"],
    }
    if missing := options_as_json(aae.Config()).keys() - options.keys():
        raise UserError(f"{folder} is of an earlier version, without {', '.join(sorted(missing))}: leave it out")
    return Outcome(options, options.pop("seed"), figures)


def by_configuration(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Runs that differ in their seed alone, named by the rates of discriminator and generator, and by what else differs
    and is not the default.

    Raises:
      UserError: for runs that cannot be compared, and for two of one configuration and seed.
    """
    for option in SAME:
        if len(found := sorted({str(one.options[option]) for one in outcomes})) > 1:
            flag = f"--{option.replace('_', '-')}"
            raise UserError(f"the runs differ in {flag} ({', '.join(found)}): leave some out")
    varied = [name for name in outcomes[0].options if len({str(one.options[name]) for one in outcomes}) > 1]
    usual = options_as_json(aae.Config())
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        group = groups.setdefault(_name(one.options, [name for name in varied if one.options[name] != usual[name]]), [])
        if one.seed in (other.seed for other in group):
            raise UserError(f"two of the runs have one configuration and seed {one.seed}: leave one out")
        group.append(one)
    return groups


def _name(options: dict[str, Any], varied: Sequence[str]) -> str:
    if options["adversarial"]:
        name = f"D {options['discriminator_rate']:g}, G {options['generator_rate']:g}"
        more = [option for option in varied if option not in ("adversarial", "discriminator_rate", "generator_rate")]
    else:
        name = "plain autoencoder"
        more = [option for option in varied if option not in ADVERSARY]
    return ", ".join([name, *(f"{option} {options[option]}" for option in more)])


if __name__ == "__main__":
    cli.run(main, Config)
