"""Reconstruction terms against their definitions in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from aejax import losses

# Compiled as a whole: operation by operation, every shape would be a dozen programs.
bernoulli_negative_log_likelihood = jax.jit(losses.bernoulli_negative_log_likelihood)
continuous_bernoulli_mean = jax.jit(losses.continuous_bernoulli_mean)
continuous_bernoulli_negative_log_likelihood = jax.jit(losses.continuous_bernoulli_negative_log_likelihood)
gaussian_kl = jax.jit(losses.gaussian_kl)
gaussian_log_density = jax.jit(losses.gaussian_log_density)
gaussian_negative_log_likelihood = jax.jit(losses.gaussian_negative_log_likelihood)
squared_error = jax.jit(losses.squared_error)

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)  # the batch first
FIVE_SHAPES = settings(max_examples=5, deadline=None, derandomize=True, database=None)
SERIES_BELOW = 0.05  # where the continuous Bernoulli changes its formula
EXTREMES = (-15.0, 15.0)  # of the log-variances that an encoder gives


def random_pair(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Logits in -12 ... 12 and grey targets with some 0 and 1 among them, float32."""
    rng = np.random.default_rng(shape)
    targets = np.clip(rng.uniform(-0.3, 1.3, shape), 0, 1)
    return rng.uniform(-12, 12, shape).astype(np.float32), targets.astype(np.float32)


def sum_per_example(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).sum(axis=1)


@FIVE_SHAPES
@given(SHAPES)
@example((3, 4, 5, 2))
def test_bernoulli_is_the_sum_over_pixels_in_nats_of_each_example(shape: tuple[int, ...]) -> None:
    logits, targets = random_pair(shape)
    on, off = (1 / (1 + np.exp(-sign * logits.astype(np.float64))) for sign in (1, -1))
    expected = -sum_per_example(targets * np.log(on) + (1 - targets) * np.log(off))

    actual = bernoulli_negative_log_likelihood(jnp.asarray(logits), jnp.asarray(targets))

    assert actual.shape == shape[:1]
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=1e-5)


@FIVE_SHAPES
@given(SHAPES)
@example((3, 4, 5, 2))
def test_squared_error_is_the_sum_over_pixels_of_each_example(shape: tuple[int, ...]) -> None:
    predictions, targets = random_pair(shape)
    actual = squared_error(jnp.asarray(predictions), jnp.asarray(targets))
    assert actual.shape == shape[:1]
    expected = sum_per_example((predictions.astype(np.float64) - targets) ** 2)
    np.testing.assert_allclose(actual, expected, rtol=2e-6)


def test_a_bit_costs_ln_2() -> None:
    unknown = bernoulli_negative_log_likelihood(jnp.zeros((1, 28, 28, 1)), jnp.ones((1, 28, 28, 1)))
    np.testing.assert_allclose(unknown, 784 * np.log(2), rtol=1e-6)


def test_bernoulli_is_least_where_the_probabilities_are_the_targets() -> None:
    # Holds for one order of the arguments only: by the targets, the loss is linear and has no minimum.
    targets = jnp.array([0.02, 0.1, 0.3, 0.5, 0.85])[:, None]
    best = jnp.log(targets) - jnp.log1p(-targets)

    def slope(logits: jax.Array) -> jax.Array:
        return jax.grad(lambda ls: bernoulli_negative_log_likelihood(ls, targets).sum())(logits)

    np.testing.assert_allclose(slope(best), 0, atol=1e-6)
    assert (slope(best - 0.5) < -0.005).all()
    assert (slope(best + 0.5) > 0.005).all()
    np.testing.assert_allclose(slope(best + 1), jax.nn.sigmoid(best + 1) - targets, atol=1e-6)


