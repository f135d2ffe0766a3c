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
from aejax.nn.convolutional import ConvDecoder, ConvEncoder, map_shape
from aejax.nn.heads import GaussianEncoder, LatentDecoder
from aejax.nn.layers import Lowering
from aejax.training.config import plain_name, with_defaults
from aejax.training.splits import load_splits
from experiments import variational, variational_report
from experiments.variational import VariationalConfig

DEFAULTS: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 256,
    "learning_rate": 2e-3,
    "latents": 20,
    "binarization": "none",
    "hold_out": True,
}


@dataclass(frozen=True, kw_only=True)
class Config(VariationalConfig):
    """Train convolutional VAEs; metrics, figures and checkpoints go to <runs>/conv_vae/<name>/, by default named after
    <dataset>-<latents>-<objective><samples>-seed<seed>."""


def build(image_shape: tuple[int, ...], latents: int, lowering: Lowering = "auto") -> Model:
    height, width, channels = image_shape
    decoder = LatentDecoder(ConvDecoder(channels, lowering=lowering), map_shape(height, width))
    return Model(GaussianEncoder(ConvEncoder(lowering=lowering), latents), decoder)


def main(config: Config) -> None:
    latents = config.latents or DEFAULTS["latents"]
    name = (
        f"{plain_name(config.dataset)}-{latents}-{variational.objective_name(config)}-{variational.seeds_name(config)}"
    )
    config = with_defaults(config, DEFAULTS, name)
    assert config.learning_rate
    data = load_splits(config, hold_out=bool(config.hold_out))
    model = build(data.train.images.shape[1:], latents)
    variational_report.train_and_judge(config, "conv_vae", model, optax.adam(config.learning_rate), data)


if __name__ == "__main__":
    cli.run(main, Config)
