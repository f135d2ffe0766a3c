"""Denoising: images through noise, which is fresh at every step, and a network that takes it away.

python -m experiments.denoise                             MNIST, a small U-Net
python -m experiments.denoise --network residual          an autoencoder with 128 latents
python -m experiments.denoise --network tutorial          the tutorial's convolutional autoencoder
python -m experiments.denoise --noise masking             another noise
python -m experiments.denoise --ood fashion_mnist         trained on either dataset, tested on both
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import tyro

from aejax import cli, corruptions, plots
from aejax.batching import as_float
from aejax.corruptions import Corruption
from aejax.data.feeds import check_batch
from aejax.errors import UserError
from aejax.evaluation import baselines, judge
from aejax.methods import reconstruction
from aejax.methods.method import with_ema
from aejax.models.image_to_image import ImageToImage
from aejax.models.trained import Trained
from aejax.nn import build
from aejax.nn.unet import UNet
from aejax.tables import Table
from aejax.training import optimizers, report
from aejax.training.config import NETWORK_HELP, NetworkSizes, Schedule, above, at_least, plain_name, seeds_name
from aejax.training.devices import make_mesh
from aejax.training.loop import fit
from aejax.training.runs import open_run
from aejax.training.splits import Splits, load_splits, open_feed

FITTED_ON = 500  # training images that the filters' settings are chosen on


@dataclass(frozen=True, kw_only=True)
class Config(NetworkSizes):
    """Train a denoiser; metrics, figures and checkpoints go to <runs>/denoise/<name>/, by default named after
    <dataset>-<network>-<noise>-seed<seed>."""

    network: Annotated[
        Literal["unet", "residual", "tutorial", "dense"],
        tyro.conf.arg(
            help="sets the defaults of the training options. unet: with connections past the bottleneck, any image "
            f"size; {NETWORK_HELP}"
        ),
    ] = "unet"
    latents: int = at_least(1, build.TUTORIAL_LATENTS)
    """the numbers that an image is squeezed through by all networks but unet; 128 of tutorial are 4 x 4 x 8 maps"""
    epochs: int = at_least(1, 10)
    """passes over the training images"""
    batch_size: int = at_least(1, 128)
    """images per step, over all devices"""
    learning_rate: float = above(0, 3e-3)
    """of Adam, at its peak"""
    schedule: Schedule = "cosine"
    """of the learning rate: constant; cosine, which falls to 0; or warmup_cosine, which first rises for 5% of the
    steps"""
    noise: Literal["gaussian", "salt_and_pepper", "masking", "speckle"] = "gaussian"
    """gaussian: clip(x + N(mean, std)); speckle: clip(x + x N(0, std)); the others set a fraction of the values"""
    noise_mean: float = 0.5
    """of gaussian noise"""
    noise_std: float = at_least(0, 0.3)
    """of gaussian noise and speckle"""
    noise_fraction: float = at_least(0, 0.3)
    """the fraction of values that salt_and_pepper sets to 0 or 1, and masking to 0"""
    ood: str | None = None
    """another dataset: train on each of the two, and test both denoisers on both"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise_fraction > 1:
            raise UserError(f"--noise-fraction must be at most 1, not {self.noise_fraction}")


# The rise of the rate keeps units of the tutorial's narrow layers from dying in the first steps.
RECIPES = {
    "unet": Config(),
    "residual": Config(network="residual", learning_rate=1e-3, schedule="warmup_cosine", clip_norm=1.0),
    "dense": Config(network="dense", epochs=20, learning_rate=1e-3, schedule="warmup_cosine", clip_norm=1.0),
    "tutorial": Config(network="tutorial", epochs=100, batch_size=256, learning_rate=6e-3, schedule="warmup_cosine"),
}


def noise(config: Config) -> Corruption:
    """Returns the corruption that --noise names."""
    match config.noise:
        case "gaussian":
            return corruptions.Gaussian(config.noise_mean, config.noise_std)
        case "salt_and_pepper":
            return corruptions.SaltAndPepper(config.noise_fraction)
        case "masking":
            return corruptions.Masking(config.noise_fraction)
        case "speckle":
            return corruptions.Speckle(config.noise_std)


def build_model(config: Config, image_shape: tuple[int, ...]) -> ImageToImage:
    """Returns the model for images (height, width, channels)."""
    if config.network == "unet":
        return ImageToImage(UNet(image_shape[-1]), corruption=noise(config))
    return ImageToImage(build.autoencoder(config, image_shape, also=["unet"]), corruption=noise(config))


