"""The convolutional autoencoder: images through a bottleneck of 4 x 4 x 8 numbers and back.

python -m experiments.autoencoder                       MNIST, 30 epochs
python -m experiments.autoencoder --dataset digits      no download
python -m experiments.autoencoder --dataset mine.npz    your own images
"""

import functools
from dataclasses import dataclass

import numpy as np
import optax

from aejax import cli, plots
from aejax.data.feeds import as_float
from aejax.evaluation import image_quality
from aejax.methods import reconstruction
from aejax.methods.method import TrainState, clipped
from aejax.nn.convolutional import ConvAutoencoder, check_image_size
from aejax.training.batches import over_images
from aejax.training.config import RunConfig, above, at_least
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.report import mean_of_examples
from aejax.training.runs import open_run
from aejax.training.splits import load_splits, open_feed


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train a convolutional autoencoder; metrics, figures and checkpoints go to <runs>/autoencoder/<name>/."""

    epochs: int = at_least(1, 30)
    """passes over the training images"""
    batch_size: int = at_least(1, 256)
    """images per step, over all devices"""
    learning_rate: float = above(0, 1e-3)
    """of Adam"""


def build(image_shape: tuple[int, ...]) -> ConvAutoencoder:
    height, width, channels = image_shape
    check_image_size(height, width)
    return ConvAutoencoder(channels)


def main(config: Config) -> None:
    mesh = make_mesh(config.devices, config.batch_size)
    data = load_splits(config)
    network = build(data.train.images.shape[1:])
    method = reconstruction.autoencoder(network, clipped(optax.adam(config.learning_rate), config.clip_norm))
    feed = open_feed(config, data.train.images, config.batch_size, mesh)
    evaluate = over_images(method.evaluate, mesh)
    reconstruct = over_images(reconstruction.reconstruct(network), mesh)
    examples = data.test.one_per_class()

    with open_run(config, "autoencoder") as run:

        def rows(state: TrainState) -> dict[str, np.ndarray]:
            return {"input": as_float(examples), "reconstruction": reconstruct(state, examples)}

        def draw(states: list[TrainState], step: int) -> None:
            pictures = np.concatenate(list(rows(states[0]).values()))
            run.log.picture("reconstructions", plots.tile(pictures, columns=len(examples)), step)

        (state,) = fit(
            method,
            feed,
            run,
            epochs=config.epochs,
            seed=config.seed,
            evaluations={"held_out": data.held_out.images},
            on_epoch=draw,
        )

        splits = {}
        for name, dataset in data._asdict().items():
            quality = image_quality.summary_in_blocks(functools.partial(reconstruct, state), dataset.images)
            splits[name] = mean_of_examples(evaluate(state, dataset.images) | quality)
        run.figure("reconstructions", plots.image_grid(rows(state), f"{config.dataset}, test set"))
        run.finish(config, mesh, splits)


if __name__ == "__main__":
    cli.run(main, Config)
