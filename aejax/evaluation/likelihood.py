"""How probable a model finds images, by importance sampling, and which of its latents carry anything."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aejax import rng
from aejax.methods.method import TrainState
from aejax.methods.variational import Model, sample_terms

_ROWS = 1000  # decoded at once: their pixels stay in a CPU's cache


def importance_sampled_nll(
    model: Model, samples: int = 5000, rows: int = _ROWS
) -> Callable[[TrainState, Array, Array], Array]:
    """An estimate of -log p(x) in nats, from above: on average never less, and close with many samples.

    Burda et al. (2016), eq. 8 and section 5: -log of the mean of p(x, z) / q(z | x) over `samples` latents from the
    posterior. They are drawn in blocks of `rows` over all images of the batch, so memory does not grow with them. To be
    applied with `over_images`, in small batches.

    Returns:
      (state, images (batch, height, width, channels) in [0, 1], key) -> (batch,). Images are modelled as they are: for
      binarised ones, binarise them before.
    """
    # The right density whatever the training sampled with.
    model = model._replace(log_variance_as_log_std=False)

    def estimate(state: TrainState, images: Array, key: Array) -> Array:
        block = max(1, min(samples, rows // len(images)))

        def add(total: Array, i: Array) -> tuple[Array, None]:
            terms = sample_terms(model, state.params, images, rng.stream(key, "samples", i), block)
            counts = i * block + jnp.arange(block) < samples
            log_w = jnp.where(counts, terms.log_weights(), -jnp.inf)
            return jnp.logaddexp(total, jax.nn.logsumexp(log_w, axis=1)), None

        start = jnp.full(len(images), -jnp.inf)
        total, _ = jax.lax.scan(add, start, jnp.arange(math.ceil(samples / block)))
        return math.log(samples) - total

    return estimate


def active_units(means: np.ndarray, threshold: float = 0.01) -> int:
    """The number of latents whose posterior mean varies over images by more than `threshold`: means (n, latents).

    Burda et al. (2016), section 5.1, eq. 12.
    """
    return int((np.var(means, axis=0) > threshold).sum())


def bits_per_dimension(nats: np.ndarray | float, values: int) -> np.ndarray | float:
    """Nats per image -> bits per value, of images of `values` = height * width * channels values each."""
    return nats / (values * math.log(2))
