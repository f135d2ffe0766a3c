"""Fully connected networks."""

import math
from collections.abc import Callable

import flax.linen as nn
from jax import Array

Activation = Callable[[Array], Array]


class MLP(nn.Module):
    """Dense layers, each followed by an activation: (batch, ...), flattened per example, -> (batch, widths[-1])."""

    widths: tuple[int, ...]
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x.reshape(x.shape[0], -1)
        for width in self.widths:
            x = self.activation(nn.Dense(width)(x))
        return x


class DenseDecoder(nn.Module):
    """Latents to outputs such as logits, by an MLP and a dense layer: (batch, latents) -> (batch, *image_shape)."""

    widths: tuple[int, ...]
    image_shape: tuple[int, ...]
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, latents: Array) -> Array:
        x = MLP(self.widths, self.activation)(latents)
        return nn.Dense(math.prod(self.image_shape), name="pixels")(x).reshape(x.shape[0], *self.image_shape)
