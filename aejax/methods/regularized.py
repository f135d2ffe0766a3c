"""Regularised autoencoders (RAE): a deterministic autoencoder whose latents can be sampled after training.

Ghosh et al. (2019, https://arxiv.org/abs/1903.12436). Small latents and a smooth decoder take the place of the VAE's
noise. Samples come from a density that is fitted to the latents afterwards: `aejax.evaluation.ex_post`.
"""

import jax
import jax.numpy as jnp
import optax
from jax import Array

from aejax import rng
from aejax.methods.method import Method, Metrics, Params, one_optimizer
from aejax.methods.reconstruction import reconstruction_loss
from aejax.models.latent_variable import LatentVariableModel


def regularized_autoencoder(
    model: LatentVariableModel,
    optimizer: optax.GradientTransformation,
    *,
    latent_weight: float = 1e-4,
    gradient_weight: float = 0.0,
    decoder_weight: float = 0.0,
) -> Method:
    """Makes the method that minimises reconstruction + size of the latents + roughness of the decoder: equation 7.

    Args:
      model: with a deterministic posterior; its prior is not used in training.
      optimizer: any optax transformation.
      latent_weight: of the squared norm of an image's latents, halved (equation 6).
      gradient_weight: of the squared norm of the decoder's Jacobian at the latents, halved: RAE-GP. It is estimated
        with one random direction of outputs for each image, without bias.
      decoder_weight: of the squared norm of the decoder's parameters, halved: RAE-L2.

    Returns:
      A method with the metrics of `reconstruction.autoencoder` and "latent_norm", the squared norm of the latents.
    """

    def loss(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        values, metrics = reconstruction_loss(model, params, images, key)
        latents = model.encode(params, images)
        norm = jnp.square(latents).sum(axis=1)
        values = values + latent_weight * norm / 2
        if gradient_weight:
            values = values + gradient_weight * _jacobian_norm(model, params, latents, key) / 2
        if decoder_weight:
            values = values + decoder_weight * optax.tree.norm(params["decoder"], squared=True) / 2
        return values, {**metrics, "latent_norm": norm}

    def evaluate(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        return reconstruction_loss(model, params, images, key)

    return one_optimizer(model.init, loss, optimizer, evaluate=evaluate)


def _jacobian_norm(model: LatentVariableModel, params: Params, latents: Array, key: Array) -> Array:
    """Estimates the squared Frobenius norm of the decoder's Jacobian, (batch,): Hutchinson's trace of J J^T."""
    outputs, pull = jax.vjp(lambda z: model.decode(params, z), latents)
    direction = jax.random.normal(rng.stream(key, "direction"), outputs.shape)
    return jnp.square(pull(direction)[0]).sum(axis=1)
