"""The method with a corrupted input: which noise it draws, when, and what it is judged against."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax import corruptions
from aejax.batching import over_images
from aejax.methods.method import Method, TrainState
from aejax.methods.reconstruction import autoencoder
from aejax.models.image_to_image import ImageToImage
from aejax.models.likelihoods import Bernoulli, Likelihood, SquaredError
from aejax.training.devices import make_mesh

SHAPE = (6, 4, 4, 1)
KEYS = jax.random.split(jax.random.key(0), 3)


class Scale(nn.Module):
    """One parameter, so that its gradient can be written down."""

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        return inputs * self.param("scale", nn.initializers.ones, ())


class Enlarge(nn.Module):
    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        return Scale()(inputs.repeat(2, axis=1).repeat(2, axis=2))


@pytest.fixture
def images() -> Array:
    return jax.random.uniform(jax.random.key(1), SHAPE)


SQUARED_ERROR = SquaredError()


def noisy_autoencoder(corruption: corruptions.Corruption | None, likelihood: Likelihood = SQUARED_ERROR) -> Method:
    return autoencoder(ImageToImage(Scale(), likelihood, corruption), optax.sgd(1.0))


def test_a_denoiser_sees_fresh_noise(images: Array) -> None:
    """Two steps on the same images draw different noise, equal keys draw equal noise, evaluation noise is fixed."""
    method = noisy_autoencoder(corruptions.Gaussian())
    state = method.init(KEYS[0], images)
    step = jax.jit(method.step)
    first, again, other = (step(state, images, key)[1]["loss"] for key in (KEYS[1], KEYS[1], KEYS[2]))
    assert first == again
    assert first != other

    evaluate = over_images(method.evaluate, make_mesh(1, 4), batch_size=4)
    array = np.asarray(255 * images).astype(np.uint8)
    twice = [evaluate(state, array)["loss"] for _ in range(2)]
    np.testing.assert_array_equal(*twice)
    same = evaluate(state, np.repeat(array[:1], 6, axis=0))["loss"]
    assert len(set(same.tolist())) == 6  # each position has noise of its own


def test_noise_within_a_batch_differs_from_image_to_image() -> None:
    seen = []

    class Spy(nn.Module):
        @nn.compact
        def __call__(self, inputs: Array) -> Array:
            seen.append(inputs)
            return Scale()(inputs)

    method = autoencoder(ImageToImage(Spy(), corruption=corruptions.Gaussian(0, 0.1)), optax.sgd(1.0))
    equal = jnp.full(SHAPE, 0.5)
    state = method.init(KEYS[0], equal)
    seen.clear()
    method.evaluate(state, equal, KEYS[1])
    assert len(np.unique(np.asarray(seen[0]))) == math.prod(SHAPE)


def test_a_users_corruption_fits_in_one_line(images: Array) -> None:
    method = noisy_autoencoder(lambda key, x: x * jax.random.bernoulli(key, 0.5, (len(x), 1, 1, 1)))
    state = method.init(KEYS[0], images)
    values = method.evaluate(state, images, KEYS[1])["loss"]
    energy = jnp.square(images).sum((1, 2, 3))
    kept = np.asarray(jax.random.bernoulli(KEYS[1], 0.5, (6, 1, 1, 1))).ravel()
    np.testing.assert_allclose(values, np.where(kept, 0, energy), rtol=1e-5)


def test_the_target_is_the_clean_image_and_the_gradient_is_that_of_the_text(images: Array) -> None:
    corrupt = corruptions.Gaussian(0.1, 0.2)
    method = noisy_autoencoder(corrupt)
    state = method.init(KEYS[0], images)
    noisy = corrupt(KEYS[1], images)

    after, metrics = method.step(state, images, KEYS[1])

    pixels = math.prod(SHAPE[1:])
    errors = np.square(noisy - images).sum((1, 2, 3))
    gradient = (2 * (noisy - images) * noisy).sum() / len(images)
    np.testing.assert_allclose(metrics["loss"], errors.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["squared_error"], errors.mean() / pixels, rtol=1e-5)
    np.testing.assert_allclose(after.params["params"]["scale"], 1 - gradient, rtol=1e-4)


def test_mse_is_that_of_the_pictures(images: Array) -> None:
    corrupt = corruptions.Gaussian(0.5, 0.3)
    for likelihood, picture in ((Bernoulli(), jax.nn.sigmoid), (SQUARED_ERROR, lambda x: x)):
        model = ImageToImage(Scale(), likelihood, corrupt)
        method = autoencoder(model, optax.sgd(1.0))
        state: TrainState = method.init(KEYS[0], images)
        pictures = model.restore(state.params, model.corrupt(images, KEYS[1]))
        np.testing.assert_allclose(pictures, picture(corrupt(KEYS[1], images)), rtol=1e-5)
        values = method.evaluate(state, images, KEYS[1])
        assert set(values) == {"loss", "mse", likelihood.name}
        np.testing.assert_allclose(values["mse"], jnp.square(pictures - images).mean((1, 2, 3)), rtol=1e-5)


def test_pictures_of_a_residual_network_stay_in_range(images: Array) -> None:
    method = noisy_autoencoder(None)
    state = method.init(KEYS[0], images)
    wild = state._replace(params=jax.tree.map(lambda p: 9 * p, state.params))
    pictures = ImageToImage(Scale(), SQUARED_ERROR).reconstruct(wild.params, images - 0.5)
    assert (pictures.min(), pictures.max()) == (0, 1)


def test_a_super_resolver_is_initialised_with_and_fed_small_images(images: Array) -> None:
    model = ImageToImage(Enlarge(), SQUARED_ERROR, corruptions.Downscale(2))
    method = autoencoder(model, optax.sgd(1.0))
    state = method.init(KEYS[0], images)
    pictures = model.restore(state.params, model.corrupt(images, KEYS[1]))
    small = np.asarray(images).reshape(6, 2, 2, 2, 2, 1).mean((2, 4))
    np.testing.assert_allclose(pictures, small.repeat(2, 1).repeat(2, 2), rtol=1e-5)
    _, metrics = method.step(state, images, KEYS[1])
    np.testing.assert_allclose(metrics["mse"], jnp.square(pictures - images).mean(), rtol=1e-5)


def test_without_a_corruption_it_is_the_autoencoder_and_the_key_does_not_matter(images: Array) -> None:
    method = noisy_autoencoder(None, Bernoulli())
    state = method.init(KEYS[0], images)
    one, other = (method.step(state, images, key)[1] for key in KEYS[:2])
    jax.tree.map(np.testing.assert_array_equal, one, other)
