"""A posterior without a KL in closed form: a Gaussian with a flow behind it."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
import optax
from jax import Array

from aejax import rng
from aejax.methods.method import Method, Params
from aejax.methods.variational import vae
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import GaussianPosterior, Posterior, PosteriorSample
from aejax.models.priors import StandardNormal
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.plugins.checks import SHAPE, check


class Flow(nn.Module):
    """Affine couplings, latents -> latents and log |det|: Dinh et al. (2016, arXiv:1605.08803), section 3.2."""

    layers: int

    @nn.compact
    def __call__(self, z: Array) -> tuple[Array, Array]:
        log_det = jnp.zeros(z.shape[:-1])
        for _ in range(self.layers):
            a, b = jnp.split(z, 2, axis=-1)
            s, t = jnp.split(nn.Dense(2 * b.shape[-1])(nn.relu(nn.Dense(8)(a))), 2, axis=-1)
            z, log_det = jnp.concatenate([b * jnp.exp(jnp.tanh(s)) + t, a], axis=-1), log_det + jnp.tanh(s).sum(-1)
        return z, log_det


@dataclass(frozen=True)
class FlowPosterior(Posterior):
    """A Gaussian's samples, sent through a flow: Rezende and Mohamed (2015, arXiv:1505.05770), equation 13."""

    flow: Flow

    def init(self, key: Array, images: Array) -> Params:
        base = self.encoder.init(rng.stream(key, "base"), images)
        mean = self.encoder.apply(base, images)[0]
        return {"base": base, "flow": self.flow.init(rng.stream(key, "flow"), mean)}

    def sample(self, params: Params, images: Array, key: Array, samples: int = 1) -> PosteriorSample:
        base = GaussianPosterior(self.encoder).sample({"encoder": params["encoder"]["base"]}, images, key, samples)
        latents, log_det = self.flow.apply(params["encoder"]["flow"], base.latents)
        return PosteriorSample(latents, base.log_prob - log_det)

    def mean(self, params: Params, images: Array) -> Array:
        return self.flow.apply(params["encoder"]["flow"], self.encoder.apply(params["encoder"]["base"], images)[0])[0]


def plugin() -> tuple[LatentVariableModel, Method]:
    posterior = FlowPosterior(GaussianEncoder(MLP((16,)), 2), Flow(2))
    model = LatentVariableModel(posterior, DenseDecoder((16,), SHAPE), StandardNormal(latents=2))
    return model, vae(model, optax.adam(1e-2))


def test_a_posterior_with_a_flow() -> None:
    check(*plugin())
