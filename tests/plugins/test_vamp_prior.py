"""VampPrior: a prior with params of its own, which uses the posterior's."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aejax import rng
from aejax.methods.method import Method, Params
from aejax.methods.variational import vae
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import GaussianPosterior, Posterior
from aejax.models.priors import Prior
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.plugins.checks import SHAPE, check


@dataclass(frozen=True, kw_only=True)
class VampPrior(Prior):
    """The mixture of the posterior at learnt inputs: Tomczak and Welling (2017, arXiv:1705.07120), equation 9."""

    posterior: Posterior
    pseudo_inputs: int

    def init(self, key: Array, images: Array) -> Params:
        return {"pseudo_inputs": jax.random.uniform(key, (self.pseudo_inputs, *images.shape[1:]))}

    def sample(self, params: Params, key: Array, n: int) -> Array:
        which = jax.random.randint(rng.stream(key, "which"), (n,), 0, self.pseudo_inputs)
        inputs = params["prior"]["pseudo_inputs"][which]
        return self.posterior.sample(params, inputs, rng.stream(key, "latents")).latents[:, 0]

    def log_prob(self, params: Params, latents: Array) -> Array:
        flat = latents.reshape(1, -1, self.latents).repeat(self.pseudo_inputs, axis=0)
        components = self.posterior.log_prob(params, params["prior"]["pseudo_inputs"], flat)
        return (jax.nn.logsumexp(components, axis=0) - math.log(self.pseudo_inputs)).reshape(latents.shape[:-1])


def plugin() -> tuple[LatentVariableModel, Method]:
    posterior = GaussianPosterior(GaussianEncoder(MLP((16,)), 2))
    prior = VampPrior(latents=2, posterior=posterior, pseudo_inputs=5)
    model = LatentVariableModel(posterior, DenseDecoder((16,), SHAPE), prior)
    return model, vae(model, optax.adam(1e-2))


def test_a_prior_that_is_learnt() -> None:
    trained = check(*plugin())
    axis = np.linspace(-12, 12, 481)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1), jnp.float32)
    density = np.exp(np.asarray(trained.model.prior.log_prob(trained.params, grid), np.float64))
    np.testing.assert_allclose(density.sum() * (axis[1] - axis[0]) ** 2, 1, atol=1e-2)
