"""Two latents under three priors, with and without labels: figures 2 and 4 of Makhzani et al. (2016) as one picture.

python -m experiments.aae_priors                        MNIST: N(0, I), ten Gaussians on a ring, a Swiss roll
python -m experiments.aae_priors --dataset digits --labels 1000             no download
"""

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from aejax import cli, plots, rng
from aejax.errors import UserError
from aejax.evaluation import judge
from aejax.methods.gan_losses import GanLossName
from aejax.models.priors import MixtureOnRing
from aejax.models.trained import Trained
from aejax.tables import Row, Table
from aejax.training import report
from aejax.training.config import RunConfig, Schedule, above, at_least, plain_name, seeds_name
from aejax.training.devices import make_mesh
from aejax.training.runs import open_run
from aejax.training.splits import load_splits
from experiments import aae
from experiments.aae import Outcome

COLUMNS = {"normal": "N(0, I)", "mixture": "ten Gaussians", "swiss_roll": "Swiss roll"}
SQUARED = [f"sliced_wasserstein_squared{end}" for end in ("", "_low", "_high")]
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
    """the number of training images, from the first, whose label the labelled models' discriminator sees"""
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
    gan_loss: GanLossName = "gan"
    """gan: cross-entropy; wgan_gp: the Wasserstein critic with a gradient penalty of 10"""
    schedule: Schedule = "cosine"
    """of these rates: constant; cosine, which falls to 0 over the epochs; or warmup_cosine, which first rises for 5% of
    the steps"""


def main(config: Config) -> None:
    name = f"{plain_name(config.dataset)}-labels{config.labels}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or name)
    data = load_splits(config)
    if data.train.labels is None or data.test.labels is None:
        raise UserError(f"--dataset {config.dataset} has no labels, which colour the plane: choose another")
    report.note(judge.left_out(data.train, data.test, prior=False))
    wanted = [of_prior(config, prior, 0) for prior in COLUMNS]
    wanted += [of_prior(config, prior, config.labels) for prior in COLUMNS if prior != "normal"]
    for one in wanted:
        aae.training_examples(one, data.train)  # refuses what does not fit before the first is trained
    outcomes: dict[tuple[str, int], Outcome] = {(one.prior, one.labels): aae.run_one(one, data) for one in wanted}
    codes = {which: outcome.trained[0].sample_posterior(data.test.images) for which, outcome in outcomes.items()}
    mesh = make_mesh(config.devices, config.batch_size, dense=True)

    with open_run(config, "aae_priors", data=data) as run:
        rows = {
            "samples of the prior": {title: prior_samples(outcomes[p, 0].trained[0]) for p, title in COLUMNS.items()}
        }
        for labels, row in ((0, "codes, no labels"), (config.labels, f"codes, {config.labels:,} labels")):
            rows[row] = {COLUMNS[p]: (z, data.test.labels) for (p, seen), z in codes.items() if seen == labels}
        run.figure("priors", plots.planes(rows, plane_names(data.class_names)))
        table = {}
        for (prior, labels), outcome in outcomes.items():
            table[f"{prior}, {labels} labels" if labels else prior] = summary(outcome.table)
            if labels:
                title = f"{COLUMNS[prior]}, {labels:,} labels: along each label's part"
                run.figure(f"{prior}_walk", plots.image_grid(walks(outcome.trained[0]), title))
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
        gan_loss=config.gan_loss,
        judge_samples=False,
        parzen_samples=0,
    )


def plane_names(class_names: tuple[str, ...]) -> list[str]:
    """Returns the names of the dataset's classes, then the numbers of further parts of the priors."""
    return [*class_names, *(str(part) for part in range(len(class_names), MixtureOnRing.parts))]


def prior_samples(trained: Trained, n: int = 5000) -> tuple[np.ndarray, np.ndarray | None]:
    """Draws from the prior (n, 2), with the labels that its parts belong to."""
    key, prior = rng.stream(rng.root_key(trained.seed), "prior samples"), trained.model.prior
    if not prior.parts:
        return np.asarray(prior.sample(trained.params, key, n)), None
    labels = np.arange(n) % prior.parts
    return np.asarray(prior.sample_part(trained.params, key, jnp.asarray(labels))), labels


def walks(trained: Trained) -> dict[str, np.ndarray]:
    """Decodes a row of pictures for each label, along the centre line of its part of the prior."""
    prior, shares = trained.model.prior, (jnp.arange(STEPS) + 0.5) / STEPS
    lines = {str(c): prior.centre_line(jnp.full(STEPS, c), shares) for c in range(prior.parts)}
    return {label: trained.decode(np.asarray(points)) for label, points in lines.items()}


def summary(table: Table) -> Row:
    """Chooses from a model's table: reconstruction, prior match next to its floor, and what codes tell of labels."""
    columns = {
        "bce": ("test", "bce"),
        "sliced_wasserstein": (judge.CODES, "sliced_wasserstein"),
        "floor": (judge.FLOOR, "sliced_wasserstein"),
        **{name: (judge.CODES, name) for name in SQUARED},  # without the floor, and with its interval
        "mmd": (judge.CODES, "mmd"),
        "mmd floor": (judge.FLOOR, "mmd"),
        "knn": ("test", "knn"),
    }
    return {name: table[row][column] for name, (row, column) in columns.items() if column in table[row]}


if __name__ == "__main__":
    cli.run(main, Config)
