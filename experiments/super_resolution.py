"""Super-resolution: antialiased small images, and a network that makes them 2, 4, ... times larger again.

python -m experiments.super_resolution                                  MNIST, 14 x 14 -> 28 x 28, a small EDSR
python -m experiments.super_resolution --network lesson                 the lesson's encoder and decoder
python -m experiments.super_resolution --dataset cifar10 --factor 4     colour, 8 x 8 -> 32 x 32
python -m experiments.super_resolution --dataset cifar10 --factor 4 --from-noise    and what it sees in noise
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aejax import cli, corruptions, plots, rng
from aejax.data.feeds import as_float, check_batch
from aejax.errors import UserError
from aejax.evaluation import baselines
from aejax.nn.convolutional import ConvAutoencoder, check_image_size
from aejax.nn.restoration import EDSR
from aejax.pixels import BERNOULLI, GAUSSIAN
from aejax.training.config import RunConfig, at_least, plain_name, with_defaults
from aejax.training.devices import make_mesh
from aejax.training.runs import open_run
from aejax.training.splits import load_splits
from experiments import restoration
from experiments.restoration import RestorationConfig

# The rise of the rate keeps units of the lesson's narrow layers from dying in the first steps.
DEFAULTS: dict[str, dict[str, Any]] = {
    "edsr": {"epochs": 5, "batch_size": 128, "learning_rate": 2e-3, "schedule": "warmup_cosine"},
    "lesson": {"epochs": 30, "batch_size": 256, "learning_rate": 6e-3, "schedule": "warmup_cosine"},
}
PIXELS = {"edsr": GAUSSIAN, "lesson": BERNOULLI}


@dataclass(frozen=True, kw_only=True)
class Config(RestorationConfig):
    """Train a super-resolver; metrics, figures and checkpoints go to <runs>/super_resolution/<name>/, by default named
    after <dataset>-<factor>x-<network>-seed<seed>."""

    MAY_DIFFER_ON_RESUME: ClassVar[frozenset[str]] = RunConfig.MAY_DIFFER_ON_RESUME | {"from_noise"}

    network: Literal["edsr", "lesson"] = "edsr"
    """edsr: residual blocks, sub-pixel upsampling, a global skip; lesson: encoder and decoder, for --factor 2 alone"""
    factor: int = at_least(2, 2)
    """how many times larger"""
    downscaling: Literal["box", "bicubic"] = "box"
    """the antialiasing kernel: means over factor x factor pixels, or the literature's bicubic"""
    width: int | None = at_least(1, None)
    """channels of the edsr network; None: 12 times the factor, which costs the same for all factors"""
    blocks: int = at_least(1, 2)
    """residual blocks of the edsr network"""
    from_noise: bool = False
    """also draw what the trained network makes of uniform noise"""


def build(config: Config, image_shape: tuple[int, ...]) -> nn.Module:
    height, width, channels = image_shape
    if height % config.factor or width % config.factor:
        raise UserError(
            f"--factor {config.factor} does not divide images of {height} x {width}: set --image-size "
            f"{config.factor * max(1, min(height, width) // config.factor)}"
        )
    if config.network == "edsr":
        return EDSR(channels, config.factor, config.width or 12 * config.factor, config.blocks)
    if config.factor != 2:
        raise UserError(f"--network lesson enlarges 2 times, not --factor {config.factor}: choose --network edsr")
    check_image_size(height, width)
    # One pooling less than the autoencoder's encoder: 14 -> 7 -> 4; the decoder is the same.
    return ConvAutoencoder(channels, encoder_widths=(16, 8))


def main(config: Config) -> None:
    name = f"{plain_name(config.dataset)}-{config.factor}x-{config.network}-seed{config.seed}"
    config = with_defaults(config, DEFAULTS[config.network], name)
    assert config.batch_size
    mesh = make_mesh(config.devices, config.batch_size)
    data = load_splits(config)
    check_batch(data.train.images, config.batch_size, mesh)
    network = build(config, data.train.images.shape[1:])
    downscale = corruptions.downscale(config.factor, config.downscaling)
    upscale = {m: functools.partial(baselines.upscale, factor=config.factor, method=m) for m in baselines.UPSCALERS}
    examples = data.test.one_per_class()

    with open_run(config, "super_resolution") as run:
        resolver = restoration.train(config, run, data, mesh, network, downscale, PIXELS[config.network])
        splits = restoration.table(resolver, data, upscale)
        small = resolver.degrade(examples)
        rows = {"input": small, "bicubic": upscale["bicubic"](small)}
        rows |= {config.network: resolver.restore(examples), "original": as_float(examples)}
        run.figure("enlarged", plots.image_grid(rows, f"{config.dataset}, test set, {config.factor}x"))
        if config.from_noise:
            key = rng.stream(rng.root_key(config.seed), "noise instead of images")
            noise = np.asarray(jax.random.bits(key, small.shape, jnp.uint8))
            rows = {"noise": as_float(noise), "bicubic": upscale["bicubic"](as_float(noise))}
            rows[config.network] = resolver.apply(noise)
            run.figure(
                "from_noise", plots.image_grid(rows, f"uniform noise, {config.factor}x, trained on {config.dataset}")
            )
        run.finish(config, mesh, splits)


if __name__ == "__main__":
    cli.run(main, Config)
