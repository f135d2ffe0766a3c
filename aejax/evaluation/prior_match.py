"""Distances of an aggregated posterior, the codes of all images, from the prior, on samples of both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aejax import rng
from aejax.divergences import inverse_multiquadratic, maximum_mean_discrepancy
from aejax.evaluation import intervals

FOLDS = 10
FEWEST = 6  # codes, in three folds of two

_BLOCK = 16  # projections at once, which bounds the memory


@functools.partial(jax.jit, static_argnums=3)
def sliced_wasserstein(key: Array, x: Array, y: Array, projections: int = 256) -> Array:
    """Returns the sliced 2-Wasserstein distance between two samples of one size, in latent units: (n, d) twice -> ().

    Bonneel et al. (2015, https://doi.org/10.1007/s10851-014-0506-3), section 3: the root of the mean, over random
    directions, of the squared 1-D distance, which is that of the sorted projections. Two samples of one distribution
    are some distance apart too: see `squared_sliced_wasserstein`.
    """
    blocks = -(-projections // _BLOCK)
    directions = jax.random.normal(key, (blocks, x.shape[1], _BLOCK))
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    centre = y.mean(axis=0)  # far from the origin, projections would lose the digits of the differences
    x, y = x - centre, y - centre

    def squared(block: Array) -> Array:
        a, b = (jnp.sort(jnp.dot(z, block, precision="highest"), axis=0) for z in (x, y))
        return jnp.square(a - b).mean(axis=0)

    values = jax.lax.map(squared, directions).ravel()[:projections]
    return jnp.sqrt(values.mean())


def squared_sliced_wasserstein(
    key: Array, x: np.ndarray, y: np.ndarray, projections: int = 256, folds: int = FOLDS
) -> intervals.Estimate:
    """Estimates the squared sliced 2-Wasserstein distance between the distributions of two samples, without bias.

    The samples are (n, d) each. `sliced_wasserstein` of samples is too large by a floor, its value between samples of
    one distribution, and subtracting that floor does not mend it: squares add, distances do not. Here both samples are
    split into folds at random. Between folds k and l the product of the two differences of sorted projections, each
    from data of its own, takes the place of the square of one, and is averaged over all pairs: a U-statistic (Hoeffding
    1948, https://doi.org/10.1214/aoms/1177730196). Its mean is exactly 0 for equal distributions, the exact square for
    a shift, and for others the square but for terms of the order of folds / n. So it can be negative.

    Directions are the columns of random orthogonal matrices (Rowland et al. 2019, https://arxiv.org/abs/1903.03784),
    two matrices at least: over them a shift has no error from the choice of directions.

    Args:
      key: of the folds and the directions.
      x: (n, d), floating point.
      y: another sample; of the larger one, rows are left out at random.
      projections: the number of directions, rounded up to whole matrices.
      folds: 3 to n / 2.

    Returns:
      The estimate in squared latent units, its interval from the jackknife over folds and the spread over matrices.

    Raises:
      ValueError: for other shapes, fewer than 6 rows and other numbers of folds.
    """
    n = min(len(x), len(y))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not 3 <= folds <= n // 2:
        raise ValueError(f"expected two samples (n, d) and 3 to n / 2 folds, got {x.shape}, {y.shape}, {folds} folds")
    centre = np.asarray(y, np.float64).mean(axis=0)
    a, b = (
        _folds(rng.stream(key, "folds", i), np.asarray(z, np.float64) - centre, folds, n // folds)
        for i, z in enumerate((x, y))
    )
    products = []
    for i in range(max(2, -(-projections // x.shape[1]))):
        gaussian = jax.random.normal(rng.stream(key, "directions", i), (x.shape[1],) * 2)
        directions, _ = np.linalg.qr(np.asarray(gaussian, np.float64))
        difference = (np.sort(a @ directions, axis=1) - np.sort(b @ directions, axis=1)).reshape(folds, -1)
        products.append(difference @ difference.T / difference.shape[1])
    values = np.array([_mean_of_pairs(product) for product in products])
    mean = np.mean(products, axis=0)
    without_one = [_mean_of_pairs(np.delete(np.delete(mean, i, 0), i, 1)) for i in range(folds)]
    of_directions = float(values.var(ddof=1)) / len(values)
    return intervals.jackknife(float(values.mean()), np.array(without_one), of_directions)


def distances(key: Array, codes: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    """Returns sliced Wasserstein distances and the squared MMD between codes and prior samples, (n, latents) each.

    Returns:
      "sliced_wasserstein": between the samples, which is above 0 for equal distributions.
      "mmd": the unbiased estimate with inverse multiquadratic kernels, so it can be negative.
      "sliced_wasserstein_squared": between the distributions, without bias, so it can be negative; from 6 codes on.
      "sliced_wasserstein_squared_low", "sliced_wasserstein_squared_high": its interval of 95%.
    """
    x, y = jnp.asarray(codes), jnp.asarray(samples)
    kernel = inverse_multiquadratic(x.shape[1])
    values = {"sliced_wasserstein": float(sliced_wasserstein(rng.stream(key, "projections"), x, y))}
    if min(len(x), len(y)) > 1:
        values["mmd"] = float(jax.jit(lambda a, b: maximum_mean_discrepancy(a, b, kernel))(x, y))
    if (n := min(len(x), len(y))) >= FEWEST:
        square = squared_sliced_wasserstein(
            rng.stream(key, "cross-fitting"), np.asarray(codes), np.asarray(samples), folds=min(FOLDS, n // 2)
        )
        name = "sliced_wasserstein_squared"
        values |= {name: square.value, f"{name}_low": square.low, f"{name}_high": square.high}
    return values


def moments(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Returns mean, std and kurtosis (3 for a Gaussian) of each latent: (n, latents) -> (latents,) each."""
    codes = np.asarray(codes, np.float64)
    mean, std = codes.mean(axis=0), codes.std(axis=0)
    scaled = (codes - mean) / np.where(std > 0, std, 1)
    return {"mean": mean, "std": std, "kurtosis": (scaled**4).mean(axis=0)}


def _folds(key: Array, points: np.ndarray, folds: int, size: int) -> np.ndarray:
    """Splits points (n, d) at random: (folds, size, d)."""
    order = np.asarray(jax.random.permutation(key, len(points)))[: folds * size]
    return points[order].reshape(folds, size, -1)


def _mean_of_pairs(products: np.ndarray) -> float:
    """Averages a square matrix without its diagonal."""
    n = len(products)
    return float((products.sum() - np.trace(products)) / (n * (n - 1)))
