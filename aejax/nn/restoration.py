"""Networks that undo a corruption: a small U-Net for denoising, a small EDSR for super-resolution.

Both change resolution by moving pixels between space and channels (sub-pixel convolution, Shi et al. 2016), so that no
convolution runs at full resolution: where a step's time goes, a pixel costs four times less with each halving.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aejax.nn.layers import Conv, Lowering, from_batch_minor, to_batch_minor


def pixel_shuffle(x: Array, factor: int) -> Array:
    """Depth to space: (C * factor**2, H, W, batch) -> (C, H * factor, W * factor, batch).

    Input channel (c * factor + i) * factor + j holds pixel (i, j) of each block of output channel c, as in ESPCN.
    """
    c, h, w, b = x.shape
    x = x.reshape(-1, factor, factor, h, w, b).transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(c // factor**2, h * factor, w * factor, b)


def pixel_unshuffle(x: Array, factor: int) -> Array:
    """Space to depth, `pixel_shuffle` undone: (C, H, W, batch) -> (C * factor**2, H / factor, W / factor, batch)."""
    c, h, w, b = x.shape
    x = x.reshape(c, h // factor, factor, w // factor, factor, b).transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(c * factor**2, h // factor, w // factor, b)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), without normalisation (Lim et al. 2017): (C, H, W, batch) -> the same."""

    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.relu(Conv(x.shape[0], lowering=self.lowering)(x))
        return x + Conv(x.shape[0], lowering=self.lowering)(y)


class UNet(nn.Module):
    """Images to logits of Bernoulli pixels, both (batch, height, width, channels), of any size.

    The U-Net of Ronneberger et al. (2015) in small: residual blocks on the way down and up, skip connections that are
    added instead of concatenated. `widths` are the channels at 1/2, 1/4, ... of the resolution, `blocks` the residual
    blocks at each of them: on both ways, and at the bottom.
    """

    channels: int = 1
    widths: Sequence[int] = (24, 48)
    blocks: Sequence[int] = (1, 1)
    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, images: Array) -> Array:
        _, height, width, _ = images.shape
        multiple = 2 ** len(self.widths)
        edges = ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0))
        x = to_batch_minor(jnp.pad(images, edges, mode="edge"))
        skips = []
        for level, features in enumerate(self.widths):
            # 3x3 on the pixels, then 2x2 with stride 2.
            x = Conv(features, kernel_size=1 if level else 3, lowering=self.lowering)(pixel_unshuffle(x, 2))
            x = self._blocks(x, level)
            skips.append(x)
        for level in reversed(range(len(self.widths) - 1)):
            y = Conv(4 * self.widths[level], kernel_size=1, lowering=self.lowering)(nn.relu(x))
            x = self._blocks(skips[level] + pixel_shuffle(y, 2), level)
        logits = from_batch_minor(pixel_shuffle(Conv(4 * self.channels, lowering=self.lowering)(nn.relu(x)), 2))
        return logits[:, :height, :width]

    def _blocks(self, x: Array, level: int) -> Array:
        for _ in range(self.blocks[level]):
            x = ResidualBlock(self.lowering)(x)
        return x


class EDSR(nn.Module):
    """Small images to large: (batch, height, width, channels) -> (batch, height * factor, width * factor, channels).

    The baseline of Lim et al. (2017) in small: residual blocks at low resolution and one sub-pixel convolution straight
    to the full one (Shi et al. 2016), whose result is added to bicubic upscaling. A gain that starts at 0 (ReZero,
    Bachlechner et al. 2020) makes the untrained network bicubic upscaling itself. Outputs are pixels, not logits.
    """

    channels: int = 1
    factor: int = 2
    width: int = 24
    blocks: int = 2
    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, images: Array) -> Array:
        x = to_batch_minor(images)
        c, h, w, b = x.shape
        upscaled = jax.image.resize(x, (c, h * self.factor, w * self.factor, b), "cubic")
        head = Conv(self.width, lowering=self.lowering)(x - 0.5)
        y = head
        for _ in range(self.blocks):
            y = ResidualBlock(self.lowering)(y)
        y = Conv(self.channels * self.factor**2, lowering=self.lowering)(y + head)
        y *= self.param("gain", nn.initializers.zeros_init(), (y.shape[0], 1, 1, 1))
        return from_batch_minor(upscaled + pixel_shuffle(y, self.factor))
