"""Methods that reconstruct images: the autoencoder and, with a corrupted input, the denoiser and the super-resolver."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from aejax import losses
from aejax.corruptions import Corruption
from aejax.methods.method import Method, Metrics, Params, TrainState, one_optimizer
from aejax.pixels import BERNOULLI, Pixels


def autoencoder(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    corrupt: Corruption | None = None,
    pixels: Pixels = BERNOULLI,
) -> Method:
    """Minimises the distance between images and what the network makes of them, or of what `corrupt` leaves of them.

    A corruption makes this a denoiser (Vincent et al. 2008) or a super-resolver. It draws from the step's own key, so
    that every image meets fresh noise at every step; the target is the clean image, and so are the metrics'.

    Args:
      network: inputs -> outputs of the images' shape, (batch, height, width, channels).
      optimizer: any optax transformation.
      corrupt: (key, images) -> inputs; None gives the images themselves.
      pixels: what the outputs are, and with it the loss.

    Returns:
      A method with the metrics "loss" (summed over pixels and channels; for BERNOULLI in nats per image), the same per
      pixel and channel ("bce" for BERNOULLI, as deep-learning libraries average it), and "mse" of the pictures.
    """

    def init(key: Array, images: Array) -> Params:
        inputs = jax.eval_shape(_corrupted(corrupt), key, images)
        return network.init(key, jnp.zeros(inputs.shape, inputs.dtype))

    def loss(params: Params, images: Array, key: Array) -> tuple[Array, Metrics]:
        outputs = network.apply(params, _corrupted(corrupt)(key, images))
        assert isinstance(outputs, Array)
        values = pixels.loss(outputs, images)
        size = math.prod(images.shape[1:])
        mse = losses.squared_error(pixels.picture(outputs), images) / size
        return values, {pixels.name: values / size, "mse": mse}

    return one_optimizer(init, loss, optimizer)


def reconstruct(
    network: nn.Module, corrupt: Corruption | None = None, pixels: Pixels = BERNOULLI
) -> Callable[[TrainState, Array, Array], Array]:
    """(state, images, key) -> pictures in [0, 1]: what the method of the same arguments makes of its inputs.

    With equal keys these are the pictures that its `evaluate` judges. Without a corruption the key is not used.
    """

    def apply(state: TrainState, images: Array, key: Array) -> Array:
        outputs = network.apply(state.params, _corrupted(corrupt)(key, images))
        assert isinstance(outputs, Array)
        return pixels.picture(outputs)

    return apply


def _corrupted(corrupt: Corruption | None) -> Corruption:
    return corrupt or (lambda key, images: images)
