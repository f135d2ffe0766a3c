"""Two latents, to be looked at: an autoencoder's plane next to a VAE's, and what noise in the latents does to images.

python -m experiments.latent_space                      MNIST, both models of residual blocks
python -m experiments.latent_space --network tutorial   the tutorial's small networks, 30 epochs each
python -m experiments.latent_space --html               and a page in which the pointer decodes the plane
python -m experiments.latent_space --dataset digits     no download
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import jax
import numpy as np
import optax

from aejax import cli, latent_page, plots, rng
from aejax.batching import as_float
from aejax.data.feeds import check_batch
from aejax.errors import UserError
from aejax.evaluation import classifier, intervals, judge, parallel, pictures
from aejax.evaluation.classifier import Classifier
from aejax.evaluation.intervals import Estimate
from aejax.evaluation.pca import PCA
from aejax.methods import reconstruction, variational
from aejax.methods.method import Method, with_ema
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.models.trained import Trained
from aejax.nn import build
from aejax.nn.heads import Autoencoder, GaussianEncoder, LatentEncoder
from aejax.tables import Row, Table
from aejax.training import optimizers, report
from aejax.training.config import (
    NetworkConfig,
    NetworkRecipe,
    Schedule,
    above,
    at_least,
    plain_name,
    seeds_name,
    shown_seed,
)
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import Splits, load_splits, open_feed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = 20  # pictures along each side of the plane
QUANTILES = (np.arange(GRID) + 0.5) / GRID
CURVES = ("loss", "distortion", "rate")
STEPS = 12  # pictures of an interpolation, both ends included
NOISE = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)  # in standard deviations of the test images' latents
READ = 2000  # test images, evenly spread, whose noisy latents are decoded and read at each standard deviation


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    """Train an autoencoder and a VAE with two latents; figures go to <runs>/latent_space/<name>/, and each model's
    metrics and checkpoints to <name>-autoencoder and <name>-VAE. The name is by default <dataset>-seed<seed>, with the
    network where that is not the default."""

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = NetworkConfig.MAY_DIFFER_ON_RESUME | {"html", "html_points"}

    network: NetworkRecipe = "residual"
    epochs: int = at_least(1, 10)
    """passes over the training images"""
    batch_size: int = at_least(1, 128)
    """images per step, over all devices"""
    learning_rate: float = above(0, 1e-3)
    """of Adam, at its peak"""
    schedule: Schedule = "warmup_cosine"
    """of the learning rate: constant; cosine, which falls to 0; or warmup_cosine, which first rises for 5% of the
    steps"""
    clip_norm: float | None = above(0, 1.0)
    """largest global norm of a gradient, beyond which it is scaled down; None: gradients as they are"""
    html: bool = False
    """also write <model>.html, one file that needs no server: the pointer over the plane shows what it decodes to"""
    html_points: int = at_least(1, 5000)
    """test images on that page, from the first"""


RECIPES = {
    "residual": Config(),
    "dense": Config(network="dense"),
    "tutorial": Config(
        network="tutorial",
        epochs=30,
        batch_size=256,
        learning_rate=2e-3,
        schedule="constant",
        clip_norm=None,
    ),
}


def main(config: Config) -> None:
    mesh = make_mesh(config.devices, config.batch_size, dense=config.network == "dense")
    data = load_splits(config)
    if data.train.labels is None or data.test.labels is None:
        raise UserError(f"--dataset {config.dataset} has no labels, which colour the plane: choose another")
    if reason := classifier.needs(data.image_shape, data.train.labels, data.test.labels):
        raise UserError(f"{reason}: set --image-size, or choose another --dataset")
    check_batch(data.train.images, config.batch_size, mesh)
    report.note(judge.left_out(data.train, data.test, prior=False))
    kind = "" if config.network == "residual" else f"-{config.network}"
    name = f"{plain_name(config.dataset)}{kind}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or name)
    outcomes, linear = {}, None
    for name, model in build_models(config, data.image_shape).items():
        one, rows, linear = train(config, data, name, model, linear)
        outcomes[name] = one, rows

    with open_run(config, "latent_space", data=data) as run:
        codes = {name: one.encode(data.test.images) for name, (one, _) in outcomes.items()}
        run.figure("plane", plots.scatter(codes, data.test.labels, data.class_names or None))
        models, examples = {name: one for name, (one, _) in outcomes.items()}, data.test.one_per_class()
        reconstructed = pictures.reconstructions(models, examples, linear)
        run.figure("reconstructions", plots.image_grid(reconstructed, f"{plain_name(config.dataset)}, test set"))
        kept: dict[str, list[Estimate]] = {}
        table: Table = {}
        for name, (one, rows) in outcomes.items():
            latents = codes[name]
            title = f"{name}: decoded at quantiles of its {'prior' if one.has_prior else 'latents'}"
            run.figure(f"{name}_grid", plots.mosaic(one.decode(grid(axes(one, latents))), GRID, title))
            run.figure(f"{name}_interpolations", plots.image_grid(interpolations(one, latents, data)))
            run.figure(f"{name}_noise", plots.image_grid(*under_noise(config, name, one, latents, data)))
            if config.html:
                run.text(f"{name}.html", page(config, name, one, latents, data))
            table |= {f"{name}: {row}": figures for row, figures in rows.items() if row.startswith("test")}
        reader = train_reader(data)
        for name, (one, _) in outcomes.items():
            kept[name] = shares_kept(config, one, codes[name], np.asarray(data.test.labels), reader)
        run.figure("noise", noise_figure(kept, len(read_rows(np.asarray(data.test.labels)))))
        table |= {f"noise {std:g}": noise_row(kept, i) for i, std in enumerate(NOISE)}
        run.finish(config, mesh, table)


def build_models(config: Config, image_shape: tuple[int, ...]) -> dict[str, ImageToImage | LatentVariableModel]:
    """Returns both models, of the same networks: the autoencoder lacks the log-variance."""
    trunk, decoder = build.of_options(config, image_shape, 2)
    return {
        "autoencoder": ImageToImage(Autoencoder(LatentEncoder(trunk, 2), decoder)),
        "VAE": LatentVariableModel(GaussianPosterior(GaussianEncoder(trunk, 2)), decoder, StandardNormal(latents=2)),
    }


def build_method(model: ImageToImage | LatentVariableModel, optimizer: optax.GradientTransformation) -> Method:
    """Returns how the model is learnt."""
    if isinstance(model, LatentVariableModel):
        return variational.vae(model, optimizer)
    return reconstruction.autoencoder(model, optimizer)


def train(
    config: Config, data: Splits, name: str, model: ImageToImage | LatentVariableModel, linear: PCA | None = None
) -> tuple[Trained, Table, PCA | None]:
    """Trains one model in a run of its own, or takes it from its checkpoint.

    Args:
      config: of both models.
      data: of both models.
      name: of the model.
      model: what is learnt.
      linear: PCA with two components; None: it is fitted.

    Returns:
      The model, of several seeds the first; the table of all; and PCA.
    """
    config = dataclasses.replace(config, name=f"{config.name}-{name}")
    mesh = make_mesh(config.devices, config.batch_size, dense=config.network == "dense")
    feed = open_feed(config, data.train.images, config.batch_size, mesh)
    optimizer = optimizers.build(config, config.learning_rate, config.epochs * feed.steps_per_epoch)
    method = with_ema(build_method(model, optimizer), config.ema_decay)
    with open_run(config, "latent_space", model=model, data=data) as run:
        states = fit(
            method,
            feed,
            run,
            epochs=config.epochs,
            seed=config.seed,
            seeds=config.seeds,
            evaluations={"held_out": data.held_out.images},
        )
        trained = run.trained(states, mesh)
        linear = linear or judge.linear_baseline(trained[0], data.train)
        settings = judge.Settings(nll_samples=0, judge_samples=False)
        run.draw_curves(CURVES)
        table = judge.joined(
            judge.of_splits(method, states, {name: part.images for name, part in data.parts().items()}, mesh),
            judge.judge(trained, data.train, data.test, settings=settings, linear=linear),
        )
        run.finish(config, mesh, table, curves=CURVES)
    return trained[0], table, linear


def axes(trained: Trained, latents: np.ndarray) -> np.ndarray:
    """Returns even quantiles of each latent, of the prior where there is one and else of the test images: (GRID, 2)."""
    if trained.has_prior:
        return np.asarray(jax.scipy.stats.norm.ppf(QUANTILES))[:, None].repeat(2, axis=1)
    return np.quantile(latents, QUANTILES, axis=0)


def grid(axes: np.ndarray) -> np.ndarray:
    """Combines places (GRID, 2) on the two axes to all of the plane's, (GRID * GRID, 2), row by row from the top."""
    x, y = axes.T
    return np.stack(np.meshgrid(x, y[::-1]), axis=-1).reshape(-1, 2)


