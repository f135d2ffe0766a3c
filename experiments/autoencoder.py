"""The autoencoder: images through a bottleneck and back, next to PCA with as many components.

python -m experiments.autoencoder                       MNIST, 128 latents
python -m experiments.autoencoder --dataset digits      no download
python -m experiments.autoencoder --dataset mine.npz    your own images
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from aejax import cli, plots
from aejax.batching import as_float
from aejax.data.feeds import check_batch
from aejax.evaluation import judge
from aejax.methods import reconstruction
from aejax.methods.method import with_ema
from aejax.models.image_to_image import ImageToImage
from aejax.nn.convolutional import ConvAutoencoder, check_image_size
from aejax.training import optimizers, report
from aejax.training.config import RunConfig, above, at_least, plain_name, seeds_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import load_splits, open_feed


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train an autoencoder; metrics, figures and checkpoints go to <runs>/autoencoder/<name>/."""

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = RunConfig.MAY_DIFFER_ON_RESUME | {"probe"}

    epochs: int = at_least(1, 30)
    """passes over the training images"""
    batch_size: int = at_least(1, 256)
    """images per step, over all devices"""
    learning_rate: float = above(0, 1e-3)
    """of Adam, at its peak"""
    probe: bool = False
    """also read the labels from the latents: nearest neighbours and a linear probe"""


def build_model(config: Config, image_shape: tuple[int, ...]) -> ImageToImage:
    """Returns the model for images (height, width, channels)."""
    height, width, channels = image_shape
    check_image_size(height, width)
    return ImageToImage(ConvAutoencoder(channels))


def main(config: Config) -> None:
    name = f"{plain_name(config.dataset)}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or name)
    mesh = make_mesh(config.devices, config.batch_size)
    data = load_splits(config)
    check_batch(data.train.images, config.batch_size, mesh)
    model = build_model(config, data.image_shape)
    report.note(judge.left_out(data.train, data.test, latents=config.probe, prior=False))
    feed = open_feed(config, data.train.images, config.batch_size, mesh)
    optimizer = optimizers.build(config, config.learning_rate, config.epochs * feed.steps_per_epoch)
    method = with_ema(reconstruction.autoencoder(model, optimizer), config.ema_decay)
    examples = data.test.one_per_class()

    with open_run(config, "autoencoder", model=model, data=data) as run:
        states = fit(
            method,
            feed,
            run,
            epochs=config.epochs,
            seed=config.seed,
            seeds=config.seeds,
            evaluations={"held_out": data.held_out.images},
            on_epoch=lambda states, step: run.draw(run.trained(states, mesh)[0].reconstruct, examples, step),
        )
        trained = run.trained(states, mesh)
        rows = {"input": as_float(examples), "reconstruction": trained[0].reconstruct(examples)}
        run.figure("reconstructions", plots.image_grid(rows, f"{plain_name(config.dataset)}, test set"))
        table = judge.joined(
            judge.of_splits(method, states, {name: part.images for name, part in data.parts().items()}, mesh),
            judge.judge(trained, data.train, data.test, settings=judge.Settings(representation=config.probe)),
        )
        run.finish(config, mesh, table)


if __name__ == "__main__":
    cli.run(main, Config)
