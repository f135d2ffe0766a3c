"""Convolutional layers with textbook semantics and a lowering chosen for the backend.

Inside a network, activations are batch-minor: (channels, height, width, batch). `to_batch_minor` and `from_batch_minor`
stand at a network's two ends, so that its arguments and results keep the ordinary (batch, height, width, channels).
Parameters have the shapes, names and initialisation of `flax.linen.Conv`, whatever the lowering.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aejax.nn import batch_minor

Lowering = Literal["auto", "gemm", "native", "portable"]
"""How a convolution is computed. "gemm": by matrix products. "native": by XLA's own convolution. "auto": gemm if this
process computes on a CPU, else native. "portable": both are in the program, and each platform's compiler takes its
best."""
Padding = Literal["SAME", "VALID"]
Network = TypeVar("Network", bound=nn.Module)


def to_batch_minor(images: Array) -> Array:
    """(batch, height, width, channels) -> (channels, height, width, batch)."""
    return images.transpose(3, 1, 2, 0)


def from_batch_minor(x: Array) -> Array:
    """(channels, height, width, batch) -> (batch, height, width, channels)."""
    return x.transpose(3, 1, 2, 0)


def pixel_shuffle(x: Array, factor: int) -> Array:
    """Moves channels to space: (C * factor**2, H, W, batch) -> (C, H * factor, W * factor, batch).

    Input channel (c * factor + i) * factor + j holds pixel (i, j) of each block of output channel c, as in equation 4
    of Shi et al. 2016 (https://arxiv.org/abs/1609.05158).
    """
    c, h, w, b = x.shape
    x = x.reshape(-1, factor, factor, h, w, b).transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(c // factor**2, h * factor, w * factor, b)


def pixel_unshuffle(x: Array, factor: int) -> Array:
    """Inverts `pixel_shuffle`: (C, H, W, batch) -> (C * factor**2, H / factor, W / factor, batch)."""
    c, h, w, b = x.shape
    x = x.reshape(c, h // factor, factor, w // factor, factor, b).transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(c * factor**2, h // factor, w // factor, b)


def with_lowering(network: Network, lowering: Lowering) -> Network:
    """Returns the network with this lowering in all its layers; its params are the same."""
    fields = {name: getattr(network, name) for name in network.__dataclass_fields__ if name not in ("parent", "name")}
    changed: dict[str, Any] = {n: with_lowering(v, lowering) for n, v in fields.items() if isinstance(v, nn.Module)}
    if "lowering" in fields:
        changed["lowering"] = lowering
    return network.clone(**changed)


class _Convolution(nn.Module):
    """The parameters and the choice of a lowering, which all layers share."""

    features: int
    kernel_size: int = 3
    lowering: Lowering = "auto"

    def parameters(self, x: Array) -> tuple[Array, Array]:
        shape = (self.kernel_size, self.kernel_size, x.shape[0], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return kernel, self.param("bias", nn.initializers.zeros_init(), (self.features,))

    def lowered(self, gemm: Callable[..., Array], native: Callable[..., Array]) -> Callable[..., Array]:
        """Chooses one of two functions of (x, kernel, bias)."""
        if self.lowering == "portable":
            return functools.partial(jax.lax.platform_dependent, cpu=gemm, default=native)
        on_cpu = self.lowering == "auto" and jax.default_backend() == "cpu"
        return gemm if self.lowering == "gemm" or on_cpu else native


class Conv(_Convolution):
    """Stride-1 convolution: (in, H, W, batch) -> (features, H, W, batch), or smaller by kernel_size - 1 where VALID."""

    padding: Padding = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gemm = functools.partial(batch_minor.conv, same=self.padding == "SAME")
        native = functools.partial(_native_conv, padding=self.padding)
        return self.lowered(gemm, native)(x, *self.parameters(x))


class ConvMaxPool(_Convolution):
    """3x3 SAME convolution, ReLU, 2x2 max-pooling: (in, H, W, batch) -> (features, H // 2 + p, W // 2 + p, batch).

    `pool_padding` p is 0 or 1: the number of rows and columns by which pooling windows reach over each edge.
    """

    pool_padding: int = 0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gemm = functools.partial(batch_minor.conv_max_pool, pool_padding=self.pool_padding)
        native = functools.partial(_native_conv_max_pool, pool_padding=self.pool_padding)
        return self.lowered(gemm, native)(x, *self.parameters(x))


class UpsampleConv(_Convolution):
    """Nearest 2x upsampling, 3x3 convolution: (in, H, W, batch) -> (features, 2H, 2W, batch), 2 fewer where VALID."""

    padding: Padding = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gemm = functools.partial(batch_minor.upsample_conv, same=self.padding == "SAME")
        native = functools.partial(_native_upsample_conv, padding=self.padding)
        return self.lowered(gemm, native)(x, *self.parameters(x))


def _native_conv(x: Array, kernel: Array, bias: Array, padding: Padding) -> Array:
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("CHWN", "HWIO", "CHWN"))
    return y + bias[:, None, None, None]


def _native_conv_max_pool(x: Array, kernel: Array, bias: Array, pool_padding: int) -> Array:
    y = nn.relu(_native_conv(x, kernel, bias, "SAME"))
    edge, window = (pool_padding, pool_padding), (1, 2, 2, 1)
    return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, window, window, ((0, 0), edge, edge, (0, 0)))


def _native_upsample_conv(x: Array, kernel: Array, bias: Array, padding: Padding) -> Array:
    return _native_conv(x.repeat(2, axis=1).repeat(2, axis=2), kernel, bias, padding)
