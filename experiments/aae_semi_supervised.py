"""Adversarial autoencoders that classify with few labels, or cluster without any: Makhzani et al. (2016), 2.4 and 2.5.

python -m experiments.aae_semi_supervised                   MNIST with 1000 labels
python -m experiments.aae_semi_supervised --clusters 16     without labels: 16 clusters

With 100 labels, ten of each class, held-out images prefer faster games and slower classification:
python -m experiments.aae_semi_supervised --labels 100 --reconstruction-rate 2e-3 --discriminator-rate 2e-3 \\
  --generator-rate 4e-4 --classification-rate 1e-3
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from aejax import cli, corruptions, plots, rng
from aejax.data.datasets import Dataset
from aejax.data.feeds import check_batch
from aejax.errors import UserError
from aejax.evaluation import judge
from aejax.methods import gan_losses, semi_supervised_aae
from aejax.methods.gan_losses import GanLossName
from aejax.methods.method import Method, with_ema
from aejax.methods.semi_supervised_aae import Adversaries, Examples, Optimizers
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import ClassAndStylePosterior
from aejax.models.priors import ClassAndStylePrior
from aejax.models.trained import Trained
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import LatentEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from aejax.tables import Table, by_seed
from aejax.training import optimizers, report
from aejax.training.config import RunConfig, Schedule, above, at_least, plain_name, seeds_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import Run, open_run
from aejax.training.splits import Splits, load_splits, open_feed

STYLES = 10  # columns of the figure: styles shared by all classes


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train a semi-supervised or clustering AAE; metrics, figures and checkpoints go to
    <runs>/aae_semi_supervised/<name>/, by default named after <dataset>-labels<labels>-seed<seed> or
    <dataset>-clusters<clusters>-seed<seed>."""

    epochs: int = at_least(1, 100)
    """passes over the training images; the paper trains for 5000"""
    batch_size: int = at_least(1, 100)
    """images per step, over all devices, and the same number with labels"""
    labels: int = at_least(1, 1000)
    """the number of training images whose label is known, the same of each class"""
    clusters: int | None = at_least(2, None)
    """learn this number of clusters without any label, instead"""
    style: int = at_least(1, 10)
    """latents of the style"""
    hidden: tuple[int, ...] = at_least(1, (1000, 1000))
    """widths of the layers of encoder and discriminators; the decoder's are the encoder's mirror"""
    noise_std: float = at_least(0, 0.3)
    """of the Gaussian noise on the encoder's input in training"""
    reconstruction_rate: float = above(0, 1e-3)
    """Adam's learning rate for encoder and decoder"""
    discriminator_rate: float = above(0, 1e-3)
    """Adam's learning rate for the discriminators"""
    generator_rate: float = above(0, 2e-4)
    """Adam's learning rate for the encoder as generator"""
    adversarial_b1: float = at_least(0, 0.5, below=1)
    """Adam's decay of the mean gradient, for these two"""
    classification_rate: float = above(0, 2e-3)
    """Adam's learning rate for the encoder as classifier"""
    schedule: Schedule = "cosine"
    """of all four rates: constant; cosine, which falls to 0 over the epochs; or warmup_cosine, which first rises for 5%
    of the steps"""
    class_gan_loss: GanLossName = "gan"
    """of the adversary of the classes. gan: cross-entropy; wgan_gp: the Wasserstein critic with a gradient penalty"""
    style_gan_loss: GanLossName = "wgan_gp"
    """of the adversary of the style"""


def main(config: Config) -> None:
    kind = f"labels{config.labels}" if config.clusters is None else f"clusters{config.clusters}"
    name = f"{plain_name(config.dataset)}-{kind}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or name)
    mesh = make_mesh(config.devices, config.batch_size, dense=True)
    data = load_splits(config)
    if data.train.labels is None or data.held_out.labels is None or data.test.labels is None:
        raise UserError(f"--dataset {config.dataset} has no labels to judge by: choose another")
    check_batch(data.train.images, config.batch_size, mesh)
    report.note(judge.left_out(data.train, data.test, latents=False, prior=False, pictures=False))
    classes = config.clusters or int(data.train.labels.max()) + 1
    model = build_model(config, data.image_shape, classes)
    feed = open_feed(config, training_examples(config, data.train, data.train.labels), config.batch_size, mesh)
    method = build_method(config, model, config.epochs * feed.steps_per_epoch)

    with open_run(config, "aae_semi_supervised", model=model, data=data) as run:
        states = fit(
            method,
            feed,
            run,
            epochs=config.epochs,
            seed=config.seed,
            seeds=config.seeds,
            evaluations={"held_out": of_split(data.held_out)},
        )
        trained = run.trained(states, mesh)
        draw(config, run, trained[0], classes)
        curves: tuple[str, ...] = ("bce", "error", "classification_loss", "discriminator_loss", "generator_loss")
        curves = curves if config.clusters is None else (curves[0], *curves[3:])
        run.draw_curves(curves)
        table = judge.of_splits(method, states, {name: of_split(part) for name, part in data.parts().items()}, mesh)
        if config.clusters is not None:
            table = judge.joined(table, cluster_errors(data, trained))
        run.finish(config, mesh, table, curves=curves)


