"""A prior and a posterior that are Gaussians sent through a normalising flow."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from aejax import losses, rng
from aejax.models.posteriors import Params, Posterior, PosteriorSample
from aejax.models.priors import Prior
from aejax.nn.flows import AffineCouplings, InverseAutoregressiveFlow


@dataclass(frozen=True, kw_only=True)
class FlowPrior(Prior):
    """A learnt prior: N(0, I), sent through affine couplings (Dinh et al. 2016, arXiv:1605.08803).

    Such a prior of a VAE is the inverse of a flow in the posterior (Chen et al. 2016, arXiv:1611.02731, section 3.2).

    Attributes:
      flow: latents -> N(0, I). Its inverse makes samples.
    """

    flow: AffineCouplings = field(default_factory=AffineCouplings)

    def init(self, key: Array, images: Array) -> Params:
        return self.flow.init(key, jnp.zeros((1, self.latents)))

    def sample(self, params: Params, key: Array, n: int) -> Array:
        noise = jax.random.normal(key, (n, self.latents))
        latents, _ = self._apply(params, noise, inverse=True)
        return latents

    def log_prob(self, params: Params, latents: Array) -> Array:
        noise, log_det = self._apply(params, latents)
        return losses.gaussian_log_density(noise) + log_det

    def _apply(self, params: Params, z: Array, inverse: bool = False) -> tuple[Array, Array]:
        moved: Any = self.flow.apply(params["prior"], z, inverse)
        return moved


@dataclass(frozen=True)
class FlowPosterior(Posterior):
    """A Gaussian's samples, sent through an inverse autoregressive flow that sees the image.

    Kingma et al. (2016, arXiv:1606.04934), algorithm 1. The encoder maps images to mean, log-variance and context, as
    `aejax.nn.heads.ContextEncoder` does. The KL to the prior is estimated from the samples. What stands for an image is
    where the flow sends the Gaussian's mean.

    Attributes:
      flow: (latents, context) -> latents, log |det|.
    """

    flow: InverseAutoregressiveFlow = field(default_factory=InverseAutoregressiveFlow)

    def init(self, key: Array, images: Array) -> Params:
        base: Any = self.encoder.init(rng.stream(key, "base"), images)
        moments: Any = self.encoder.apply(base, images)
        return {"base": base, "flow": self.flow.init(rng.stream(key, "flow"), moments[0], moments[2])}

    def sample(self, params: Params, images: Array, key: Array, samples: int = 1) -> PosteriorSample:
        mean, log_variance, context = (part[:, None] for part in self._moments(params, images))
        noise = jax.random.normal(key, (len(images), samples, mean.shape[-1]))
        base = mean + jnp.exp(log_variance / 2) * noise
        latents, log_det = self._flow(params, base, context.repeat(samples, axis=1))
        return PosteriorSample(latents, losses.gaussian_log_density(base, mean, log_variance) - log_det)

    def mean(self, params: Params, images: Array) -> Array:
        mean, _, context = self._moments(params, images)
        latents, _ = self._flow(params, mean, context)
        return latents

    def _moments(self, params: Params, images: Array) -> tuple[Array, Array, Array]:
        moments: Any = self.encoder.apply(params["encoder"]["base"], images)
        return moments

    def _flow(self, params: Params, latents: Array, context: Array) -> tuple[Array, Array]:
        moved: Any = self.flow.apply(params["encoder"]["flow"], latents, context)
        return moved