def interpolations(trained: Trained, latents: np.ndarray, data: Splits) -> dict[str, np.ndarray]:
    """Decodes straight lines between the latents of the first images of successive classes."""
    classes, first = first_of_classes(data)
    names = [plots.class_name(label, data.class_names or None) for label in classes.tolist()]
    ends = list(zip(names[:10:2], first[:10:2], names[1:10:2], first[1:10:2], strict=False))
    t = np.linspace(0, 1, STEPS)[:, None]
    return {f"{a} to {b}": trained.decode((1 - t) * latents[i] + t * latents[j]) for a, i, b, j in ends}


def under_noise(
    config: Config, name: str, trained: Trained, latents: np.ndarray, data: Splits
) -> tuple[dict[str, np.ndarray], str]:
    """Decodes the first image of each class under growing noise in its latents: rows of pictures, and their title."""
    _, first = first_of_classes(data)
    centres = latents[first[:10]]
    rows = {"original": as_float(data.test.images[first[:10]])}
    noise = noise_in_latents(config, "pictures", latents, len(centres))
    rows |= {f"noise {std:g}": trained.decode(centres + noise[i]) for i, std in enumerate(NOISE)}
    return rows, f"{name}: noise in the latents"


def train_reader(data: Splits) -> Classifier:
    """Trains the classifier that says which class a picture is of."""
    images, labels = data.train.images, np.asarray(data.train.labels)
    with parallel.bar(1, "training the classifier", " classifiers", at_once=True):
        key = rng.stream(rng.root_key(0), "classifier")
        return classifier.train(key, images, labels, classes=int(labels.max()) + 1)


