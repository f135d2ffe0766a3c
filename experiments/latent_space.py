"""Two latents, to be looked at: an autoencoder's plane beside a VAE's, and what noise in the latents does to digits.

python -m experiments.latent_space                      MNIST, both models convolutional, 30 epochs each
python -m experiments.latent_space --html               and a page in which the pointer decodes the plane
python -m experiments.latent_space --dataset digits     no download
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aejax import cli, latent_page, plots, rng
from aejax.data.feeds import as_float, check_batch
from aejax.errors import UserError
from aejax.evaluation import classifier
from aejax.evaluation.classifier import Classifier
from aejax.methods import reconstruction, variational
from aejax.methods.method import Method, TrainState, clipped
from aejax.nn.convolutional import ConvEncoder, check_image_size
from aejax.nn.dense import Autoencoder, LatentEncoder
from aejax.training.batches import over_images
from aejax.training.config import RunConfig, above, at_least, plain_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import Splits, load_splits, open_feed
from experiments import conv_vae

GRID = 20  # pictures along each side of the plane
QUANTILES = (np.arange(GRID) + 0.5) / GRID
STEPS = 12  # pictures of an interpolation, both ends included
NOISE = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)  # in standard deviations of the test images' latents
DRAWS = 1000  # noisy latents that the classifier reads for each digit and standard deviation


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train an autoencoder and a VAE with two latents; figures go to <runs>/latent_space/<name>/, and each model's
    metrics and checkpoints to <name>-autoencoder and <name>-VAE beside it."""

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = RunConfig.MAY_DIFFER_ON_RESUME | {"html", "html_points"}

    epochs: int = at_least(1, 30)
    """passes over the training images"""
    batch_size: int = at_least(1, 256)
    """images per step, over all devices"""
    learning_rate: float = above(0, 2e-3)
    """of Adam"""
    html: bool = False
    """also write <model>.html, one file that needs no server: the pointer over the plane shows what it decodes to"""
    html_points: int = at_least(1, 5000)
    """test images on that page, from the first"""


class Plane(NamedTuple):
    """A trained model with two latents.

    Attributes:
      name: of the model.
      latents: of the test images, posterior means for a VAE: (n, 2).
      axes: even quantiles of each latent, of the prior for a VAE and else of the test images' latents: (GRID, 2).
      decode: (n, 2) -> pictures in [0, 1], (n, height, width, channels).
      decoder: the network, whose outputs are logits.
      params: of the decoder.
    """

    name: str
    latents: np.ndarray
    axes: np.ndarray
    decode: Callable[[np.ndarray], np.ndarray]
    decoder: nn.Module
    params: Any


def main(config: Config) -> None:
    mesh = make_mesh(config.devices, config.batch_size)
    data = load_splits(config)
    if data.train.labels is None or data.test.labels is None:
        raise UserError(f"--dataset {config.dataset} has no labels, which colour the plane: choose another")
    check_batch(data.train.images, config.batch_size, mesh)
    check_image_size(*data.train.images.shape[1:3])
    config = dataclasses.replace(config, name=config.name or f"{plain_name(config.dataset)}-seed{config.seed}")
    planes = [train_autoencoder(config, data), train_vae(config, data)]

    key = rng.stream(rng.root_key(0), "classifier")
    train, classes = data.train, int(data.train.labels.max()) + 1
    judge = classifier.train(key, train.images, data.train.labels, classes=classes)
    with open_run(config, "latent_space") as run:
        run.figure("plane", plots.scatter({plane.name: plane.latents for plane in planes}, data.test.labels))
        kept = {}
        for plane in planes:
            title = f"{plane.name}: decoded at quantiles of its {'prior' if plane.name == 'VAE' else 'latents'}"
            run.figure(f"{plane.name}_grid", plots.mosaic(plane.decode(grid(plane.axes)), GRID, title))
            run.figure(f"{plane.name}_interpolations", plots.image_grid(interpolations(plane, data)))
            rows, kept[plane.name] = under_noise(config, plane, data, judge)
            run.figure(f"{plane.name}_noise", plots.image_grid(rows, f"{plane.name}: noise in the latents"))
            if config.html:
                run.text(f"{plane.name}.html", page(config, plane, data))
        labels = "noise in the latents (standard deviations)", "share read as the same class"
        run.figure("noise", plots.lines(NOISE, kept, *labels, "one image of each class, its latents disturbed"))
        table = {f"noise {std:g}": {name: curve[i] for name, curve in kept.items()} for i, std in enumerate(NOISE)}
        run.finish(config, mesh, table)


def build_autoencoder(image_shape: tuple[int, ...]) -> Autoencoder:
    """The convolutional VAE's decoder, and its encoder but for the log-variance."""
    return Autoencoder(LatentEncoder(ConvEncoder(), 2), conv_vae.build(image_shape, 2).decoder)


