"""What joins networks of images to vectors of latents."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


class LatentEncoder(nn.Module):
    """Images to one vector of latents each: (batch, height, width, channels) -> (batch, latents).

    `trunk` is any network of images, such as MLP or ConvEncoder; what it gives is flattened.
    """

    trunk: nn.Module
    latents: int

    @nn.compact
    def __call__(self, images: Array) -> Array:
        return nn.Dense(self.latents, name="head")(_flat(self.trunk(images)))


class GaussianEncoder(nn.Module):
    """Images to the mean and log-variance of a diagonal Gaussian posterior, (batch, latents) each.

    The log-variance is bounded to -15 ... 15 by a smooth function close to the identity, so that no input and no step
    makes exp of it overflow. `trunk` is as in LatentEncoder.
    """

    trunk: nn.Module
    latents: int

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        x = _flat(self.trunk(images))
        log_variance = nn.Dense(self.latents, name="log_variance")(x)
        return nn.Dense(self.latents, name="mean")(x), 15 * jnp.tanh(log_variance / 15)


class UniversalEncoder(nn.Module):
    """Images and noise to latents: (batch, height, width, channels), (batch, d) -> (batch, latents).

    A posterior of any shape, given enough width (Makhzani et al. 2016, section 2.2). The noise joins what `trunk` makes
    of the images, before a hidden layer of `width` units.
    """

    trunk: nn.Module
    latents: int
    width: int

    @nn.compact
    def __call__(self, images: Array, noise: Array) -> Array:
        x = jnp.concatenate([_flat(self.trunk(images)), noise], axis=1)
        return nn.Dense(self.latents, name="head")(nn.relu(nn.Dense(self.width, name="mix")(x)))


class LatentDecoder(nn.Module):
    """Latents to outputs through a dense layer with ReLU and a network of feature maps, such as ConvDecoder.

    (batch, latents) -> trunk((batch, *map_shape)).
    """

    trunk: nn.Module
    map_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, latents: Array) -> Array:
        x = nn.relu(nn.Dense(math.prod(self.map_shape), name="maps")(latents))
        return self.trunk(x.reshape(x.shape[0], *self.map_shape))


class Autoencoder(nn.Module):
    """An encoder and a decoder of latents, joined: images (batch, height, width, channels) -> outputs of that shape."""

    encoder: nn.Module
    decoder: nn.Module

    def __call__(self, images: Array) -> Array:
        return self.decoder(self.encoder(images))


def _flat(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)
