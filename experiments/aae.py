"""The adversarial autoencoder: a discriminator that learns makes the codes follow a prior.

python -m experiments.aae                               the lesson's networks, 150 latents, N(0, I), 30 epochs
python -m experiments.aae --compare                     and the same autoencoder without the adversary, and as a VAE
python -m experiments.aae --conv --latents 20           the convolutional encoder and decoder

Codes in the plane, under a mixture of ten Gaussians or a swiss_roll, whose edges Goodfellow's game finds; with labels
each class has its own part of the prior:
python -m experiments.aae --latents 2 --prior mixture --critic gan --discriminator-rate 1e-3 --generator-rate 3e-4
python -m experiments.aae --latents 2 --prior mixture --critic gan --discriminator-rate 1e-3 --generator-rate 3e-4 \\
  --labels 10000

The lesson's own game, Goodfellow's at constant rates, which leaves the codes four times as far from the prior:
python -m experiments.aae --critic gan --adversarial-b1 0.9 --schedule constant \\
  --reconstruction-rate 1e-4 --discriminator-rate 5e-5 --generator-rate 5e-5

The network of the paper's likelihoods (appendix A.1), two layers of 1000 in each of the three and 8 latents:
python -m experiments.aae --latents 8 --hidden 1000 1000 --discriminator-hidden 1000 1000
The paper's prior is N(0, 25 I), the same model in other units; its reconstruction cost is the squared error and its
optimiser SGD with momentum, where ours are cross-entropy and Adam.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import numpy as np
import optax
from jax.sharding import Mesh

from aejax import cli, priors
from aejax.data.datasets import Dataset
from aejax.data.feeds import check_batch
from aejax.errors import UserError
from aejax.methods import adversarial, games
from aejax.methods.adversarial import AdversarialState, Labelled, Model, Optimizers
from aejax.methods.games import Critic, Game
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
from aejax.training.config import RunConfig, above, at_least, plain_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.optimizers import Schedule, scheduled
from aejax.training.runs import Run, open_run
from aejax.training.splits import Splits, load_splits, open_feed
from experiments import aae_report, aae_vae
from experiments.aae_report import Judged, Rows

HIDDEN = (1000, 1000, 1000)  # the lesson's
DISCRIMINATOR = (500, 500, 500, 500)


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train an adversarial autoencoder; metrics, figures and checkpoints go to <runs>/aae/<name>/, by default named
    after <dataset>-<prior><latents>-<encoder>-seed<seed>."""

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = RunConfig.MAY_DIFFER_ON_RESUME | {"compare", "parzen_samples"}

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
    hidden: tuple[int, ...] = at_least(1, HIDDEN)
    """widths of the encoder's dense layers; the decoder's are its mirror"""
    conv: bool = False
    """the convolutional encoder and decoder instead of dense ones"""
    discriminator_hidden: tuple[int, ...] = at_least(1, DISCRIMINATOR)
    """widths of the discriminator's layers"""
    reconstruction_rate: float = above(0, 2e-4)
    """Adam's learning rate for encoder and decoder"""
    discriminator_rate: float = above(0, 5e-4)
    """Adam's learning rate for the discriminator"""
    generator_rate: float = above(0, 1e-4)
    """Adam's learning rate for the encoder as generator"""
    adversarial_b1: float = at_least(0, 0.0, below=1)
    """Adam's decay of the mean gradient, for the discriminator and for the encoder as generator; without momentum they
    circle less"""
    schedule: Schedule = "cosine"
    """of all three rates: constant; cosine, which falls to 0 over the epochs and so ends the game's circling; or
    warmup_cosine, which first rises for 5% of the steps"""
    adversarial: bool = True
    """--no-adversarial leaves a plain autoencoder"""
    critic: Critic = "wgan_gp"
    """the discriminator's game: cross-entropy, or the Wasserstein critic with a gradient penalty of 10"""
    r1: float = at_least(0, 0.0)
    """weight of the R1 gradient penalty of the gan game"""
    spectral_norm: bool = False
    """divide the discriminator's kernels by their largest singular value"""
    compare: bool = False
    """also train the same autoencoder without the adversary and, for the normal prior, as a VAE, each in a run of its
    own, and show them beside"""
    parzen_samples: int = at_least(0, 10_000)
    """decoded samples for the Parzen-window log-likelihood of the test images, a weak measure; 0 leaves it out"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prior != "normal" and self.latents != 2:
            raise UserError(f"--prior {self.prior} lies in the plane: set --latents 2, not {self.latents}")
        if self.labels and self.prior == "normal":
            raise UserError(f"--labels {self.labels} needs a prior with parts: set --prior mixture or swiss_roll")
        if self.conv and self.hidden != HIDDEN:
            raise UserError("--hidden is about dense layers: leave it or --conv out")
        if self.compare and not self.adversarial:
            raise UserError("--compare sets an adversarial autoencoder beside a plain one: leave --no-adversarial out")
        if self.r1 and self.critic != "gan":
            raise UserError(f"--r1 {self.r1:g} belongs to --critic gan, not to {self.critic}: leave one of them out")


class Trained(NamedTuple):
    """What a run leaves, with the table that it printed."""

    model: Model
    state: AdversarialState
    judged: Judged
    rows: Rows


def main(config: Config) -> None:
    kind = f"{config.encoder}{'-conv' if config.conv else ''}{f'-labels{config.labels}' if config.labels else ''}"
    name = f"{plain_name(config.dataset)}-{config.prior}{config.latents}-{kind}-seed{config.seed}"
    config = dataclasses.replace(config, name=config.name or (name if config.adversarial else f"{name}-plain"))
    data = load_splits(config)
    beside: dict[str, Judged] = {}
    if config.compare:
        plain = dataclasses.replace(config, name=f"{config.name}-plain", adversarial=False, compare=False)
        beside["plain autoencoder"] = train_and_report(plain, data).judged
        if config.prior == "normal":
            shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(aae_vae.Config)}
            vae = aae_vae.Config(**shared | {"name": f"{config.name}-vae"})
            beside["VAE"] = aae_vae.train_and_report(vae, data, *networks(config, data.train.images.shape[1:]))
    train_and_report(config, data, beside)


def train_and_report(config: Config, data: Splits, beside: Mapping[str, Judged] = MappingProxyType({})) -> Trained:
    """One run, from its training, or what its checkpoint holds, to its table and figures, with others beside it."""
    mesh = make_mesh(config.devices, config.batch_size, dense=not config.conv)
    check_batch(data.train.images, config.batch_size, mesh)
    model, game = build(config, data.train.images.shape[1:]), games.by_name(config.critic, config.r1)
    examples = told(config, data.train)
    with open_run(config, "aae") as run:
        state = train(config, run, examples, data, mesh, model, game)
        judged = aae_report.judged(mesh, model, state)
        rows = aae_report.of_splits(data, mesh, model, game, state)
        if config.parzen_samples:
            rows["test"] |= aae_report.parzen_row(config, data, model, state, config.parzen_samples)
        models = {"AAE" if config.adversarial else "plain autoencoder": judged, **beside}
        rows |= aae_report.compare(config, run, data, model.prior, models)
        run.finish(config, mesh, rows, curves=("bce", "discriminator_loss", "generator_loss", "discriminator_accuracy"))
    return Trained(model, state, judged, rows)


def networks(config: Config, image_shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """The encoder's trunk, before the layer that has the latents, and the decoder, for images of this shape."""
    height, width, channels = image_shape
    if config.conv:
        return ConvEncoder(), LatentDecoder(ConvDecoder(channels), map_shape(height, width))
    return MLP(config.hidden), DenseDecoder(config.hidden[::-1], image_shape)


