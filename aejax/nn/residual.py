"""Residual convolutional networks of images of any size, with a linear path around them.

The linear path alone can learn what principal component analysis does, so that the convolutions only add to it.
Resolution is changed by moving pixels between space and channels (sub-pixel convolution, Shi et al. 2016,
https://arxiv.org/abs/1609.05158), so that no convolution runs at full resolution, where it would cost most.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from aejax.nn.layers import Conv, Lowering, from_batch_minor, pixel_shuffle, pixel_unshuffle, to_batch_minor


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), without normalisation: (C, H, W, batch) -> the same.

    Lim et al. 2017 (https://arxiv.org/abs/1707.02921), figure 2c. With `preactivation` it is x + conv(relu(conv(
    relu(x)))), as in He et al. 2016 (https://arxiv.org/abs/1603.05027), figure 4e without its normalisation.
    """

    lowering: Lowering = "auto"
    preactivation: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.relu(x) if self.preactivation else x
        y = nn.relu(Conv(x.shape[0], lowering=self.lowering)(y))
        return x + Conv(x.shape[0], lowering=self.lowering)(y)


class ResidualEncoder(nn.Module):
    """Images to features: (batch, height, width, channels) -> (batch, features), of any height and width.

    At each level the resolution is halved, then `blocks` residual blocks follow; the channels are `width` at half the
    resolution and double with each further level. Images are padded on the right and at the bottom with their last
    column and row. The features are those of the last level and the pixels themselves, so that the layer that follows
    is also the linear path.
    """

    width: int = 16
    levels: int = 2
    blocks: int = 1
    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, images: Array) -> Array:
        batch, rows, columns, _ = images.shape
        multiple = 2**self.levels
        edges = ((0, 0), (0, -rows % multiple), (0, -columns % multiple), (0, 0))
        x = to_batch_minor(jnp.pad(images, edges, mode="edge"))
        for level in range(self.levels):
            # 3x3 on the pixels, then 2x2 with stride 2.
            kernel_size = 1 if level else 3
            x = Conv(self.width * 2**level, kernel_size, lowering=self.lowering)(pixel_unshuffle(x, 2))
            for _ in range(self.blocks):
                x = ResidualBlock(self.lowering, preactivation=True)(x)
        features = from_batch_minor(nn.relu(x)).reshape(batch, -1)
        return jnp.concatenate([features, images.reshape(batch, -1)], axis=1)


class ResidualDecoder(nn.Module):
    """Latents to outputs such as logits: (batch, latents) -> (batch, *image_shape).

    The mirror of ResidualEncoder: a dense layer to the last level's maps, residual blocks at each level, and the
    resolution doubled after each. A dense layer from the latents to the outputs, the linear path, is added.
    """

    image_shape: tuple[int, int, int]
    width: int = 16
    levels: int = 2
    blocks: int = 1
    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, latents: Array) -> Array:
        height, width, channels = self.image_shape
        multiple, top = 2**self.levels, self.width * 2 ** (self.levels - 1)
        maps = (-(-height // multiple), -(-width // multiple), top)
        x = nn.Dense(math.prod(maps), name="maps")(latents)
        x = to_batch_minor(x.reshape(-1, *maps))
        for level in reversed(range(self.levels)):
            for _ in range(self.blocks):
                x = ResidualBlock(self.lowering, preactivation=True)(x)
            features, kernel_size = (self.width * 2 ** (level - 1), 1) if level else (channels, 3)
            x = pixel_shuffle(Conv(4 * features, kernel_size, lowering=self.lowering)(nn.relu(x)), 2)
        outputs = from_batch_minor(x)[:, :height, :width]
        linear = nn.Dense(math.prod(self.image_shape), name="linear")(latents)
        return outputs + linear.reshape(outputs.shape)
