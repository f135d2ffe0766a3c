"""Variational autoencoders: for any images, the tutorial's, two with published figures, and other losses.

python -m experiments.vae                                   residual blocks, 8-bit pixels, bits per dimension
python -m experiments.vae --dataset cifar10                 in colour
python -m experiments.vae --recipe tutorial                 784-512-2, loss 784 * MSE + KL, 30 epochs
python -m experiments.vae --recipe tutorial --seeds 5       five seeds in one program, mean and sd of every figure
python -m experiments.vae --recipe conv                     the tutorial's convolutions, 20 latents, Bernoulli pixels
python -m experiments.vae --recipe flax                     Flax's example: 500 hidden, 20 latents, static binarisation
python -m experiments.vae --recipe iwae --objective iwae --samples 50       Burda et al. (2015), the full schedule
python -m experiments.vae --prior vamp                      a learnt prior; or flow, or mixture
python -m experiments.vae --posterior flow                  a posterior with an inverse autoregressive flow
python -m experiments.vae --objective beta_tc --beta 6      other losses; the README adds one of your own
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import flax.linen as nn
import optax

from aejax import cli, corruptions, divergences, plots
from aejax.data.feeds import check_batch
from aejax.errors import UserError
from aejax.evaluation import judge, pictures
from aejax.methods import objectives, variational
from aejax.methods.factor_vae import factor_vae
from aejax.methods.method import Method, with_ema
from aejax.methods.objectives import Objective
from aejax.models.build import PosteriorName, PriorName, latent_variable
from aejax.models.latent_variable import LatentVariableModel
from aejax.nn.discriminator import Discriminator
from aejax.training import optimizers, report
from aejax.training.binarization import Binarization, binarized
from aejax.training.config import (
    HIDDEN_HELP,
    JudgedConfig,
    NetworkConfig,
    Schedule,
    above,
    at_least,
    plain_name,
    seeds_name,
)
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import load_splits, open_feed

LikelihoodName = Literal[
    "bernoulli", "continuous_bernoulli", "gaussian", "gaussian_learnt", "squared_error", "discretized_logistic"
]
Bound = Literal["elbo", "iwae", "dreg", "miwae", "piwae", "ciwae"]
Regularized = Literal["free_bits", "wae_mmd", "info_vae", "beta_tc", "factor_vae", "tutorial"]


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig, JudgedConfig):
    """Train variational autoencoders; metrics, figures and checkpoints go to <runs>/vae/<name>/, by default named after
    <dataset>-<recipe>-<objective><samples>-seed<seed>."""

    recipe: Literal["residual", "tutorial", "conv", "flax", "iwae"] = "residual"
    """sets the defaults of all other options. residual: residual blocks and 8-bit pixels, for images of any size and
    colour; tutorial: 784-512-2 and RMSprop; conv: the tutorial's convolutional networks, 20 latents; flax: Flax's VAE
    example; iwae: 784-200-200-50 and Adam on the paper's schedule of 3280 epochs, where --epochs 1, 4, 13, 40, 121, 364
    or 1093 takes the first stages"""
    epochs: int = at_least(1, 10)
    """passes over the training images"""
    batch_size: int = at_least(1, 128)
    """images per step, over all devices"""
    learning_rate: float = above(0, 1e-3)
    """of the optimiser, at its peak"""
    schedule: Schedule = "warmup_cosine"
    """of the learning rate: constant; cosine, which falls to 0; or warmup_cosine, which first rises for 5% of the
    steps"""
    weight_decay: float = at_least(0, 1e-4)
    """share of each parameter taken away per step, times the learning rate; 0: none"""
    clip_norm: float | None = above(0, 100.0)
    """largest global norm of a gradient, beyond which it is scaled down; None: gradients as they are"""
    optimizer: Literal["adam", "muon", "rmsprop"] = "adam"
    """muon: orthogonal updates of kernels, which cost more and need fewer steps; rmsprop: with PyTorch's settings"""
    epsilon: float = above(0, 1e-8)
    """of the optimiser's denominator"""
    burda_stages: bool = False
    """let the learning rate fall by 10^(-1/7) after 1, 4, 13, 40, ... epochs, as in Burda et al. (2015)"""
    latents: int = at_least(1, 128)
    """dimensions of the latent space"""
    nll_samples: int = at_least(0, 200)
    """latents for the importance-sampled likelihood of test images; 0 leaves it out"""
    hidden: Annotated[tuple[int, ...], HIDDEN_HELP] = at_least(1, (512,))
    activation: Literal["relu", "tanh"] = "relu"
    """of the dense network"""
    likelihood: LikelihoodName = "discretized_logistic"
    """of pixels. gaussian: of standard deviation 0.1; squared_error: summed, as in 784 * MSE; discretized_logistic: of
    8-bit values, for bits per dimension"""
    hold_out: bool = True
    """keep a part of the train split to choose by. Without (--no-hold-out), as in published figures, all is learnt
    from and the test split is evaluated after each epoch"""
    binarization: Binarization = "none"
    """grey images as they are; drawn as 0 or 1 at every step; or drawn once, with a fixed key"""
    prior: PriorName = "normal"
    """normal: N(0, I); flow: N(0, I) through learnt couplings; vamp: the mixture of the posteriors at learnt images;
    mixture: of learnt Gaussians"""
    pseudo_inputs: int = at_least(1, 500)
    """the number of learnt images of --prior vamp"""
    components: int = at_least(1, 100)
    """the number of Gaussians of --prior mixture"""
    posterior: PosteriorName = "gaussian"
    """gaussian: with a diagonal covariance; flow: that, sent through an inverse autoregressive flow"""
    flow_layers: int = at_least(1, 4)
    """of --prior flow and of --posterior flow"""
    objective: Bound | Regularized = "elbo"
    """what training minimises. tutorial: its mistake, which samples with std = exp(log-variance), kept to compare"""
    samples: int = at_least(1, 1)
    """latents drawn for each image and step in training; the k of iwae and dreg"""
    groups: int = at_least(1, 1)
    """of the samples, in miwae and piwae, each with a bound of its own"""
    beta: float = at_least(0, 1.0)
    """weight of the KL; of the total correlation alone for beta_tc and factor_vae, of the ELBO for ciwae"""
    warm_up_epochs: float = at_least(0, 0.0)
    """the weight of the KL rises from 0 to its value over these epochs"""
    free_bits: float = at_least(0, 0.5)
    """nats that free_bits leaves each latent"""
    mmd_weight: float = at_least(0, 10.0)
    """of the MMD in wae_mmd and info_vae"""
    info_alpha: float = 0.0
    """of info_vae: 1 takes the KL away"""
    kernel: Literal["inverse_multiquadratic", "gaussian"] = "inverse_multiquadratic"
    """of the MMD"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective in ("wae_mmd", "info_vae") and self.batch_size == 1:
            raise UserError(f"--batch-size 1 leaves --objective {self.objective} no pairs: set 2 or more")
        if self.objective == "factor_vae" and self.batch_size % 2:
            raise UserError("--objective factor_vae splits each batch in two: set an even --batch-size")
        if self.objective in ("miwae", "piwae") and self.samples % self.groups:
            raise UserError(f"--groups {self.groups}: --samples {self.samples} cannot be split into equal groups")
        if self.objective in ("dreg", "beta_tc", "tutorial") and self.posterior != "gaussian":
            raise UserError(f"--objective {self.objective} needs --posterior gaussian")
        if self.objective == "dreg" and (self.beta != 1 or self.warm_up_epochs):
            raise UserError("--objective dreg has no weight of the KL: leave --beta and --warm-up-epochs out")


# What the recipes with recorded figures do without, and the number of latents that those are estimated with.
_PLAIN: dict[str, Any] = {
    "schedule": "constant",
    "weight_decay": 0.0,
    "clip_norm": None,
    "nll_samples": 5000,
}
RECIPES = {
    "residual": Config(),
    "tutorial": Config(
        recipe="tutorial",
        network="dense",
        epochs=30,
        batch_size=256,
        optimizer="rmsprop",
        likelihood="squared_error",
        latents=2,
        **_PLAIN,
    ),
    "conv": Config(
        recipe="conv",
        network="tutorial",
        epochs=30,
        batch_size=256,
        learning_rate=2e-3,
        likelihood="bernoulli",
        latents=20,
        **_PLAIN,
    ),
    "flax": Config(
        recipe="flax",
        network="dense",
        epochs=20,
        hidden=(500,),
        likelihood="bernoulli",
        latents=20,
        binarization="static",
        hold_out=False,
        **_PLAIN,
    ),
    "iwae": Config(
        recipe="iwae",
        network="dense",
        epochs=3280,
        batch_size=20,
        epsilon=1e-4,
        burda_stages=True,
        hidden=(200, 200),
        activation="tanh",
        likelihood="bernoulli",
        latents=50,
        binarization="dynamic",
        hold_out=False,
        **_PLAIN,
    ),
}


def build_model(config: Config, image_shape: tuple[int, ...]) -> LatentVariableModel:
    """Returns the model for images (height, width, channels)."""
    return latent_variable(config, image_shape, activation={"relu": nn.relu, "tanh": nn.tanh}[config.activation])


def build_objective(config: Config, images: int, warm_up_steps: int) -> Objective:
    """Returns what --objective minimises, for a training split of `images` images."""
    beta = 1.0 if config.objective == "beta_tc" else config.beta  # there it weighs the total correlation alone
    weight = optax.linear_schedule(0.0, beta, warm_up_steps) if warm_up_steps else beta
    kernel = {
        "inverse_multiquadratic": divergences.inverse_multiquadratic(config.latents),
        "gaussian": divergences.gaussian_kernel(config.latents**0.5),
    }[config.kernel]
    return {
        "elbo": objectives.beta_elbo(weight),
        "iwae": objectives.beta_iwae(weight),
        "miwae": objectives.miwae(config.groups),
        "ciwae": objectives.ciwae(config.beta),
        "free_bits": objectives.free_bits(config.free_bits, weight),
        "wae_mmd": objectives.wae_mmd(config.mmd_weight, kernel),
        "info_vae": objectives.info_vae(config.info_alpha, config.mmd_weight, kernel, weight),
        "beta_tc": objectives.beta_tc(config.beta, images, weight),
        "tutorial": objectives.tutorial_mistake,
    }[config.objective]


def build_method(config: Config, model: LatentVariableModel, images: int) -> Method:
    """Returns how the model is learnt from a training split of `images` images."""
    steps_per_epoch = images // config.batch_size
    stages = optimizers.burda_stages(config.learning_rate, steps_per_epoch)
    rate = stages if config.burda_stages else config.learning_rate
    makers: dict[str, Callable[..., optax.GradientTransformation]] = {
        "adam": functools.partial(optax.adam, eps=config.epsilon),
        "muon": optimizers.muon,
        "rmsprop": functools.partial(optax.rmsprop, decay=0.99, eps=config.epsilon, eps_in_sqrt=False),
    }
    steps = config.epochs * steps_per_epoch
    optimizer = optimizers.build(config, rate, steps, make=makers[config.optimizer])
    transform = corruptions.binarize if config.binarization == "dynamic" else None
    match config.objective:
        case "dreg":
            method = variational.doubly_reparameterized(model, optimizer, config.samples, transform=transform)
        case "piwae":
            method = variational.partially_weighted(
                model, optimizer, config.samples, config.groups, transform=transform
            )
        case "factor_vae":
            judge_of_latents = Discriminator((256,) * 4)
            method = factor_vae(model, judge_of_latents, config.beta, optimizer, optax.adam(1e-4, 0.5, 0.9))
        case _:
            objective = build_objective(config, images, round(config.warm_up_epochs * steps_per_epoch))
            method = variational.vae(model, optimizer, objective, config.samples, transform=transform)
    return with_ema(method, config.ema_decay)


def main(config: Config) -> None:
    objective = f"{config.objective}{config.samples if config.samples > 1 else ''}"
    name = f"{plain_name(config.dataset)}-{config.recipe}-{objective}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or name)
    mesh = make_mesh(config.devices, config.batch_size, dense=config.network == "dense")
    original = load_splits(config, hold_out=config.hold_out)
    check_batch(original.train.images, config.batch_size, mesh)
    model = build_model(config, original.image_shape)
    report.note(judge.left_out(original.train, original.test))
    data = binarized(config.binarization, original)
    method = build_method(config, model, len(data.train.images))
    parts, chosen_by = data.parts(), "held_out" if config.hold_out else "test"
    examples = data.test.one_per_class()

    with open_run(config, "vae", model=model, data=original) as run:
        states = fit(
            method,
            open_feed(config, data.train.images, config.batch_size, mesh),
            run,
            epochs=config.epochs,
            seed=config.seed,
            seeds=config.seeds,
            evaluations={chosen_by: parts[chosen_by].images},
            on_epoch=lambda states, step: run.draw(run.trained(states, mesh)[0].reconstruct, examples, step),
        )
        trained = run.trained(states, mesh)
        first = trained[0]
        linear = judge.linear_baseline(first, data.train)
        title = f"{plain_name(config.dataset)}, test set"
        rows = pictures.reconstructions({"reconstruction": first}, examples, linear)
        run.figure("reconstructions", plots.image_grid(rows, title))
        if lines := pictures.interpolations(first, examples):
            run.figure("interpolations", plots.image_grid(lines, f"{title}: lines between two images' latents"))
        run.figure("samples", plots.mosaic(first.generate(60), columns=12, title="decoded from the prior"))
        table = judge.joined(
            judge.of_splits(method, states, {name: part.images for name, part in parts.items()}, mesh),
            judge.judge(
                trained,
                data.train,
                data.test,
                held_out=data.held_out,
                original=(original.train, original.test),
                settings=judge.Settings.of(config),
                linear=linear,
            ),
        )
        run.finish(config, mesh, table, curves=("loss", "distortion", "rate"))


if __name__ == "__main__":
    cli.run(main, Config, recipes=("recipe", RECIPES))
