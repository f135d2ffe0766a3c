"""The autoencoder's loss, metrics and reconstructions, with a network of one dense layer."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax.methods.reconstruction import autoencoder
from aejax.models.image_to_image import ImageToImage

SHAPE = (5, 3, 4, 2)
PIXELS = math.prod(SHAPE[1:])
KEY = jax.random.key(0)


class Linear(nn.Module):
    @nn.compact
    def __call__(self, images: Array) -> Array:
        return nn.Dense(math.prod(images.shape[1:]))(images.reshape(len(images), -1)).reshape(images.shape)


class Perfect(nn.Module):
    @nn.compact
    def __call__(self, images: Array) -> Array:
        return jnp.log(images) - jnp.log1p(-images)


@pytest.fixture
def images() -> Array:
    return jax.random.uniform(jax.random.key(1), SHAPE, minval=0.01, maxval=0.99)


def entropy(images: Array) -> np.ndarray:
    """Of each image's pixels, in nats, summed."""
    t = np.asarray(images, np.float64)
    return -(t * np.log(t) + (1 - t) * np.log(1 - t)).reshape(len(t), -1).sum(axis=1)


def test_metrics_are_nats_per_image_and_means_per_pixel(images: Array) -> None:
    network = Linear()
    method = autoencoder(ImageToImage(network), optax.sgd(0.1))
    state = method.init(KEY, images)
    probabilities = np.asarray(jax.nn.sigmoid(network.apply(state.params, images)), np.float64)

    values = method.evaluate(state, images, KEY)

    assert set(values) == {"loss", "bce", "mse"}
    assert all(value.shape == SHAPE[:1] for value in values.values())
    cross_entropy = images * np.log(probabilities) + (1 - images) * np.log(1 - probabilities)
    np.testing.assert_allclose(values["loss"], -cross_entropy.reshape(SHAPE[0], -1).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(values["loss"], values["bce"] * PIXELS, rtol=1e-6)
    np.testing.assert_allclose(values["mse"], ((probabilities - images) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)


def test_loss_of_perfect_logits_is_the_entropy_of_the_images(images: Array) -> None:
    method = autoencoder(ImageToImage(Perfect()), optax.sgd(0.1))
    values = method.evaluate(method.init(KEY, images), images, KEY)
    np.testing.assert_allclose(values["loss"], entropy(images), rtol=1e-5)
    np.testing.assert_allclose(values["mse"], 0, atol=1e-10)


def test_loss_falls_towards_the_entropy(images: Array) -> None:
    method = autoencoder(ImageToImage(Linear()), optax.adam(0.05))
    state = method.init(KEY, images)
    step = jax.jit(method.step)
    first = method.evaluate(state, images, KEY)["loss"]
    for _ in range(30):
        state, _ = step(state, images, KEY)
    last = method.evaluate(state, images, KEY)["loss"]

    floor = entropy(images)
    assert (last > floor - 1e-3).all()
    assert (last - floor).mean() < 0.5 * (first - floor).mean()


def test_reconstructions_are_probabilities_and_those_that_mse_judges(images: Array) -> None:
    network = Linear()
    method = autoencoder(ImageToImage(network), optax.sgd(0.1))
    state = method.init(KEY, images)
    for scale in (1, 1e3):  # the second drives the sigmoid to its ends
        scaled = state._replace(params=jax.tree.map(lambda p, scale=scale: p * scale, state.params))
        pictures = np.asarray(ImageToImage(network).reconstruct(scaled.params, images))
        assert pictures.shape == SHAPE
        assert pictures.min() >= 0
        assert pictures.max() <= 1
        mse = method.evaluate(scaled, images, KEY)["mse"]
        np.testing.assert_allclose(((pictures - images) ** 2).mean(axis=(1, 2, 3)), mse, rtol=1e-5)
