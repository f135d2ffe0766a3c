"""The adversarial autoencoder: a discriminator that learns makes the codes follow a prior.

python -m experiments.aae                               the tutorial's networks, 150 latents, N(0, I), 30 epochs
python -m experiments.aae --compare                     and the same autoencoder without the adversary, and as a VAE
python -m experiments.aae --network tutorial --latents 20           the convolutional encoder and decoder

Codes in the plane, under a mixture of ten Gaussians or a swiss_roll, whose edges the cross-entropy losses find; with
labels each class has its own part of the prior:
python -m experiments.aae --latents 2 --prior mixture --gan-loss gan --discriminator-rate 1e-3 --generator-rate 3e-4
python -m experiments.aae --latents 2 --prior mixture --gan-loss gan --discriminator-rate 1e-3 --generator-rate 3e-4 \\
  --labels 10000

The tutorial's own losses, cross-entropy at constant rates, which leave the codes four times as far from the prior:
python -m experiments.aae --gan-loss gan --adversarial-b1 0.9 --schedule constant \\
  --reconstruction-rate 1e-4 --discriminator-rate 5e-5 --generator-rate 5e-5

The network of the paper's likelihoods (appendix A.1), two layers of 1000 in each of the three and 8 latents:
python -m experiments.aae --latents 8 --hidden 1000 1000 --discriminator-hidden 1000 1000
The paper's prior is N(0, 25 I), the same model in other units; its reconstruction cost is the squared error and its
optimiser SGD with momentum, where ours are cross-entropy and Adam.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from aejax import cli, plots
from aejax.data.datasets import Dataset
from aejax.data.feeds import check_batch
from aejax.errors import UserError
from aejax.evaluation import judge, pictures, prior_match
from aejax.evaluation.pca import PCA
from aejax.methods import adversarial, gan_losses, reconstruction, variational
from aejax.methods.adversarial import Adversary, LabelledImages, Optimizers
from aejax.methods.gan_losses import GanLossName
from aejax.methods.method import Method, with_ema
from aejax.models import priors
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import DeterministicPosterior, GaussianPosterior, Posterior, UniversalPosterior
from aejax.models.trained import Trained
from aejax.nn import build
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import GaussianEncoder, LatentEncoder, UniversalEncoder
from aejax.tables import Table
from aejax.training import optimizers, report
from aejax.training.config import (
    HIDDEN_HELP,
    JudgedConfig,
    NetworkConfig,
    NetworkOption,
    Schedule,
    above,
    at_least,
    plain_name,
    seeds_name,
)
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import Run, open_run
from aejax.training.splits import Splits, load_splits, open_feed

HIDDEN = (1000, 1000, 1000)  # the tutorial's
DISCRIMINATOR = (500, 500, 500, 500)
Kind = Literal["AAE", "plain autoencoder", "VAE"]


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig, JudgedConfig):
    """Train an adversarial autoencoder; metrics, figures and checkpoints go to <runs>/aae/<name>/, by default named
    after <dataset>-<prior><latents>-<encoder>-seed<seed>."""

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
    """the number of training images, from the first, whose label the discriminator sees; each label then has a part of
    --prior mixture or swiss_roll of its own"""
    network: NetworkOption = "dense"
    hidden: Annotated[tuple[int, ...], HIDDEN_HELP] = at_least(1, HIDDEN)
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
    """of all three rates: constant; cosine, which falls to 0 over the epochs and so ends the circling of the two; or
    warmup_cosine, which first rises for 5% of the steps"""
    adversarial: bool = True
    """--no-adversarial leaves a plain autoencoder"""
    gan_loss: GanLossName = "wgan_gp"
    """gan: cross-entropy; wgan_gp: the Wasserstein critic with a gradient penalty of 10"""
    r1: float = at_least(0, 0.0)
    """weight of the R1 gradient penalty of --gan-loss gan"""
    spectral_norm: bool = False
    """divide the discriminator's kernels by their largest singular value"""
    compare: bool = False
    """also train the same autoencoder without the adversary and, for the normal prior, as a VAE, each in a run of its
    own, and show them together"""
    parzen_samples: int = at_least(0, 10_000)
    """decoded samples for the Parzen-window log-likelihood of the test images, a weak measure; 0 leaves it out"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prior != "normal" and self.latents != 2:
            raise UserError(f"--prior {self.prior} lies in the plane: set --latents 2, not {self.latents}")
        if self.labels and self.prior == "normal":
            raise UserError(f"--labels {self.labels} needs a prior with parts: set --prior mixture or swiss_roll")
        if self.network != "dense" and self.hidden != HIDDEN:
            raise UserError("--hidden is about dense layers: leave it or --network out")
        if self.compare and not self.adversarial:
            raise UserError("--compare sets an adversarial autoencoder beside a plain one: leave --no-adversarial out")
        if self.r1 and self.gan_loss != "gan":
            raise UserError(
                f"--r1 {self.r1:g} belongs to --gan-loss gan, not to {self.gan_loss}: leave one of them out"
            )


class Outcome(NamedTuple):
    """What a run leaves: its trained models, one per seed, and the table that it printed."""

    trained: list[Trained]
    table: Table


def main(config: Config) -> None:
    posterior = f"{config.encoder}{'' if config.network == 'dense' else '-' + config.network}"
    labels = f"-labels{config.labels}" if config.labels else ""
    name = f"{plain_name(config.dataset)}-{config.prior}{config.latents}-{posterior}{labels}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or (name if config.adversarial else f"{name}-plain"))
    data = load_splits(config)
    report.note(judge.left_out(data.train, data.test))
    others: dict[str, Outcome] = {}
    if config.compare:
        alone = dataclasses.replace(config, compare=False)
        plain = dataclasses.replace(alone, name=f"{config.name}-plain", adversarial=False)
        others["plain autoencoder"] = run_one(plain, data, "plain autoencoder")
        if config.prior == "normal":
            others["VAE"] = run_one(dataclasses.replace(alone, name=f"{config.name}-vae"), data, "VAE")
    run_one(config, data, "AAE" if config.adversarial else "plain autoencoder", others)


def run_one(
    config: Config, data: Splits, kind: Kind = "AAE", others: Mapping[str, Outcome] = MappingProxyType({})
) -> Outcome:
    """Trains one model, or takes it from its checkpoint, and judges and draws it together with others."""
    mesh = make_mesh(config.devices, config.batch_size, dense=config.network == "dense")
    check_batch(data.train.images, config.batch_size, mesh)
    model = build_model(config, data.image_shape, kind)
    examples = training_examples(config, data.train) if kind == "AAE" else data.train.images
    feed = open_feed(config, examples, config.batch_size, mesh)
    method = build_method(config, model, kind, config.epochs * feed.steps_per_epoch)

    with open_run(config, "aae", model=model, data=data) as run:
        states = fit(
            method,
            feed,
            run,
            epochs=config.epochs,
            seed=config.seed,
            seeds=config.seeds,
            evaluations={"held_out": without_labels(config, kind, data.held_out)},
        )
        trained = run.trained(states, mesh)
        models = {kind: trained[0], **{name: other.trained[0] for name, other in others.items()}}
        linear = judge.linear_baseline(trained[0], data.train)
        draw(config, run, data, models, linear)
        splits = {name: without_labels(config, kind, part) for name, part in data.parts().items()}
        table = judge.joined(
            judge.of_splits(method, states, splits, mesh),
            judge.judge(
                trained,
                data.train,
                data.test,
                held_out=data.held_out,
                settings=judge.Settings.of(config),
                linear=linear,
            ),
            {f"{judge.CODES}, {name}": other.table[judge.CODES] for name, other in others.items()},
        )
        curves = "bce", "discriminator_loss", "generator_loss", "discriminator_accuracy"
        run.finish(config, mesh, table, curves=("loss", "distortion", "rate") if kind == "VAE" else curves)
    return Outcome(trained, table)


def build_model(config: Config, image_shape: tuple[int, ...], kind: Kind = "AAE") -> LatentVariableModel:
    """Returns the model for images (height, width, channels); a VAE has a Gaussian posterior."""
    trunk, decoder = build.of_options(config, image_shape, config.latents)
    posterior: Posterior
    if kind == "VAE" or config.encoder == "gaussian":
        posterior = GaussianPosterior(GaussianEncoder(trunk, config.latents))
    elif config.encoder == "universal":
        posterior = UniversalPosterior(UniversalEncoder(trunk, config.latents, width=100))
    else:
        posterior = DeterministicPosterior(LatentEncoder(trunk, config.latents))
    return LatentVariableModel(posterior, decoder, priors.by_name(config.prior, config.latents))


def build_method(config: Config, model: LatentVariableModel, kind: Kind, steps: int) -> Method:
    """Returns how the model is learnt over a training of `steps` steps."""

    def adam(rate: float, b1: float = 0.9) -> Any:
        return optimizers.build(config, rate, steps, b1=b1)

    if kind == "VAE":
        # Without the schedule, which is there for the adversary.
        constant = dataclasses.replace(config, schedule="constant")
        return variational.vae(model, optimizers.build(constant, config.reconstruction_rate, steps))
    if kind == "plain autoencoder":
        return with_ema(reconstruction.autoencoder(model, adam(config.reconstruction_rate)), config.ema_decay)
    discriminator = Discriminator(config.discriminator_hidden, config.spectral_norm)
    three = Optimizers(
        reconstruction=adam(config.reconstruction_rate),
        discriminator=adam(config.discriminator_rate, config.adversarial_b1),
        generator=adam(config.generator_rate, config.adversarial_b1),
    )
    adversary = Adversary(model, discriminator, label_conditioned=config.labels > 0)
    return with_ema(adversarial.aae(adversary, three, gan_losses.by_name(config.gan_loss, config.r1)), config.ema_decay)


def training_examples(config: Config, data: Dataset) -> np.ndarray | LabelledImages:
    """Returns the images to train on, with --labels together with the labels that the discriminator sees.

    Raises:
      UserError: if there are fewer labels, or labels of more classes than the prior has parts.
    """
    if not config.labels:
        return data.images
    if data.labels is None:
        raise UserError(f"--labels {config.labels}: --dataset {config.dataset} has none")
    if config.labels > len(data.labels):
        raise UserError(f"--labels {config.labels} is more than the {len(data.labels)} training images: lower it")
    parts = priors.by_name(config.prior, config.latents).parts
    if data.labels.max() >= parts:
        raise UserError(f"--labels {config.labels}: --prior {config.prior} has only {parts} parts")
    labels = np.where(np.arange(len(data.labels)) < config.labels, data.labels, -1)
    return LabelledImages(data.images, labels.astype(np.int32))


def without_labels(config: Config, kind: Kind, data: Dataset) -> np.ndarray | LabelledImages:
    """Returns images to evaluate on, whose labels the discriminator does not see."""
    if kind != "AAE" or not config.labels:
        return data.images
    return LabelledImages(data.images, np.full(len(data.images), -1, np.int32))


def draw(config: Config, run: Run, data: Splits, models: Mapping[str, Trained], linear: PCA | None) -> None:
    """Draws codes next to the prior, reconstructions next to PCA's, and samples; with several seeds, of the first."""
    first = next(iter(models.values()))
    test, latents = data.test, config.latents
    codes = {name: one.sample_posterior(test.images) for name, one in models.items()}
    samples = {"prior": first.sample_prior(len(test.images), "prior codes")}
    moments = {name: prior_match.moments(points) for name, points in {**samples, **codes}.items()}
    panels = {moment: {name: row[moment] for name, row in moments.items()} for moment in ("mean", "std", "kurtosis")}
    as_lists = {name: {moment: v.tolist() for moment, v in row.items()} for name, row in moments.items()}
    run.text("moments.json", json.dumps(as_lists, indent=2) + "\n")
    run.figure("moments", plots.sorted_values(panels, "latents, each panel in its own order"))
    if latents > 1:
        shown = {f"{name}, first two latents" if latents > 2 else name: points for name, points in samples.items()}
        run.figure("codes", plots.density({name: points[:, :2] for name, points in {**shown, **codes}.items()}))
    if latents == 2 and test.labels is not None:
        run.figure("plane", plots.scatter(codes, test.labels))
    rows = pictures.reconstructions(models, test.one_per_class(), linear)
    run.figure("reconstructions", plots.image_grid(rows, f"{plain_name(config.dataset)}, test set"))
    grid = {name: one.generate(10, "pictures") for name, one in models.items()}
    run.figure("samples", plots.image_grid(grid, "decoded from the prior"))
    for name, one in models.items():
        mosaic = plots.mosaic(one.generate(60), 12, f"{name}: from the prior")
        run.figure(f"samples_{name.replace(' ', '_').lower()}", mosaic)


if __name__ == "__main__":
    cli.run(main, Config)
