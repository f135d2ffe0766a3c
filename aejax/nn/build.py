"""The networks that `--network` names, for images of any shape: an encoder's trunk and a decoder."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import flax.linen as nn

from aejax.errors import UserError
from aejax.nn.convolutional import ConvAutoencoder, ConvDecoder, ConvEncoder, map_shape
from aejax.nn.heads import Autoencoder, LatentDecoder, LatentEncoder
from aejax.nn.layers import Lowering
from aejax.nn.mlp import MLP, Activation, DenseDecoder
from aejax.nn.residual import ResidualDecoder, ResidualEncoder

Network = Literal["residual", "tutorial", "dense"]
"""residual: convolutions in residual blocks, with a linear path around them; tutorial: the small convolutional network
of the tutorial; dense: fully connected layers."""
TUTORIAL_LATENTS = 128
"""The number of latents, 4 x 4 x 8 maps, of the tutorial's autoencoder of 28 x 28 pixels."""

_SIZES: dict[Network, str] = {
    "residual": "at least 8 x 8 pixels",
    "tutorial": "a height and a width of 12, 20, 28, 36 or further steps of 8",
    "dense": "at least 1 x 1 pixels",
}


def takes(name: Network, image_shape: tuple[int, ...]) -> bool:
    """Tells whether a network can encode and decode images of this shape, (height, width, channels)."""
    height, width, _ = image_shape
    match name:
        case "residual":
            return min(height, width) >= 8
        case "tutorial":
            return height % 8 == width % 8 == 4 and min(height, width) >= 12
        case "dense":
            return min(height, width) >= 1


def check_image_shape(name: Network, image_shape: tuple[int, ...], also: Sequence[str] = ()) -> None:
    """Raises UserError for images that a network cannot take; the message names the networks that can.

    Args:
      name: the network.
      image_shape: (height, width, channels).
      also: further values of the experiment's --network, which take images of any size.
    """
    if takes(name, image_shape):
        return
    height, width, _ = image_shape
    names = [*also, *(other for other in get_args(Network) if takes(other, image_shape))]
    others = " or ".join(f"--network {other}" for other in names)
    raise UserError(
        f"--network {name} needs images with {_SIZES[name]}, not {height} x {width}: use {others}, or resize the "
        "images with --image-size 28"
    )


def trunk_and_decoder(
    name: Network,
    image_shape: tuple[int, ...],
    latents: int,
    *,
    width: int = 16,
    levels: int = 2,
    blocks: int = 1,
    hidden: tuple[int, ...] = (1024, 1024),
    activation: Activation = nn.relu,
    outputs_per_value: int = 1,
    lowering: Lowering = "auto",
) -> tuple[nn.Module, nn.Module]:
    """Builds an encoder's trunk and a decoder; `aejax.nn.heads` joins the trunk to latents.

    Args:
      name: the network.
      image_shape: (height, width, channels).
      latents: the number of latents.
      width: channels of "residual" at half the resolution; they double with each further halving.
      levels: the number of times that "residual" halves the resolution, at most log2 of the shorter side.
      blocks: residual blocks at each level of "residual", in the encoder and in the decoder.
      hidden: widths of the hidden layers of "dense", from the images to the latents; the decoder mirrors them.
      activation: of the hidden layers of "dense".
      outputs_per_value: outputs of the decoder for each value of an image, such as 2 for a mean and a log-variance.
      lowering: of convolutions.

    Returns:
      The trunk, images (batch, height, width, channels) -> features (batch, ...), and the decoder, latents
      (batch, latents) -> outputs (batch, height, width, channels * outputs_per_value).

    Raises:
      UserError: if the network cannot take images of this shape, or cannot halve them `levels` times.
    """
    check_image_shape(name, image_shape)
    rows, columns, channels = image_shape
    outputs = (rows, columns, channels * outputs_per_value)
    match name:
        case "residual":
            most = min(rows, columns).bit_length() - 1
            if not 1 <= levels <= most:
                raise UserError(f"--levels {levels}: images of {rows} x {columns} can be halved 1 to {most} times")
            decoder = ResidualDecoder(outputs, width, levels, blocks, lowering)
            return ResidualEncoder(width, levels, blocks, lowering), decoder
        case "tutorial":
            maps_to_images = ConvDecoder(outputs[-1], lowering=lowering)
            return ConvEncoder(lowering=lowering), LatentDecoder(maps_to_images, map_shape(rows, columns))
        case "dense":
            return MLP(hidden, activation), DenseDecoder(hidden[::-1], outputs, activation)


def of_options(
    options: Any, image_shape: tuple[int, ...], latents: int, **settings: Any
) -> tuple[nn.Module, nn.Module]:
    """Builds a trunk and a decoder from options named as the arguments of `trunk_and_decoder`, which says more."""
    named = {name: getattr(options, name) for name in ("width", "levels", "blocks", "hidden")}
    return trunk_and_decoder(options.network, image_shape, latents, **named, **settings)


def autoencoder(options: Any, image_shape: tuple[int, ...], also: Sequence[str] = ()) -> nn.Module:
    """Builds an encoder and a decoder with a vector of latents between them.

    Args:
      options: `network`, `latents`, and those that `of_options` reads.
      image_shape: (height, width, channels) of the outputs.
      also: as of `check_image_shape`.

    Returns:
      Inputs (batch, ...), which may be smaller images, -> outputs (batch, height, width, channels). The tutorial's
      network with its own number of latents has maps in place of the vector, as in the tutorial.

    Raises:
      UserError: as of `trunk_and_decoder`.
    """
    check_image_shape(options.network, image_shape, also)
    if options.network == "tutorial" and options.latents == TUTORIAL_LATENTS:
        return ConvAutoencoder(image_shape[-1])
    trunk, decoder = of_options(options, image_shape, options.latents)
    return Autoencoder(LatentEncoder(trunk, options.latents), decoder)
