"""The discriminator, and its spectral normalisation against a singular value decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from aejax.nn.discriminator import Discriminator, spectral_norm

KEY = jax.random.key(0)
# Compiled as a whole: operation by operation, every shape would be dozens of programs.
value_and_gradient = jax.jit(jax.value_and_grad(spectral_norm))


def with_singular_values(values: np.ndarray, rows: int, first: np.ndarray | None = None) -> np.ndarray:
    """A random kernel (rows, len(values)) of these singular values; `first`, the right singular vector of the first."""
    random = np.random.default_rng(len(values))
    columns = random.normal(size=(len(values), len(values)))
    if first is not None:
        columns[:, 0] = first
    left, right = (np.linalg.qr(x)[0] for x in (random.normal(size=(rows, len(values))), columns))
    return left * values @ right.T


def orthogonal_to_ones(n: int) -> np.ndarray:
    return np.where(np.arange(n) % 2, 1.0, -1.0)


def spread_under_large_rows() -> np.ndarray:
    """The largest singular value, 5, belongs to small entries; the longest rows and columns have 1."""
    kernel = np.eye(60)
    kernel[:50, :50] = 0.1
    return kernel


ADVERSARIAL = {
    "orthogonal to the vector of ones": with_singular_values(np.linspace(2, 1, 20), 30, orthogonal_to_ones(20)),
    "and wide": with_singular_values(np.linspace(2, 1, 20), 30, orthogonal_to_ones(20)).T,
    "spread under large rows": spread_under_large_rows(),
    "two nearly equal": with_singular_values(np.array([1, 0.9999, *np.linspace(0.9, 0.1, 18)]), 20),
    "all equal": with_singular_values(np.ones(16), 16),
    "identity": np.eye(7),
    "one alone": np.diag([0.0, 0.0, 3.0, 0.0]),
    "rank 1": np.outer(np.arange(1.0, 9.0), np.ones(5)),
    "one column": np.arange(1.0, 6.0)[:, None],
    "one entry": np.array([[-2.0]]),
    "tiny": np.random.default_rng(0).normal(size=(6, 4)) * 1e-25,
    "huge": np.random.default_rng(0).normal(size=(6, 4)) * 1e25,
}


def check(kernel: np.ndarray, tolerance: float) -> None:
    """Against the SVD: the value, never above it but for rounding, and a gradient that is a subgradient of it."""
    expected = np.linalg.svd(kernel, compute_uv=False)[0]
    value, gradient = value_and_gradient(jnp.asarray(kernel, jnp.float32))
    assert (1 - tolerance) * expected <= float(value) <= (1 + 1e-5) * expected
    # Exactly the subgradients of the spectral norm have nuclear norm 1 and this product with the kernel.
    assert np.linalg.svd(gradient, compute_uv=False).sum() == pytest.approx(1, rel=1e-4)
    assert float((np.asarray(gradient, np.float64) * kernel).sum()) == pytest.approx(float(value), rel=1e-4)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_largest_singular_value_of_adversarial_kernels(name: str) -> None:
    check(ADVERSARIAL[name], 1e-3)


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([(7, 3), (3, 7), (90, 60), (33, 64)]), st.integers(0, 1000))
def test_the_largest_singular_value_of_random_kernels(shape: tuple[int, int], seed: int) -> None:
    check(np.random.default_rng(seed).normal(size=shape), 1e-3)


def test_the_gradient_is_the_outer_product_of_the_singular_vectors() -> None:
    kernel = np.random.default_rng(1).normal(size=(6, 4))
    u, _, vt = np.linalg.svd(kernel)
    _, gradient = value_and_gradient(jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(gradient, np.outer(u[:, 0], vt[0]), atol=1e-3)


def test_a_kernel_of_zeros_has_norm_0_and_a_finite_gradient() -> None:
    value, gradient = value_and_gradient(jnp.zeros((4, 3)))
    assert float(value) == 0
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("normalized", [False, True])
def test_one_logit_for_each_code(normalized: bool) -> None:
    network = Discriminator((8, 8), normalized)
    codes = jax.random.normal(KEY, (5, 3))
    logits, params = jax.jit(network.init_with_output)(KEY, codes)
    assert logits.shape == (5,)
    apply = jax.jit(network.apply)
    alone = [apply(params, code[None])[0] for code in codes]
    np.testing.assert_allclose(logits, alone, rtol=1e-4, atol=1e-6)


def test_with_normalised_kernels_logits_change_no_faster_than_codes() -> None:
    codes = jax.random.normal(KEY, (200, 3))

    def steepest(network: Discriminator) -> float:
        params = jax.tree.map(lambda x: 10 * x, jax.jit(network.init)(KEY, codes))

        def slope(code: Array) -> Array:
            return jnp.linalg.norm(jax.grad(lambda z: network.apply(params, z[None])[0])(code))

        return float(jax.jit(jax.vmap(slope))(codes).max())

    assert steepest(Discriminator((32, 32), spectral_norm=True)) <= 1.001
    assert steepest(Discriminator((32, 32))) > 5
