"""A decoder as a list of plain layers in JSON, which decode.js interprets."""

import base64
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from aejax.nn.convolutional import ConvDecoder
from aejax.nn.heads import LatentDecoder
from aejax.nn.mlp import DenseDecoder

Layer = dict[str, Any]

_ACTIVATIONS = (("relu", nn.relu), ("tanh", nn.tanh), ("tanh", jnp.tanh))


def layer_list(decoder: nn.Module, params: Mapping[str, Any]) -> list[Layer]:
    """Lists the layers that take two latents to pixels in [0, 1], the sigmoid of the decoder's outputs.

    `decoder` is a DenseDecoder with ReLU or tanh or a LatentDecoder of a ConvDecoder, `params` its {"params": ...}.
    Arrays are (height, width, channels) in C order, weights base64 of little-endian float32:

      {"type": "dense", "inputs", "outputs", "kernel", "bias"}: kernel (inputs, outputs)
      {"type": "reshape", "shape"}: to [height, width, channels]
      {"type": "upsample"}: nearest, 2x
      {"type": "conv", "size", "padding", "inputs", "outputs", "kernel", "bias"}: stride 1, padding "SAME" or "VALID",
        kernel (size, size, inputs, outputs)
      {"type": "relu"}, {"type": "tanh"}, {"type": "sigmoid"}

    Raises ValueError for other decoders and for any number of latents but two.
    """
    weights = params["params"]
    if isinstance(decoder, DenseDecoder):
        layers = _dense_decoder(decoder, weights)
    elif isinstance(decoder, LatentDecoder) and isinstance(decoder.trunk, ConvDecoder):
        maps = [_dense(weights["maps"]), {"type": "relu"}, _reshape(decoder.map_shape)]
        layers = [*maps, *_conv_decoder(weights["trunk"])]
    else:
        trunk = f" of {type(decoder.trunk).__name__}" if isinstance(decoder, LatentDecoder) else ""
        raise ValueError(
            f"expected a DenseDecoder or a LatentDecoder of ConvDecoder, got {type(decoder).__name__}{trunk}"
        )
    if layers[0]["inputs"] != 2:
        raise ValueError(f"expected a decoder of 2 latents, got one of {layers[0]['inputs']}")
    return [*layers, {"type": "sigmoid"}]


def encode(array: ArrayLike, dtype: str) -> str:
    """Writes the array's bytes in C order as base64; `dtype` includes the byte order, such as "<f4"."""
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode("ascii")


def _dense_decoder(decoder: DenseDecoder, weights: Mapping[str, Any]) -> list[Layer]:
    names = [name for name, function in _ACTIVATIONS if decoder.activation is function]
    if not names:
        raise ValueError(f"expected the activation nn.relu or nn.tanh, got {decoder.activation}")
    layers = []
    for i in range(len(decoder.widths)):
        layers += [_dense(weights["MLP_0"][f"Dense_{i}"]), {"type": names[0]}]
    return [*layers, _dense(weights["pixels"]), _reshape(decoder.image_shape)]


def _conv_decoder(weights: Mapping[str, Any]) -> list[Layer]:
    layers = [_conv(weights["Conv_0"], "SAME")]
    for i, padding in enumerate(("SAME", "VALID", "SAME")):
        layers += [{"type": "relu"}, {"type": "upsample"}, _conv(weights[f"UpsampleConv_{i}"], padding)]
    return layers


def _reshape(shape: Any) -> Layer:
    return {"type": "reshape", "shape": [int(size) for size in shape]}


def _dense(weights: Mapping[str, Any]) -> Layer:
    return {"type": "dense", **_kernel_and_bias(weights)}


def _conv(weights: Mapping[str, Any], padding: str) -> Layer:
    return {"type": "conv", "size": weights["kernel"].shape[0], "padding": padding, **_kernel_and_bias(weights)}


def _kernel_and_bias(weights: Mapping[str, Any]) -> Layer:
    inputs, outputs = weights["kernel"].shape[-2:]
    arrays = {name: encode(weights[name], "<f4") for name in ("kernel", "bias")}
    return {"inputs": inputs, "outputs": outputs, **arrays}
