"""Objectives of the variational family against their twins, in value and in gradient, through encoder and decoder."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import rng
from aejax.divergences import inverse_multiquadratic
from aejax.methods import objectives, variational
from aejax.methods.objectives import Objective
from aejax.models.latent_variable import LatentVariableModel, Terms
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.outside import twins
from tests.outside.comparison import MISTAKES, as_float64, flat, gradient, same

SHAPE, LATENTS, BATCH, SAMPLES = (2, 2, 1), 2, 4, 3
KEY = jax.random.key(3)
KERNEL = inverse_multiquadratic(LATENTS)
MODEL = LatentVariableModel(
    GaussianPosterior(GaussianEncoder(MLP((3,), nn.tanh), LATENTS)),
    DenseDecoder((3,), SHAPE, nn.tanh),
    StandardNormal(latents=LATENTS),
)


class Case(NamedTuple):
    """An objective, its twin, and the terms that it uses."""

    ours: Objective
    twin: Callable[[twins.Terms], Any]
    uses: tuple[str, ...]


CASES = {
    "elbo": Case(objectives.negative_elbo, twins.elbo, ("log_likelihood", "kl")),
    "beta-vae": Case(objectives.beta_elbo(4.0), lambda t: twins.beta_elbo(t, 4.0), ("log_likelihood", "kl")),
    "iwae": Case(objectives.negative_iwae, twins.iwae, ("log_likelihood", "log_prior", "log_posterior")),
    "free bits": Case(
        lambda t: objectives.free_bits(0.2)(t).mean(), lambda t: twins.free_bits(t, 0.2), ("log_likelihood", "kl")
    ),
    "wae-mmd": Case(objectives.wae_mmd(10.0, KERNEL), lambda t: twins.wae(t, 10.0), ("log_likelihood", "latents")),
    "info-vae": Case(
        objectives.info_vae(0.3, 5.0, KERNEL),
        lambda t: twins.info_vae(t, 0.3, 5.0),
        ("log_likelihood", "kl", "latents", "prior_samples"),
    ),
    "beta-tcvae": Case(
        objectives.beta_tc(6.0, 100),
        lambda t: twins.beta_tc(t, 6.0, 100),
        ("log_likelihood", "log_prior", "log_posterior", "mean", "log_variance"),
    ),
}


class Inputs(NamedTuple):
    """The same for both sides, in float64."""

    params: Any
    images: np.ndarray
    noise: np.ndarray
    prior_samples: np.ndarray

    def twin(self, params: Any) -> twins.Terms:
        return twins.terms(params, self.images.reshape(BATCH, -1), self.noise, self.prior_samples)


def ours(params: Any, images: Any) -> Terms:
    return MODEL.terms(params, images, KEY, SAMPLES)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    with jax.enable_x64(True):
        images = jax.random.uniform(jax.random.key(0), (BATCH, *SHAPE), jnp.float64)
        params = as_float64(MODEL.init(jax.random.key(1), images))
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(2), len(leaves))
        # Biases too are other than 0.
        leaves = [leaf + 0.5 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
        noise = jax.random.normal(rng.stream(KEY, "posterior"), (BATCH, SAMPLES, LATENTS))
        prior_samples = jax.random.normal(rng.stream(KEY, "prior"), (BATCH, LATENTS))
        arrays = jax.tree.unflatten(structure, leaves), images, noise, prior_samples
        return Inputs(*jax.tree.map(np.asarray, arrays))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_value_and_gradient(case: Case, inputs: Inputs) -> None:
    def mean(params: Any) -> tuple[Any, Any]:
        values = case.ours(ours(params, inputs.images))
        return values.mean(), values

    with jax.enable_x64(True):
        slopes, values = jax.jit(jax.grad(mean, has_aux=True))(inputs.params)

    same(values, case.twin(inputs.twin(inputs.params)))
    same(flat(slopes), flat(gradient(lambda p: case.twin(inputs.twin(p)).mean(), inputs.params)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_mistake_in_any_term_would_be_noticed(case: Case, inputs: Inputs) -> None:
    with jax.enable_x64(True):
        terms = jax.jit(ours)(inputs.params, inputs.images)
        for name in case.uses:
            for mistake in MISTAKES.values():
                wrong = case.ours(terms._replace(**{name: mistake(getattr(terms, name))}))
                with pytest.raises(AssertionError):
                    same(wrong, case.twin(inputs.twin(inputs.params)), 1e-6)


def test_the_doubly_reparameterised_gradient(inputs: Inputs) -> None:
    """Tucker et al. (2018), equation 8: sum of w^2 (d log w / dz) (dz / d encoder); the decoder's is IWAE's."""
    method = variational.doubly_reparameterized(MODEL, optax.sgd(1.0), SAMPLES)
    with jax.enable_x64(True):
        state = method.init(KEY, inputs.images)._replace(params=jax.tree.map(jnp.asarray, inputs.params))
        moved = jax.jit(method.step)(state, jnp.asarray(inputs.images), KEY)[0].params
    descent = jax.tree.map(lambda old, new: old - np.asarray(new), inputs.params, moved)

    def log_weights(params: Any, frozen: Any) -> np.ndarray:
        """Computes log w, where the encoder's params act through the latents alone and `frozen` gives q's density."""
        drawn, x = inputs.twin(params), inputs.images.reshape(BATCH, -1)
        mean, variance = twins.encode(frozen, x)
        log_posterior = twins.log_normal(drawn.latents, mean[:, None], variance[:, None]).sum(-1)
        return drawn.log_likelihood + drawn.log_prior - log_posterior

    weights = np.exp(log_weights(inputs.params, inputs.params))
    weights /= weights.sum(1, keepdims=True)
    encoder = gradient(lambda p: -(weights**2 * log_weights(p, inputs.params)).sum(1).mean(), inputs.params)
    decoder = gradient(lambda p: twins.iwae(inputs.twin(p)).mean(), inputs.params)

    same(flat(descent["encoder"]), flat(encoder["encoder"]), 1e-11)
    same(flat(descent["decoder"]), flat(decoder["decoder"]), 1e-11)
    squared_once = gradient(lambda p: -(weights * log_weights(p, inputs.params)).sum(1).mean(), inputs.params)
    with pytest.raises(AssertionError):
        same(flat(descent["encoder"]), flat(squared_once["encoder"]), 1e-3)
