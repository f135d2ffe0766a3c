"""The autoencoder: images through a few numbers and back, next to PCA with as many components.

python -m experiments.autoencoder                       MNIST, 128 latents
python -m experiments.autoencoder --latents 16          a narrower bottleneck
python -m experiments.autoencoder --network tutorial    the tutorial's network, 4 x 4 x 8 latents, 30 epochs
python -m experiments.autoencoder --dataset digits      no download
python -m experiments.autoencoder --dataset FOLDER --image-size 64          your own pictures; or a file, mine.npz
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import optax

from aejax import cli, plots
from aejax.data.feeds import check_batch
from aejax.evaluation import judge, pictures
from aejax.methods import reconstruction
from aejax.methods.method import with_ema
from aejax.models.image_to_image import ImageToImage
from aejax.models.likelihoods import Bernoulli, SquaredError
from aejax.nn import build
from aejax.training import optimizers, report
from aejax.training.config import NetworkConfig, NetworkRecipe, Schedule, above, at_least, plain_name, seeds_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import load_splits, open_feed


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    """Train an autoencoder; metrics, figures and checkpoints go to <runs>/autoencoder/<name>/, by default named after
    <dataset>-seed<seed>, with the network and the number of latents where they are not the defaults."""

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = NetworkConfig.MAY_DIFFER_ON_RESUME | {"probe"}

    network: NetworkRecipe = "residual"
    latents: int = at_least(1, build.TUTORIAL_LATENTS)
    """the numbers that an image is squeezed through; 128 of --network tutorial are 4 x 4 x 8 maps"""
    epochs: int = at_least(1, 3)
    """passes over the training images"""
    batch_size: int = at_least(1, 128)
    """images per step, over all devices"""
    optimizer: Literal["muon", "adam"] = "muon"
    """muon: orthogonal updates of kernels, which cost more and need fewer steps; adam"""
    learning_rate: float = above(0, 4e-3)
    """of the optimiser, at its peak"""
    schedule: Schedule = "warmup_cosine"
    """of the learning rate: constant; cosine, which falls to 0; or warmup_cosine, which first rises for 5% of the
    steps"""
    weight_decay: float = at_least(0, 1e-4)
    """share of each parameter taken away per step, times the learning rate; 0: none"""
    clip_norm: float | None = above(0, 1.0)
    """largest global norm of a gradient, beyond which it is scaled down; None: gradients as they are"""
    likelihood: Literal["squared_error", "bernoulli"] = "squared_error"
    """what is minimised. squared_error: of outputs that are pixels; bernoulli: the cross-entropy of logits"""
    probe: bool = False
    """also read the labels from the latents: nearest neighbours and a linear probe"""


RECIPES = {
    "residual": Config(),
    "dense": Config(network="dense", epochs=12, optimizer="adam", learning_rate=1e-3),
    "tutorial": Config(
        network="tutorial",
        epochs=30,
        batch_size=256,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="constant",
        weight_decay=0.0,
        clip_norm=None,
        likelihood="bernoulli",
    ),
}


def build_model(config: Config, image_shape: tuple[int, ...]) -> ImageToImage:
    """Returns the model for images (height, width, channels)."""
    likelihood = {"squared_error": SquaredError(), "bernoulli": Bernoulli()}[config.likelihood]
    return ImageToImage(build.autoencoder(config, image_shape), likelihood)


def main(config: Config) -> None:
    usual = (config.network, config.latents) == (RECIPES["residual"].network, RECIPES["residual"].latents)
    kind = "" if usual else f"-{config.network}{config.latents}"
    name = f"{plain_name(config.dataset)}{kind}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or name)
    mesh = make_mesh(config.devices, config.batch_size, dense=config.network == "dense")
    data = load_splits(config)
    check_batch(data.train.images, config.batch_size, mesh)
    model = build_model(config, data.image_shape)
    report.note(judge.left_out(data.train, data.test, latents=config.probe, prior=False))
    feed = open_feed(config, data.train.images, config.batch_size, mesh)
    make = {"muon": optimizers.muon, "adam": optax.adam}[config.optimizer]
    optimizer = optimizers.build(config, config.learning_rate, config.epochs * feed.steps_per_epoch, make=make)
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
        linear = judge.linear_baseline(trained[0], data.train)
        title = f"{plain_name(config.dataset)}, test set"
        rows = pictures.reconstructions({"reconstruction": trained[0]}, examples, linear)
        run.figure("reconstructions", plots.image_grid(rows, title))
        if lines := pictures.interpolations(trained[0], examples):
            run.figure("interpolations", plots.image_grid(lines, f"{title}: lines between two images' latents"))
        table = judge.joined(
            judge.of_splits(method, states, {name: part.images for name, part in data.parts().items()}, mesh),
            judge.judge(
                trained,
                data.train,
                data.test,
                settings=judge.Settings(representation=config.probe),
                linear=linear,
            ),
        )
        run.finish(config, mesh, table, curves=("bce", "mse"))


if __name__ == "__main__":
    cli.run(main, Config)
