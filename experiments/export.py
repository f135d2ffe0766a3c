"""A run's trained network for programs without this package: functions that need JAX alone, and safetensors.

python -m experiments.export runs/autoencoder/mnist-seed0
python -m experiments.export runs/vae/mnist-lesson-elbo-seeds0-4 --checkpoint best --seed-index 2
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import flax
import jax
import tyro

from aejax import cli
from aejax import export as networks
from aejax.data import load
from aejax.errors import UserError
from aejax.export import Functions
from aejax.methods.method import Params, part
from aejax.pixels import BERNOULLI
from aejax.training.config import RunConfig
from aejax.training.records import read_params, read_run
from experiments import (
    aae,
    aae_semi_supervised,
    autoencoder,
    conv_vae,
    denoise,
    latent_space,
    super_resolution,
    vae,
)

CONFIGS: dict[str, type[RunConfig]] = {
    module.__name__.split(".")[-1]: module.Config
    for module in (aae, aae_semi_supervised, autoencoder, conv_vae, denoise, latent_space, super_resolution, vae)
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Write a trained network's functions (encoder.bin and decoder.bin, or restorer.bin), its parameters
    (parameters.safetensors) and what they take and give (export.json)."""

    run: tyro.conf.Positional[Path]
    """the run's folder, <runs>/<experiment>/<name>"""
    checkpoint: Literal["last", "best"] = "last"
    """best: with the lowest loss on the first split that training evaluates"""
    seed_index: int = 0
    """of a run of several seeds (--seeds), which one, from 0"""
    image_shape: tuple[int, int, int] | None = None
    """height, width and channels of the images of the run's dataset; None: looked up there"""
    data_dir: Path | None = None
    """the tensorflow-datasets folder to look in; None: $TFDS_DATA_DIR or ~/tensorflow_datasets"""
    output: Path | None = None
    """the folder to write to; None: <run>/export"""


def main(config: Config) -> None:
    if config.image_shape and min(config.image_shape) < 1:
        raise UserError(f"--image-shape must be three numbers of at least 1, not {config.image_shape}")
    run = config.run.expanduser().resolve()
    experiment, trained = read_config(run)
    seeds = trained.seeds
    if not 0 <= config.seed_index < seeds:
        raise UserError(f"--seed-index {config.seed_index}: {run} has the indices 0 to {seeds - 1}")
    step, params = read_params(run, config.checkpoint, config.seed_index)
    shape = config.image_shape or image_shape(trained, config.data_dir)
    about = {
        "experiment": experiment,
        "run": run.name,
        "config": read_run(run).options,
        "seed": trained.seed + config.seed_index,
        "checkpoint": config.checkpoint,
        "step": step,
    }
    folder = (config.output or run / "export").expanduser()
    jax.config.update("jax_traceback_in_locations_limit", 0)  # else the artefacts name this machine's source files
    try:
        functions, params = of_run(experiment, trained, run.name, params, shape)
        files = networks.write(folder, functions, params, about)
    except (KeyError, flax.errors.FlaxError):
        raise UserError(
            f"{run}: its config.json, with images of shape {shape}, is not that of its checkpoint; if the dataset has "
            "changed, set --image-shape"
        ) from None
    for file in files:
        print(f"{file.stat().st_size:>10,} bytes  {file}")


def of_run(
    experiment: str, config: Any, name: str, params: Params, image_shape: tuple[int, ...]
) -> tuple[Functions, Params]:
    """What the network of a run computes, and the params that it takes for that."""
    shape = image_shape
    match experiment:
        case "autoencoder":
            return networks.of_network(autoencoder.build(shape), BERNOULLI, params, shape), params
        case "denoise":
            return networks.of_network(denoise.build(config, shape), BERNOULLI, params, shape), params
        case "super_resolution":
            network, pixels = super_resolution.build(config, shape), super_resolution.PIXELS[config.network]
            small = (shape[0] // config.factor, shape[1] // config.factor, shape[2])
            return networks.of_network(network, pixels, params, small), params
        case "latent_space" if name.endswith("-autoencoder"):
            return networks.of_network(latent_space.build_autoencoder(shape), BERNOULLI, params, shape), params
        case "latent_space":
            return networks.of_vae(conv_vae.build(shape, 2), params, shape), params
        case "vae":
            return networks.of_vae(vae.build(config, shape), params, shape), params
        case "conv_vae":
            return networks.of_vae(conv_vae.build(shape, config.latents), params, shape), params
    params = part(params, ("encoder", "decoder"))  # nobody needs the discriminators
    if experiment == "aae":
        return networks.of_aae(aae.build(config, shape), params, shape), params
    classes = len(params["encoder"]["params"]["head"]["bias"]) - config.style
    model = aae_semi_supervised.build(config, shape, classes)
    return networks.of_semi_supervised(model, params, shape), params


def read_config(run: Path) -> tuple[str, RunConfig]:
    """The experiment that the folder is a run of, and its configuration.

    Raises:
      UserError: if it is no run's, or its config.json is damaged.
    """
    record = read_run(run)
    if record.experiment not in CONFIGS:
        raise UserError(f"{run} is no run of an experiment that can be exported: {', '.join(CONFIGS)}")
    try:
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in record.options.items()}
        return record.experiment, CONFIGS[record.experiment](**values)
    except (ValueError, TypeError, AttributeError, UserError) as error:
        raise UserError(f"{run / 'config.json'} is not that of a run of {record.experiment} ({error})") from None


def image_shape(trained: RunConfig, data_dir: Path | None) -> tuple[int, ...]:
    """Height, width and channels of the images that the run learnt from.

    Raises:
      UserError: if the dataset is not there, and cannot be had.
    """
    try:
        return load(trained.dataset, "test", data_dir, None, trained.image_size, most_bytes=0).images.shape[1:]
    except UserError as error:
        raise UserError(f"{error}; --image-shape does without the dataset") from None


if __name__ == "__main__":
    cli.run(main, Config)
