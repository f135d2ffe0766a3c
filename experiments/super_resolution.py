"""Super-resolution: antialiased small images, and a network that makes them 2, 4, ... times larger again.

python -m experiments.super_resolution                                  MNIST, 14 x 14 -> 28 x 28, a small EDSR
python -m experiments.super_resolution --network tutorial               the tutorial's encoder and decoder
python -m experiments.super_resolution --network residual               an encoder and a decoder with 128 latents
python -m experiments.super_resolution --dataset cifar10 --factor 4     colour, 8 x 8 -> 32 x 32
python -m experiments.super_resolution --dataset cifar10 --factor 4 --from-noise    and what it sees in noise
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from aejax import cli, corruptions, plots, rng
from aejax.batching import as_float
from aejax.data.feeds import check_batch
from aejax.errors import UserError
from aejax.evaluation import baselines, judge
from aejax.methods import reconstruction
from aejax.methods.method import with_ema
from aejax.models.image_to_image import ImageToImage
from aejax.models.likelihoods import Bernoulli, SquaredError
from aejax.nn import build
from aejax.nn.convolutional import ConvAutoencoder
from aejax.nn.edsr import EDSR
from aejax.training import optimizers, report
from aejax.training.config import NETWORK_HELP, NetworkSizes, Schedule, above, at_least, plain_name, seeds_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import load_splits, open_feed


@dataclass(frozen=True, kw_only=True)
class Config(NetworkSizes):
    """Train a super-resolver; metrics, figures and checkpoints go to <runs>/super_resolution/<name>/, by default named
    after <dataset>-<factor>x-<network>-seed<seed>."""

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = NetworkSizes.MAY_DIFFER_ON_RESUME | {"from_noise"}

    network: Annotated[
        Literal["edsr", "residual", "tutorial", "dense"],
        tyro.conf.arg(
            help="sets the defaults of the training options. edsr: adds to bicubic upscaling what residual blocks "
            "find, any image size. The others squeeze the small images through a few numbers, tutorial for --factor 2 "
            f"alone. {NETWORK_HELP}"
        ),
    ] = "edsr"
    latents: int = at_least(1, build.TUTORIAL_LATENTS)
    """the numbers that --network residual or dense squeezes the small images through"""
    epochs: int = at_least(1, 5)
    """passes over the training images"""
    batch_size: int = at_least(1, 128)
    """images per step, over all devices"""
    learning_rate: float = above(0, 2e-3)
    """of Adam, at its peak"""
    schedule: Schedule = "warmup_cosine"
    """of the learning rate: constant; cosine, which falls to 0; or warmup_cosine, which first rises for 5% of the
    steps"""
    factor: int = at_least(2, 2)
    """how many times larger"""
    downscaling: Literal["box", "bicubic"] = "box"
    """the antialiasing kernel: means over factor x factor pixels, or the literature's bicubic"""
    width: int | None = at_least(1, None)
    """channels of --network edsr, or of residual at half the resolution; None: 12 times the factor for edsr, which
    costs the same for all factors, and 16 for residual"""
    blocks: int = at_least(1, 2)
    """residual blocks of --network edsr, or at each level of residual"""
    from_noise: bool = False
    """also draw the trained network's outputs for uniform noise"""


# The rise of the rate keeps units of the tutorial's narrow layers from dying in the first steps.
RECIPES = {
    "edsr": Config(),
    "residual": Config(network="residual", blocks=1, learning_rate=1e-3, clip_norm=1.0),
    "dense": Config(network="dense", epochs=20, learning_rate=1e-3, clip_norm=1.0),
    "tutorial": Config(network="tutorial", epochs=30, batch_size=256, learning_rate=6e-3),
}