def build(config: Config, image_shape: tuple[int, ...]) -> Model:
    """The networks and the prior for images (height, width, channels)."""
    trunk, decoder = networks(config, image_shape)
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
    discriminator = Discriminator(config.discriminator_hidden, config.spectral_norm)
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


def train(
    config: Config, run: Run, examples: np.ndarray | Labelled, data: Splits, mesh: Mesh, model: Model, game: Game
) -> AdversarialState:
    feed = open_feed(config, examples, config.batch_size, mesh)
    steps = config.epochs * feed.steps_per_epoch

    def adam(peak: float, b1: float) -> optax.GradientTransformation:
        return clipped(optax.adam(scheduled(config.schedule, peak, steps), b1), config.clip_norm)

    optimizers = Optimizers(
        reconstruction=adam(config.reconstruction_rate, 0.9),
        discriminator=adam(config.discriminator_rate, config.adversarial_b1),
        generator=adam(config.generator_rate, config.adversarial_b1),
    )
    (state,) = fit(
        adversarial.aae(model, optimizers, game, adversarial=config.adversarial),
        feed,
        run,
        epochs=config.epochs,
        seed=config.seed,
        evaluations={"held_out": aae_report.untold(model, data.held_out.images)},
    )
    return state


if __name__ == "__main__":
    cli.run(main, Config)
