"""Methods that reconstruct their input: the autoencoder."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import optax
from jax import Array

from aejax import losses
from aejax.methods.method import Method, Metrics, Params, TrainState, one_optimizer


def autoencoder(network: nn.Module, optimizer: optax.GradientTransformation) -> Method:
    """Minimises the binary cross-entropy between images and their reconstructions.

    Args:
      network: images -> logits of the same shape, (batch, height, width, channels).
      optimizer: any optax transformation.

    Returns:
      A method with the metrics "loss" (BCE in nats per image), "bce" (the same per pixel and channel, as deep-learning
      libraries average it) and "mse" (per pixel and channel).
    """

    def loss(params: Params, images: Array, key: Array) -> tuple[Array, Metrics]:
        logits = network.apply(params, images)
        assert isinstance(logits, Array)
        bce = losses.bernoulli_negative_log_likelihood(logits, images)
        pixels = math.prod(images.shape[1:])
        mse = losses.squared_error(jax.nn.sigmoid(logits), images) / pixels
        return bce, {"bce": bce / pixels, "mse": mse}

    return one_optimizer(network.init, loss, optimizer)


def reconstruct(network: nn.Module) -> Callable[[TrainState, Array, Array], Array]:
    """(state, images, key) -> reconstructions: probabilities in [0, 1], of the images' shape. The key is not used."""

    def apply(state: TrainState, images: Array, key: Array) -> Array:
        logits = network.apply(state.params, images)
        assert isinstance(logits, Array)
        return jax.nn.sigmoid(logits)

    return apply
