"""Trained models: plain functions of numpy arrays, whatever the batches, the dtype and the devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from aejax.models.trained import Trained
from tests.models.kinds import LATENT_VARIABLE, MODELS, SHAPE

N = 13
IMAGES = np.random.default_rng(0).integers(0, 256, (N, *SHAPE), np.uint8)
AS_FLOAT = IMAGES.astype(np.float32) / 255
CODES = np.random.default_rng(1).standard_normal((N, 2))

Use = Callable[[Trained], np.ndarray]
USES: dict[str, Use] = {
    "encode": lambda trained: trained.encode(IMAGES),
    "sample_posterior": lambda trained: trained.sample_posterior(IMAGES),
    "decode": lambda trained: trained.decode(CODES),
    "reconstruct": lambda trained: trained.reconstruct(IMAGES),
    "sample_prior": lambda trained: trained.sample_prior(N),
    "generate": lambda trained: trained.generate(N),
    "log_likelihood": lambda trained: trained.log_likelihood(IMAGES, 3),
}


def make(name: str, **options: Any) -> Trained:
    model = MODELS[name]
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, *SHAPE), np.float32))
    return Trained(model, params, SHAPE, **options)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return make("dense")


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_arrays_of_numpy_come_back_the_same_at_every_call_and_on_two_devices(trained: Trained, use: Use) -> None:
    values = use(trained)
    assert isinstance(values, np.ndarray)
    assert (values.dtype, len(values)) == (np.float32, N)
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(use(trained), values)
    two = make("dense", mesh=Mesh(np.array(jax.devices()[:2]), ("data",)))
    np.testing.assert_allclose(use(two), values, rtol=1e-5, atol=1e-6)


def test_integers_and_floats_are_the_same_images(trained: Trained) -> None:
    for function in (trained.encode, trained.sample_posterior, trained.reconstruct, trained.log_likelihood):
        np.testing.assert_allclose(function(IMAGES[:3]), function(AS_FLOAT[:3]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [1, 511, 512, 513])
def test_any_number_of_images_is_taken(trained: Trained, n: int) -> None:
    """Each image's values are its own, in batches of 512 and rests of them."""
    many = IMAGES[np.arange(n) % N]
    model, params = trained.model, trained.params
    expected = jax.jit(model.reconstruct)(params, AS_FLOAT)[np.arange(n) % N]
    np.testing.assert_allclose(trained.reconstruct(many), expected, rtol=1e-5, atol=1e-6)
    assert len(trained.generate(n)) == n


@pytest.mark.parametrize("name", LATENT_VARIABLE)
def test_samples_are_decoded_draws_of_the_prior_and_seeds_and_streams_give_others(name: str) -> None:
    one, other = make(name), make(name, seed=1)
    latents = one.sample_prior(5)
    assert latents.shape == (5, one.latents)
    np.testing.assert_allclose(one.generate(5), one.decode(latents), rtol=1e-5, atol=1e-6)
    assert (one.sample_prior(5) != other.sample_prior(5)).any(axis=1).all()
    assert (one.sample_prior(5) != one.sample_prior(5, "others")).any(axis=1).all()
    np.testing.assert_array_equal(one.sample_prior(3), latents[:3])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_what_it_has_and_that_is_so(name: str) -> None:
    one = make(name)
    assert one.has_prior == (name in LATENT_VARIABLE)
    assert one.has_density == (name in ("residual", "tutorial", "dense", "mixture", "levels"))
    assert one.has_latents == (name not in ("denoiser", "binarised", "super-resolver"))
    assert one.input_shape == ((6, 6, 1) if name == "super-resolver" else SHAPE)
    if one.has_latents:
        codes = one.encode(IMAGES)
        assert codes[0].size == one.latents
        np.testing.assert_allclose(one.decode(codes), one.reconstruct(IMAGES), rtol=1e-5, atol=1e-6)
    else:
        assert one.latents == 0
    if name not in LATENT_VARIABLE:
        degraded = one.degrade(IMAGES)
        assert degraded.shape[1:] == one.input_shape
        np.testing.assert_allclose(one.restore(IMAGES), one.reconstruct(degraded), rtol=1e-4, atol=1e-5)
        assert one.restore(IMAGES).shape == (N, *SHAPE)
    if one.has_density:
        assert one.log_likelihood(IMAGES, 2).shape == (N,)
