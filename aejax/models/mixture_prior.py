"""A Gaussian mixture as the prior: one whose parameters are fitted to latents after training, or learnt."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from aejax import losses, rng
from aejax.models.posteriors import Params
from aejax.models.priors import Prior


@dataclass(frozen=True, kw_only=True)
class GaussianMixture(Prior):
    """A mixture of Gaussians with full covariances.

    Its params are "log_weights" (components,), "means" (components, latents) and "factors" (components, latents,
    latents): their lower triangles are the Cholesky factors of the covariances.

    Attributes:
      components: the number of Gaussians.
    """

    components: int = 10

    def init(self, key: Array, images: Array) -> Params:
        n = self.components
        return {
            "log_weights": jnp.full(n, -math.log(n)),
            "means": jax.random.normal(key, (n, self.latents)),
            "factors": jnp.broadcast_to(jnp.eye(self.latents), (n, self.latents, self.latents)),
        }

    def sample(self, params: Params, key: Array, n: int) -> Array:
        own = params["prior"]
        which = jax.random.categorical(rng.stream(key, "which"), own["log_weights"], shape=(n,))
        noise = jax.random.normal(rng.stream(key, "noise"), (n, self.latents))
        return own["means"][which] + jnp.einsum("nij,nj->ni", jnp.tril(own["factors"])[which], noise)

    def log_prob(self, params: Params, latents: Array) -> Array:
        own = params["prior"]

        def component(log_weight: Array, mean: Array, factor: Array) -> Array:
            offsets = (latents - mean).reshape(-1, self.latents)
            standard = jax.scipy.linalg.solve_triangular(factor, offsets.T, lower=True).T
            log_det = jnp.log(jnp.abs(jnp.diagonal(factor))).sum()
            density = losses.gaussian_log_density(standard) - log_det
            return log_weight + density.reshape(latents.shape[:-1])

        parts = jax.vmap(component)(jax.nn.log_softmax(own["log_weights"]), own["means"], own["factors"])
        return jax.nn.logsumexp(parts, axis=0)
