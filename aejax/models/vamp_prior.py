"""The VampPrior: a mixture of the posterior at learnt images."""

import math
from dataclasses import dataclass

import jax
from jax import Array

from aejax import rng
from aejax.models.posteriors import Params, Posterior
from aejax.models.priors import Prior


@dataclass(frozen=True, kw_only=True)
class VampPrior(Prior):
    """The mean of q(z | u) over learnt images u: Tomczak and Welling (2017, arXiv:1705.07120), equation 9.

    The pseudo-inputs u are kept in [0, 1] by a sigmoid, where the paper's code clips them. Their gradient also reaches
    the encoder, as in the paper.

    Attributes:
      posterior: the model's own, with a `log_prob` at given latents.
      pseudo_inputs: the number of learnt images.
    """

    posterior: Posterior
    pseudo_inputs: int = 500

    def init(self, key: Array, images: Array) -> Params:
        return {"logits": jax.random.normal(key, (self.pseudo_inputs, *images.shape[1:]))}

    def images(self, params: Params) -> Array:
        """Returns the pseudo-inputs, (pseudo_inputs, height, width, channels) in [0, 1]."""
        return jax.nn.sigmoid(params["prior"]["logits"])

    def sample(self, params: Params, key: Array, n: int) -> Array:
        which = jax.random.randint(rng.stream(key, "which"), (n,), 0, self.pseudo_inputs)
        chosen = self.images(params)[which]
        return self.posterior.sample(params, chosen, rng.stream(key, "latents")).latents[:, 0]

    def log_prob(self, params: Params, latents: Array) -> Array:
        flat = latents.reshape(1, -1, self.latents).repeat(self.pseudo_inputs, axis=0)
        components = self.posterior.log_prob(params, self.images(params), flat)
        mixture = jax.nn.logsumexp(components, axis=0) - math.log(self.pseudo_inputs)
        return mixture.reshape(latents.shape[:-1])
