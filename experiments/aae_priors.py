"""Two latents under three priors, with and without labels: figures 2 and 4 of Makhzani et al. (2016) as one picture.

python -m experiments.aae_priors                        MNIST: N(0, I), ten Gaussians on a ring, a Swiss roll
python -m experiments.aae_priors --dataset digits --labels 1000             no download
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aejax import cli, plots, priors, rng
from aejax.errors import UserError
from aejax.evaluation import representation
from aejax.methods.games import Critic
from aejax.training.config import RunConfig, above, at_least, plain_name
from aejax.training.devices import make_mesh
from aejax.training.optimizers import Schedule
from aejax.training.runs import open_run
from aejax.training.splits import Splits, load_splits
from experiments import aae
from experiments.aae import Trained
from experiments.aae_report import FLOOR

COLUMNS = {"normal": "N(0, I)", "mixture": "ten Gaussians", "swiss_roll": "Swiss roll"}
STEPS = 12  # pictures of a walk through one class's part of a prior


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train an adversarial autoencoder with two latents for each of five priors; the picture and the table go to
    <runs>/aae_priors/<name>/, and each model's own to <runs>/aae/<name>-<prior> and <name>-<prior>-labels."""

    epochs: int = at_least(1, 20)
    """passes over the training images"""
    batch_size: int = at_least(1, 256)
    """images per step, over all devices"""
    labels: int = at_least(1, 10_000)
    """of so many training images, from the first, the labelled models' discriminator is told the label"""
    hidden: tuple[int, ...] = at_least(1, (1000, 1000))
    """widths of the encoder's and the discriminator's layers; the decoder's are the encoder's mirror"""
    reconstruction_rate: float = above(0, 2e-4)
    """Adam's learning rate for encoder and decoder"""
    discriminator_rate: float = above(0, 1e-3)
    """Adam's learning rate for the discriminator"""
    generator_rate: float = above(0, 3e-4)
    """Adam's learning rate for the encoder as generator"""
    adversarial_b1: float = at_least(0, 0.0, below=1)
    """Adam's decay of the mean gradient, for these two"""
    critic: Critic = "gan"
    """the discriminator's game: cross-entropy, or the Wasserstein critic with a gradient penalty of 10"""
    schedule: Schedule = "cosine"
    """of these rates: constant; cosine, which falls to 0 over the epochs; or warmup_cosine, which first rises for 5% of
    the steps"""


def main(config: Config) -> None:
    name = f"{plain_name(config.dataset)}-labels{config.labels}-seed{config.seed}"
    config = dataclasses.replace(config, name=config.name or name)
    data = load_splits(config)
    if data.train.labels is None or data.test.labels is None:
        raise UserError(f"--dataset {config.dataset} has no labels, which colour the plane: choose another")
    wanted = [of_prior(config, prior, 0) for prior in COLUMNS]
    wanted += [of_prior(config, prior, config.labels) for prior in COLUMNS if prior != "normal"]
    for one in wanted:
        aae.told(one, data.train)  # refuses what does not fit before the first is trained
    models: dict[tuple[str, int], Trained] = {
        (one.prior, one.labels): aae.train_and_report(one, data) for one in wanted
    }
    codes = {which: model.judged.encode(data.test.images) for which, model in models.items()}
    mesh = make_mesh(config.devices, config.batch_size, dense=True)
    with open_run(config, "aae_priors") as run:
        rows = {"samples of the prior": {title: samples(config, models[prior, 0]) for prior, title in COLUMNS.items()}}
        for labels, row in ((0, "codes, no labels"), (config.labels, f"codes, {config.labels:,} labels")):
            rows[row] = {
                COLUMNS[p]: (points, data.test.labels) for (p, told), points in codes.items() if told == labels
            }
        run.figure("priors", plots.planes(rows))
        table = {}
        for (prior, labels), model in models.items():
            table[f"{prior}, {labels} labels" if labels else prior] = measured(data, model, codes[prior, labels])
            if labels:
                title = f"{COLUMNS[prior]}, {labels:,} labels: along each label's part"
                run.figure(f"{prior}_walk", plots.image_grid(walks(model), title))
        run.finish(config, mesh, table)


def of_prior(config: Config, prior: str, labels: int) -> aae.Config:
    """The run of `experiments.aae` for one panel."""
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(RunConfig)}
    return aae.Config(
        **shared | {"name": f"{config.name}-{prior}{'-labels' if labels else ''}"},
        epochs=config.epochs,
        batch_size=config.batch_size,
        latents=2,
        prior=prior,  # type: ignore[arg-type]
        labels=labels,
        hidden=config.hidden,
        discriminator_hidden=config.hidden,
        reconstruction_rate=config.reconstruction_rate,
        discriminator_rate=config.discriminator_rate,
        generator_rate=config.generator_rate,
        adversarial_b1=config.adversarial_b1,
        critic=config.critic,
        parzen_samples=0,
    )


def samples(config: Config, trained: Trained, n: int = 5000) -> tuple[np.ndarray, np.ndarray | None]:
    """Of the prior (n, 2), with the labels that its parts belong to."""
    key, prior = rng.stream(rng.root_key(config.seed), "prior samples"), trained.model.prior
    if prior.sample_class is None:
        return np.asarray(prior.sample(key, n)), None
    labels = np.arange(n) % priors.CLASSES
    return np.asarray(prior.sample_class(key, jnp.asarray(labels))), labels


def walks(trained: Trained) -> dict[str, np.ndarray]:
    """A row of pictures for each label, decoded along the axis of its part at even shares of it."""
    model = trained.model
    assert model.prior.axis is not None

    @jax.jit
    def decode(codes: Array) -> Array:
        return model.pixels.picture(model.decode(trained.state.params, codes))

    shares = (jnp.arange(STEPS) + 0.5) / STEPS
    labels = range(priors.CLASSES)
    return {str(label): np.asarray(decode(model.prior.axis(jnp.full(STEPS, label), shares))) for label in labels}


def measured(data: Splits, trained: Trained, codes: np.ndarray) -> dict[str, float]:
    """Of the test images: reconstruction, prior match beside its floor, and what the codes tell of the labels."""
    assert data.train.labels is not None
    assert data.test.labels is not None
    match, floor = trained.rows["prior match: AAE"], trained.rows[FLOOR]
    return {
        "bce": trained.rows["test"]["bce"],
        "sliced_wasserstein": match["sliced_wasserstein"],
        "floor": floor["sliced_wasserstein"],
        "mmd": match["mmd"],
        "mmd floor": floor["mmd"],
        "knn": representation.knn_accuracy(
            *(trained.judged.encode(data.train.images), data.train.labels), *(codes, data.test.labels)
        ),
    }


if __name__ == "__main__":
    cli.run(main, Config)
