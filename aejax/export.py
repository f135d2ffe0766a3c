"""Trained networks as files for programs without this package: functions by `jax.export`, parameters as safetensors.

A function takes all parameters, as `safetensors.numpy.load_file` returns them, then arrays whose first axis is the
batch, of any size. It returns arrays by name. One artefact runs on each of PLATFORMS.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array, export
from safetensors.numpy import save

from aejax.errors import UserError
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import Params
from aejax.models.trained import Trained
from aejax.nn.layers import with_lowering

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


class Function(NamedTuple):
    """What a trained network computes.

    Attributes:
      apply: (params, *inputs) -> outputs by name; all float32, with the batch as their first axis.
      inputs: the shape of one example of each, by name. Names are those of MEANINGS, as are the outputs'.
    """

    apply: Callable[..., Arrays]
    inputs: dict[str, tuple[int, ...]]


Functions = dict[str, Function]


def of_trained(trained: Trained) -> Functions:
    """Returns the "encoder" and the "decoder" of a trained model; of one without latents the whole, a "restorer".

    An encoder with a Gaussian posterior gives its moments, others give latents, those of classes and style by name.
    """
    model, images = portable(trained.model), {"images": trained.input_shape}
    if not isinstance(model, LatentVariableModel):

        def restore(params: Params, images: Array) -> Arrays:
            return {"images": model.restore(params, images)}

        def encode(params: Params, images: Array) -> Arrays:
            return {"latents": model.encode(params, images)}

        if not trained.has_latents:
            return {"restorer": Function(restore, images)}
        return _pair(Function(encode, images), model, trained.params)

    extra = model.posterior.extra_inputs()
    return _pair(Function(model.posterior.outputs, {**images, **extra}), model, trained.params)


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


def portable(model: Any) -> Any:
    """Returns the model, or any part of one, whose layers run on all of PLATFORMS; its params stay what they are."""
    if isinstance(model, nn.Module):
        return with_lowering(model, "portable")
    if isinstance(model, tuple) and not hasattr(model, "_fields"):
        return tuple(portable(part) for part in model)
    if not dataclasses.is_dataclass(model) or isinstance(model, type):
        return model
    fields = {f.name: portable(getattr(model, f.name)) for f in dataclasses.fields(model) if f.init}
    return dataclasses.replace(model, **fields)


def _pair(encoder: Function, model: Any, params: Params) -> Functions:
    """Returns both functions. The decoder takes what the encoder gives; of moments, a sample of their Gaussian."""

    def decode(params: Params, *codes: Array) -> Arrays:
        whole = codes[0] if len(codes) == 1 else jnp.concatenate(codes, axis=1)
        return {"images": model.pictures(params, whole)}

    images = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in encoder.inputs.values()]
    codes = {name: code.shape[1:] for name, code in jax.eval_shape(encoder.apply, params, *images).items()}
    return {"encoder": encoder, "decoder": Function(decode, {"latents": codes["mean"]} if "mean" in codes else codes)}


def _described(name: str, aval: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else str(size) for size in aval.shape]
    return {"shape": shape, "dtype": str(aval.dtype), "meaning": MEANINGS[name]}
