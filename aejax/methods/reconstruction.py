"""Methods that reconstruct images: the autoencoder and, with a corrupted input, the denoiser and the super-resolver."""

import math
from typing import Protocol

import optax
from jax import Array

from aejax import losses
from aejax.methods.method import Method, Metrics, Params, one_optimizer
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.likelihoods import Likelihood


class Reconstructs(Protocol):
    """A model whose outputs for images have a likelihood."""

    @property
    def likelihood(self) -> Likelihood: ...

    def outputs(self, params: Params, images: Array, key: Array) -> Array: ...


def autoencoder(model: ImageToImage | LatentVariableModel, optimizer: optax.GradientTransformation) -> Method:
    """Makes the method that minimises the negative log-likelihood of images under the model's outputs for them.

    A model with a corruption becomes a denoiser (Vincent et al. 2008) or a super-resolver. The corruption draws from
    the step's own key, so that every image meets fresh noise at every step. Target and metrics are those of the clean
    image. A latent-variable model is trained without a pull towards its prior.

    Args:
      model: with its likelihood.
      optimizer: any optax transformation.

    Returns:
      A method with the metrics "loss" (summed over pixels and channels; in nats for a likelihood), the same per pixel
      and channel under the likelihood's name ("bce" for Bernoulli pixels), and "mse" of the expected pixels.
    """

    def loss(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        return reconstruction_loss(model, params, images, key)

    return one_optimizer(model.init, loss, optimizer)


def reconstruction_loss(model: Reconstructs, params: Params, images: Array, key: Array) -> tuple[Array, Metrics]:
    """Computes -log p(images | outputs) of one draw of the outputs, (batch,), and the metrics of `autoencoder`."""
    outputs = model.outputs(params, images, key)
    values = model.likelihood.neg_log_prob(outputs, images)
    size = math.prod(images.shape[1:])
    mse = losses.squared_error(model.likelihood.mean(outputs), images) / size
    return values, {model.likelihood.name: values / size, "mse": mse}
