"""Judging adversarial autoencoders: how well their codes match the prior, beside its floor and other models."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from aejax import plots, rng
from aejax.data.feeds import as_float
from aejax.evaluation import parzen, prior_match
from aejax.methods import adversarial
from aejax.methods.adversarial import AdversarialState, Labelled, Model, Optimizers
from aejax.methods.games import Game
from aejax.priors import Prior
from aejax.training.batches import drawn, over_images
from aejax.training.config import RunConfig
from aejax.training.report import mean_of_examples
from aejax.training.runs import Run
from aejax.training.splits import Splits

FLOOR = "prior match: two prior samples"
Rows = dict[str, dict[str, float]]


class Judged(NamedTuple):
    """A trained model with a prior over its codes.

    Attributes:
      encode: images, uint8 (n, height, width, channels) -> codes (n, latents), drawn where the encoder is not
        deterministic.
      reconstruct: such images -> pictures in [0, 1].
      generate: (key, n) -> pictures in [0, 1] of n codes drawn from the prior.
    """

    encode: Callable[[np.ndarray], np.ndarray]
    reconstruct: Callable[[np.ndarray], np.ndarray]
    generate: Callable[[Array, int], Array]


def judged(mesh: Mesh, model: Model, state: AdversarialState) -> Judged:
    encode, reconstruct = (over_images(f(model), mesh) for f in (adversarial.encode, adversarial.reconstruct))
    generate = jax.jit(adversarial.generate(model), static_argnums=2)
    return Judged(*(functools.partial(function, state) for function in (encode, reconstruct, generate)))


def untold(model: Model, images: np.ndarray) -> np.ndarray | Labelled:
    """Images to evaluate on, whose labels nobody is told."""
    return Labelled(images, np.full(len(images), -1, np.int32)) if model.labelled else images


def of_splits(data: Splits, mesh: Mesh, model: Model, game: Game, state: AdversarialState) -> Rows:
    """Of each split, the mean of what the method evaluates."""
    nothing = optax.identity()  # evaluation takes no step
    evaluate = over_images(adversarial.aae(model, Optimizers(nothing, nothing, nothing), game).evaluate, mesh)
    return {
        split: mean_of_examples(evaluate(state, untold(model, dataset.images)))
        for split, dataset in data._asdict().items()
    }


def parzen_row(config: RunConfig, data: Splits, model: Model, state: AdversarialState, count: int) -> dict[str, float]:
    """Of the test images, from so many samples, by the protocol of `evaluation.parzen`."""
    key = rng.stream(rng.root_key(config.seed), "parzen")
    samples = drawn(adversarial.generate(model), state, key, count)
    bandwidth = parzen.choose_bandwidth(samples, as_float(data.held_out.images[: parzen.VALIDATION]))
    values = parzen.log_likelihood(samples, as_float(data.test.images), bandwidth)
    mean, standard_error = parzen.mean_and_standard_error(values)
    return {"parzen": mean, "parzen_standard_error": standard_error, "parzen_bandwidth": bandwidth}


def compare(config: RunConfig, run: Run, data: Splits, prior: Prior, models: Mapping[str, Judged]) -> Rows:
    """How well the codes of each model's test images match the prior, and the run's figures of them side by side.

    The rows are those of two independent prior samples, the floor, and of each model: distances, and means over the
    latents of the mean's absolute value, standard deviation and kurtosis. moments.json and the figure "moments" have
    each latent's.
    """
    key = rng.stream(rng.root_key(config.seed), "prior match")
    test = data.test
    samples, independent = (
        np.asarray(prior.sample(rng.stream(key, name), len(test.images))) for name in ("samples", "floor")
    )
    codes = {name: one.encode(test.images) for name, one in models.items()}
    measured = {FLOOR.removeprefix("prior match: "): independent, **codes}
    moments = {name: prior_match.moments(points) for name, points in measured.items()}
    as_lists = {name: {moment: v.tolist() for moment, v in row.items()} for name, row in moments.items()}
    run.text("moments.json", json.dumps(as_lists, indent=2) + "\n")
    panels = {moment: {name: row[moment] for name, row in moments.items()} for moment in ("mean", "std", "kurtosis")}
    run.figure("moments", plots.sorted_values(panels, "latents, each panel in its own order"))

    shown = {"prior, first two latents" if prior.latents > 2 else "prior": samples, **codes}
    if prior.latents > 1:
        run.figure("codes", plots.density({name: points[:, :2] for name, points in shown.items()}))
    if prior.latents == 2 and test.labels is not None:
        run.figure("plane", plots.scatter(codes, test.labels))
    examples = test.one_per_class()
    pictures = {"input": as_float(examples)} | {name: one.reconstruct(examples) for name, one in models.items()}
    run.figure("reconstructions", plots.image_grid(pictures, f"{config.dataset}, test set"))
    grid = {name: np.asarray(one.generate(rng.stream(key, "pictures"), 10)) for name, one in models.items()}
    run.figure("samples", plots.image_grid(grid, "decoded from the prior"))
    for name, one in models.items():
        mosaic = plots.mosaic(np.asarray(one.generate(rng.stream(key, "mosaic"), 60)), 12, f"{name}: from the prior")
        run.figure(f"samples_{name.replace(' ', '_').lower()}", mosaic)
    return {
        f"prior match: {name}": prior_match.distances(rng.stream(key, "distances"), points, samples)
        | averaged(moments[name])
        for name, points in measured.items()
    }


def averaged(moments: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Over the latents, of whose means the absolute values, as they would cancel."""
    return {
        "absolute_mean": float(np.abs(moments["mean"]).mean()),
        "std": float(moments["std"].mean()),
        "kurtosis": float(moments["kurtosis"].mean()),
    }
