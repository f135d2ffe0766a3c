"""Layers with textbook semantics and a lowering chosen for the backend.

Inside a network, activations are batch-minor: (channels, height, width, batch). `to_batch_minor` and `from_batch_minor`
stand at a network's two ends; its public arguments and results keep the ordinary (batch, height, width, channels).
Parameters have the shapes, names and initialisation of `flax.linen.Conv`, whatever the lowering.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aejax.nn import batch_minor

Lowering = Literal["auto", "gemm", "native"]
Padding = Literal["SAME", "VALID"]


def to_batch_minor(images: Array) -> Array:
    """(batch, height, width, channels) -> (channels, height, width, batch)."""
    return images.transpose(3, 1, 2, 0)


def from_batch_minor(x: Array) -> Array:
    """(channels, height, width, batch) -> (batch, height, width, channels)."""
    return x.transpose(3, 1, 2, 0)


class _Convolution(nn.Module):
    """What the layers share: `lowering` is "gemm" (matrix products), "native" (XLA's own) or "auto": gemm on CPU."""

    features: int
    kernel_size: int = 3
    lowering: Lowering = "auto"

    def parameters(self, x: Array) -> tuple[Array, Array]:
        shape = (self.kernel_size, self.kernel_size, x.shape[0], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return kernel, self.param("bias", nn.initializers.zeros_init(), (self.features,))

    @property
    def gemm(self) -> bool:
        return self.lowering == "gemm" or (self.lowering == "auto" and jax.default_backend() == "cpu")


class Conv(_Convolution):
    """Stride-1 convolution: (in, H, W, batch) -> (features, H, W, batch), or smaller by kernel_size - 1 where VALID."""

    padding: Padding = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel, bias = self.parameters(x)
        if self.gemm:
            return batch_minor.conv(x, kernel, bias, same=self.padding == "SAME")
        return _native_conv(x, kernel, bias, self.padding)


class ConvMaxPool(_Convolution):
    """3x3 SAME convolution, ReLU, 2x2 max-pooling: (in, H, W, batch) -> (features, H // 2 + p, W // 2 + p, batch).

    `pool_padding` p is 0 or 1: rows and columns that the pooling window may stick out of the image on each side.
    """

    pool_padding: int = 0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel, bias = self.parameters(x)
        if self.gemm:
            return batch_minor.conv_max_pool(x, kernel, bias, pool_padding=self.pool_padding)
        y = nn.relu(_native_conv(x, kernel, bias, "SAME"))
        edge, window = (self.pool_padding, self.pool_padding), (1, 2, 2, 1)
        return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, window, window, ((0, 0), edge, edge, (0, 0)))


class UpsampleConv(_Convolution):
    """Nearest 2x upsampling, 3x3 convolution: (in, H, W, batch) -> (features, 2H, 2W, batch), 2 fewer where VALID."""

    padding: Padding = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel, bias = self.parameters(x)
        if self.gemm:
            return batch_minor.upsample_conv(x, kernel, bias, same=self.padding == "SAME")
        return _native_conv(x.repeat(2, axis=1).repeat(2, axis=2), kernel, bias, self.padding)


def _native_conv(x: Array, kernel: Array, bias: Array, padding: Padding) -> Array:
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("CHWN", "HWIO", "CHWN"))
    return y + bias[:, None, None, None]
