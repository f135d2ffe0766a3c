"""What outputs mean: the density that each likelihood is, and the picture that belongs to it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy import special, stats

from aejax.pixels import (
    BERNOULLI,
    CONTINUOUS_BERNOULLI,
    GAUSSIAN,
    GAUSSIAN_LEARNT,
    SQUARED_ERROR_OF_SIGMOID,
    Pixels,
    gaussian,
)

SHAPE = (4, 2, 3, 3)
ALL = {
    "bernoulli": BERNOULLI,
    "gaussian residual": GAUSSIAN,
    "sigmoid": SQUARED_ERROR_OF_SIGMOID,
    "continuous bernoulli": CONTINUOUS_BERNOULLI,
    "gaussian": gaussian(0.3),
    "learnt gaussian": GAUSSIAN_LEARNT,
}
each = pytest.mark.parametrize("pixels", ALL.values(), ids=ALL.keys())


def random_outputs(pixels: Pixels, low: float, high: float) -> Array:
    shape = (*SHAPE[:-1], SHAPE[-1] * pixels.outputs_per_value)
    return jax.random.uniform(jax.random.key(0), shape, minval=low, maxval=high)


@pytest.fixture
def images() -> Array:
    return jax.random.uniform(jax.random.key(1), SHAPE)


def sum_per_image(values: np.ndarray) -> np.ndarray:
    return values.sum((1, 2, 3))


@each
def test_losses_are_one_value_per_image_and_pictures_are_images(pixels: Pixels, images: Array) -> None:
    outputs = random_outputs(pixels, -9, 9)
    pictures = pixels.picture(outputs)
    assert pixels.loss(outputs, images).shape == SHAPE[:1]
    assert pictures.shape == SHAPE
    assert pictures.min() >= 0
    assert pictures.max() <= 1


@each
def test_a_loss_is_the_sum_over_pixels(pixels: Pixels, images: Array) -> None:
    """So images of another size need no other weight of a KL."""
    outputs = random_outputs(pixels, -3, 3)
    halves = [pixels.loss(outputs[:, i : i + 1], images[:, i : i + 1]) for i in (0, 1)]
    np.testing.assert_allclose(pixels.loss(outputs, images), sum(halves), rtol=1e-5)


@each
def test_the_picture_is_what_its_outputs_predict(pixels: Pixels) -> None:
    """No other outputs are better for it: the loss against the picture is stationary in whatever gives the mean."""
    outputs = random_outputs(pixels, 0.1, 0.9)  # where nothing is clipped
    slopes = jax.grad(lambda o: pixels.loss(o, pixels.picture(outputs)).sum())(outputs)
    np.testing.assert_allclose(slopes[..., : SHAPE[-1]], 0, atol=1e-5)
    further = jax.grad(lambda o: pixels.loss(o, pixels.picture(outputs) - 0.05).sum())(outputs)
    assert (further[..., : SHAPE[-1]] > 0.004).all()


@pytest.mark.parametrize("std", [0.1, 0.5, 1.0])
def test_gaussian_of_one_standard_deviation(std: float, images: Array) -> None:
    means = random_outputs(GAUSSIAN, -1, 2)
    expected = -sum_per_image(stats.norm(np.asarray(means, np.float64), std).logpdf(images))
    np.testing.assert_allclose(gaussian(std).loss(means, images), expected, rtol=1e-5)
    np.testing.assert_array_equal(gaussian(std).picture(means), jnp.clip(means, 0, 1))


def test_learnt_gaussian_reads_means_and_then_log_variances(images: Array) -> None:
    outputs = random_outputs(GAUSSIAN_LEARNT, -7, 1)
    means, raw = np.asarray(outputs, np.float64)[..., :3], np.asarray(outputs, np.float64)[..., 3:]
    log_variances = -3 + 5 * np.tanh((raw + 3) / 5)
    expected = -sum_per_image(stats.norm(means, np.exp(log_variances / 2)).logpdf(images))
    np.testing.assert_allclose(GAUSSIAN_LEARNT.loss(outputs, images), expected, rtol=1e-5)
    np.testing.assert_allclose(GAUSSIAN_LEARNT.picture(outputs), np.clip(means, 0, 1), atol=1e-6)


@pytest.mark.parametrize(("raw", "bound"), [(-1e4, -8.0), (1e4, 2.0)])
def test_learnt_variances_are_bounded(raw: float, bound: float) -> None:
    outputs = jnp.array([0.5, raw]).reshape(1, 1, 1, 2)
    targets = jnp.full((1, 1, 1, 1), 0.5)
    loss, slopes = jax.value_and_grad(lambda o: GAUSSIAN_LEARNT.loss(o, targets)[0])(outputs)
    np.testing.assert_allclose(loss, (bound + math.log(2 * math.pi)) / 2, rtol=1e-5)
    assert jnp.isfinite(slopes).all()


def test_squared_error_of_the_sigmoid_is_a_gaussian_of_variance_one_half_up_to_a_constant(images: Array) -> None:
    logits = random_outputs(SQUARED_ERROR_OF_SIGMOID, -5, 5)
    means = special.expit(np.asarray(logits, np.float64))
    nll = -sum_per_image(stats.norm(means, math.sqrt(0.5)).logpdf(images))
    constant = math.prod(SHAPE[1:]) * math.log(math.pi) / 2
    loss = SQUARED_ERROR_OF_SIGMOID.loss(logits, images)
    np.testing.assert_allclose(loss, nll - constant, rtol=1e-5)
    np.testing.assert_allclose(loss, sum_per_image((means - np.asarray(images)) ** 2), rtol=1e-5)
