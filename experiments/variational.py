"""What the variational experiments share: their options, training several seeds at once, and judging the models."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from aejax import corruptions, divergences, plots, rng
from aejax.data.feeds import as_float, device_feed
from aejax.evaluation import classifier, representation, sample_quality
from aejax.evaluation.likelihood import active_units, importance_sampled_nll
from aejax.methods import objectives, variational
from aejax.methods.method import Method, TrainState
from aejax.methods.objectives import Objective
from aejax.methods.variational import Model
from aejax.training.batches import over_images
from aejax.training.config import RunConfig, above, at_least
from aejax.training.loop import fit
from aejax.training.report import Table
from aejax.training.runs import Run
from aejax.training.seeds import mean_and_sd, over_seeds
from aejax.training.splits import Splits


@dataclass(frozen=True, kw_only=True)
class VariationalConfig(RunConfig):
    PLACES: ClassVar[frozenset[str]] = RunConfig.PLACES | {"nll_samples", "nll_images", "judge_samples"}

    epochs: int | None = at_least(1, None)
    """passes over the training images; None: the recipe's own"""
    batch_size: int | None = at_least(1, None)
    """images per step, over all devices; None: the recipe's own"""
    learning_rate: float | None = above(0, None)
    """of the optimiser; None: the recipe's own"""
    latents: int | None = at_least(1, None)
    """dimensions of the latent space; None: the recipe's own"""
    seeds: int = at_least(1, 1)
    """trains the seeds --seed, --seed + 1, ... in one program; figures become mean and sd over them"""
    binarization: Literal["none", "dynamic", "static"] | None = None
    """grey images as they are; drawn as 0 or 1 at every step; or drawn once, with a fixed key. None: the recipe's"""
    objective: Literal["elbo", "iwae", "dreg", "free_bits", "wae_mmd", "info_vae", "beta_tc"] = "elbo"
    """what training minimises"""
    samples: int = at_least(1, 1)
    """latents drawn for each image and step in training; the k of iwae and dreg"""
    beta: float = at_least(0, 1.0)
    """weight of the KL; for beta_tc of the total correlation alone"""
    warm_up_epochs: float = at_least(0, 0.0)
    """the weight of the KL rises from 0 to beta over these epochs"""
    free_bits: float = at_least(0, 0.5)
    """nats that free_bits leaves each latent"""
    mmd_weight: float = at_least(0, 10.0)
    """of the MMD in wae_mmd and info_vae"""
    info_alpha: float = 0.0
    """of info_vae: 1 takes the KL away"""
    kernel: Literal["inverse_multiquadratic", "gaussian"] = "inverse_multiquadratic"
    """of the MMD"""
    nll_samples: int = at_least(0, 5000)
    """latents for the importance-sampled likelihood of test images; 0 leaves it out"""
    nll_images: int = at_least(1, 1000)
    """test images, from the first, to estimate it on"""
    judge_samples: bool = True
    """judge samples by a classifier that is trained for it: Frechet distance and balance of classes"""


def seeds_name(config: VariationalConfig) -> str:
    """For a run's folder: seed0, or seeds0-4."""
    last = config.seed + config.seeds - 1
    return f"seed{config.seed}" if config.seeds == 1 else f"seeds{config.seed}-{last}"


def binarized(config: VariationalConfig, data: Splits) -> Splits:
    """The splits as they are modelled: static draws every image once, dynamic those to evaluate on."""
    if config.binarization == "none":
        return data
    key = rng.stream(rng.root_key(0), "static binarisation")
    splits = {
        name: dataclasses.replace(dataset, images=_drawn_once(dataset.images, rng.stream(key, name)))
        for name, dataset in data._asdict().items()
    }
    return Splits(**splits)._replace(**({"train": data.train} if config.binarization == "dynamic" else {}))


def _drawn_once(images: np.ndarray, key: Array) -> np.ndarray:
    blocks = [
        np.asarray(
            corruptions.binarize(rng.stream(key, "block", start), jnp.asarray(as_float(images[start : start + 10_000])))
        )
        for start in range(0, len(images), 10_000)
    ]
    return (255 * np.concatenate(blocks)).astype(np.uint8)


