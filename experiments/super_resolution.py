"""Super-resolution: antialiased small images, and a network that makes them 2, 4, ... times larger again.

python -m experiments.super_resolution                                  MNIST, 14 x 14 -> 28 x 28, a small EDSR
python -m experiments.super_resolution --network tutorial               the tutorial's encoder and decoder
python -m experiments.super_resolution --dataset cifar10 --factor 4     colour, 8 x 8 -> 32 x 32
python -m experiments.super_resolution --dataset cifar10 --factor 4 --from-noise    and what it sees in noise
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from aejax import cli, corruptions, plots, rng
from aejax.batching import as_float
from aejax.data.feeds import check_batch
from aejax.errors import UserError
from aejax.evaluation import baselines, judge
from aejax.methods import reconstruction
from aejax.methods.method import with_ema
from aejax.models.image_to_image import ImageToImage
from aejax.models.likelihoods import Bernoulli, SquaredError
from aejax.nn.convolutional import ConvAutoencoder, check_image_size
from aejax.nn.edsr import EDSR
from aejax.training import optimizers, report
from aejax.training.config import RunConfig, Schedule, above, at_least, plain_name, seeds_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import load_splits, open_feed


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train a super-resolver; metrics, figures and checkpoints go to <runs>/super_resolution/<name>/, by default named
    after <dataset>-<factor>x-<network>-seed<seed>."""

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = RunConfig.MAY_DIFFER_ON_RESUME | {"from_noise"}

    network: Literal["edsr", "tutorial"] = "edsr"
    """sets the defaults of the options below. edsr: residual blocks, sub-pixel upsampling, a global skip; tutorial:
    encoder and decoder, for --factor 2 alone"""
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
    """channels of the edsr network; None: 12 times the factor, which costs the same for all factors"""
    blocks: int = at_least(1, 2)
    """residual blocks of the edsr network"""
    from_noise: bool = False
    """also draw the trained network's outputs for uniform noise"""


# The rise of the rate keeps units of the tutorial's narrow layers from dying in the first steps.
RECIPES = {
    "edsr": Config(),
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
    if config.factor != 2:
        raise UserError(f"--network tutorial enlarges 2 times, not --factor {config.factor}: choose --network edsr")
    check_image_size(height, width)
    # One pooling less than the autoencoder's encoder: 14 -> 7 -> 4; the decoder is the same.
    return ImageToImage(ConvAutoencoder(channels, encoder_widths=(16, 8)), Bernoulli(), downscale)


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
        run.draw_curves()
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
