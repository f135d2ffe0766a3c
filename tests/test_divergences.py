"""MMD against its definition, its closed form between Gaussians and what it is for: 0 for equal distributions only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array
from scipy.spatial.distance import cdist

from aejax import divergences
from aejax.divergences import Kernel, gaussian_kernel, inverse_multiquadratic

# Compiled as a whole: operation by operation, every shape would be a dozen programs.
distances = jax.jit(divergences.squared_distances)
maximum_mean_discrepancy = jax.jit(divergences.maximum_mean_discrepancy, static_argnums=2)
KERNELS = {"gaussian": gaussian_kernel(0.8), "inverse multiquadratic": inverse_multiquadratic(2)}
each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
SHAPES = st.tuples(st.integers(2, 7), st.integers(2, 7), st.integers(1, 5))  # two numbers of points, dimensions
FIVE_SHAPES = settings(max_examples=5, deadline=None, derandomize=True, database=None)


def points(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(seed, 1.5, (n, d)).astype(np.float32)


def many_estimates(kernel: Kernel, mean: float, std: float, d: int, pairs: int = 2000) -> np.ndarray:
    """Estimates between pairs of samples, 6 points of N(0, I) and 9 of N(mean, std^2 I): (pairs,)."""
    x_key, y_key = jax.random.split(jax.random.key(0))
    x = jax.random.normal(x_key, (pairs, 6, d))
    y = mean + std * jax.random.normal(y_key, (pairs, 9, d))
    estimate = jax.jit(jax.vmap(lambda x, y: maximum_mean_discrepancy(x, y, kernel)))
    return np.asarray(estimate(x, y), np.float64)


def standard_error(values: np.ndarray) -> float:
    return values.std() / np.sqrt(len(values))


@FIVE_SHAPES
@given(SHAPES)
def test_squared_distances_are_those_of_scipy(shape: tuple[int, int, int]) -> None:
    n, m, d = shape
    x, y = points(n, d), points(m, d, seed=1)
    np.testing.assert_allclose(distances(jnp.asarray(x), jnp.asarray(y)), cdist(x, y, "sqeuclidean"), 1e-4, 1e-4)


def test_no_digits_are_lost_far_from_the_origin() -> None:
    """The offset is one at which float32 holds these points exactly, so that nothing but the distances can change."""
    x, y = (np.round(points(50, 3, seed) * 64) / 64 for seed in (0, 1))
    near, far = (distances(jnp.asarray(x + offset), jnp.asarray(y + offset)) for offset in (0, 4096))
    np.testing.assert_allclose(near, cdist(x, y, "sqeuclidean"), atol=2e-5)
    np.testing.assert_allclose(far, near, atol=2e-5)
    diagonal = np.diag(distances(jnp.asarray(x) + 4096, jnp.asarray(x) + 4096))
    assert (diagonal >= 0).all()
    assert (diagonal < 1e-5).all()
    for kernel in KERNELS.values():
        values = [
            maximum_mean_discrepancy(jnp.asarray(x + offset), jnp.asarray(y + offset), kernel) for offset in (0, 4096)
        ]
        np.testing.assert_allclose(*values, atol=1e-6)


@FIVE_SHAPES
@given(SHAPES)
def test_mmd_is_its_definition_without_the_pairs_of_a_point_with_itself(shape: tuple[int, int, int]) -> None:
    n, m, d = shape
    x, y = points(n, d), points(m, d, seed=1)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a.astype(np.float64) - b) ** 2).sum() / (2 * 0.8**2)))

    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(k(a, b) for a in x for b in y) / (n * m)
    actual = maximum_mean_discrepancy(jnp.asarray(x), jnp.asarray(y), gaussian_kernel(0.8))
    np.testing.assert_allclose(actual, within_x + within_y - 2 * between, atol=1e-5)


@each_kernel
def test_mmd_of_equal_distributions_is_zero_in_mean(kernel: Kernel) -> None:
    estimates = many_estimates(kernel, 0, 1, 2)
    assert abs(estimates.mean()) < 4 * standard_error(estimates)
    assert standard_error(estimates) < 0.02  # with the pairs of a point with itself it would be far from 0
    assert (estimates < 0).any()


@pytest.mark.parametrize(("mean", "std", "bandwidth"), [(0.0, 1.0, 1.0), (1.0, 1.0, 0.5), (0.5, 2.0, 1.0), (3, 0.3, 2)])
def test_mmd_between_two_gaussians_is_the_closed_form(mean: float, std: float, bandwidth: float) -> None:
    def expected_kernel(shift: float, variances: float) -> float:
        total = bandwidth**2 + variances
        return bandwidth / np.sqrt(total) * np.exp(-(shift**2) / (2 * total))

    expected = expected_kernel(0, 2) + expected_kernel(0, 2 * std**2) - 2 * expected_kernel(mean, 1 + std**2)
    estimates = many_estimates(gaussian_kernel(bandwidth), mean, std, 1)
    assert abs(estimates.mean() - expected) < 4 * standard_error(estimates)


@each_kernel
def test_mmd_grows_with_a_shift(kernel: Kernel) -> None:
    x, y = jnp.asarray(points(40, 2)), jnp.asarray(points(30, 2, seed=2)) - 2
    values = [float(maximum_mean_discrepancy(x, y + shift, kernel)) for shift in (0, 1, 2, 4)]
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.1


@each_kernel
def test_mmd_does_not_depend_on_the_order_of_points_or_samples(kernel: Kernel) -> None:
    x, y = jnp.asarray(points(6, 2)), jnp.asarray(points(5, 2, seed=1))
    value = maximum_mean_discrepancy(x, y, kernel)
    for a, b in ((x[::-1], y), (x, y[jnp.array([3, 0, 4, 1, 2])]), (y, x)):
        np.testing.assert_allclose(maximum_mean_discrepancy(a, b, kernel), value, rtol=1e-5, atol=1e-6)


@each_kernel
def test_kernels_are_largest_at_0_and_positive_definite(kernel: Kernel) -> None:
    x = jnp.asarray(points(8, 2))
    gram = np.asarray(kernel(distances(x, x)), np.float64)
    assert np.linalg.eigvalsh(gram).min() > 0
    assert (gram <= kernel(jnp.zeros(())) + 1e-6).all()


def test_inverse_multiquadratic_is_its_formula() -> None:
    squares = np.array([0.0, 0.3, 4.0, 100.0])
    expected = sum(2 * 3 * s / (2 * 3 * s + squares) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))
    np.testing.assert_allclose(inverse_multiquadratic(3)(jnp.asarray(squares)), expected, rtol=1e-6)
    np.testing.assert_allclose(inverse_multiquadratic(3, (2,))(jnp.float32(12)), 0.5, rtol=1e-6)


@each_kernel
def test_gradients_are_finite_where_points_coincide(kernel: Kernel) -> None:
    def value(x: Array) -> Array:
        return maximum_mean_discrepancy(x, jnp.zeros((3, 2)), kernel)

    np.testing.assert_allclose(jax.jit(jax.grad(value))(jnp.zeros((4, 2))), 0, atol=1e-6)


def test_an_inverse_multiquadratic_still_pulls_at_far_points_where_a_gaussian_does_not() -> None:
    near, far = jnp.asarray(points(5, 2)), jnp.asarray(points(5, 2, seed=1)) + 50
    gaussian, multiquadratic = (
        jax.jit(jax.grad(lambda x, k=kernel: maximum_mean_discrepancy(x, near, k)))(far).sum(axis=0)
        for kernel in (gaussian_kernel(1), inverse_multiquadratic(2))
    )
    np.testing.assert_allclose(gaussian, 0, atol=1e-5)
    assert (multiquadratic > 1e-4).all()  # down is towards the near points
