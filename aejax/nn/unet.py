"""A small U-Net for denoising.

Resolution is changed by moving pixels between space and channels (sub-pixel convolution, Shi et al. 2016,
https://arxiv.org/abs/1609.05158), so that no convolution runs at full resolution, where it would cost most.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from aejax.nn.layers import Conv, Lowering, from_batch_minor, pixel_shuffle, pixel_unshuffle, to_batch_minor
from aejax.nn.residual import ResidualBlock


class UNet(nn.Module):
    """Images to logits of Bernoulli pixels, both (batch, height, width, channels), of any size.

    A small version of the U-Net of Ronneberger et al. 2015 (https://arxiv.org/abs/1505.04597), with residual blocks on
    the way down and up, and with skip connections that are added instead of concatenated. `widths` are the channels at
    1/2, 1/4, ... of the resolution. `blocks` is the number of residual blocks at each of these levels, on the way down
    and again on the way up; the lowest level has them once.
    """

    channels: int = 1
    widths: tuple[int, ...] = (24, 48)
    blocks: tuple[int, ...] = (1, 1)
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
