"""How well an aggregated posterior, the codes of all images, matches the prior, on samples of both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aejax import rng
from aejax.divergences import inverse_multiquadratic, maximum_mean_discrepancy

_BLOCK = 16  # projections at once, which bounds the memory


@functools.partial(jax.jit, static_argnums=3)
def sliced_wasserstein(key: Array, x: Array, y: Array, projections: int = 256) -> Array:
    """The sliced 2-Wasserstein distance between two samples of one size, in latent units: (n, d) twice -> ().

    Bonneel et al. (2015), section 3: the root of the mean, over random directions, of the squared 1-D distance, which
    is that of the sorted projections.
    """
    blocks = -(-projections // _BLOCK)
    directions = jax.random.normal(key, (blocks, x.shape[1], _BLOCK))
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)

    def squared(block: Array) -> Array:
        a, b = (jnp.sort(jnp.dot(z, block, precision="highest"), axis=0) for z in (x, y))
        return jnp.square(a - b).mean(axis=0)

    values = jax.lax.map(squared, directions).ravel()[:projections]
    return jnp.sqrt(values.mean())


def distances(key: Array, codes: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    """Sliced Wasserstein distance and squared MMD between codes and prior samples, (n, latents) each.

    The MMD is the unbiased estimate with inverse multiquadratic kernels, so it can be negative.
    """
    x, y = jnp.asarray(codes), jnp.asarray(samples)
    kernel = inverse_multiquadratic(x.shape[1])
    return {
        "sliced_wasserstein": float(sliced_wasserstein(rng.stream(key, "projections"), x, y)),
        "mmd": float(jax.jit(lambda a, b: maximum_mean_discrepancy(a, b, kernel))(x, y)),
    }


def moments(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, standard deviation and kurtosis (3 for a Gaussian) of each latent: (n, latents) -> (latents,) each."""
    codes = np.asarray(codes, np.float64)
    mean, std = codes.mean(axis=0), codes.std(axis=0)
    scaled = (codes - mean) / np.where(std > 0, std, 1)
    return {"mean": mean, "std": std, "kurtosis": (scaled**4).mean(axis=0)}
