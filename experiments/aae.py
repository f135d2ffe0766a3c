"""The adversarial autoencoder: a discriminator that learns makes the codes follow a prior.

python -m experiments.aae                               the lesson's networks, 150 latents, N(0, I), 30 epochs
python -m experiments.aae --compare                     and the same autoencoder without the adversary
python -m experiments.aae --latents 2 --prior mixture   codes in the plane: a mixture of ten Gaussians, or swiss_roll
python -m experiments.aae --latents 2 --prior mixture --labels 10000        each class in its own part of the prior
python -m experiments.aae --conv --latents 20           the convolutional encoder and decoder
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import Mesh

from aejax import cli, plots, priors, rng
from aejax.data.datasets import Dataset
from aejax.data.feeds import as_float, check_batch
from aejax.errors import UserError
from aejax.evaluation import parzen, prior_match
from aejax.methods import adversarial, games
from aejax.methods.adversarial import AdversarialState, Labelled, Model, Optimizers
from aejax.methods.method import clipped
from aejax.nn.convolutional import ConvDecoder, ConvEncoder, map_shape
from aejax.nn.dense import (
    MLP,
    DenseDecoder,
    GaussianEncoder,
    LatentDecoder,
    LatentEncoder,
    UniversalEncoder,
)
from aejax.nn.discriminator import Discriminator
from aejax.priors import Prior
from aejax.training.batches import drawn, over_images
from aejax.training.config import RunConfig, above, at_least, plain_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.report import mean_of_examples
from aejax.training.runs import Run, open_run
from aejax.training.splits import Splits, load_splits, open_feed

HIDDEN = (1000, 1000, 1000)  # of the encoder; the decoder is its mirror
DISCRIMINATOR = (500, 500, 500, 500)


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train an adversarial autoencoder; metrics, figures and checkpoints go to <runs>/aae/<name>/, by default named
    after <dataset>-<prior><latents>-<encoder>-seed<seed>."""

    PLACES: ClassVar[frozenset[str]] = RunConfig.PLACES | {"compare", "parzen_samples"}

    epochs: int = at_least(1, 30)
    """passes over the training images"""
    batch_size: int = at_least(1, 256)
    """images per step, over all devices"""
    latents: int = at_least(1, 150)
    """dimensions of the codes"""
    prior: Literal["normal", "mixture", "swiss_roll"] = "normal"
    """N(0, I); or, for 2 latents, ten Gaussians on a ring, or a spiral"""
    encoder: Literal["deterministic", "gaussian", "universal"] = "deterministic"
    """codes as a function of the image; drawn from a Gaussian; or a function of the image and of noise"""
    labels: int = at_least(0, 0)
    """of so many training images, from the first, the discriminator is told the label, which then has a part of --prior
    mixture or swiss_roll of its own"""
    conv: bool = False
    """the convolutional encoder and decoder instead of three dense layers of 1000 each"""
    reconstruction_rate: float = above(0, 1e-4)
    """Adam's learning rate for encoder and decoder"""
    discriminator_rate: float = above(0, 5e-5)
    """Adam's learning rate for the discriminator"""
    generator_rate: float = above(0, 5e-5)
    """Adam's learning rate for the encoder as generator"""
    adversarial: bool = True
    """--no-adversarial leaves a plain autoencoder"""
    critic: Literal["gan", "wgan_gp"] = "gan"
    """the discriminator's game: cross-entropy, or the Wasserstein critic with a gradient penalty of 10"""
    r1: float = at_least(0, 0.0)
    """weight of the R1 gradient penalty of the gan game"""
    spectral_norm: bool = False
    """divide the discriminator's kernels by their largest singular value"""
    compare: bool = False
    """also train the same autoencoder without the adversary, in a run of its own, and show it beside"""
    parzen_samples: int = at_least(0, 10_000)
    """decoded samples for the Parzen-window log-likelihood of the test images, a weak measure; 0 leaves it out"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prior != "normal" and self.latents != 2:
            raise UserError(f"--prior {self.prior} lies in the plane: set --latents 2, not {self.latents}")
        if self.labels and self.prior == "normal":
            raise UserError(f"--labels {self.labels} needs a prior with parts: set --prior mixture or swiss_roll")
        if self.compare and not self.adversarial:
            raise UserError("--compare sets an adversarial autoencoder beside a plain one: leave --no-adversarial out")
        if self.r1 and self.critic != "gan":
            raise UserError(f"--r1 {self.r1:g} belongs to --critic gan, not to {self.critic}: leave one of them out")


def main(config: Config) -> None:
    kind = f"{config.encoder}{'-conv' if config.conv else ''}{f'-labels{config.labels}' if config.labels else ''}"
    name = f"{plain_name(config.dataset)}-{config.prior}{config.latents}-{kind}-seed{config.seed}"
    config = dataclasses.replace(config, name=config.name or (name if config.adversarial else f"{name}-plain"))
    mesh = make_mesh(config.devices, config.batch_size, dense=not config.conv)
    data = load_splits(config)
    check_batch(data.train.images, config.batch_size, mesh)
    model = build(config, data.train.images.shape[1:])
    examples = told(config, data.train)

    others: dict[str, AdversarialState] = {}
    if config.compare:
        plain = dataclasses.replace(config, name=f"{config.name}-plain", adversarial=False, compare=False)
        with open_run(plain, "aae") as run:
            others["plain autoencoder"] = train(plain, run, examples, data, mesh, model)
            finish(plain, run, data, mesh, model, {"plain autoencoder": others["plain autoencoder"]})
    with open_run(config, "aae") as run:
        state = train(config, run, examples, data, mesh, model)
        finish(config, run, data, mesh, model, {"AAE" if config.adversarial else "plain autoencoder": state, **others})


def build(config: Config, image_shape: tuple[int, ...]) -> Model:
    """The networks for images (height, width, channels)."""
    height, width, channels = image_shape
    trunk: nn.Module
    decoder: nn.Module
    if config.conv:
        trunk, decoder = ConvEncoder(), LatentDecoder(ConvDecoder(channels), map_shape(height, width))
    else:
        trunk, decoder = MLP(HIDDEN), DenseDecoder(HIDDEN, image_shape)
    prior: Prior = {
        "normal": lambda: priors.standard_normal(config.latents),
        "mixture": priors.mixture_on_ring,
        "swiss_roll": priors.swiss_roll,
    }[config.prior]()
    encoder = {
        "deterministic": lambda: LatentEncoder(trunk, config.latents),
        "gaussian": lambda: GaussianEncoder(trunk, config.latents),
        "universal": lambda: UniversalEncoder(trunk, config.latents, width=100),
    }[config.encoder]()
    discriminator = Discriminator(DISCRIMINATOR, config.spectral_norm)
    return Model(encoder, decoder, discriminator, prior, config.encoder, labelled=config.labels > 0)


def told(config: Config, data: Dataset) -> np.ndarray | Labelled:
    """The images to train on, and with --labels the labels that the discriminator is told of them.

    Raises:
      UserError: if there are not so many labels, or of more classes than the prior has parts.
    """
    if not config.labels:
        return data.images
    if data.labels is None:
        raise UserError(f"--labels {config.labels}: --dataset {config.dataset} has none")
    if config.labels > len(data.labels):
        raise UserError(f"--labels {config.labels} is more than the {len(data.labels)} training images: lower it")
    if data.labels.max() >= priors.CLASSES:
        raise UserError(f"--labels {config.labels}: --prior {config.prior} has only {priors.CLASSES} parts")
    labels = np.where(np.arange(len(data.labels)) < config.labels, data.labels, -1)
    return Labelled(data.images, labels.astype(np.int32))


def untold(config: Config, images: np.ndarray) -> np.ndarray | Labelled:
    """Images to evaluate on, whose labels nobody is told."""
    return Labelled(images, np.full(len(images), -1, np.int32)) if config.labels else images


def train(
    config: Config, run: Run, examples: np.ndarray | Labelled, data: Splits, mesh: Mesh, model: Model
) -> AdversarialState:
    optimizers = Optimizers(
        reconstruction=clipped(optax.adam(config.reconstruction_rate), config.clip_norm),
        discriminator=clipped(optax.adam(config.discriminator_rate), config.clip_norm),
        generator=clipped(optax.adam(config.generator_rate), config.clip_norm),
    )
    game = games.wgan_gp() if config.critic == "wgan_gp" else games.gan(config.r1)
    return fit(
        adversarial.aae(model, optimizers, game, adversarial=config.adversarial),
        open_feed(config, examples, config.batch_size, mesh),
        run,
        epochs=config.epochs,
        seed=config.seed,
        evaluations={"held_out": untold(config, data.held_out.images)},
    )


def finish(
    config: Config, run: Run, data: Splits, mesh: Mesh, model: Model, states: Mapping[str, AdversarialState]
) -> None:
    """The table and figures of the first state, with the others beside it."""
    state = next(iter(states.values()))
    evaluate = over_images(adversarial.aae(model, _NO_OPTIMIZERS).evaluate, mesh)
    rows = {
        split: mean_of_examples(evaluate(state, untold(config, dataset.images)))
        for split, dataset in data._asdict().items()
    }
    encode = over_images(adversarial.encode(model), mesh)
    codes = {name: encode(one, data.test.images) for name, one in states.items()}
    key = rng.stream(rng.root_key(config.seed), "prior match")
    samples, independent = (
        np.asarray(model.prior.sample(rng.stream(key, name), len(data.test.images))) for name in ("samples", "floor")
    )
    measured = {"two prior samples": independent, **codes}
    for name, points in measured.items():
        rows[f"prior match: {name}"] = prior_match.distances(rng.stream(key, "distances"), points, samples) | {
            moment: float(values.mean()) for moment, values in prior_match.moments(points).items()
        }
    if config.parzen_samples:
        rows["test"] |= parzen_row(config, data, model, state)

    shown = {"prior, first two latents" if config.latents > 2 else "prior": samples, **codes}
    if config.latents > 1:
        run.figure("codes", plots.density({name: points[:, :2] for name, points in shown.items()}))
    if config.latents == 2 and data.test.labels is not None:
        run.figure("plane", plots.scatter(codes, data.test.labels))
    examples = data.test.one_per_class()
    reconstruct = over_images(adversarial.reconstruct(model), mesh)
    pictures = {"input": as_float(examples)} | {name: reconstruct(one, examples) for name, one in states.items()}
    run.figure("reconstructions", plots.image_grid(pictures, f"{config.dataset}, test set"))
    generate = jax.jit(adversarial.generate(model), static_argnums=2)
    grid = {name: np.asarray(generate(one, rng.stream(key, "pictures"), len(examples))) for name, one in states.items()}
    run.figure("samples", plots.image_grid(grid, "decoded from the prior"))
    for name, one in states.items():
        mosaic = plots.mosaic(np.asarray(generate(one, rng.stream(key, "mosaic"), 60)), 12, f"{name}: from the prior")
        run.figure(f"samples_{name.replace(' ', '_').lower()}", mosaic)
    run.finish(config, mesh, rows, curves=("bce", "discriminator_loss", "generator_loss", "discriminator_accuracy"))


def parzen_row(config: Config, data: Splits, model: Model, state: AdversarialState) -> dict[str, float]:
    """By the protocol of Goodfellow et al. (2014): the bandwidth is chosen on held-out images."""
    key = rng.stream(rng.root_key(config.seed), "parzen")
    samples = drawn(adversarial.generate(model), state, key, config.parzen_samples)
    bandwidth = parzen.choose_bandwidth(samples, as_float(data.held_out.images[:1000]))
    values = parzen.log_likelihood(samples, as_float(data.test.images), bandwidth)
    mean, standard_error = parzen.mean_and_standard_error(values)
    return {"parzen": mean, "parzen_standard_error": standard_error, "parzen_bandwidth": bandwidth}


_NO_OPTIMIZERS = Optimizers(optax.identity(), optax.identity(), optax.identity())  # evaluation takes no step


if __name__ == "__main__":
    cli.run(main, Config)
