"""Latent-variable models: a prior p(z), a likelihood p(x | z) through a decoder, and a posterior q(z | x)."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aejax import rng
from aejax.models.likelihoods import Bernoulli, Likelihood
from aejax.models.posteriors import Params, Posterior
from aejax.models.priors import Prior


class Terms(NamedTuple):
    """What an objective may want to know of a batch of images, with `samples` latents for each. Densities are in nats.

    Attributes:
      log_likelihood: log p(x | z), summed over pixels, (batch, samples).
      log_prior: log p(z), summed over latents, (batch, samples).
      log_posterior: log q(z | x), summed over latents, (batch, samples).
      kl: KL(q(z | x) || p(z)). In closed form where there is one, of each latent, (batch, latents); otherwise its
        estimate from the samples, (batch, 1). In both cases the sum over the last axis is the rate.
      latents: z, reparameterised: (batch, samples, latents).
      prior_samples: draws from the prior, one for each image, (batch, latents).
      mean: of q(z | x), (batch, latents), where the posterior is a diagonal Gaussian; else None.
      log_variance: of q(z | x), as `mean`.
      step: the number of updates so far, int32 (), for weights that change while training; 0 in evaluation.
    """

    log_likelihood: Array
    log_prior: Array
    log_posterior: Array
    kl: Array
    latents: Array
    prior_samples: Array
    mean: Array | None
    log_variance: Array | None
    step: Array

    def log_weights(self) -> Array:
        """Computes log p(x, z) / q(z | x), whose mean over z ~ q is the ELBO: (batch, samples)."""
        return self.log_likelihood + self.log_prior - self.log_posterior


@dataclass(frozen=True)
class LatentVariableModel:
    """p(z) p(x | z) with q(z | x): the model of the VAE and of the adversarial autoencoder.

    Kingma and Welling (2013, arXiv:1312.6114), section 2; Makhzani et al. (2015, arXiv:1511.05644), section 2.
    Its params are {"encoder": ..., "decoder": ...} and, where the prior has parameters, "prior".

    Attributes:
      posterior: q(z | x), with the encoder.
      decoder: latents (batch, latents) -> outputs (batch, height, width, channels * likelihood.outputs_per_value).
      prior: p(z).
      likelihood: p(x | z), from the decoder's outputs.
    """

    posterior: Posterior
    decoder: nn.Module
    prior: Prior
    likelihood: Likelihood = field(default_factory=Bernoulli)

    @property
    def has_density(self) -> bool:
        """Whether `terms` is defined, and with it the ELBO and the likelihood by importance sampling."""
        return self.posterior.has_density and self.prior.has_density

    def init(self, key: Array, images: Array) -> Params:
        """Returns the initial params for images of this shape, (batch, height, width, channels)."""
        latents = jnp.zeros((1, self.prior.latents))
        params = {
            "encoder": self.posterior.init(rng.stream(key, "encoder"), images),
            "decoder": self.decoder.init(rng.stream(key, "decoder"), latents),
        }
        own = self.prior.init(rng.stream(key, "prior"), images)
        return {**params, "prior": own} if own else params

    def own(self, params: Params) -> Params:
        """Returns the model's part of params, without those of a discriminator or of other helpers of training."""
        return {name: part for name, part in params.items() if name in ("encoder", "decoder", "prior")}

    def terms(self, params: Params, images: Array, key: Array, samples: int = 1, step: Array | int = 0) -> Terms:
        """Draws `samples` latents for each image and computes every term of an objective.

        Raises:
          TypeError: if the prior or the posterior has no density.
        """
        drawn = self.posterior.sample(params, images, rng.stream(key, "posterior"), samples)
        if drawn.log_prob is None:
            raise TypeError(f"a {type(self.posterior).__name__} posterior has no density, which an ELBO needs")
        outputs = self.decode(params, drawn.latents)
        targets = jnp.broadcast_to(images[:, None], (len(images), samples, *images.shape[1:]))
        nll = self.likelihood.neg_log_prob(
            outputs.reshape(-1, *outputs.shape[2:]), targets.reshape(-1, *images.shape[1:])
        )
        log_prior = self.prior.log_prob(params, drawn.latents)
        kl = None
        if drawn.mean is not None and drawn.log_variance is not None:
            kl = self.prior.gaussian_kl(params, drawn.mean, drawn.log_variance)
        return Terms(
            log_likelihood=-nll.reshape(len(images), samples),
            log_prior=log_prior,
            log_posterior=drawn.log_prob,
            kl=(drawn.log_prob - log_prior).mean(axis=1, keepdims=True) if kl is None else kl,
            latents=drawn.latents,
            prior_samples=self.prior.sample(params, rng.stream(key, "prior"), len(images)),
            mean=drawn.mean,
            log_variance=drawn.log_variance,
            step=jnp.asarray(step, jnp.int32),
        )

    def outputs(self, params: Params, images: Array, key: Array) -> Array:
        """Decodes one draw of each image's latents: outputs (batch, height, width, channels)."""
        return self.decode(params, self.posterior.sample(params, images, key).latents[:, 0])

    def encode(self, params: Params, images: Array) -> Array:
        """Returns the latents (batch, latents) that stand for each image: a Gaussian posterior's mean, or the code."""
        return self.posterior.mean(params, images)

    def sample_posterior(self, params: Params, images: Array, key: Array) -> Array:
        """Draws one latent for each image, (batch, latents): of all images together, the aggregated posterior."""
        return self.posterior.sample(params, images, key).latents[:, 0]

    def decode(self, params: Params, latents: Array) -> Array:
        """Maps latents (..., latents) to outputs (..., height, width, channels * outputs_per_value)."""
        outputs: Any = self.decoder.apply(params["decoder"], latents.reshape(-1, latents.shape[-1]))
        return outputs.reshape(*latents.shape[:-1], *outputs.shape[1:])

    def pictures(self, params: Params, latents: Array) -> Array:
        """Decodes latents (batch, latents) to expected pixels in [0, 1], (batch, height, width, channels)."""
        return self.likelihood.mean(self.decode(params, latents))

    def reconstruct(self, params: Params, images: Array) -> Array:
        """Encodes and decodes images, without any draw: pixels in [0, 1] of the images' shape."""
        return self.pictures(params, self.encode(params, images))

    def generate(self, params: Params, key: Array, n: int) -> Array:
        """Decodes n draws from the prior: (n, height, width, channels) in [0, 1]."""
        return self.pictures(params, self.prior.sample(params, key, n))


def log_likelihood_by_importance(
    model: LatentVariableModel, params: Params, images: Array, key: Array, samples: int, rows: int
) -> Array:
    """Estimates log p(x) in nats from below, by importance sampling from the posterior: (batch,).

    Burda et al. (2015, arXiv:1509.00519), equation 8 and section 5: the logarithm of the mean of p(x, z) / q(z | x)
    over `samples` latents. They are drawn in blocks of `rows` over all images, so memory does not grow with them.
    """
    block = max(1, min(samples, rows // len(images)))

    def add(total: Array, i: Array) -> tuple[Array, None]:
        terms = model.terms(params, images, rng.stream(key, "samples", i), block)
        counts = i * block + jnp.arange(block) < samples
        log_w = jnp.where(counts, terms.log_weights(), -jnp.inf)
        return jnp.logaddexp(total, jax.nn.logsumexp(log_w, axis=1)), None

    start = jnp.full(len(images), -jnp.inf)
    total, _ = jax.lax.scan(add, start, jnp.arange(-(-samples // block)))
    return total - jnp.log(samples)