def shares_kept(
    config: Config, trained: Trained, latents: np.ndarray, labels: np.ndarray, reader: Classifier
) -> list[Estimate]:
    """Estimates how often an image's class is still read under noise in its latents, at each standard deviation.

    One draw of noise for each of `READ` test images, so that the trials are independent.
    """
    rows = read_rows(labels)
    noise = noise_in_latents(config, "read", latents, len(rows))
    shares = []
    with parallel.bar(len(NOISE), "reading under noise", " amounts", at_once=True) as bar:
        for disturbance in noise:
            read = reader.logits(trained.decode(latents[rows] + disturbance)).argmax(axis=1)
            shares.append(intervals.share(read == labels[rows]))
            bar.update()
    return shares


def read_rows(labels: np.ndarray) -> np.ndarray:
    """Chooses the test images to read, those with a known label (n,): at most `READ`, evenly spread."""
    return np.asarray(judge.evenly_spread(np.flatnonzero(labels >= 0), READ))


def noise_in_latents(config: Config, stream: str, latents: np.ndarray, n: int) -> np.ndarray:
    """Draws Gaussian noise (NOISE, n, 2) in standard deviations of all latents; the same for both models."""
    key = rng.stream(rng.root_key(config.seed), f"noise in latents: {stream}")
    unit = latents.std(axis=0, dtype=np.float64)
    noise = np.asarray(jax.random.normal(key, (len(NOISE), n, 2)))
    return (np.array(NOISE)[:, None, None] * unit * noise).astype(np.float32)


def noise_figure(kept: dict[str, list[Estimate]], images: int) -> "Figure":
    """Draws the shares of both models with their intervals."""
    curves = {name: [share.value for share in shares] for name, shares in kept.items()}
    bands = {name: ([s.low for s in shares], [s.high for s in shares]) for name, shares in kept.items()}
    axes = "noise in the latents (standard deviations)", "share read as the image's class"
    return plots.lines(NOISE, curves, *axes, f"{images:,} test images; bands: 95% intervals", bands)


def noise_row(kept: dict[str, list[Estimate]], i: int) -> Row:
    """Returns the columns of the i-th amount of noise: each model's share, and the ends of its interval of 95%."""
    columns = (("", "value"), (", low", "low"), (", high", "high"))
    return {f"{name}{end}": getattr(shares[i], field) for name, shares in kept.items() for end, field in columns}


def first_of_classes(data: Splits) -> tuple[np.ndarray, np.ndarray]:
    """Returns the known classes, and where in the test split the first image of each is."""
    labels = np.asarray(data.test.labels)
    classes, first = np.unique(labels, return_index=True)
    return classes[classes >= 0], first[classes >= 0]


def page(config: Config, name: str, trained: Trained, latents: np.ndarray, data: Splits) -> str:
    """Returns the page of the plane, as one HTML file."""
    n, model = config.html_points, trained.model
    return latent_page.html(
        decoder=model.decoder if trained.has_prior else model.network.decoder,
        params=trained.params["decoder"] if trained.has_prior else {"params": trained.params["params"]["decoder"]},
        latents=latents[:n],
        labels=data.test.labels[:n],  # type: ignore[index]
        images=data.test.images[:n],
        class_names=data.class_names or None,
        title=", ".join(filter(None, [f"{plain_name(config.dataset)}: two latents, {name}", shown_seed(config)])),
    )


if __name__ == "__main__":
    cli.run(main, Config, recipes=("network", RECIPES))
