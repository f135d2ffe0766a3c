"""Measures of pictures, samples, codes and likelihoods against their twins and against scipy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, optimize, special, stats

from aejax.divergences import gaussian_kernel, inverse_multiquadratic, maximum_mean_discrepancy
from aejax.evaluation import image_quality, parzen, prior_match, representation, sample_quality
from aejax.evaluation.likelihood import active_units
from aejax.models.latent_variable import log_likelihood_by_importance
from tests.methods.linear_gaussian import evidence, linear_model, random_images, random_params
from tests.outside import twins
from tests.outside.comparison import as_float64, gradient, same

RANDOM = np.random.default_rng(0)
FLOAT32 = 2e-6  # of what is computed in float32


def ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. (2004), equation 13 and section III.C, of one channel (h, w): moments about each window's mean."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(window, window) / np.outer(window, window).sum()
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for i, j in np.ndindex(x.shape[0] - 10, x.shape[1] - 10):
        a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
        covariance = (window * (a - mean_a) * (b - mean_b)).sum()
        luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        values.append(luminance * (2 * covariance + c2) / (var_a + var_b + c2))
    return float(np.mean(values))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.99, 1.0)], ids=["any", "nearly white"])
def test_psnr_and_ssim(low: float, high: float) -> None:
    x, y = RANDOM.uniform(low, high, (2, 3, 14, 13, 2)).astype(np.float32)
    wide = x.astype(np.float64), y.astype(np.float64)
    mse = ((wide[0] - wide[1]) ** 2).mean((1, 2, 3))
    channels = [[ssim(a[..., c], b[..., c]) for c in range(2)] for a, b in zip(*wide, strict=True)]
    same(image_quality.mean_squared_error(x, y), mse, FLOAT32)
    same(image_quality.psnr(x, y), -10 * np.log10(mse), FLOAT32)
    same(image_quality.ssim(x, y), np.mean(channels, axis=1), FLOAT32)


@pytest.mark.parametrize("offset", [0, 1e4])
def test_the_frechet_distance(offset: float) -> None:
    """Heusel et al. (2017), equation 6, by scipy's root of the product of the covariances."""
    a, b = RANDOM.normal(size=(40, 5)) @ RANDOM.normal(size=(5, 5)), RANDOM.normal(0.3, 1, (50, 5))
    shift = (a.mean(0) - b.mean(0)) ** 2
    root = np.real(linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)))
    expected = shift.sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    same(sample_quality.frechet_distance(a + offset, b + offset), expected, 1e-12 if not offset else 1e-9)


def test_class_balance() -> None:
    logits = RANDOM.normal(0, 2, (60, 4))
    shares = np.bincount(logits.argmax(1), minlength=4) / 60
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = sample_quality.class_balance(logits)
    same(found["entropy"], stats.entropy(shares) / math.log(4))
    same(found["rarest_class"], shares.min())
    same(found["confidence"], probabilities.max(1).mean())


@pytest.mark.parametrize("offset", [0.0, 1e7])
@pytest.mark.parametrize("neighbours", [1, 4])
def test_nearest_neighbours(neighbours: int, offset: float) -> None:
    """Differences taken one by one; equal votes go to the smaller label. Far from the origin too."""
    train, test = (offset + RANDOM.normal(size=(n, 3)) for n in (90, 40))
    labels = RANDOM.integers(0, 3, 90)
    votes = []
    for point in test:
        nearest = np.argsort(((train - point) ** 2).sum(1), kind="stable")[:neighbours]
        votes.append(np.bincount(labels[nearest], minlength=3).argmax())
    truth = np.array(votes)
    assert representation.knn_accuracy(train, labels, test, truth, neighbours) == 1
    truth[:7] = (truth[:7] + 1) % 3
    same(representation.knn_accuracy(train, labels, test, truth, neighbours), 33 / 40)