def main(config: Config) -> None:
    if config.ood is None:
        train(config, load_splits(config))
    else:
        out_of_distribution(config, config.ood)


def train(config: Config, data: Splits) -> Trained:
    """Trains a denoiser, judges it next to the filters, and draws; of several seeds returns the first."""
    config = dataclasses.replace(config, name=config.name or default_name(config, config.dataset))
    mesh = make_mesh(config.devices, config.batch_size)
    check_batch(data.train.images, config.batch_size, mesh)
    model = build_model(config, data.image_shape)
    report.note(judge.left_out(data.train, data.test, latents=False, prior=False))
    feed = open_feed(config, data.train.images, config.batch_size, mesh)
    optimizer = optimizers.build(config, config.learning_rate, config.epochs * feed.steps_per_epoch)
    method = with_ema(reconstruction.autoencoder(model, optimizer), config.ema_decay)
    examples, parts = data.test.one_per_class(), data.parts()

    with open_run(config, "denoise", model=model, data=data) as run:
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
        denoiser = trained[0]
        table = judge.of_splits(method, states, {name: part.images for name, part in parts.items()}, mesh)
        known = data.train.images[:FITTED_ON]
        filters = baselines.fit_denoisers(denoiser.degrade(known), as_float(known))
        judged = {name: part for name, part in parts.items() if name != "train"}
        table = judge.joined(table, judge.restorations(trained, judged, filters))
        best = max(filters, key=lambda name: table[f"test: {name}"]["psnr"])
        noisy = denoiser.degrade(examples)
        rows = {"clean": as_float(examples), "noisy": noisy, best.replace(", ", "\n"): filters[best](noisy)}
        rows["denoised"] = denoiser.restore(examples)
        title = f"{plain_name(config.dataset)}, test set, {config.noise} noise"
        run.figure("denoised", plots.image_grid(rows, title))
        run.finish(config, mesh, table)
    return denoiser


def out_of_distribution(config: Config, other: str) -> None:
    """Trains two runs, and fills one more folder with the table of PSNR and SSIM (trained on, tested on)."""
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

    name = default_name(config, "-".join(map(plain_name, configs)))
    config = dataclasses.replace(config, name=config.name or name)
    with open_run(config, "denoise") as run:
        run.figure("out_of_distribution", plots.image_grid(cross_rows(denoisers, data), "test sets"))
        table = cross_table(denoisers, {name: splits.test.images for name, splits in data.items()})
        run.finish(config, make_mesh(config.devices, config.batch_size), table)


def cross_rows(denoisers: Mapping[str, Trained], data: Mapping[str, Splits]) -> dict[str, np.ndarray]:
    """Returns the figure's rows: for each dataset its images clean, noisy, and denoised by each denoiser."""
    examples = {name: splits.test.one_per_class() for name, splits in data.items()}
    count = min(map(len, examples.values()))
    rows: dict[str, np.ndarray] = {}
    for name, denoiser in denoisers.items():
        images, label = examples[name][:count], plain_name(name)
        rows |= {label: as_float(images), f"{label}\nnoisy": denoiser.degrade(images)}
        for source, other in denoisers.items():
            rows[f"{label}, denoised by\n{plain_name(source)}'s"] = other.restore(images)
    return rows


def cross_table(denoisers: Mapping[str, Trained], images: Mapping[str, np.ndarray]) -> Table:
    """Averages PSNR and SSIM by what a denoiser was trained on (rows) and tested on (columns), and the input's."""
    inputs = {name: next(iter(denoisers.values())).degrade(images[name]) for name in images}
    restored = {"noisy input": inputs} | {
        f"trained on {source}": {name: denoiser.restore(images[name]) for name in images}
        for source, denoiser in denoisers.items()
    }
    rows: Table = {}
    for row, pictures in restored.items():
        means = {name: judge.quality(pictures[name], images[name]) for name in images}
        rows[row] = {
            f"{metric} on {name}": means[name][metric]
            for metric in ("psnr", "ssim")
            for name in images
            if metric in means[name]
        }
    return rows


def default_name(config: Config, dataset: str) -> str:
    """Returns the name of the run's folder."""
    return f"{plain_name(dataset)}-{config.network}-{config.noise}-{seeds_name(config)}"


if __name__ == "__main__":
    cli.run(main, Config, recipes=("network", RECIPES))