def build_model(config: Config, image_shape: tuple[int, ...]) -> ImageToImage:
    """Returns the model for large images (height, width, channels)."""
    height, width, channels = image_shape
    downscale = corruptions.Downscale(config.factor, config.downscaling)
    if height % config.factor or width % config.factor:
        raise UserError(
            f"--factor {config.factor} does not divide images of {height} x {width}: set --image-size "
            f"{config.factor * max(1, min(height, width) // config.factor)}"
        )
    if config.network == "edsr":
        network = EDSR(channels, config.factor, config.width or 12 * config.factor, config.blocks)
        return ImageToImage(network, SquaredError(), downscale)
    if config.network == "tutorial":
        return ImageToImage(tutorial_network(config, image_shape), Bernoulli(), downscale)
    small = height // config.factor, width // config.factor, channels
    if not build.takes(config.network, small):
        raise UserError(
            f"--network {config.network} cannot take small images of {small[0]} x {small[1]}: use --network edsr or "
            "--network dense, or lower --factor"
        )
    sized = dataclasses.replace(config, width=config.width or 16)
    return ImageToImage(build.autoencoder(sized, image_shape, also=["edsr"]), SquaredError(), downscale)


def tutorial_network(config: Config, image_shape: tuple[int, ...]) -> ConvAutoencoder:
    """Returns the tutorial's network, which enlarges 2 times; UserError for options that do not fit it."""
    if config.factor != 2:
        raise UserError(f"--network tutorial enlarges 2 times, not --factor {config.factor}: choose --network edsr")
    if config.latents != build.TUTORIAL_LATENTS:
        raise UserError(f"--latents {config.latents}: --network tutorial has its own; leave one of them out")
    build.check_image_shape("tutorial", image_shape, also=["edsr"])
    # One pooling less than the autoencoder's encoder: 14 -> 7 -> 4; the decoder is the same.
    return ConvAutoencoder(image_shape[-1], encoder_widths=(16, 8))


def main(config: Config) -> None:
    name = f"{plain_name(config.dataset)}-{config.factor}x-{config.network}-{seeds_name(config)}"
    config = dataclasses.replace(config, name=config.name or name)
    mesh = make_mesh(config.devices, config.batch_size)
    data = load_splits(config)
    check_batch(data.train.images, config.batch_size, mesh)
    model = build_model(config, data.image_shape)
    report.note(judge.left_out(data.train, data.test, latents=False, prior=False))
    feed = open_feed(config, data.train.images, config.batch_size, mesh)
    optimizer = optimizers.build(config, config.learning_rate, config.epochs * feed.steps_per_epoch)
    method = with_ema(reconstruction.autoencoder(model, optimizer), config.ema_decay)
    upscale = {m: functools.partial(baselines.upscale, factor=config.factor, method=m) for m in baselines.UPSCALERS}
    examples, parts = data.test.one_per_class(), data.parts()

    with open_run(config, "super_resolution", model=model, data=data) as run:
        states = fit(
            method,
            feed,
            run,
            epochs=config.epochs,
            seed=config.seed,
            seeds=config.seeds,
            evaluations={"held_out": data.held_out.images},
            on_epoch=lambda states, step: run.draw(run.trained(states, mesh)[0].restore, examples, step),
        )
        trained = run.trained(states, mesh)
        resolver, small = trained[0], trained[0].degrade(examples)
        rows = {"input": small, "bicubic": upscale["bicubic"](small)}
        rows |= {config.network: resolver.restore(examples), "original": as_float(examples)}
        title = f"{plain_name(config.dataset)}, test set, {config.factor}x"
        run.figure("enlarged", plots.image_grid(rows, title))
        if config.from_noise:
            key = rng.stream(rng.root_key(config.seed), "noise instead of images")
            noise = np.asarray(jax.random.bits(key, small.shape, jnp.uint8))
            rows = {"noise": as_float(noise), "bicubic": upscale["bicubic"](as_float(noise))}
            rows[config.network] = resolver.reconstruct(noise)
            title = f"uniform noise, {config.factor}x, trained on {plain_name(config.dataset)}"
            run.figure("from_noise", plots.image_grid(rows, title))
        table = judge.joined(
            judge.of_splits(method, states, {name: part.images for name, part in parts.items()}, mesh),
            judge.restorations(trained, {name: parts[name] for name in ("held_out", "test")}, upscale),
        )
        run.finish(config, mesh, table)


if __name__ == "__main__":
    cli.run(main, Config, recipes=("network", RECIPES))
