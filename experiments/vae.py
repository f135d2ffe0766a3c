"""The variational autoencoder, fully connected: the lesson's recipe, and two that others have published figures for.

python -m experiments.vae                                   784-512-2, loss 784 * MSE + KL, 30 epochs
python -m experiments.vae --seeds 5                         five seeds in one program, mean and sd of every figure
python -m experiments.vae --recipe flax                     Flax's example: 500 hidden, 20 latents, static binarisation
python -m experiments.vae --recipe iwae --objective iwae --samples 50       Burda et al. (2016), the full schedule
python -m experiments.vae --objective beta_tc --beta 6      other losses; the README adds one of your own
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import numpy as np
import optax

from aejax import cli, pixels
from aejax.errors import UserError
from aejax.methods.variational import Model
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from aejax.pixels import Pixels
from aejax.training.config import plain_name, with_defaults
from aejax.training.splits import load_splits
from experiments import variational, variational_report
from experiments.variational import VariationalConfig


class Recipe(NamedTuple):
    """A published training recipe.

    Attributes:
      defaults: of the options that are None.
      hidden: widths of the encoder; the decoder's are its mirror.
      optimizer: learning rate or schedule -> the optimiser.
      activation: of the hidden layers.
      pixels: p(x | z).
      schedule: (learning rate, steps per epoch) -> the learning rate by the step.
    """

    defaults: dict[str, Any]
    hidden: tuple[int, ...]
    optimizer: Callable[[optax.ScalarOrSchedule], optax.GradientTransformation]
    activation: Callable = nn.relu
    pixels: Pixels = pixels.BERNOULLI
    schedule: Callable[[float, int], optax.ScalarOrSchedule] = lambda rate, steps_per_epoch: rate


def torch_rmsprop(rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """With PyTorch's defaults."""
    return optax.rmsprop(rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)


def burda_schedule(rate: float, steps_per_epoch: int) -> optax.Schedule:
    """rate * 10^(-i / 7) for 3^i epochs, i = 0 ... 7: Burda et al. (2016), section 5."""
    ends = np.cumsum([3**i for i in range(7)]) * steps_per_epoch
    return optax.piecewise_constant_schedule(rate, {int(end): 10 ** (-1 / 7) for end in ends})


RECIPES = {
    "lesson": Recipe(
        {
            "epochs": 30,
            "batch_size": 256,
            "learning_rate": 1e-3,
            "latents": 2,
            "binarization": "none",
            "hold_out": True,
        },
        hidden=(512,),
        optimizer=torch_rmsprop,
        pixels=pixels.SQUARED_ERROR_OF_SIGMOID,
    ),
    "flax": Recipe(
        {
            "epochs": 20,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "latents": 20,
            "binarization": "static",
            "hold_out": False,
        },
        hidden=(500,),
        optimizer=optax.adam,
    ),
    "iwae": Recipe(
        {
            "epochs": 3280,
            "batch_size": 20,
            "learning_rate": 1e-3,
            "latents": 50,
            "binarization": "dynamic",
            "hold_out": False,
        },
        hidden=(200, 200),
        optimizer=lambda rate: optax.adam(rate, eps=1e-4),
        activation=nn.tanh,
        schedule=burda_schedule,
    ),
}
LIKELIHOODS = {
    "bernoulli": pixels.BERNOULLI,
    "continuous_bernoulli": pixels.CONTINUOUS_BERNOULLI,
    "gaussian": pixels.gaussian(0.1),
    "gaussian_learnt": pixels.GAUSSIAN_LEARNT,
    "squared_error": pixels.SQUARED_ERROR_OF_SIGMOID,
}


@dataclass(frozen=True, kw_only=True)
class Config(VariationalConfig):
    """Train fully connected VAEs; metrics, figures and checkpoints go to <runs>/vae/<name>/, by default named after
    <dataset>-<recipe>-<objective><samples>-seed<seed>."""

    recipe: Literal["lesson", "flax", "iwae"] = "lesson"
    """lesson: 784-512-2 and RMSprop; flax: its VAE example; iwae: 784-200-200-50 and Adam on a schedule of 3280 epochs,
    of which --epochs 1, 4, 13, 40, 121, 364 or 1093 takes the first stages"""
    likelihood: Literal["bernoulli", "continuous_bernoulli", "gaussian", "gaussian_learnt", "squared_error"] | None = (
        None
    )
    """of pixels; gaussian: of standard deviation 0.1; squared_error: summed, as in 784 * MSE. None: the recipe's"""
    log_variance_as_log_std: bool = False
    """sample with the standard deviation exp(log-variance), the lesson's mistake: the loss is then no bound"""


def build(config: Config, image_shape: tuple[int, ...]) -> Model:
    """The networks for images (height, width, channels); `config` has its recipe's defaults."""
    assert config.latents
    recipe = RECIPES[config.recipe]
    likelihood = recipe.pixels if config.likelihood is None else LIKELIHOODS[config.likelihood]
    outputs = (*image_shape[:2], image_shape[2] * likelihood.outputs_per_value)
    return Model(
        GaussianEncoder(MLP(recipe.hidden, recipe.activation), config.latents),
        DenseDecoder(recipe.hidden[::-1], outputs, recipe.activation),
        likelihood,
        config.log_variance_as_log_std,
    )


def main(config: Config) -> None:
    recipe = RECIPES[config.recipe]
    objective = variational.objective_name(config) + ("-wrong_std" if config.log_variance_as_log_std else "")
    name = f"{plain_name(config.dataset)}-{config.recipe}-{objective}-{variational.seeds_name(config)}"
    config = with_defaults(config, recipe.defaults, name)
    assert config.batch_size
    assert config.learning_rate
    if config.log_variance_as_log_std and config.objective == "dreg":
        raise UserError("--log-variance-as-log-std has no meaning with --objective dreg: choose another objective")
    data = load_splits(config, hold_out=bool(config.hold_out))
    model = build(config, data.train.images.shape[1:])
    rate = recipe.schedule(config.learning_rate, len(data.train.images) // config.batch_size)
    variational_report.train_and_judge(config, "vae", model, recipe.optimizer(rate), data)


if __name__ == "__main__":
    cli.run(main, Config)
