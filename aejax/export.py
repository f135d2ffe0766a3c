"""Trained networks as files for programs without this package: functions by `jax.export`, parameters as safetensors.

A function takes all parameters, as `safetensors.numpy.load_file` returns them, then arrays whose first axis is the
batch, of any size. It returns arrays by name. One artefact runs on each of PLATFORMS.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array, export
from safetensors.numpy import save

from aejax.errors import UserError
from aejax.methods import adversarial, semi_supervised, variational
from aejax.methods.method import Params
from aejax.nn.convolutional import ConvAutoencoder
from aejax.nn.heads import Autoencoder
from aejax.nn.layers import with_lowering
from aejax.pixels import Pixels

PLATFORMS = ("cpu", "cuda", "tpu")
PARAMETERS, MANIFEST = "parameters.safetensors", "export.json"
MEANINGS = {
    "images": "pixels in [0, 1]: batch, height, width, channels",
    "latents": "the code of each image",
    "mean": "of the Gaussian posterior over latents",
    "log_variance": "natural logarithm of that posterior's variance",
    "noise": "N(0, I), for the caller to draw",
    "classes": "probabilities of classes, or of clusters",
    "style": "the code of what the class leaves open",
}

Arrays = dict[str, Array]
Model = TypeVar("Model", variational.Model, adversarial.Model, semi_supervised.Model)


class Function(NamedTuple):
    """What a trained network computes.

    Attributes:
      apply: (params, *inputs) -> outputs by name; all float32, with the batch as their first axis.
      inputs: the shape of one example of each, by name. Names are those of MEANINGS, as are the outputs'.
    """

    apply: Callable[..., Arrays]
    inputs: dict[str, tuple[int, ...]]


Functions = dict[str, Function]


def of_network(network: nn.Module, pixels: Pixels, params: Params, image_shape: tuple[int, ...]) -> Functions:
    """The "encoder" and "decoder" of an autoencoder; of any other network of images the whole, a "restorer".

    `image_shape` is that of the network's inputs: height, width, channels.
    """
    network = with_lowering(network, "portable")

    def applied(params: Params, x: Array, method: Callable[..., Array] | None = None) -> Any:
        return network.apply(params, x, method=method)

    def encode(params: Params, images: Array) -> Arrays:
        return {"latents": applied(params, images, lambda network, x: network.encoder(x))}

    def decode(params: Params, latents: Array) -> Arrays:
        return {"images": pixels.picture(applied(params, latents, lambda network, x: network.decoder(x)))}

    def restore(params: Params, images: Array) -> Arrays:
        return {"images": pixels.picture(applied(params, images))}

    inputs = {"images": image_shape}
    if isinstance(network, ConvAutoencoder | Autoencoder):
        return _pair(Function(encode, inputs), decode, params)
    return {"restorer": Function(restore, inputs)}


def of_vae(model: variational.Model, params: Params, image_shape: tuple[int, ...]) -> Functions:
    """The "encoder", to the moments of the posterior, and the "decoder"."""
    model = _portable(model)

    def encode(params: Params, images: Array) -> Arrays:
        return _moments(model.posterior(params, images))

    return _pair(Function(encode, {"images": image_shape}), _decode(model), params)


def of_aae(model: adversarial.Model, params: Params, image_shape: tuple[int, ...]) -> Functions:
    """The "encoder", to codes or the moments of their posterior, and the "decoder"."""
    model = _portable(model)
    noise = {"noise": (model.noise,)} if model.kind == "universal" else {}

    def encode(params: Params, *inputs: Array) -> Arrays:
        codes: Any = model.encoder.apply(params["encoder"], *inputs)
        return _moments(codes) if model.kind == "gaussian" else {"latents": codes}

    return _pair(Function(encode, {"images": image_shape, **noise}), _decode(model), params)


def of_semi_supervised(model: semi_supervised.Model, params: Params, image_shape: tuple[int, ...]) -> Functions:
    """The "encoder", to probabilities of the classes and the style, and the "decoder" of both."""
    model = _portable(model)

    def encode(params: Params, images: Array) -> Arrays:
        logits, style = model.encode(params, images)
        return {"classes": jax.nn.softmax(logits), "style": style}

    return _pair(Function(encode, {"images": image_shape}), _decode(model), params)


def exported(function: Function, params: Params, platforms: tuple[str, ...] = PLATFORMS) -> export.Exported:
    """The function of (parameters by their path, *inputs) for batches of any size."""

    def of_flat(flat: Mapping[str, Array], *inputs: Array) -> Arrays:
        return function.apply(unflatten_dict(flat, sep="/"), *inputs)

    (batch,) = export.symbolic_shape("batch")
    inputs = [jax.ShapeDtypeStruct((batch, *shape), jnp.float32) for shape in function.inputs.values()]
    flat = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in flatten_dict(params, sep="/").items()}
    return export.export(jax.jit(of_flat), platforms=platforms)(flat, *inputs)


def write(folder: Path, functions: Functions, params: Params, about: Mapping[str, Any]) -> list[Path]:
    """Writes <name>.bin of each function, PARAMETERS and, with `about` in it, MANIFEST, which describes them.

    Returns:
      The files.

    Raises:
      UserError: if the folder cannot be written.
    """
    files: dict[str, bytes] = {}
    described = {}
    for name, function in functions.items():
        artefact = exported(function, params)
        files[f"{name}.bin"] = bytes(artefact.serialize())
        outputs = jax.tree.unflatten(artefact.out_tree, artefact.out_avals)
        inputs = zip(function.inputs, artefact.in_avals[-len(function.inputs) :], strict=True)
        described[name] = {
            "call": f"jax.export.deserialize(Path('{name}.bin').read_bytes()).call(parameters, "
            f"{', '.join(function.inputs)}) -> dict",
            "inputs": {name: _described(name, aval) for name, aval in inputs},
            "outputs": {name: _described(name, aval) for name, aval in outputs.items()},
        }
    flat = {path: np.ascontiguousarray(leaf) for path, leaf in flatten_dict(params, sep="/").items()}
    files[PARAMETERS] = save(flat)
    manifest = {
        **about,
        "parameters": f"safetensors.numpy.load_file('{PARAMETERS}')",
        "functions": described,
        "platforms": PLATFORMS,
        "jax": jax.__version__,
    }
    files[MANIFEST] = json.dumps(manifest, indent=2).encode() + b"\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, contents in files.items():
            (folder / file).write_bytes(contents)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): choose another folder with --output") from None
    return [folder / file for file in files]


def _portable(model: Model) -> Model:
    return model._replace(
        encoder=with_lowering(model.encoder, "portable"), decoder=with_lowering(model.decoder, "portable")
    )


def _decode(model: Model) -> Callable[..., Arrays]:
    return lambda params, *codes: {"images": model.pixels.picture(model.decode(params, *codes))}


def _moments(moments: tuple[Array, Array]) -> Arrays:
    return dict(zip(("mean", "log_variance"), moments, strict=True))


def _pair(encoder: Function, decode: Callable[..., Arrays], params: Params) -> Functions:
    """The decoder takes what the encoder gives, or for moments a sample of their Gaussian."""
    images = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in encoder.inputs.values()]
    codes = {name: code.shape[1:] for name, code in jax.eval_shape(encoder.apply, params, *images).items()}
    return {"encoder": encoder, "decoder": Function(decode, {"latents": codes["mean"]} if "mean" in codes else codes)}


def _described(name: str, aval: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else str(size) for size in aval.shape]
    return {"shape": shape, "dtype": str(aval.dtype), "meaning": MEANINGS[name]}
