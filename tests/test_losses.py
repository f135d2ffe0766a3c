"""Reconstruction terms against their definitions in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aejax.losses import bernoulli_negative_log_likelihood, squared_error

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)  # the batch first
FIVE_SHAPES = settings(max_examples=5, deadline=None, derandomize=True, database=None)


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
