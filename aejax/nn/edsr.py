"""A small EDSR, for super-resolution."""

import flax.linen as nn
import jax
from jax import Array

from aejax.nn.layers import Conv, Lowering, from_batch_minor, pixel_shuffle, to_batch_minor
from aejax.nn.residual import ResidualBlock


class EDSR(nn.Module):
    """Small images to large: (batch, height, width, channels) -> (batch, height * factor, width * factor, channels).

    A small version of the baseline of Lim et al. 2017 (https://arxiv.org/abs/1707.02921). Residual blocks run at low
    resolution; one sub-pixel convolution (Shi et al. 2016, https://arxiv.org/abs/1609.05158) then leads to the full
    resolution, and its result is added to bicubic upscaling. It is multiplied by a gain that starts at 0 (ReZero,
    Bachlechner et al. 2020, https://arxiv.org/abs/2003.04887), so that the untrained network is bicubic upscaling.
    Outputs are pixels, not logits.
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
