"""Denoising: images through noise, which is fresh at every step, and a network that takes it away.

python -m experiments.denoise                             MNIST, a small U-Net
python -m experiments.denoise --network lesson            the convolutional autoencoder of experiments.autoencoder
python -m experiments.denoise --noise masking             another noise
python -m experiments.denoise --ood fashion_mnist         trained on either dataset, tested on both
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import numpy as np

from aejax import cli, corruptions, plots
from aejax.corruptions import Corruption
from aejax.data.feeds import as_float, check_batch
from aejax.errors import UserError
from aejax.evaluation import baselines
from aejax.nn.convolutional import ConvAutoencoder, check_image_size
from aejax.nn.unet import UNet
from aejax.pixels import BERNOULLI
from aejax.training.config import at_least, plain_name, with_defaults
from aejax.training.devices import make_mesh
from aejax.training.report import mean_of_examples
from aejax.training.runs import open_run
from aejax.training.splits import Splits, load_splits
from experiments import restoration
from experiments.restoration import RestorationConfig, Restorer

# The rise of the rate keeps units of the lesson's narrow layers from dying in the first steps.
DEFAULTS: dict[str, dict[str, Any]] = {
    "unet": {"epochs": 10, "batch_size": 128, "learning_rate": 3e-3, "schedule": "cosine"},
    "lesson": {"epochs": 100, "batch_size": 256, "learning_rate": 6e-3, "schedule": "warmup_cosine"},
}
FITTED_ON = 500  # training images that the filters' settings are chosen on


@dataclass(frozen=True, kw_only=True)
class Config(RestorationConfig):
    """Train a denoiser; metrics, figures and checkpoints go to <runs>/denoise/<name>/, by default named after
    <dataset>-<network>-<noise>-seed<seed>."""

    network: Literal["unet", "lesson"] = "unet"
    """unet: with skip connections; lesson: the autoencoder with a bottleneck of 4 x 4 x 8 numbers"""
    noise: Literal["gaussian", "salt_and_pepper", "masking", "speckle"] = "gaussian"
    """gaussian: clip(x + N(mean, std)); speckle: clip(x + x N(0, std)); the others set a fraction of the values"""
    noise_mean: float = 0.5
    """of gaussian noise"""
    noise_std: float = at_least(0, 0.3)
    """of gaussian noise and speckle"""
    noise_fraction: float = at_least(0, 0.3)
    """of the values that salt_and_pepper sets to 0 or 1, and masking to 0"""
    ood: str | None = None
    """another dataset: train on each of the two, and test both denoisers on both"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise_fraction > 1:
            raise UserError(f"--noise-fraction must be at most 1, not {self.noise_fraction}")


def noise(config: Config) -> Corruption:
    match config.noise:
        case "gaussian":
            return corruptions.gaussian(config.noise_mean, config.noise_std)
        case "salt_and_pepper":
            return corruptions.salt_and_pepper(config.noise_fraction)
        case "masking":
            return corruptions.masking(config.noise_fraction)
        case "speckle":
            return corruptions.speckle(config.noise_std)


def build(config: Config, image_shape: tuple[int, ...]) -> nn.Module:
    height, width, channels = image_shape
    if config.network == "unet":
        return UNet(channels)
    check_image_size(height, width)
    return ConvAutoencoder(channels)


def main(config: Config) -> None:
    if config.ood is None:
        train(config, load_splits(config))
    else:
        out_of_distribution(config, config.ood)


def train(config: Config, data: Splits) -> Restorer:
    """One run: a denoiser trained, judged beside the filters, and drawn."""
    config = with_defaults(config, DEFAULTS[config.network], default_name(config, config.dataset))
    assert config.batch_size
    mesh = make_mesh(config.devices, config.batch_size)
    check_batch(data.train.images, config.batch_size, mesh)
    network = build(config, data.train.images.shape[1:])
    examples = data.test.one_per_class()

    with open_run(config, "denoise") as run:
        denoiser = restoration.train(config, run, data, mesh, network, noise(config), BERNOULLI)
        known = data.train.images[:FITTED_ON]
        filters = baselines.fit_denoisers(denoiser.degrade(known), as_float(known))
        splits = restoration.table(denoiser, data, filters)
        best = max(filters, key=lambda name: splits[f"test: {name}"]["psnr"])
        noisy = denoiser.degrade(examples)
        rows = {"clean": as_float(examples), "noisy": noisy, best.replace(", ", "\n"): filters[best](noisy)}
        rows["denoised"] = denoiser.restore(examples)
        run.figure("denoised", plots.image_grid(rows, f"{config.dataset}, test set, {config.noise} noise"))
        run.finish(config, mesh, splits)
    return denoiser


def out_of_distribution(config: Config, other: str) -> None:
    """Two runs, and one more folder for the table of PSNR and SSIM (trained on, tested on) and its figure."""
    if other == config.dataset:
        raise UserError(f"--ood {other} is the --dataset itself: choose another")
    configs = {name: dataclasses.replace(config, dataset=name, ood=None) for name in (config.dataset, other)}
    data = {name: load_splits(own) for name, own in configs.items()}
    if len({splits.test.images.shape[1:] for splits in data.values()}) > 1:
        raise UserError(
            f"--dataset and --ood {other} differ in their images' shape: set --image-size, or choose another"
        )
    denoisers = {}
    for name, own in configs.items():
        run_name = f"{config.name}-{plain_name(name)}" if config.name else ""
        denoisers[name] = train(dataclasses.replace(own, name=run_name), data[name])

    both = "-".join(map(plain_name, configs))
    config = with_defaults(config, DEFAULTS[config.network], default_name(config, both))
    assert config.batch_size
    with open_run(config, "denoise") as run:
        run.figure("out_of_distribution", plots.image_grid(cross_rows(denoisers, data), "test sets"))
        table = cross_table(denoisers, {name: splits.test.images for name, splits in data.items()})
        run.finish(config, make_mesh(config.devices, config.batch_size), table)


def cross_rows(denoisers: Mapping[str, Restorer], data: Mapping[str, Splits]) -> dict[str, np.ndarray]:
    """The figure's rows: for each dataset its images clean, noisy, and denoised by each denoiser."""
    examples = {name: splits.test.one_per_class() for name, splits in data.items()}
    count = min(map(len, examples.values()))
    rows: dict[str, np.ndarray] = {}
    for name, denoiser in denoisers.items():
        images, label = examples[name][:count], plain_name(name)
        rows |= {label: as_float(images), f"{label}\nnoisy": denoiser.degrade(images)}
        for source, other in denoisers.items():
            rows[f"{label}, denoised by\n{plain_name(source)}'s"] = other.restore(images)
    return rows


def cross_table(denoisers: Mapping[str, Restorer], images: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean PSNR and SSIM by what a denoiser was trained on (rows) and tested on (columns), above those of the input."""
    inputs = {name: next(iter(denoisers.values())).degrade(images[name]) for name in images}
    restored = {"noisy input": inputs} | {
        f"trained on {source}": {name: denoiser.restore(images[name]) for name in images}
        for source, denoiser in denoisers.items()
    }
    rows: dict[str, dict[str, float]] = {}
    for row, pictures in restored.items():
        means = {name: mean_of_examples(restoration.quality(pictures[name], images[name])) for name in images}
        rows[row] = {f"{metric} on {name}": means[name][metric] for metric in ("psnr", "ssim") for name in images}
    return rows


def default_name(config: Config, dataset: str) -> str:
    return f"{plain_name(dataset)}-{config.network}-{config.noise}-seed{config.seed}"


if __name__ == "__main__":
    cli.run(main, Config)
