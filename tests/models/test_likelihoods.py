"""What outputs mean: the distribution that each likelihood is, and the expected pixels that belong to it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy import special, stats

from aejax.evaluation.likelihood import bits_per_dimension
from aejax.models.likelihoods import (
    BY_NAME,
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    GaussianLearnt,
    Likelihood,
    SquaredError,
    SquaredErrorOfSigmoid,
)

SHAPE = (4, 2, 3, 3)
ALL = {
    "bernoulli": Bernoulli(),
    "squared error": SquaredError(),
    "sigmoid": SquaredErrorOfSigmoid(),
    "continuous bernoulli": ContinuousBernoulli(),
    "gaussian": Gaussian(0.3),
    "learnt gaussian": GaussianLearnt(),
    "discretized logistic": DiscretizedLogistic(),
}
each = pytest.mark.parametrize("likelihood", ALL.values(), ids=ALL.keys())


def random_outputs(likelihood: Likelihood, low: float, high: float) -> Array:
    shape = (*SHAPE[:-1], SHAPE[-1] * likelihood.outputs_per_value)
    return jax.random.uniform(jax.random.key(0), shape, minval=low, maxval=high)


@pytest.fixture
def images() -> Array:
    return jax.random.uniform(jax.random.key(1), SHAPE)


def sum_per_image(values: np.ndarray) -> np.ndarray:
    return values.sum((1, 2, 3))


@each
def test_losses_are_one_value_per_image_and_means_are_images(likelihood: Likelihood, images: Array) -> None:
    outputs = random_outputs(likelihood, -9, 9)
    means = likelihood.mean(outputs)
    assert likelihood.neg_log_prob(outputs, images).shape == SHAPE[:1]
    assert means.shape == SHAPE
    assert means.min() >= 0
    assert means.max() <= 1


@each
def test_a_loss_is_the_sum_over_pixels(likelihood: Likelihood, images: Array) -> None:
    """So images of another size need no other weight of a KL."""
    outputs = random_outputs(likelihood, -3, 3)
    halves = [likelihood.neg_log_prob(outputs[:, i : i + 1], images[:, i : i + 1]) for i in (0, 1)]
    np.testing.assert_allclose(likelihood.neg_log_prob(outputs, images), sum(halves), rtol=1e-5)


@each
def test_the_mean_is_what_its_outputs_predict(likelihood: Likelihood) -> None:
    """No other outputs are better for it: the loss against the mean is stationary in the outputs that give it."""
    outputs = random_outputs(likelihood, 0.1, 0.9)  # where nothing is clipped
    slopes = jax.grad(lambda o: likelihood.neg_log_prob(o, likelihood.mean(outputs)).sum())(outputs)
    np.testing.assert_allclose(slopes[..., : SHAPE[-1]], 0, atol=1e-5)
    further = jax.grad(lambda o: likelihood.neg_log_prob(o, likelihood.mean(outputs) - 0.05).sum())(outputs)
    assert (further[..., : SHAPE[-1]] > 0.004).all()


@pytest.mark.parametrize("std", [0.1, 0.5, 1.0])
def test_gaussian_of_one_standard_deviation(std: float, images: Array) -> None:
    means = random_outputs(SquaredError(), -1, 2)
    expected = -sum_per_image(stats.norm(np.asarray(means, np.float64), std).logpdf(images))
    np.testing.assert_allclose(Gaussian(std).neg_log_prob(means, images), expected, rtol=1e-5)
    np.testing.assert_array_equal(Gaussian(std).mean(means), jnp.clip(means, 0, 1))


def test_learnt_gaussian_reads_means_and_then_log_variances(images: Array) -> None:
    outputs = random_outputs(GaussianLearnt(), -7, 1)
    means, raw = np.asarray(outputs, np.float64)[..., :3], np.asarray(outputs, np.float64)[..., 3:]
    log_variances = -3 + 5 * np.tanh((raw + 3) / 5)
    expected = -sum_per_image(stats.norm(means, np.exp(log_variances / 2)).logpdf(images))
    np.testing.assert_allclose(GaussianLearnt().neg_log_prob(outputs, images), expected, rtol=1e-5)
    np.testing.assert_allclose(GaussianLearnt().mean(outputs), np.clip(means, 0, 1), atol=1e-6)


@pytest.mark.parametrize(("raw", "bound"), [(-1e4, -8.0), (1e4, 2.0)])
def test_learnt_variances_are_bounded(raw: float, bound: float) -> None:
    outputs = jnp.array([0.5, raw]).reshape(1, 1, 1, 2)
    targets = jnp.full((1, 1, 1, 1), 0.5)
    loss, slopes = jax.value_and_grad(lambda o: GaussianLearnt().neg_log_prob(o, targets)[0])(outputs)
    np.testing.assert_allclose(loss, (bound + math.log(2 * math.pi)) / 2, rtol=1e-5)
    assert jnp.isfinite(slopes).all()


def test_squared_error_of_the_sigmoid_is_a_gaussian_of_variance_one_half_up_to_a_constant(images: Array) -> None:
    logits = random_outputs(SquaredErrorOfSigmoid(), -5, 5)
    means = special.expit(np.asarray(logits, np.float64))
    nll = -sum_per_image(stats.norm(means, math.sqrt(0.5)).logpdf(images))
    constant = math.prod(SHAPE[1:]) * math.log(math.pi) / 2
    loss = SquaredErrorOfSigmoid().neg_log_prob(logits, images)
    np.testing.assert_allclose(loss, nll - constant, rtol=1e-5)
    np.testing.assert_allclose(loss, sum_per_image((means - np.asarray(images)) ** 2), rtol=1e-5)


def level_probabilities(means: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """The probabilities of the 256 levels for each pair of outputs: (256, pairs)."""
    outputs = np.broadcast_to(np.stack([means, raw], axis=1)[None], (256, len(means), 2)).astype(np.float32)
    levels = np.broadcast_to(np.arange(256)[:, None] / 255, (256, len(means))).astype(np.float32)
    nll = DiscretizedLogistic().neg_log_prob(outputs.reshape(-1, 1, 1, 2), levels.reshape(-1, 1, 1, 1))
    return np.exp(-np.asarray(nll, np.float64)).reshape(256, -1)


def logistic_of(means: np.ndarray, raw: np.ndarray) -> stats.rv_continuous:
    """The distribution with these means and raw log-scales, in float64; the log-scale is -2 at 0."""
    return stats.logistic(means, np.exp(-3.5 + 3.5 * np.tanh(raw / 3.5 + np.arctanh(1.5 / 3.5))))


def test_discretized_logistic_is_the_mass_of_a_logistic_in_each_levels_cell() -> None:
    """Half a level to each side; the lowest cell reaches down to minus infinity, the highest up to infinity."""
    random = np.random.default_rng(0)
    edges = np.array([0.0, 1.0, -0.3, 1.3, 0.5 / 255, 127.5 / 255])  # at and beyond the ends, and between two levels
    means = np.concatenate([edges, edges, random.uniform(-0.5, 1.5, 20)]).astype(np.float32)
    raw = np.concatenate([np.full(6, -99.0), np.full(6, 99.0), random.uniform(-9, 9, 20)]).astype(np.float32)
    found = level_probabilities(4 * (means - 0.5), raw)

    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-4)
    cuts = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    expected = np.diff(logistic_of(means.astype(np.float64), raw.astype(np.float64)).cdf(cuts[:, None]), axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_discretized_logistic_is_finite_with_its_gradients_at_extreme_outputs() -> None:
    means, raw, levels = np.meshgrid([-1e4, 0.5, 1e4], [-1e4, 0.0, 1e4], [0.0, 0.4, 1.0])
    outputs = jnp.stack([jnp.asarray(a.ravel(), jnp.float32) for a in (means, raw)], axis=1).reshape(-1, 1, 1, 2)
    targets = jnp.asarray(levels.reshape(-1, 1, 1, 1), jnp.float32)
    values, pull_back = jax.vjp(lambda o: DiscretizedLogistic().neg_log_prob(o, targets), outputs)
    assert jnp.isfinite(values).all()
    assert (values >= 0).all()  # a probability, not a density
    assert jnp.isfinite(pull_back(jnp.ones(len(values)))[0]).all()


def test_discretized_logistic_gives_bits_per_dimension() -> None:
    """The average of -log2 P over values; only a likelihood of the 256 levels has them."""
    random = np.random.default_rng(1)
    means, raw = random.uniform(0, 1, (5, 2, 3, 3)), random.uniform(-3, 3, (5, 2, 3, 3))
    levels = np.clip(np.rint(255 * means) + random.integers(-9, 10, means.shape), 1, 254)
    nll = DiscretizedLogistic().neg_log_prob(
        jnp.asarray(np.concatenate([4 * (means - 0.5), raw], axis=-1), jnp.float32),
        jnp.asarray(levels / 255, jnp.float32),
    )
    cells = [logistic_of(means, raw).cdf((levels + side) / 255) for side in (-0.5, 0.5)]
    expected = -np.log2(cells[1] - cells[0]).mean((1, 2, 3))
    np.testing.assert_allclose(bits_per_dimension(np.asarray(nll), 2 * 3 * 3), expected, rtol=1e-3)
    assert {name for name, likelihood in ALL.items() if likelihood.discrete} == {"discretized logistic"}


def test_every_named_likelihood_is_tested_here() -> None:
    assert {type(likelihood) for likelihood in BY_NAME.values()} <= {type(likelihood) for likelihood in ALL.values()}
