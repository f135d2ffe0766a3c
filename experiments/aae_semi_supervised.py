"""Adversarial autoencoders that classify with few labels, or cluster without any: Makhzani et al. (2016), 2.4 and 2.5.

python -m experiments.aae_semi_supervised                   MNIST with 1000 labels
python -m experiments.aae_semi_supervised --clusters 16     without labels: 16 clusters

With 100 labels, ten of each class, held-out images prefer faster games and slower classification:
python -m experiments.aae_semi_supervised --labels 100 --reconstruction-rate 2e-3 --discriminator-rate 2e-3 \\
  --generator-rate 4e-4 --classification-rate 1e-3
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from aejax import cli, corruptions, plots, rng
from aejax.data.datasets import Dataset
from aejax.data.feeds import check_batch
from aejax.errors import UserError
from aejax.methods import games, semi_supervised
from aejax.methods.games import Critic
from aejax.methods.method import clipped
from aejax.methods.semi_supervised import Examples, Model, Optimizers, SemiSupervisedState
from aejax.nn.dense import MLP, DenseDecoder, LatentEncoder
from aejax.nn.discriminator import Discriminator
from aejax.training.batches import over_images
from aejax.training.config import RunConfig, above, at_least, plain_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.optimizers import Schedule, scheduled
from aejax.training.report import mean_of_examples
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
    """images per step, over all devices, and as many with labels"""
    labels: int = at_least(1, 1000)
    """training images whose label is known, as many of each class"""
    clusters: int | None = at_least(2, None)
    """learn that many clusters without any label, instead"""
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
    class_critic: Critic = "gan"
    """the game over the classes: cross-entropy, or the Wasserstein critic with a gradient penalty of 10"""
    style_critic: Critic = "wgan_gp"
    """the game over the style"""


def main(config: Config) -> None:
    kind = f"labels{config.labels}" if config.clusters is None else f"clusters{config.clusters}"
    name = config.name or f"{plain_name(config.dataset)}-{kind}-seed{config.seed}"
    config = dataclasses.replace(config, name=name)
    mesh = make_mesh(config.devices, config.batch_size, dense=True)
    data = load_splits(config)
    if data.train.labels is None or data.held_out.labels is None or data.test.labels is None:
        raise UserError(f"--dataset {config.dataset} has no labels to judge by: choose another")
    check_batch(data.train.images, config.batch_size, mesh)
    classes = config.clusters or int(data.train.labels.max()) + 1
    examples = training_examples(config, data.train, data.train.labels)
    model = build(config, data.train.images.shape[1:], classes)
    with open_run(config, "aae_semi_supervised") as run:
        feed = open_feed(config, examples, config.batch_size, mesh)
        steps = config.epochs * feed.steps_per_epoch

        def adam(peak: float, b1: float = 0.9) -> optax.GradientTransformation:
            return clipped(optax.adam(scheduled(config.schedule, peak, steps), b1), config.clip_norm)

        optimizers = Optimizers(
            reconstruction=adam(config.reconstruction_rate),
            discriminator=adam(config.discriminator_rate, config.adversarial_b1),
            generator=adam(config.generator_rate, config.adversarial_b1),
            classification=adam(config.classification_rate),
        )
        method = semi_supervised.aae(
            model, optimizers, games.by_name(config.class_critic), games.by_name(config.style_critic)
        )
        (state,) = fit(
            method,
            feed,
            run,
            epochs=config.epochs,
            seed=config.seed,
            evaluations={"held_out": of_split(data.held_out)},
        )
        evaluate = over_images(method.evaluate, mesh)
        rows = {split: mean_of_examples(evaluate(state, of_split(one))) for split, one in data._asdict().items()}
        if config.clusters is not None:
            for split, error in cluster_errors(data, mesh, model, state).items():
                rows[split]["error"] = error
        figures(config, run, model, state)
        curves = ("bce", "error", "classification_loss", "discriminator_loss", "generator_loss")
        run.finish(config, mesh, rows, curves=curves if config.clusters is None else (curves[0], *curves[3:]))


def build(config: Config, image_shape: tuple[int, ...], classes: int) -> Model:
    """The networks for images (height, width, channels) of so many classes, or clusters."""
    return Model(
        encoder=LatentEncoder(MLP(config.hidden), classes + config.style),
        decoder=DenseDecoder(config.hidden[::-1], image_shape),
        class_discriminator=Discriminator(config.hidden),
        style_discriminator=Discriminator(config.hidden),
        classes=classes,
        style=config.style,
        corrupt=corruptions.gaussian(0.0, config.noise_std) if config.noise_std else None,
    )


def training_examples(config: Config, data: Dataset, labels: np.ndarray) -> Examples:
    """All images, beside them the few with labels, over and over; no label at all for clusters.

    Raises:
      UserError: if there are not as many labels of each class.
    """
    n = len(data.images)
    if config.clusters is not None:
        return Examples(data.images, data.images, np.full(n, -1, np.int32))
    classes = int(labels.max()) + 1
    if config.labels % classes:
        raise UserError(f"--labels {config.labels} is not a multiple of the {classes} classes: choose one")
    each = config.labels // classes
    key = rng.stream(rng.root_key(config.seed), "labelled images")
    order = np.asarray(jax.random.permutation(key, n))
    of_class = [order[labels[order] == label][:each] for label in range(classes)]
    if min(map(len, of_class)) < each:
        raise UserError(f"--labels {config.labels} asks for {each} images of each class, more than there are: lower it")
    # Interleaved and shuffled as a whole by the feed: every batch meets all of them alike.
    rows = np.resize(np.stack(of_class, axis=1).ravel(), n)
    return Examples(data.images, data.images[rows], labels[rows])


def of_split(data: Dataset) -> Examples:
    """For `evaluate`, which reads the images and their labels alone."""
    return Examples(data.images, data.images, data.labels)  # type: ignore[arg-type]


def cluster_errors(data: Splits, mesh: Mesh, model: Model, state: SemiSupervisedState) -> dict[str, float]:
    """The paper's protocol: a cluster has the label of the held-out image that is most probable in it."""
    encode = over_images(semi_supervised.encode(model), mesh)
    logits, _ = encode(state, data.held_out.images)
    assert data.held_out.labels is not None
    names = data.held_out.labels[np.asarray(jax.nn.softmax(logits)).argmax(axis=0)]
    errors = {}
    for split, dataset in data._asdict().items():
        found, _ = encode(state, dataset.images)
        errors[split] = float(np.mean(names[found.argmax(axis=1)] != dataset.labels))
    return errors


def figures(config: Config, run: Run, model: Model, state: SemiSupervisedState) -> None:
    """Classes or clusters in rows, styles from the prior in columns."""
    key = rng.stream(rng.root_key(config.seed), "styles")
    style = jnp.tile(jax.random.normal(key, (STYLES, config.style)), (model.classes, 1))
    classes = jnp.repeat(jnp.arange(model.classes), STYLES)
    pictures = np.asarray(jax.jit(semi_supervised.generate(model))(state, classes, style))
    kind = "classes" if config.clusters is None else "clusters"
    title = f"rows: {kind}, columns: styles from the prior"
    run.figure("classes_and_styles", plots.mosaic(pictures, STYLES, title))


if __name__ == "__main__":
    cli.run(main, Config)
