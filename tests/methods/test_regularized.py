"""Regularised autoencoders against their definition, and priors fitted to latents after training."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from aejax.errors import UserError
from aejax.evaluation import ex_post
from aejax.methods.regularized import regularized_autoencoder
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.likelihoods import SquaredError
from aejax.models.posteriors import DeterministicPosterior
from aejax.models.priors import StandardNormal
from aejax.models.trained import Trained
from aejax.nn.heads import Autoencoder, LatentEncoder
from aejax.nn.mlp import MLP, DenseDecoder

SHAPE = (3, 3, 1)
MODEL = LatentVariableModel(
    DeterministicPosterior(LatentEncoder(MLP((5,)), 2)),
    DenseDecoder((6,), SHAPE, nn.tanh),
    StandardNormal(latents=2),
    SquaredError(),
)


@pytest.fixture
def images() -> Array:
    return jax.random.uniform(jax.random.key(0), (4, *SHAPE))


def training_loss(images: Array, keys: Array, **weights: float) -> tuple[np.ndarray, Any]:
    """The loss of each key, without any update, and the params."""
    method = regularized_autoencoder(MODEL, optax.sgd(0.0), **weights)
    state = method.init(jax.random.key(1), images)
    losses = jax.jit(jax.vmap(lambda key: method.step(state, images, key)[1]["loss"]))(keys)
    return np.asarray(losses, np.float64), state.params


def test_each_term_is_that_of_the_paper(images: Array) -> None:
    keys = jax.random.split(jax.random.key(2), 4000)
    plain, params = training_loss(images, keys[:1], latent_weight=0.0)
    latents = MODEL.encode(params, images)
    with_latents, _ = training_loss(images, keys[:1], latent_weight=0.6)
    np.testing.assert_allclose(with_latents - plain, 0.3 * jnp.square(latents).sum(axis=1).mean(), rtol=1e-4)

    with_norm, _ = training_loss(images, keys[:1], latent_weight=0.0, decoder_weight=0.4)
    squares = sum(float(jnp.square(leaf).sum()) for leaf in jax.tree.leaves(params["decoder"]))
    np.testing.assert_allclose(with_norm - plain, 0.2 * squares, rtol=1e-4)

    with_gradient, _ = training_loss(images, keys, latent_weight=0.0, gradient_weight=2.0)
    jacobian = jax.vmap(jax.jacrev(lambda z: MODEL.decode(params, z[None])[0]))(latents)
    exact = jnp.square(jacobian).sum() / len(images)
    draws = with_gradient - plain
    np.testing.assert_allclose(draws.mean(), exact, atol=5 * draws.std() / len(draws) ** 0.5)


def test_a_mixture_fitted_to_the_latents_gives_samples_like_them(images: Array) -> None:
    network = Autoencoder(LatentEncoder(MLP((5,)), 2), DenseDecoder((6,), SHAPE))
    model = ImageToImage(network, SquaredError())
    many = np.asarray(jax.random.uniform(jax.random.key(3), (400, *SHAPE)))
    trained = Trained(model, model.init(jax.random.key(0), many), SHAPE)
    assert not trained.has_prior
    sampled = ex_post.with_mixture(trained, many, components=2)
    np.testing.assert_array_equal(sampled.reconstruct(many), trained.reconstruct(many))
    codes, draws = sampled.encode(many), sampled.sample_prior(4000)
    error = 6 * draws.std(axis=0) / len(codes) ** 0.5
    assert (np.abs(draws.mean(axis=0) - codes.mean(axis=0)) < error).all()
    np.testing.assert_allclose(np.cov(draws.T), np.cov(codes.T), atol=0.2 * np.cov(codes.T).max())
    assert sampled.generate(3).shape == (3, *SHAPE)


def test_a_model_with_a_prior_keeps_all_but_the_prior(images: Array) -> None:
    trained = Trained(MODEL, MODEL.init(jax.random.key(0), images), SHAPE)
    sampled = ex_post.with_mixture(trained, np.asarray(images), components=1)
    assert dataclasses.replace(sampled.model, prior=MODEL.prior) == MODEL
    np.testing.assert_allclose(sampled.params["prior"]["means"][0], trained.encode(images).mean(axis=0), rtol=1e-5)


def test_what_cannot_be_fitted_is_said(images: Array) -> None:
    trained = Trained(MODEL, MODEL.init(jax.random.key(0), images), SHAPE)
    with pytest.raises(UserError, match="4 images are too few"):
        ex_post.with_mixture(trained, np.asarray(images), components=5)
    network = MLP((9,))
    whole = Trained(ImageToImage(network), network.init(jax.random.key(0), images), SHAPE)
    with pytest.raises(UserError, match="vector of latents"):
        ex_post.with_mixture(whole, np.asarray(images))
