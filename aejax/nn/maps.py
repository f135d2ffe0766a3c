"""Networks between images and maps of features at a lower resolution, without a bottleneck vector."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from aejax.nn.layers import Conv, Lowering, from_batch_minor, pixel_shuffle, pixel_unshuffle, to_batch_minor
from aejax.nn.residual import ResidualBlock


def map_shape(image_shape: tuple[int, ...], levels: int) -> tuple[int, int]:
    """Returns the height and width of maps of images (height, width, channels), rounded up."""
    return -(-image_shape[0] // 2**levels), -(-image_shape[1] // 2**levels)


class MapEncoder(nn.Module):
    """Images to maps: (batch, height, width, channels) -> (batch, height / 2^levels, width / 2^levels, features).

    Each level halves the resolution by moving pixels into channels; the residual blocks follow at the lowest
    resolution, as in van den Oord et al. (2017, arXiv:1711.00937), section 4.1. Images are padded on the right and at
    the bottom with their last column and row.
    """

    features: int
    width: int = 64
    levels: int = 2
    blocks: int = 2
    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, images: Array) -> Array:
        _, rows, columns, _ = images.shape
        multiple = 2**self.levels
        edges = ((0, 0), (0, -rows % multiple), (0, -columns % multiple), (0, 0))
        x = to_batch_minor(jnp.pad(images, edges, mode="edge"))
        for level in range(self.levels):
            x = nn.relu(x) if level else x
            x = Conv(self.width >> (self.levels - 1 - level) or 1, 3, lowering=self.lowering)(pixel_unshuffle(x, 2))
        for _ in range(self.blocks):
            x = ResidualBlock(self.lowering, preactivation=True)(x)
        return from_batch_minor(Conv(self.features, 1, lowering=self.lowering)(nn.relu(x)))


class MapDecoder(nn.Module):
    """Maps to outputs such as logits: the mirror of MapEncoder, cropped to image_shape, (height, width, channels)."""

    image_shape: tuple[int, int, int]
    width: int = 64
    levels: int = 2
    blocks: int = 2
    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, maps: Array) -> Array:
        height, width, channels = self.image_shape
        x = Conv(self.width, 3, lowering=self.lowering)(to_batch_minor(maps))
        for _ in range(self.blocks):
            x = ResidualBlock(self.lowering, preactivation=True)(x)
        for level in reversed(range(self.levels)):
            features = self.width >> (self.levels - level) or 1 if level else channels
            x = pixel_shuffle(Conv(4 * features, 3, lowering=self.lowering)(nn.relu(x)), 2)
        return from_batch_minor(x)[:, :height, :width]
