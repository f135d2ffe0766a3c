"""Reconstruction terms: arrays -> one value per example; log-likelihoods are sums over pixels, in nats."""

import jax
import jax.numpy as jnp
from jax import Array


def bernoulli_negative_log_likelihood(logits: Array, targets: Array) -> Array:
    """-log p(targets) under independent Bernoulli pixels, in nats per example: (batch, ...) twice -> (batch,).

    The binary cross-entropy, softplus(l) - t l, of targets t in [0, 1] with logits l, summed over everything but the
    batch. Finite for every finite logit. For grey targets it is bounded below by their own entropy, not by 0.
    """
    # jax.nn.softplus also handles infinities, which costs a step of a small network several percent; minimum(l, -l)
    # is -abs(l) with the right gradient at 0, that of all logits of a network whose last layer starts at 0.
    softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(jnp.minimum(logits, -logits)))
    return _sum(softplus - targets * logits)


def squared_error(predictions: Array, targets: Array) -> Array:
    """Squared error summed over everything but the batch: (batch, ...) twice -> (batch,)."""
    return _sum(jnp.square(predictions - targets))


def _sum(values: Array) -> Array:
    # XLA's reductions are slow on CPUs, its matrix products are not.
    values = values.reshape(len(values), -1)
    return jnp.dot(values, jnp.ones(values.shape[1], values.dtype), precision=jax.lax.Precision.HIGHEST)
