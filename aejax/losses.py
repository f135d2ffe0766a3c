"""Reconstruction terms: arrays -> one value per example; log-likelihoods are sums over pixels, in nats."""

import jax
import jax.numpy as jnp
from jax import Array


def bernoulli_negative_log_likelihood(logits: Array, targets: Array) -> Array:
    """-log p(targets) under independent Bernoulli pixels, in nats per example: (batch, ...) twice -> (batch,).

    The binary cross-entropy, softplus(l) - t l, of targets t in [0, 1] with logits l, summed over everything but the
    batch. Finite for every finite logit. For grey targets it is bounded below by their own entropy, not by 0.
    """
    return _sum(jax.nn.softplus(logits) - targets * logits)


def squared_error(predictions: Array, targets: Array) -> Array:
    """Squared error summed over everything but the batch: (batch, ...) twice -> (batch,)."""
    return _sum(jnp.square(predictions - targets))


def _sum(values: Array) -> Array:
    return values.sum(axis=tuple(range(1, values.ndim)))
