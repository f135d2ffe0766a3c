"""Heads: modules that join networks of images to vectors of latents."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


class LatentEncoder(nn.Module):
    """Images to a vector of latents each: (batch, height, width, channels) -> (batch, latents).

    `trunk` is any network of images, such as MLP or ConvEncoder; its features are flattened.
    """

    trunk: nn.Module
    latents: int

    @nn.compact
    def __call__(self, images: Array) -> Array:
        return nn.Dense(self.latents, name="head")(_flat(self.trunk(images)))


class GaussianEncoder(nn.Module):
    """Images to the mean and log-variance of a diagonal Gaussian posterior, (batch, latents) each.

    A smooth function close to the identity bounds the log-variance to -15 ... 15, so that its exponential never
    overflows. `trunk` is as in LatentEncoder.
    """

    trunk: nn.Module
    latents: int

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        x = _flat(self.trunk(images))
        log_variance = nn.Dense(self.latents, name="log_variance")(x)
        return nn.Dense(self.latents, name="mean")(x), 15 * jnp.tanh(log_variance / 15)


class ContextEncoder(nn.Module):
    """Images to mean, log-variance, (batch, latents) each, and a context for a flow, (batch, context).

    The first two are those of GaussianEncoder. `trunk` is as in LatentEncoder.
    """

    trunk: nn.Module
    latents: int
    context: int

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        x = _flat(self.trunk(images))
        log_variance = nn.Dense(self.latents, name="log_variance")(x)
        context = nn.Dense(self.context, name="context")(x)
        return nn.Dense(self.latents, name="mean")(x), 15 * jnp.tanh(log_variance / 15), context


class UniversalEncoder(nn.Module):
    """Images and noise to latents: (batch, height, width, channels), (batch, d) -> (batch, latents).

    The universal approximator posterior of Makhzani et al. 2016 (https://arxiv.org/abs/1511.05644), section 2.2: given
    enough width, it can have any shape. The noise is appended to the trunk's features, and a hidden layer of `width`
    units with ReLU mixes the two. `trunk` is as in LatentEncoder.
    """

    trunk: nn.Module
    latents: int
    width: int

    @nn.compact
    def __call__(self, images: Array, noise: Array) -> Array:
        x = jnp.concatenate([_flat(self.trunk(images)), noise], axis=1)
        return nn.Dense(self.latents, name="head")(nn.relu(nn.Dense(self.width, name="mix")(x)))


class LatentDecoder(nn.Module):
    """Latents to outputs: a dense layer with ReLU, then a network that takes feature maps, such as ConvDecoder.

    (batch, latents) -> trunk((batch, *map_shape)).
    """

    trunk: nn.Module
    map_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, latents: Array) -> Array:
        x = nn.relu(nn.Dense(math.prod(self.map_shape), name="maps")(latents))
        return self.trunk(x.reshape(x.shape[0], *self.map_shape))


class Autoencoder(nn.Module):
    """An encoder followed by a decoder: images (batch, height, width, channels) -> outputs of that shape."""

    encoder: nn.Module
    decoder: nn.Module

    def __call__(self, images: Array) -> Array:
        return self.decoder(self.encoder(images))


def _flat(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)
