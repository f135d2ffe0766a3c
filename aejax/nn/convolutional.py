"""The convolutional encoder and decoder of the tutorial, and the autoencoder that joins them.

The tutorial is the notebook AutoEncodersPyTorch of https://github.com/microsoft/AI-For-Beginners.
"""

import flax.linen as nn
from jax import Array

from aejax.errors import UserError
from aejax.nn.layers import Conv, ConvMaxPool, Lowering, UpsampleConv, from_batch_minor, to_batch_minor


def check_image_size(height: int, width: int) -> None:
    """Raises UserError for images whose size the encoder and the decoder together do not restore."""
    if height % 8 != 4 or width % 8 != 4 or min(height, width) < 12:
        near = max(12, 8 * (max(height, width) // 8) - 4)
        raise UserError(
            f"this network needs images whose height and width are 12, 20, 28, 36 or further such steps of 8, not "
            f"{height} x {width}: resize them with --image-size {near} or --image-size {near + 8}"
        )


def map_shape(height: int, width: int) -> tuple[int, int, int]:
    """Computes the shape (h, w, 8) of the feature maps between ConvEncoder and ConvDecoder for images of this size.

    Raises:
      UserError: as check_image_size.
    """
    check_image_size(height, width)
    return (height + 4) // 8, (width + 4) // 8, 8


class ConvEncoder(nn.Module):
    """Images to feature maps: 3x3 convolutions with ReLU, each followed by 2x2 max-pooling; the last is padded by 1.

    (batch, height, width, channels) -> (batch, h, w, widths[-1]); with three layers 28 -> 14 -> 7 -> 4.
    """

    widths: tuple[int, ...] = (16, 8, 8)
    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, images: Array) -> Array:
        x = to_batch_minor(images)
        for width in self.widths[:-1]:
            x = ConvMaxPool(width, lowering=self.lowering)(x)
        x = ConvMaxPool(self.widths[-1], pool_padding=1, lowering=self.lowering)(x)
        return from_batch_minor(x)


class ConvDecoder(nn.Module):
    """Feature maps to logits of Bernoulli pixels: three times convolution, ReLU, upsampling; an image layer.

    (batch, h, w, features) -> (batch, 8 h - 4, 8 w - 4, channels); 4 -> 8 -> 16 -> 14 (unpadded) -> 28.
    """

    channels: int = 1
    widths: tuple[int, ...] = (8, 8, 16)
    lowering: Lowering = "auto"

    @nn.compact
    def __call__(self, latents: Array) -> Array:
        first, second, third = self.widths
        x = to_batch_minor(latents)
        x = nn.relu(Conv(first, lowering=self.lowering)(x))
        x = nn.relu(UpsampleConv(second, lowering=self.lowering)(x))
        x = nn.relu(UpsampleConv(third, padding="VALID", lowering=self.lowering)(x))
        return from_batch_minor(UpsampleConv(self.channels, lowering=self.lowering)(x))


class ConvAutoencoder(nn.Module):
    """Images to logits of the same shape: (batch, height, width, channels), with a height and a width of 8 k + 4."""

    channels: int = 1
    encoder_widths: tuple[int, ...] = (16, 8, 8)
    decoder_widths: tuple[int, ...] = (8, 8, 16)
    lowering: Lowering = "auto"

    def setup(self) -> None:
        self.encoder = ConvEncoder(self.encoder_widths, self.lowering)
        self.decoder = ConvDecoder(self.channels, self.decoder_widths, self.lowering)

    def __call__(self, images: Array) -> Array:
        return self.decoder(self.encoder(images))
