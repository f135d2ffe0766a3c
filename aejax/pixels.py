"""What a decoder's outputs say about pixels: a likelihood, or another distance, and the picture they stand for."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from aejax import losses


class Pixels(NamedTuple):
    """How to read a network's outputs.

    Attributes:
      name: the metric of the loss per pixel and channel.
      loss: (outputs, targets) -> one value per example, summed over pixels: (batch, ...) twice -> (batch,). For a
        likelihood that is -log p(targets | outputs), in nats.
      picture: outputs -> images in [0, 1], the expected pixels.
      outputs_per_value: how many output channels there are for each channel of the images.
    """

    name: str
    loss: Callable[[Array, Array], Array]
    picture: Callable[[Array], Array]
    outputs_per_value: int = 1


def _clipped(means: Array) -> Array:
    return jnp.clip(means, 0, 1)


BERNOULLI = Pixels("bce", losses.bernoulli_negative_log_likelihood, jax.nn.sigmoid)
"""Outputs are logits."""

GAUSSIAN = Pixels("squared_error", losses.squared_error, _clipped)
"""Outputs are means, for networks that predict a residual; the variance, which is one for all, does not matter."""

SQUARED_ERROR_OF_SIGMOID = Pixels(
    "squared_error", lambda logits, targets: losses.squared_error(jax.nn.sigmoid(logits), targets), jax.nn.sigmoid
)
"""Outputs are logits; up to a constant, the likelihood of a Gaussian of variance 1/2 around their sigmoid. With it a
VAE's loss is "784 * MSE + KL"."""

CONTINUOUS_BERNOULLI = Pixels(
    "continuous_bernoulli", losses.continuous_bernoulli_negative_log_likelihood, losses.continuous_bernoulli_mean
)
"""Outputs are logits (Loaiza-Ganem and Cunningham 2019). A density on [0, 1]: its values may be negative."""


def gaussian(std: float) -> Pixels:
    """Outputs are the means of Gaussian pixels with one fixed standard deviation, in units of the pixel range."""
    log_variance = 2 * math.log(std)

    def loss(means: Array, targets: Array) -> Array:
        return losses.gaussian_negative_log_likelihood(means, jnp.full_like(means, log_variance), targets)

    return Pixels("gaussian", loss, _clipped)


def _mean_and_log_variance(outputs: Array) -> tuple[Array, Array]:
    means, raw = jnp.split(outputs, 2, axis=-1)
    # Bounded, so that black pixels, which a mean can hit exactly, do not drive the density to infinity.
    return means, -3 + 5 * jnp.tanh((raw + 3) / 5)


def _learnt_gaussian_loss(outputs: Array, targets: Array) -> Array:
    return losses.gaussian_negative_log_likelihood(*_mean_and_log_variance(outputs), targets)


GAUSSIAN_LEARNT = Pixels(
    "gaussian", _learnt_gaussian_loss, lambda outputs: _clipped(_mean_and_log_variance(outputs)[0]), 2
)
"""Outputs are means and then log-variances, twice the images' channels: Gaussian pixels with a learnt variance each,
whose logarithm is bounded to -8 ... 2."""
