"""What the variational experiments share: their options, and training several seeds at once."""

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
from aejax.data.feeds import as_float
from aejax.errors import UserError
from aejax.methods import objectives, variational
from aejax.methods.method import Method, TrainState, clipped
from aejax.methods.objectives import Objective
from aejax.methods.variational import Model
from aejax.training.batches import over_images
from aejax.training.config import RunConfig, above, at_least
from aejax.training.loop import fit
from aejax.training.runs import Run
from aejax.training.seeds import over_seeds
from aejax.training.splits import Splits, open_feed


@dataclass(frozen=True, kw_only=True)
class VariationalConfig(RunConfig):
    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = RunConfig.MAY_DIFFER_ON_RESUME | {
        "nll_samples",
        "nll_images",
        "judge_samples",
    }

    epochs: int | None = at_least(1, None)
    """passes over the training images; None: the recipe's own"""
    batch_size: int | None = at_least(1, None)
    """images per step, over all devices; None: the recipe's own"""
    learning_rate: float | None = above(0, None)
    """of the optimiser; None: the recipe's own"""
    latents: int | None = at_least(1, None)
    """dimensions of the latent space; None: the recipe's own"""
    hold_out: bool | None = None
    """keep the last 10% of the train split to choose by; without, as in published figures, all of it is learnt from and
    the test split is evaluated after each epoch. None: the recipe's"""
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective in ("wae_mmd", "info_vae") and self.batch_size == 1:
            raise UserError(f"--batch-size 1 leaves --objective {self.objective} no pairs: set 2 or more")
        if self.objective == "dreg" and (self.beta != 1 or self.warm_up_epochs):
            raise UserError("--objective dreg has no weight of the KL: leave --beta and --warm-up-epochs out")


def objective_name(config: VariationalConfig) -> str:
    """For a run's folder: elbo, or iwae50 with 50 samples."""
    return f"{config.objective}{config.samples if config.samples > 1 else ''}"


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
        for name, dataset in data.parts().items()
    }
    train = data.train if config.binarization == "dynamic" else splits["train"]
    return Splits(train, splits.get("held_out", splits["test"]), splits["test"])


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
    optimizer = clipped(optimizer, config.clip_norm)
    transform = corruptions.binarize if config.binarization == "dynamic" else None
    steps = round(config.warm_up_epochs * (images // config.batch_size))
    beta = 1.0 if config.objective == "beta_tc" else config.beta  # there it weighs the total correlation alone
    weight = optax.linear_schedule(0.0, beta, steps) if steps else beta
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
    return variational.vae(model, optimizer, objective, config.samples, kl_weight=weight, transform=transform)


def train(config: VariationalConfig, run: Run, data: Splits, mesh: Mesh, model: Model, learner: Method) -> TrainState:
    """Trains all seeds, or takes them from the run's checkpoint: every array has the seeds as its first axis."""
    assert config.epochs
    assert config.batch_size
    examples = data.test.one_per_class()
    reconstruct = over_images(variational.reconstruct(model), mesh)
    evaluated = "held_out" if config.hold_out else "test"

    def draw(states: list[TrainState], step: int) -> None:
        pictures = np.concatenate([as_float(examples), reconstruct(states[0], examples)])
        run.log.picture("reconstructions", plots.tile(pictures, columns=len(examples)), step)

    states = fit(
        learner,
        open_feed(config, data.train.images, config.batch_size, mesh),
        run,
        epochs=config.epochs,
        seed=config.seed,
        seeds=config.seeds,
        evaluations={evaluated: data.parts()[evaluated].images},
        on_epoch=draw,
    )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def each_seed(
    config: VariationalConfig, function: Callable[[TrainState, Array, Array], Any], mesh: Mesh, batch_size: int = 512
) -> Callable[[TrainState, np.ndarray], Any]:
    """`function` over images, for each seed: the results have the seeds as their second axis."""
    mapped = over_seeds(function, config.seeds, (0, None, None), out_axes=1)
    return over_images(mapped, mesh, batch_size)