def test_extreme_logits_give_finite_values_and_gradients() -> None:
    pairs = list(itertools.product([-1e4, 1e4], [0.0, 0.5, 1.0]))
    logits, targets = (jnp.array(column)[:, None] for column in zip(*pairs, strict=True))

    def total(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = bernoulli_negative_log_likelihood(logits, targets)
        return values.sum(), values

    gradients, values = jax.grad(total, argnums=(0, 1), has_aux=True)(logits, targets)

    np.testing.assert_allclose(values, [0, 5e3, 1e4, 1e4, 5e3, 0], atol=1e-3)
    np.testing.assert_allclose(gradients[0][:, 0], [0, -0.5, -1, 1, 0.5, 0], atol=1e-6)
    assert jnp.isfinite(gradients[1]).all()


def test_probabilities_of_all_binary_images_sum_to_one() -> None:
    images = jnp.array(list(itertools.product([0.0, 1.0], repeat=3)))
    logits = jnp.broadcast_to(jnp.array([-1.3, 0.4, 2.2]), images.shape)
    np.testing.assert_allclose(jnp.exp(-bernoulli_negative_log_likelihood(logits, images)).sum(), 1, rtol=1e-6)


@FIVE_SHAPES
@given(SHAPES)
@example((3, 4, 5, 2))
def test_gaussian_is_minus_the_log_density_of_each_example(shape: tuple[int, ...]) -> None:
    means, targets = random_pair(shape)
    log_variances = np.random.default_rng(7).uniform(-4, 4, shape).astype(np.float32)
    densities = stats.norm(means.astype(np.float64), np.exp(log_variances.astype(np.float64) / 2))

    actual = gaussian_negative_log_likelihood(*map(jnp.asarray, (means, log_variances, targets)))

    assert actual.shape == shape[:1]
    np.testing.assert_allclose(actual, -sum_per_example(densities.logpdf(targets)), rtol=1e-5, atol=1e-5)


def continuous_bernoulli_oracle(logits: np.ndarray | float) -> np.ndarray:
    """The mean in float64, to about 1e-10: exp(l t) on [0, 1] is an exponential distribution, cut off."""
    logits = np.asarray(logits, np.float64)
    safe = np.where(np.abs(logits) < 1e-4, 1.0, logits)
    with np.errstate(over="ignore"):
        return np.where(np.abs(logits) < 1e-4, 0.5 + logits / 12, -1 / np.expm1(-safe) - 1 / safe)


@pytest.mark.parametrize("logit", [0, 0.01, -0.01, 0.04, -0.04, 0.06, -0.06, 1, 10, -10])
def test_continuous_bernoulli_is_a_density_with_its_mean(logit: float) -> None:
    grid = np.linspace(0, 1, 2001)
    targets = jnp.asarray(grid, jnp.float32)[:, None]
    nll = continuous_bernoulli_negative_log_likelihood(jnp.full_like(targets, logit), targets)
    density = np.exp(-np.asarray(nll, np.float64))

    np.testing.assert_allclose(integrate.simpson(density, x=grid), 1, atol=2e-6)
    mean = integrate.simpson(density * grid, x=grid)
    np.testing.assert_allclose(continuous_bernoulli_mean(jnp.float32(logit)), mean, atol=4e-6)
    np.testing.assert_allclose(continuous_bernoulli_oracle(logit), mean, atol=4e-6)


def test_continuous_bernoulli_is_summed_over_the_pixels_of_each_example() -> None:
    logits, targets = (jnp.asarray(array) for array in random_pair((3, 4, 5, 2)))
    one_by_one = continuous_bernoulli_negative_log_likelihood(logits.reshape(-1, 1), targets.reshape(-1, 1))
    together = continuous_bernoulli_negative_log_likelihood(logits, targets)
    assert together.shape == (3,)
    np.testing.assert_allclose(together, sum_per_example(np.asarray(one_by_one).reshape(3, -1)), rtol=1e-5)


def test_continuous_bernoulli_slope_is_mean_minus_target_for_logits_of_any_size() -> None:
    sizes = np.concatenate([np.logspace(-6, 4, 60), SERIES_BELOW + np.linspace(-1e-3, 1e-3, 20)])
    logits = np.concatenate([-sizes, [0], sizes]).astype(np.float32)[:, None]
    targets = np.linspace(0, 1, len(logits), dtype=np.float32)[:, None]

    def total(logits: jax.Array) -> jax.Array:
        return continuous_bernoulli_negative_log_likelihood(logits, jnp.asarray(targets)).sum()

    slopes = jax.grad(total)(jnp.asarray(logits))
    np.testing.assert_allclose(slopes, continuous_bernoulli_oracle(logits) - targets, atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_continuous_bernoulli_does_not_jump_where_its_series_ends(sign: int) -> None:
    inside, outside = (sign * np.nextafter(np.float32(SERIES_BELOW), np.float32(side)) for side in (0, 1))
    logits, targets = jnp.array([[inside], [outside]]), jnp.full((2, 1), 0.3)

    def total(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = continuous_bernoulli_negative_log_likelihood(logits, targets)
        return values.sum(), values

    gradients, values = jax.grad(total, has_aux=True)(logits)
    for pair, tolerance in ((values, 1e-6), (gradients, 1e-5), (continuous_bernoulli_mean(logits), 1e-5)):
        np.testing.assert_allclose(pair[0], pair[1], atol=tolerance)


def test_continuous_bernoulli_of_extreme_logits_is_finite() -> None:
    logits, targets = (jnp.array(c)[:, None] for c in zip(*itertools.product([-1e4, 1e4], [0.0, 1.0]), strict=True))

    def total(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = continuous_bernoulli_negative_log_likelihood(logits, targets)
        return values.sum(), values

    gradients, values = jax.grad(total, has_aux=True)(logits)
    np.testing.assert_allclose(values, [-np.log(1e4), 1e4 - np.log(1e4), 1e4 - np.log(1e4), -np.log(1e4)], rtol=1e-5)
    np.testing.assert_allclose(gradients[:, 0], [1e-4, -1 + 1e-4, 1 - 1e-4, -1e-4], rtol=1e-3)
    assert jnp.isfinite(jax.grad(lambda logits: continuous_bernoulli_mean(logits).sum())(logits)).all()


@pytest.mark.parametrize("logit", [100.0, -100.0, 1e3, -1e3])
def test_continuous_bernoulli_mean_of_large_logits(logit: float) -> None:
    np.testing.assert_allclose(continuous_bernoulli_mean(jnp.float32(logit)), continuous_bernoulli_oracle(logit), 1e-4)


@pytest.mark.parametrize(("mean", "log_variance"), [(0.0, 1.0), (1.5, -2.0), (-0.7, 0.4), (3.0, -5.0)])
def test_gaussian_kl_is_the_mean_of_the_log_ratio(mean: float, log_variance: float) -> None:
    posterior = stats.norm(mean, np.exp(log_variance / 2))
    z = posterior.rvs(100_000, random_state=0)
    ratios = posterior.logpdf(z) - stats.norm.logpdf(z)
    actual = gaussian_kl(jnp.float32(mean), jnp.float32(log_variance))
    assert abs(actual - ratios.mean()) < 4 * ratios.std() / np.sqrt(len(z))


def test_gaussian_kl_of_the_prior_itself_is_exactly_zero_and_stationary() -> None:
    zeros = jnp.zeros((2, 3))
    np.testing.assert_array_equal(gaussian_kl(zeros, zeros), zeros)
    for argument in (0, 1):
        slope = jax.grad(lambda *moments: gaussian_kl(*moments).sum(), argument)(zeros, zeros)
        np.testing.assert_array_equal(slope, zeros)


@FIVE_SHAPES
@given(SHAPES)
@example((3, 4, 5, 2))
def test_gaussian_log_density_sums_over_the_last_axis(shape: tuple[int, ...]) -> None:
    values, means = random_pair(shape)
    log_variances = np.random.default_rng(7).uniform(-2, 4, shape).astype(np.float32)
    density = stats.norm(means.astype(np.float64), np.exp(log_variances.astype(np.float64) / 2))

    actual = gaussian_log_density(*map(jnp.asarray, (values, means, log_variances)))
    standard = gaussian_log_density(jnp.asarray(values))

    assert actual.shape == shape[:-1]
    np.testing.assert_allclose(actual, density.logpdf(values).sum(-1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(standard, stats.norm.logpdf(values.astype(np.float64)).sum(-1), rtol=1e-5)


@pytest.mark.parametrize("log_variance", EXTREMES)
@pytest.mark.parametrize("distance", [0.0, 1e4])
def test_gaussians_of_extreme_variance_have_finite_values_and_gradients(log_variance: float, distance: float) -> None:
    zeros, extreme = jnp.zeros((2, 3)), jnp.full((2, 3), log_variance)
    values = {
        "kl": lambda m, v: gaussian_kl(m, v),
        "log density": lambda m, v: gaussian_log_density(zeros, m, v),
        "negative log-likelihood": lambda m, v: gaussian_negative_log_likelihood(m, v, zeros),
    }
    for name, function in values.items():
        value = function(zeros + distance, extreme)
        slopes = jax.grad(lambda m, v, f=function: f(m, v).sum(), (0, 1))(zeros + distance, extreme)
        assert all(jnp.isfinite(array).all() for array in (value, *slopes)), name