def build_model(config: Config, image_shape: tuple[int, ...], classes: int) -> LatentVariableModel:
    """Returns the model for images (height, width, channels) of a number of classes, or clusters."""
    codes = classes + config.style
    return LatentVariableModel(
        ClassAndStylePosterior(LatentEncoder(MLP(config.hidden), codes), classes),
        DenseDecoder(config.hidden[::-1], image_shape),
        ClassAndStylePrior(latents=codes, classes=classes),
    )


def build_method(config: Config, model: LatentVariableModel, steps: int) -> Method:
    """Returns how the model is learnt over a training of `steps` steps."""

    def adam(rate: float, b1: float = 0.9) -> Any:
        return optimizers.build(config, rate, steps, b1=b1)

    four = Optimizers(
        reconstruction=adam(config.reconstruction_rate),
        discriminator=adam(config.discriminator_rate, config.adversarial_b1),
        generator=adam(config.generator_rate, config.adversarial_b1),
        classification=adam(config.classification_rate),
    )
    noise = corruptions.Gaussian(0.0, config.noise_std) if config.noise_std else None
    adversaries = Adversaries(model, Discriminator(config.hidden), Discriminator(config.hidden), noise)
    method = semi_supervised_aae.aae(
        adversaries,
        four,
        gan_losses.by_name(config.class_gan_loss),
        gan_losses.by_name(config.style_gan_loss),
    )
    return with_ema(method, config.ema_decay)


def training_examples(config: Config, data: Dataset, labels: np.ndarray) -> Examples:
    """Returns all images, and next to them the few with labels, over and over; no label at all for clusters.

    Raises:
      UserError: if some class has fewer images than --labels asks for.
    """
    n = len(data.images)
    if config.clusters is not None:
        return Examples(data.images, data.images, np.full(n, -1, np.int32))
    classes = np.unique(labels[labels >= 0])
    if config.labels % len(classes):
        raise UserError(f"--labels {config.labels} is not a multiple of the {len(classes)} classes: choose one")
    each = config.labels // len(classes)
    key = rng.stream(rng.root_key(config.seed), "labelled images")
    order = np.asarray(jax.random.permutation(key, n))
    of_class = [order[labels[order] == label][:each] for label in classes]
    if min(map(len, of_class)) < each:
        raise UserError(f"--labels {config.labels} asks for {each} images of each class, more than there are: lower it")
    # Interleaved, and shuffled as a whole by the feed: every batch meets all of them alike.
    rows = np.resize(np.stack(of_class, axis=1).ravel(), n)
    return Examples(data.images, data.images[rows], labels[rows])


def of_split(data: Dataset) -> Examples:
    """Returns a split's images with a known label, for `evaluate`, which reads `images` and `labels` alone."""
    images, labels = known(data)
    return Examples(images, images, labels)


def known(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images whose label is known, and their labels."""
    assert data.labels is not None
    rows = data.labels >= 0
    # A boolean index copies.
    return (data.images, data.labels) if rows.all() else (data.images[rows], data.labels[rows])


def cluster_errors(data: Splits, trained: list[Trained]) -> Table:
    """Computes the error by the paper's protocol: a cluster has the label of the held-out image most probable in it."""

    def probabilities(one: Trained, images: np.ndarray) -> np.ndarray:
        return one.encode(images)[:, : one.model.posterior.classes]

    def error(one: Trained, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        named = chosen_labels[probabilities(one, chosen).argmax(axis=0)]
        return {"error": float(np.mean(named[probabilities(one, images).argmax(axis=1)] != labels))}

    chosen, chosen_labels = known(data.held_out)
    return {split: by_seed([error(one, *known(part)) for one in trained]) for split, part in data.parts().items()}


def draw(config: Config, run: Run, trained: Trained, classes: int) -> None:
    """Draws classes or clusters in rows, styles from the prior in columns."""
    key = rng.stream(rng.root_key(config.seed), "styles")
    style = np.tile(np.asarray(jax.random.normal(key, (STYLES, config.style))), (classes, 1))
    one_hot = np.eye(classes, dtype=np.float32).repeat(STYLES, axis=0)
    kind = "classes" if config.clusters is None else "clusters"
    title = f"rows: {kind}, columns: styles from the prior"
    pictures = trained.decode(np.concatenate([one_hot, style], axis=1))
    run.figure("classes_and_styles", plots.mosaic(pictures, STYLES, title))


if __name__ == "__main__":
    cli.run(main, Config)
