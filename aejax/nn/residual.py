"""Residual blocks of convolutions."""

import flax.linen as nn
from jax import Array

from aejax.nn.layers import Conv, Lowering


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), without normalisation (Lim et al. 2017): (C, H, W, batch) -> the same."""

    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.relu(Conv(x.shape[0], lowering=self.lowering)(x))
        return x + Conv(x.shape[0], lowering=self.lowering)(y)