@pytest.mark.parametrize("bandwidth", [0.1, 0.5])
def test_parzen_windows(bandwidth: float) -> None:
    """The mean of the densities, each of scipy's normal distribution."""
    samples, images = RANDOM.uniform(size=(20, 3, 3, 1)), RANDOM.uniform(size=(7, 3, 3, 1))
    samples, images = samples.astype(np.float32), images.astype(np.float32)
    each = stats.norm(samples.reshape(1, 20, 9).astype(np.float64), bandwidth).logpdf(images.reshape(7, 1, 9)).sum(2)
    found = parzen.log_likelihood(samples, images, bandwidth)
    same(found, special.logsumexp(each, axis=1) - math.log(20), 1e-5)
    mean, error = parzen.mean_and_standard_error(found)
    same(mean, found.astype(np.float64).mean())
    same(error, stats.sem(found.astype(np.float64)))


def test_the_sliced_wasserstein_distance() -> None:
    """Bonneel et al. (2015): along each direction, the least squared cost over all pairings."""
    key, (x, y) = jax.random.key(7), RANDOM.normal(size=(2, 12, 3))
    with jax.enable_x64(True):
        directions = np.asarray(jax.random.normal(key, (2, 3, 16)))
        found = prior_match.sliced_wasserstein(key, jnp.asarray(x), jnp.asarray(y + 1), 32)
    costs = []
    for direction in np.concatenate(directions, axis=1).T:
        unit = direction / math.sqrt((direction**2).sum())
        cost = ((x @ unit)[:, None] - ((y + 1) @ unit)[None]) ** 2
        costs.append(cost[optimize.linear_sum_assignment(cost)].mean())
    same(found, math.sqrt(np.mean(costs)))


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_maximum_mean_discrepancy(offset: float) -> None:
    x, y = RANDOM.normal(size=(5, 2)), RANDOM.normal(0.5, 1, (6, 2))
    kernel, tolerance = inverse_multiquadratic(2), 1e-12 if not offset else 1e-9
    with jax.enable_x64(True):
        a, b = jnp.asarray(x + offset), jnp.asarray(y + offset)
        value, slopes = jax.jit(jax.value_and_grad(lambda points: maximum_mean_discrepancy(points, b, kernel)))(a)
        gaussian = gaussian_kernel(0.7)(jnp.asarray([0.0, 1.0, 4.0]))
    same(value, twins.mmd(x, y), tolerance)
    same(slopes, gradient(lambda points: twins.mmd(points, y), x), tolerance)
    same(gaussian, np.sqrt(2 * math.pi) * 0.7 * stats.norm(0, 0.7).pdf([0, 1, 2]))


def test_moments_and_active_units_far_from_the_origin() -> None:
    spread = np.array([1.0, 0.11, 0.09])
    noise = RANDOM.normal(size=(20_000, 3))
    codes = (1e4 + spread * (noise - noise.mean(0)) / noise.std(0)).astype(np.float32)
    wide = codes.astype(np.float64)
    found = prior_match.moments(codes)
    same(found["mean"], wide.mean(0))
    same(found["std"], stats.tstd(wide, axis=0) * math.sqrt(1 - 1 / 20_000))
    same(found["kurtosis"], stats.kurtosis(wide, axis=0, fisher=False), 1e-9)
    assert active_units(codes) == 2


def test_the_importance_sampled_likelihood_comes_to_the_evidence_of_a_linear_gaussian_model() -> None:
    """In float64: within four standard errors of the mean weight, which falls with the root of their number."""
    model, key, n = linear_model(), jax.random.key(8), 40_000
    with jax.enable_x64(True):
        images = random_images(3).astype(jnp.float64)
        params = as_float64(random_params(2))
        estimate = jax.jit(lambda p, x: log_likelihood_by_importance(model, p, x, key, n, 3 * n))
        found = np.asarray(estimate(params, images))
        log_weights = jax.jit(lambda p, x: model.terms(p, x, jax.random.key(9), n).log_weights())(params, images)
        weights = np.exp(np.asarray(log_weights) - evidence(params, images)[:, None])
    errors = weights.std(axis=1) / math.sqrt(n)
    assert (errors < 0.05).all()
    np.testing.assert_array_less(np.abs(np.exp(found - evidence(params, images)) - 1), 4 * errors)
