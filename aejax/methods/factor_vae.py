"""FactorVAE: a VAE whose latents are made independent by a discriminator of latents (Kim and Mnih 2018).

https://arxiv.org/abs/1802.05983, algorithm 2. A batch is split in two: the VAE learns from the first half, and the
second half, permuted, shows the discriminator what independent latents look like.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from aejax import rng
from aejax.methods.method import Method, Metrics, Params, Phase, several_optimizers
from aejax.methods.objectives import negative_elbo
from aejax.methods.variational import elbo
from aejax.models.latent_variable import LatentVariableModel, Terms
from aejax.nn.discriminator import Discriminator


def factor_vae(
    model: LatentVariableModel,
    discriminator: Discriminator,
    gamma: float,
    optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
) -> Method:
    """Makes the method that minimises the negative ELBO plus `gamma` times the total correlation of the latents.

    Args:
      model: with densities of prior and posterior.
      discriminator: latents (batch, latents) -> logits (batch,), positive for latents of images as they come.
      gamma: weight of the total correlation, which is the mean logit (equation 3).
      optimizer: of encoder, decoder and prior.
      discriminator_optimizer: of the discriminator; the paper has Adam with a rate of 1e-4 and b1 = 0.5.

    Returns:
      A method with the metrics "loss", "distortion", "rate" and "total_correlation" (nats per image, estimated by the
      discriminator) and "discriminator_loss"; in evaluation those of `variational.elbo`. Batches hold an even number
      of images.
    """
    own = ("encoder", "decoder", "prior")

    def init(key: Array, images: Array) -> Params:
        latents = jnp.zeros((1, model.prior.latents))
        judged = discriminator.init(rng.stream(key, "discriminator"), latents)
        return {"prior": {}, **model.init(key, images), "discriminator": judged}

    def logits(params: Params, latents: Array) -> Array:
        outputs: Any = discriminator.apply(params["discriminator"], latents)
        return outputs

    def terms_of(params: Params, images: Array, key: Array, half: int) -> Terms:
        return model.terms(params, jnp.split(images, 2)[half], rng.stream(key, "half", half))

    def variational(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        terms = terms_of(params, images, key, 0)
        total_correlation = logits(params, terms.latents[:, 0])
        values = negative_elbo(terms) + gamma * total_correlation
        return values, {
            "loss": values,
            "distortion": -terms.log_likelihood.mean(axis=1),
            "rate": terms.kl.sum(axis=1),
            "total_correlation": total_correlation,
        }

    def adversarial(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        joint, other = (terms_of(params, images, key, half).latents[:, 0] for half in (0, 1))
        independent = jax.random.permutation(rng.stream(key, "permutation"), other, independent=True)
        values = (jax.nn.softplus(-logits(params, joint)) + jax.nn.softplus(logits(params, independent))) / 2
        return values, {"discriminator_loss": values}

    phases = (
        Phase("vae", variational, own, optimizer),
        Phase("discriminator", adversarial, ("discriminator",), discriminator_optimizer),
    )
    return several_optimizers(init, phases, elbo(model))
