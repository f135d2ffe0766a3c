"""Reconstruction terms and the KL: arrays -> one value per example, in nats where they are log-likelihoods."""

import math

import jax
import jax.numpy as jnp
from jax import Array

_SERIES_BELOW = 0.05  # logits whose continuous Bernoulli is computed by its series, to float32's precision


def bernoulli_negative_log_likelihood(logits: Array, targets: Array) -> Array:
    """-log p(targets) under independent Bernoulli pixels, in nats per example: (batch, ...) twice -> (batch,).

    The binary cross-entropy, softplus(l) - t l, of targets t in [0, 1] with logits l, summed over everything but the
    batch. Finite for every finite logit. For grey targets it is bounded below by their own entropy, not by 0.
    """
    # jax.nn.softplus also handles infinities, which costs a step of a small network several percent; minimum(l, -l)
    # is -abs(l) with the right gradient at 0, that of all logits of a network whose last layer starts at 0.
    softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(jnp.minimum(logits, -logits)))
    return _sum(softplus - targets * logits)


def gaussian_negative_log_likelihood(means: Array, log_variances: Array, targets: Array) -> Array:
    """-log p(targets) under independent Gaussians, in nats per example: (batch, ...) three times -> (batch,)."""
    scaled = jnp.square(targets - means) * jnp.exp(-log_variances)
    return _sum(scaled + log_variances + math.log(2 * math.pi)) / 2


def continuous_bernoulli_negative_log_likelihood(logits: Array, targets: Array) -> Array:
    """-log p(targets), targets in [0, 1], under the continuous Bernoulli, in nats per example.

    Loaiza-Ganem and Cunningham (2019), eq. 8: the Bernoulli's expression, normalised over [0, 1] by
    C = 2 artanh(1 - 2p) / (1 - 2p) = l / tanh(l / 2) with l the logit of p, and 2 at l = 0.
    """
    near_zero = jnp.abs(logits) < _SERIES_BELOW
    safe = jnp.where(near_zero, 1.0, logits)
    exact = jnp.log(jnp.abs(safe)) - jnp.log(jnp.tanh(jnp.abs(safe) / 2))
    log_normaliser = jnp.where(near_zero, math.log(2) + jnp.square(logits) / 12, exact)
    return bernoulli_negative_log_likelihood(logits, targets) - _sum(log_normaliser)


def discretized_logistic_negative_log_likelihood(means: Array, log_scales: Array, targets: Array) -> Array:
    """-log P(targets) of 8-bit pixels under logistic distributions integrated over each level, in nats per example.

    Args:
      means: (batch, ...), in units of the pixel range.
      log_scales: (batch, ...), natural logarithms of the scales in the same units.
      targets: (batch, ...) in [0, 1], multiples of 1/255.

    Returns:
      (batch,). Kingma et al. (2016, arXiv:1606.04934), section 5.2; edges as in Salimans et al. (2017,
      arXiv:1701.05517), equation 2.
    """
    half = 0.5 / 255
    inverse = jnp.exp(-log_scales)
    upper, lower = ((targets - means + side) * inverse for side in (half, -half))
    # log(sigmoid(upper) - sigmoid(lower)) without a difference of nearly equal numbers: with u - l = 1 / (255 scale),
    # it is log_sigmoid(u) + log_sigmoid(-l) + log(1 - exp(-(u - l))).
    inside = jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower) + jnp.log(-jnp.expm1(-2 * half * inverse))
    lowest, highest = targets < half, targets > 1 - half
    return -_sum(jnp.where(lowest, jax.nn.log_sigmoid(upper), jnp.where(highest, jax.nn.log_sigmoid(-lower), inside)))


def continuous_bernoulli_mean(logits: Array) -> Array:
    """The mean of a continuous Bernoulli, elementwise: 1 / (1 - exp(-l)) - 1 / l, and 1/2 at l = 0."""
    near_zero = jnp.abs(logits) < _SERIES_BELOW
    safe = jnp.where(near_zero, 1.0, logits)
    exact = -1 / jnp.expm1(-jnp.clip(safe, -80, 80)) - 1 / safe  # exp is finite there, and with it the gradient
    return jnp.where(near_zero, 0.5 + logits / 12, exact)


def gaussian_kl(means: Array, log_variances: Array) -> Array:
    """KL(N(mean, variance) || N(0, 1)) of each latent, in nats; not summed: any shape twice -> the same shape.

    Kingma and Welling (2014), appendix B. The divergence of the whole posterior is the sum over its latents.
    """
    return (jnp.square(means) + jnp.exp(log_variances) - log_variances - 1) / 2


def gaussian_log_density(values: Array, means: Array | float = 0.0, log_variances: Array | float = 0.0) -> Array:
    """log N(values; means, exp(log_variances)), summed over the last axis: (..., d) -> (...), in nats."""
    scaled = jnp.square(values - means) * jnp.exp(-jnp.asarray(log_variances))
    return -(scaled + log_variances + math.log(2 * math.pi)).sum(axis=-1) / 2


def squared_error(predictions: Array, targets: Array) -> Array:
    """Squared error summed over everything but the batch: (batch, ...) twice -> (batch,)."""
    return _sum(jnp.square(predictions - targets))


def _sum(values: Array) -> Array:
    # XLA's reductions are slow on CPUs, its matrix products are not.
    values = values.reshape(len(values), -1)
    return jnp.dot(values, jnp.ones(values.shape[1], values.dtype), precision=jax.lax.Precision.HIGHEST)
