"""Likelihoods of images: what a decoder's outputs say about pixels.

Each is a frozen dataclass, so that a model that holds it can be compared, and written down by `description`.
"""

import abc
import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from aejax import losses


@dataclass(frozen=True)
class Likelihood(abc.ABC):
    """The base class: a distribution p(x | outputs) of images, or another distance between outputs and images.

    Attributes:
      name: of the metric that reports the loss per pixel and channel.
      outputs_per_value: the number of the decoder's output channels for each channel of the images.
      discrete: whether it gives probabilities to the 256 levels of 8-bit images, which makes bits per dimension.
    """

    name: ClassVar[str]
    outputs_per_value: ClassVar[int] = 1
    discrete: ClassVar[bool] = False

    @abc.abstractmethod
    def neg_log_prob(self, outputs: Array, images: Array) -> Array:
        """Computes -log p(images | outputs) in nats, summed over pixels: (batch, ...) twice -> (batch,)."""

    @abc.abstractmethod
    def mean(self, outputs: Array) -> Array:
        """Computes the expected pixels, in [0, 1], of outputs (batch, height, width, channels * outputs_per_value)."""


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Independent Bernoulli pixels; outputs are logits. Its loss per pixel is the binary cross-entropy."""

    name: ClassVar[str] = "bce"

    def neg_log_prob(self, outputs: Array, images: Array) -> Array:
        return losses.bernoulli_negative_log_likelihood(outputs, images)

    def mean(self, outputs: Array) -> Array:
        return jax.nn.sigmoid(outputs)


@dataclass(frozen=True)
class ContinuousBernoulli(Likelihood):
    """Continuous Bernoulli pixels (Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845); outputs are logits.

    It is a density on [0, 1], so its negative logarithm may be negative.
    """

    name: ClassVar[str] = "continuous_bernoulli"

    def neg_log_prob(self, outputs: Array, images: Array) -> Array:
        return losses.continuous_bernoulli_negative_log_likelihood(outputs, images)

    def mean(self, outputs: Array) -> Array:
        return losses.continuous_bernoulli_mean(outputs)


@dataclass(frozen=True)
class SquaredError(Likelihood):
    """The squared error of outputs that are pixels, such as those of a network that predicts a residual.

    Up to a constant it is the likelihood of a Gaussian of variance 1/2.
    """

    name: ClassVar[str] = "squared_error"

    def neg_log_prob(self, outputs: Array, images: Array) -> Array:
        return losses.squared_error(outputs, images)

    def mean(self, outputs: Array) -> Array:
        return jnp.clip(outputs, 0, 1)


@dataclass(frozen=True)
class SquaredErrorOfSigmoid(Likelihood):
    """The squared error of the sigmoid of outputs that are logits.

    Up to a constant it is the likelihood of a Gaussian of variance 1/2 around the sigmoid. With it a VAE's loss on
    MNIST is the tutorial's "784 * MSE + KL".
    """

    name: ClassVar[str] = "squared_error"

    def neg_log_prob(self, outputs: Array, images: Array) -> Array:
        return losses.squared_error(jax.nn.sigmoid(outputs), images)

    def mean(self, outputs: Array) -> Array:
        return jax.nn.sigmoid(outputs)


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Gaussian pixels with one fixed standard deviation, in units of the pixel range; outputs are means."""

    name: ClassVar[str] = "gaussian"
    std: float = 0.1

    def neg_log_prob(self, outputs: Array, images: Array) -> Array:
        log_variances = jnp.full_like(outputs, 2 * math.log(self.std))
        return losses.gaussian_negative_log_likelihood(outputs, log_variances, images)

    def mean(self, outputs: Array) -> Array:
        return jnp.clip(outputs, 0, 1)


@dataclass(frozen=True)
class GaussianLearnt(Likelihood):
    """Gaussian pixels, each with a variance that the decoder gives; outputs are means, then raw log-variances.

    The log-variance is bounded to -8 ... 2. Otherwise black pixels, which a mean can hit exactly, would drive the
    density to infinity.
    """

    name: ClassVar[str] = "gaussian"
    outputs_per_value: ClassVar[int] = 2

    def neg_log_prob(self, outputs: Array, images: Array) -> Array:
        means, raw = jnp.split(outputs, 2, axis=-1)
        return losses.gaussian_negative_log_likelihood(means, -3 + 5 * jnp.tanh((raw + 3) / 5), images)

    def mean(self, outputs: Array) -> Array:
        means, _ = jnp.split(outputs, 2, axis=-1)
        return jnp.clip(means, 0, 1)


@dataclass(frozen=True)
class DiscretizedLogistic(Likelihood):
    """Logistic pixels integrated over the 256 levels of 8-bit images, each with a scale that the decoder gives.

    Kingma et al. (2016, arXiv:1606.04934), section 5.2 and its equation for p(x_i | mu_i, s_i), with the edges of
    PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517, equation 2): the lowest level takes all mass below it, the
    highest all above. It is a probability mass function: over the 256 levels it sums to 1, and its negative logarithm
    over log 2 and the number of values is the bits per dimension. Outputs are raw means and raw log-scales. The mean is
    1/2 + output / 4 in units of the pixel range, and the log-scale is -2 at 0 and bounded: outputs of a network that is
    not trained, with mean 0 and variance 1, spread as pixels do.
    """

    name: ClassVar[str] = "discretized_logistic"
    outputs_per_value: ClassVar[int] = 2
    discrete: ClassVar[bool] = True

    def neg_log_prob(self, outputs: Array, images: Array) -> Array:
        means, raw = jnp.split(outputs, 2, axis=-1)
        return losses.discretized_logistic_negative_log_likelihood(_mean(means), _log_scale(raw), images)

    def mean(self, outputs: Array) -> Array:
        means, _ = jnp.split(outputs, 2, axis=-1)
        return jnp.clip(_mean(means), 0, 1)


def _mean(raw: Array) -> Array:
    return 0.5 + raw / 4


def _log_scale(raw: Array) -> Array:
    """Bounds log-scales smoothly to -7 ... 0 (in units of the pixel range), with log-scale -2 at raw 0."""
    return -3.5 + 3.5 * jnp.tanh(raw / 3.5 + math.atanh(1.5 / 3.5))


BY_NAME: dict[str, Likelihood] = {
    "bernoulli": Bernoulli(),
    "continuous_bernoulli": ContinuousBernoulli(),
    "gaussian": Gaussian(0.1),
    "gaussian_learnt": GaussianLearnt(),
    "squared_error": SquaredErrorOfSigmoid(),
    "discretized_logistic": DiscretizedLogistic(),
}
"""The likelihoods as options name them."""