def method(
    config: VariationalConfig, model: Model, optimizer: optax.GradientTransformation, images: int, latents: int
) -> Method:
    """The method of --objective for so many training images."""
    assert config.batch_size
    transform = corruptions.binarize if config.binarization == "dynamic" else None
    steps = round(config.warm_up_epochs * (images // config.batch_size))
    weight = optax.linear_schedule(0.0, config.beta, steps) if steps else config.beta
    objective: Objective = objectives.negative_elbo
    kernel = {
        "inverse_multiquadratic": divergences.inverse_multiquadratic(latents),
        "gaussian": divergences.gaussian_kernel(latents**0.5),
    }[config.kernel]
    match config.objective:
        case "iwae":
            objective = objectives.negative_iwae
        case "dreg":
            return variational.doubly_reparameterized(model, optimizer, config.samples, transform=transform)
        case "free_bits":
            objective = objectives.free_bits(config.free_bits)
        case "wae_mmd":
            objective = objectives.wae_mmd(config.mmd_weight, kernel)
        case "info_vae":
            objective = objectives.info_vae(config.info_alpha, config.mmd_weight, kernel)
        case "beta_tc":
            objective = objectives.beta_tc(config.beta, images)
            weight = optax.linear_schedule(0.0, 1.0, steps) if steps else 1.0
    return variational.vae(model, optimizer, objective, config.samples, kl_weight=weight, transform=transform)


def train(config: VariationalConfig, run: Run, data: Splits, mesh: Mesh, model: Model, learner: Method) -> TrainState:
    """Trains all seeds, or takes them from the run's checkpoint: every array has the seeds as its first axis."""
    assert config.epochs
    assert config.batch_size
    examples = data.test.one_per_class()
    reconstruct = _each_seed(config, variational.reconstruct(model), mesh)

    def draw(states: TrainState, step: int) -> None:
        pictures = np.concatenate([as_float(examples), reconstruct(states, examples)[:, 0]])
        run.log.picture("reconstructions", plots.tile(pictures, columns=len(examples)), step)

    return fit(
        learner,
        device_feed(data.train.images, config.batch_size, mesh),
        run,
        epochs=config.epochs,
        seed=config.seed,
        seeds=config.seeds,
        evaluations={"held_out": data.held_out.images},
        on_epoch=draw,
    )


def judge(
    config: VariationalConfig, data: Splits, mesh: Mesh, model: Model, learner: Method, states: TrainState
) -> Table:
    """The mean and sd over seeds of all metrics: on each split, and on the test split what costs more."""
    evaluate = _each_seed(config, learner.evaluate, mesh)
    rows = {}
    for split, dataset in data._asdict().items():
        values = evaluate(states, dataset.images)
        rows[split] = mean_and_sd({name: v.mean(axis=0, dtype=np.float64) for name, v in values.items()})
    if config.nll_samples:
        nll = _each_seed(config, importance_sampled_nll(model, config.nll_samples), mesh, batch_size=20)
        estimates = nll(states, data.test.images[: config.nll_images])
        rows["test"] |= mean_and_sd({"nll": estimates.mean(axis=0, dtype=np.float64)})

    encode = _each_seed(config, variational.encode(model), mesh)
    test_means = encode(states, data.test.images)[0]
    rows["test"] |= mean_and_sd({"active_units": np.array([active_units(m) for m in _seeds_first(test_means)])})
    if data.train.labels is not None and data.test.labels is not None and np.ptp(data.train.labels):
        train_means = encode(states, data.train.images)[0]
        means = zip(_seeds_first(train_means), _seeds_first(test_means), strict=True)
        known = [_of_labels(a, data.train.labels, b, data.test.labels) for a, b in means]
        rows["test"] |= mean_and_sd({name: np.array([row[name] for row in known]) for name in known[0]})
        if config.judge_samples and min(data.test.images.shape[1:3]) >= 8:
            rows |= _of_samples(config, data, data.train.labels, model, states)
    return rows


def _of_labels(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> dict[str, float]:
    return {
        "knn": representation.knn_accuracy(train, labels, test, test_labels),
        "linear_probe": representation.linear_probe_accuracy(train, labels, test, test_labels),
    }


def _of_samples(
    config: VariationalConfig, data: Splits, labels: np.ndarray, model: Model, states: TrainState
) -> dict[str, dict[str, float]]:
    """Rows for test images, for as many training images, which are the floor, and for samples."""
    judge = classifier.train(
        rng.stream(rng.root_key(0), "classifier"), data.train.images, labels, classes=int(labels.max()) + 1
    )
    real = as_float(data.test.images)
    count = len(real)
    features = judge.features(real)

    def figures(pictures: np.ndarray) -> dict[str, float]:
        distance = sample_quality.frechet_distance(features, judge.features(pictures))
        return {"frechet": distance, **sample_quality.class_balance(judge.logits(pictures))}

    per_seed = [figures(samples(config, model, states, seed, count)) for seed in range(config.seeds)]
    floor = figures(as_float(data.train.images[:count]))
    return {
        "training images": floor,
        "samples": mean_and_sd({name: np.array([row[name] for row in per_seed]) for name in floor}),
    }


def samples(config: VariationalConfig, model: Model, states: TrainState, seed: int, count: int) -> np.ndarray:
    """Pictures decoded from the prior by one of the seeds, 0 for the first: (count, height, width, channels)."""
    state = one_seed(states, seed)
    draw = jax.jit(variational.generate(model, latents_of(state)), static_argnums=2)
    root = rng.stream(rng.root_key(config.seed + seed), "samples")
    blocks = [draw(state, rng.stream(root, "block", i), 1000) for i in range(-(-count // 1000))]
    return np.concatenate([np.asarray(block) for block in blocks])[:count]


def figures(config: VariationalConfig, run: Run, data: Splits, mesh: Mesh, model: Model, states: TrainState) -> None:
    """Reconstructions, and samples from the prior, of the first seed."""
    examples = data.test.one_per_class()
    reconstruct = _each_seed(config, variational.reconstruct(model), mesh)
    rows = {"input": as_float(examples), "reconstruction": reconstruct(states, examples)[:, 0]}
    run.figure("reconstructions", plots.image_grid(rows, f"{config.dataset}, test set"))
    pictures = samples(config, model, states, 0, 60)
    run.figure("samples", plots.mosaic(pictures, columns=12, title="decoded from the prior"))


def one_seed(states: TrainState, seed: int) -> TrainState:
    """The state of one of the seeds, without their axis."""
    return jax.tree.map(lambda x: x[seed], states)


def latents_of(state: TrainState) -> int:
    """The size of the latent space of trained params."""
    return state.params["encoder"]["params"]["mean"]["kernel"].shape[-1]


def _each_seed(
    config: VariationalConfig, function: Callable[[TrainState, Array, Array], Any], mesh: Mesh, batch_size: int = 512
) -> Callable[[TrainState, np.ndarray], Any]:
    """`function` over images, for each seed: the results have the seeds as their second axis."""
    mapped = over_seeds(function, config.seeds, (0, None, None), out_axes=1)
    return over_images(mapped, mesh, batch_size)


def _seeds_first(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, 1, 0)
