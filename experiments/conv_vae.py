"""The convolutional VAE: the autoencoder's encoder and decoder, joined to the latents by dense layers.

python -m experiments.conv_vae                          MNIST, 20 latents, Bernoulli pixels, 30 epochs
python -m experiments.conv_vae --seeds 5                five seeds in one program, mean and sd of every figure
python -m experiments.conv_vae --latents 2              a plane to look into: see experiments.latent_space
"""

from dataclasses import dataclass
from typing import Any

import optax

from aejax import cli
from aejax.methods.variational import Model
from aejax.nn.convolutional import ConvDecoder, ConvEncoder, check_image_size
from aejax.nn.dense import GaussianEncoder, LatentDecoder
from aejax.training.config import plain_name, with_defaults
from aejax.training.devices import make_mesh
from aejax.training.runs import open_run
from aejax.training.splits import load_splits
from experiments import variational, variational_report
from experiments.variational import VariationalConfig

DEFAULTS: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 256,
    "learning_rate": 2e-3,
    "latents": 20,
    "binarization": "none",
}


@dataclass(frozen=True, kw_only=True)
class Config(VariationalConfig):
    """Train convolutional VAEs; metrics, figures and checkpoints go to <runs>/conv_vae/<name>/, by default named after
    <dataset>-<latents>-<objective><samples>-seed<seed>."""


def build(image_shape: tuple[int, ...], latents: int) -> Model:
    height, width, channels = image_shape
    check_image_size(height, width)
    maps = ((height + 4) // 8, (width + 4) // 8, 8)
    return Model(GaussianEncoder(ConvEncoder(), latents), LatentDecoder(ConvDecoder(channels), maps))


def main(config: Config) -> None:
    objective = f"{config.objective}{config.samples if config.samples > 1 else ''}"
    latents = config.latents or DEFAULTS["latents"]
    name = f"{plain_name(config.dataset)}-{latents}-{objective}-{variational.seeds_name(config)}"
    config = with_defaults(config, DEFAULTS, name)
    assert config.batch_size
    assert config.learning_rate
    mesh = make_mesh(config.devices, config.batch_size)
    grey = load_splits(config)
    data = variational.binarized(config, grey)
    model = build(data.train.images.shape[1:], latents)
    optimizer = optax.adam(config.learning_rate)
    method = variational.method(config, model, optimizer, len(data.train.images), latents)

    with open_run(config, "conv_vae") as run:
        states = variational.train(config, run, data, mesh, model, method)
        variational_report.figures(config, run, data, mesh, model, states)
        splits = variational_report.judge(config, data, grey, mesh, model, method, states)
        run.finish(config, mesh, splits, curves=("loss", "distortion", "rate"))


if __name__ == "__main__":
    cli.run(main, Config)
