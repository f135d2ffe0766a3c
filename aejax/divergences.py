"""Distances between two sets of samples, to train with and to measure how well an aggregated posterior matches."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array

Kernel = Callable[[Array], Array]
"""Squared distances between points -> their kernel's values, elementwise."""


def inverse_multiquadratic(latents: int, scales: Sequence[float] = (0.1, 0.2, 0.5, 1, 2, 5, 10)) -> Kernel:
    """Returns the sum over scales s of C / (C + d^2) with C = 2 latents s, for latents of variance about 1.

    Tolstikhin et al. (2018, https://arxiv.org/abs/1711.01558), section 4, whose code sums over these scales. Unlike a
    Gaussian kernel it has a gradient for points that lie far away.
    """

    def kernel(squared_distances: Array) -> Array:
        return sum(2 * latents * s / (2 * latents * s + squared_distances) for s in scales)  # type: ignore[return-value]

    return kernel


def gaussian_kernel(bandwidth: float) -> Kernel:
    """Returns the kernel exp(-d^2 / (2 bandwidth^2)), the bandwidth in the latents' own units."""
    return lambda squared_distances: jnp.exp(-squared_distances / (2 * bandwidth**2))


def maximum_mean_discrepancy(x: Array, y: Array, kernel: Kernel) -> Array:
    """Estimates MMD^2 between the distributions of two samples, without bias: (n, d), (m, d) -> ().

    Gretton et al. (2012, https://jmlr.org/papers/v13/gretton12a.html), eq. 3. It has mean 0 for equal distributions, so
    it can be negative. n and m are 2 or more.
    """

    def mean_of_pairs(a: Array) -> Array:
        n = len(a)
        return (kernel(squared_distances(a, a)).sum() - n * kernel(jnp.zeros(()))) / (n * (n - 1))

    return mean_of_pairs(x) + mean_of_pairs(y) - 2 * kernel(squared_distances(x, y)).mean()


def squared_distances(x: Array, y: Array) -> Array:
    """Returns squared Euclidean distances between all points of two sets: (n, d), (m, d) -> (n, m), never negative.

    Both are centred on the mean of `y` first, so that no digits are lost where both lie far from the origin.
    """
    centre = jax.lax.stop_gradient(y.mean(axis=0))
    x, y = x - centre, y - centre
    # The product is what takes the time; TF32 would leave little of the difference of three large numbers.
    products = jnp.dot(x, y.T, precision="highest")
    squares = jnp.square(x).sum(1)[:, None] + jnp.square(y).sum(1)[None]
    return jnp.maximum(squares - 2 * products, 0)
