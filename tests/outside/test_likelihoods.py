"""Likelihoods of pixels, densities and the KL against their twins, in value and in gradient."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import losses
from aejax.models import likelihoods
from aejax.models.likelihoods import Likelihood
from tests.outside import twins
from tests.outside.comparison import gradient, same

RANDOM = np.random.default_rng(0)
NODES, WEIGHTS = (0.5 * x for x in np.polynomial.legendre.leggauss(60))
LEVELS = np.array([0, 255, 1, 254, 128, 77, 30, 201, 5, 90, 0, 255]).reshape(3, 4) / 255


def bernoulli(outputs: np.ndarray, x: np.ndarray) -> np.ndarray:
    return -twins.bernoulli_log_likelihood(outputs, x)


def continuous_bernoulli(outputs: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Loaiza-Ganem and Cunningham (2019), definition 1, normalised over [0, 1] by Gauss-Legendre quadrature."""
    p = twins.sigmoid(outputs)
    volume = sum(w * p ** (0.5 + t) * (1 - p) ** (0.5 - t) for t, w in zip(NODES, WEIGHTS, strict=True))
    return -(x * np.log(p) + (1 - x) * np.log(1 - p) - np.log(volume)).sum(-1)


def gaussian(outputs: np.ndarray, x: np.ndarray) -> np.ndarray:
    return -twins.log_normal(x, outputs, 0.1**2).sum(-1)


def gaussian_learnt(outputs: np.ndarray, x: np.ndarray) -> np.ndarray:
    mean, raw = np.split(outputs, 2, axis=-1)
    return -twins.log_normal(x, mean, np.exp(-3 + 5 * np.tanh((raw + 3) / 5))).sum(-1)


def squared_error(outputs: np.ndarray, x: np.ndarray) -> np.ndarray:
    return ((twins.sigmoid(outputs) - x) ** 2).sum(-1)


def discretized_logistic(outputs: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Salimans et al. (2017), equation 2: a difference of two values of the logistic distribution function."""
    raw_mean, raw = np.split(outputs, 2, axis=-1)
    mean = 0.5 + raw_mean / 4
    # Between -7 and 0, and -2 at 0.
    scale = np.exp(3.5 * np.tanh(raw / 3.5 + np.log(5 / 2) / 2) - 3.5)
    above = np.where(x > 1 - 0.1 / 255, 1, twins.sigmoid((x + 0.5 / 255 - mean) / scale))
    below = np.where(x < 0.1 / 255, 0, twins.sigmoid((x - 0.5 / 255 - mean) / scale))
    return -np.log(above - below).sum(-1)


class Case(NamedTuple):
    """A likelihood, its twin, and how near the twin itself comes to the truth."""

    ours: Likelihood
    twin: Callable[[np.ndarray, np.ndarray], np.ndarray]
    tolerance: float = 1e-12


CASES = {
    "bernoulli": Case(likelihoods.Bernoulli(), bernoulli),
    "continuous Bernoulli": Case(likelihoods.ContinuousBernoulli(), continuous_bernoulli),
    "Gaussian": Case(likelihoods.Gaussian(0.1), gaussian),
    "Gaussian, learnt": Case(likelihoods.GaussianLearnt(), gaussian_learnt),
    "squared error of a sigmoid": Case(likelihoods.SquaredErrorOfSigmoid(), squared_error),
    "squared error": Case(likelihoods.SquaredError(), lambda outputs, x: ((outputs - x) ** 2).sum(-1)),
    # The twin subtracts probabilities, which costs it digits.
    "discretised logistic": Case(likelihoods.DiscretizedLogistic(), discretized_logistic, 1e-10),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_value_and_gradient(case: Case) -> None:
    # Means of a distribution of pixels lie in [0, 1]; logits anywhere else than near 0, where a series takes over.
    outputs = RANDOM.uniform(0.2, 0.9, (3, 4 * case.ours.outputs_per_value))
    with jax.enable_x64(True):
        images = jnp.asarray(LEVELS)
        values = jax.jit(case.ours.neg_log_prob)(outputs, images)
        slopes = jax.jit(jax.grad(lambda o: case.ours.neg_log_prob(o, images).mean()))(outputs)
    same(values, case.twin(outputs, LEVELS), case.tolerance)
    same(slopes, gradient(lambda o: case.twin(o, LEVELS).mean(), outputs), case.tolerance)


def test_the_continuous_bernoullis_series_near_zero() -> None:
    """Its first missing terms are 7 l^4 / 1440 of the normaliser and l^3 / 720 of the mean, for |l| < 0.05."""
    logits = np.linspace(-0.049, 0.049, 9)[:, None]
    x = np.full_like(logits, 0.3)
    volume = sum(w * np.exp((0.5 + t) * logits) for t, w in zip(NODES, WEIGHTS, strict=True))
    moment = sum(w * (0.5 + t) * np.exp((0.5 + t) * logits) for t, w in zip(NODES, WEIGHTS, strict=True))
    with jax.enable_x64(True):
        values = losses.continuous_bernoulli_negative_log_likelihood(jnp.asarray(logits), jnp.asarray(x))
        means = losses.continuous_bernoulli_mean(jnp.asarray(logits))
    np.testing.assert_allclose(values, continuous_bernoulli(logits, x), atol=7 * 0.05**4 / 1440)
    np.testing.assert_allclose(means, moment / volume, atol=0.05**3 / 720)


def test_the_kl_of_a_gaussian_and_its_density() -> None:
    """By Gauss-Hermite quadrature of E_q[log q - log p], which is exact for polynomials of the second degree."""
    mean, log_variance = RANDOM.normal(size=(2, 3, 2))
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)

    def kl(moments: Any) -> np.ndarray:
        mean, log_variance = moments
        z = mean[..., None] + np.exp(log_variance / 2)[..., None] * nodes
        ratio = twins.log_normal(z, mean[..., None], np.exp(log_variance)[..., None]) - twins.log_normal(z, 0, 1)
        return (ratio * weights).sum(-1) / math.sqrt(2 * math.pi)

    z = RANDOM.normal(size=(3, 2))
    with jax.enable_x64(True):
        moments = jnp.asarray(mean), jnp.asarray(log_variance)
        divergence = losses.gaussian_kl(*moments)
        slopes = jax.grad(lambda both: losses.gaussian_kl(*both).sum())(moments)
        density = losses.gaussian_log_density(jnp.asarray(z), *moments)
    same(divergence, kl((mean, log_variance)))
    same(np.array(slopes), np.array(gradient(lambda both: kl(both).sum(), (mean, log_variance))))
    same(density, twins.log_normal(z, mean, np.exp(log_variance)).sum(-1))