def train_autoencoder(config: Config, data: Splits) -> Plane:
    """The convolutional autoencoder with two latents between dense layers."""
    network = build_autoencoder(data.train.images.shape[1:])
    method = reconstruction.autoencoder(network, clipped(optax.adam(config.learning_rate), config.clip_norm))

    def encode(state: TrainState, images: Array, key: Array) -> Array:
        latents: Any = network.apply(state.params, images, method=lambda n, x: n.encoder(x))
        return latents

    def part(state: TrainState) -> Any:
        return {"params": state.params["params"]["decoder"]}

    def axes(latents: np.ndarray) -> np.ndarray:
        return np.quantile(latents, QUANTILES, axis=0)

    return train(config, data, "autoencoder", method, encode, network.decoder, part, axes)


def train_vae(config: Config, data: Splits) -> Plane:
    """The convolutional VAE with two latents."""
    model = conv_vae.build(data.train.images.shape[1:], 2)
    method = variational.vae(model, clipped(optax.adam(config.learning_rate), config.clip_norm))
    encode = variational.encode(model)
    return train(
        *(config, data, "VAE", method),
        lambda state, images, key: encode(state, images, key)[0],
        *(model.decoder, lambda state: state.params["decoder"]),
        lambda latents: np.asarray(jax.scipy.stats.norm.ppf(QUANTILES))[:, None].repeat(2, axis=1),
    )


def train(
    config: Config,
    data: Splits,
    name: str,
    method: Method,
    encode: Callable[[TrainState, Array, Array], Array],
    decoder: nn.Module,
    decoder_params: Callable[[TrainState], Any],
    axes: Callable[[np.ndarray], np.ndarray],
) -> Plane:
    """One model in a run of its own, or what its checkpoint holds."""
    config = dataclasses.replace(config, name=f"{config.name}-{name}")
    mesh = make_mesh(config.devices, config.batch_size)
    with open_run(config, "latent_space") as run:
        (state,) = fit(
            method,
            open_feed(config, data.train.images, config.batch_size, mesh),
            run,
            epochs=config.epochs,
            seed=config.seed,
            evaluations={"held_out": data.held_out.images},
        )
    params = decoder_params(state)

    @jax.jit
    def pictures(latents: Array) -> Array:
        logits: Any = decoder.apply(params, latents)
        return jax.nn.sigmoid(logits)

    latents = over_images(encode, mesh)(state, data.test.images)
    return Plane(
        name, latents, axes(latents), lambda z: np.asarray(pictures(jnp.asarray(z, jnp.float32))), decoder, params
    )


def grid(axes: np.ndarray) -> np.ndarray:
    """Places (GRID, 2) on the two axes -> all of the plane's, (GRID * GRID, 2), row by row from the top."""
    x, y = axes.T
    return np.stack(np.meshgrid(x, y[::-1]), axis=-1).reshape(-1, 2)


def interpolations(plane: Plane, data: Splits) -> dict[str, np.ndarray]:
    """Straight lines between the latents of the first images of successive classes, decoded."""
    assert data.test.labels is not None
    classes, first = np.unique(data.test.labels, return_index=True)
    ends = list(zip(classes[:10:2], first[:10:2], classes[1:10:2], first[1:10:2], strict=False))
    t = np.linspace(0, 1, STEPS)[:, None]
    return {f"{a} to {b}": plane.decode((1 - t) * plane.latents[i] + t * plane.latents[j]) for a, i, b, j in ends}


def under_noise(
    config: Config, plane: Plane, data: Splits, judge: Classifier
) -> tuple[dict[str, np.ndarray], list[float]]:
    """Rows of one image of each class with noise of growing std in its latents, and how often it is read as before."""
    assert data.test.labels is not None
    classes, first = np.unique(data.test.labels, return_index=True)
    centres = plane.latents[first]
    unit = plane.latents.std(axis=0)
    key = rng.stream(rng.root_key(config.seed), "noise in latents")
    rows, kept = {"original": as_float(data.test.images[first[:10]])}, []
    for i, std in enumerate(NOISE):
        noise = np.asarray(jax.random.normal(rng.stream(key, "std", i), (DRAWS, *centres.shape)))
        noisy = centres + std * unit * noise
        read = judge.logits(plane.decode(noisy.reshape(-1, 2))).argmax(axis=1).reshape(DRAWS, -1)
        kept.append(float(np.mean(read == classes)))
        rows[f"noise {std:g}"] = plane.decode(noisy[0, :10])
    return rows, kept


def page(config: Config, plane: Plane, data: Splits) -> str:
    """One HTML file."""
    n = config.html_points
    assert data.test.labels is not None
    return latent_page.html(
        *(plane.decoder, plane.params, plane.latents[:n], data.test.labels[:n], data.test.images[:n]),
        title=f"{plain_name(config.dataset)}: two latents, {plane.name}",
    )


if __name__ == "__main__":
    cli.run(main, Config)
