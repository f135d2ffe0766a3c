"""The Parzen-window log-likelihood: an old measure of models without a density.

It is a weak measure: it can rank models by how they blur, and needs far more samples than anyone draws to be near the
truth (Theis et al. 2016, https://arxiv.org/abs/1511.01844, section 3.2). It is here to compare with papers that report
it.

The protocol, as in Goodfellow et al. (2014, https://arxiv.org/abs/1406.2661), section 5, and their parzen_ll.py, which
Makhzani et al. (2016, https://arxiv.org/abs/1511.05644), section 3, follow for their MNIST (10K): 10,000 samples of the
model, as expected pixels in [0, 1]; the bandwidth of ten between 0.1 and 1 that is best on 1000 validation images; mean
and standard error over the 10,000 test images. What differs: our validation images are the first of the last 10% of the
train split, theirs of its last 10,000 images, and our standard error is of the sample deviation with n - 1.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aejax.divergences import squared_distances

_BLOCK = 100  # images at once
BANDWIDTHS = tuple(np.logspace(-1, 0, 10).tolist())  # Goodfellow et al.'s own grid
VALIDATION = 1000  # images for the choice


def needs(validation: int, test: int) -> str | None:
    """Says in a line why the figure and its standard error cannot be computed from so few images, or None."""
    if validation < 1 or test < 2:
        return f"the Parzen window needs 1 held-out and 2 test images, not {validation} and {test}"
    return None


def log_likelihood(samples: np.ndarray, images: np.ndarray, bandwidth: float) -> np.ndarray:
    """Returns log mean_i N(image; sample_i, bandwidth^2 I), in nats: samples (m, ...), images (n, ...) -> (n,).

    Breuleux et al. (2011, https://doi.org/10.1162/NECO_a_00142), as used by Goodfellow et al. (2014), section 5.
    """
    flat = jnp.asarray(samples.reshape(len(samples), -1), jnp.float32)
    rows = np.asarray(images.reshape(len(images), -1), np.float32)
    values = [_block(flat, jnp.asarray(rows[i : i + _BLOCK]), bandwidth) for i in range(0, len(rows), _BLOCK)]
    return np.concatenate([np.asarray(value) for value in values])


def choose_bandwidth(samples: np.ndarray, validation: np.ndarray, bandwidths: Sequence[float] = BANDWIDTHS) -> float:
    """Returns the bandwidth with the highest mean log-likelihood on validation images."""
    means = [float(log_likelihood(samples, validation, b).mean(dtype=np.float64)) for b in bandwidths]
    return bandwidths[int(np.argmax(means))]


def mean_and_standard_error(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean and its standard error over images (n,), n at least 2, as papers report them."""
    return float(values.mean(dtype=np.float64)), float(values.std(ddof=1, dtype=np.float64) / math.sqrt(len(values)))


@functools.partial(jax.jit)
def _block(samples: Array, images: Array, bandwidth: float) -> Array:
    exponents = -squared_distances(images, samples) / (2 * bandwidth**2)
    normaliser = math.log(len(samples)) + samples.shape[1] * (jnp.log(bandwidth) + math.log(2 * math.pi) / 2)
    return jax.nn.logsumexp(exponents, axis=1) - normaliser
