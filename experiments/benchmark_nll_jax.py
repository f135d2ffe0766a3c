"""The importance-sampled likelihood in JAX: this project's, and one image after another, as people write it."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jax import Array

from aejax import rng
from aejax.data.feeds import as_float, device_feed
from aejax.evaluation.likelihood import importance_sampled_nll
from aejax.methods.method import TrainState
from aejax.methods.variational import Model, sample_terms, vae
from aejax.nn.dense import MLP, DenseDecoder, GaussianEncoder
from aejax.pixels import BERNOULLI, SQUARED_ERROR_OF_SIGMOID, Pixels
from aejax.training.batches import over_images
from aejax.training.devices import make_mesh
from aejax.training.seeds import roots
from aejax.training.steps import compile_steps, initial_progress
from experiments.benchmark_jax import device_of
from experiments.benchmark_worker import Contender

BATCH = 20  # images at once, as in the experiments' own evaluation
_TRAINED_ON = 100  # images per step


class Size(NamedTuple):
    """A VAE with one hidden layer on each side."""

    hidden: int
    latents: int
    pixels: Pixels


SIZES = {"lesson": Size(512, 2, SQUARED_ERROR_OF_SIGMOID), "flax": Size(500, 20, BERNOULLI)}

Estimate = Callable[[int], np.ndarray]


def model_of(size: str, image_shape: tuple[int, ...]) -> Model:
    hidden, latents, pixels = SIZES[size]
    return Model(GaussianEncoder(MLP((hidden,)), latents), DenseDecoder((hidden,), image_shape), pixels)


def build(spec: Mapping[str, Any]) -> Contender | dict[str, Any]:
    """The contender spec["form"] of spec["size"] with the params of spec["params"], an .npz file.

    A step is an image of spec["images"]. With spec["check"], instead {"nll": of so many images}; with the form
    "params", instead trains the params over spec["steps"] steps, and saves them.
    """
    images = np.load(spec["images"])
    model = model_of(spec["size"], images.shape[1:])
    mesh = make_mesh(spec["devices"], BATCH, dense=True)
    if spec["form"] == "params":
        feed = device_feed(images, min(_TRAINED_ON, len(images)), make_mesh(1, _TRAINED_ON, dense=True))
        method, root = vae(model, optax.adam(1e-3)), roots(spec["seed"], 1)
        progress, train = initial_progress(method, feed, root), compile_steps(method, feed)
        for epoch in feed.blocks(root, 0, spec["steps"]):
            first = epoch.stop - feed.steps_per_epoch
            count = min(epoch.stop, spec["steps"]) - first
            progress = train(progress, epoch.images, epoch.order, root, np.int32(first), np.int32(count))
        params = jax.tree.map(lambda x: x[0], progress.state.params)
        np.savez(spec["params"], **traverse_util.flatten_dict(params, sep="/"))
        return {"platform": jax.default_backend(), "loss": float(progress.sums["loss"][0] / count)}

    with np.load(spec["params"]) as saved:
        params = jax.device_put(traverse_util.unflatten_dict(dict(saved), sep="/"))
    forms = {"aejax": _batches, "eager": _loop, "compiled": _compiled_loop}
    estimate = forms[spec["form"]](model, params, images, spec, mesh)
    if spec.get("check"):
        return {"nll": estimate(spec["check"]).tolist()}

    def block(count: int) -> None:
        estimate(count)  # in numpy: it is complete

    return Contender(block, *device_of(mesh))


def _batches(model: Model, params: Any, images: np.ndarray, spec: Mapping[str, Any], mesh: Any) -> Estimate:
    apply = over_images(importance_sampled_nll(model, spec["samples"]), mesh, BATCH)
    state = TrainState(params, (), jnp.int32(0))
    return lambda count: apply(state, images[:count])


def _nll_of_one(model: Model, params: Any, image: Array, key: Array, samples: int) -> Array:
    log_weights = sample_terms(model, params, image[None], key, samples).log_weights()
    return math.log(samples) - jax.nn.logsumexp(log_weights)


def _loop(
    model: Model, params: Any, images: np.ndarray, spec: Mapping[str, Any], mesh: Any, nll: Any = _nll_of_one
) -> Estimate:
    root = rng.root_key(spec["seed"])

    def estimate(count: int) -> np.ndarray:
        values = []
        for i, image in enumerate(as_float(images[:count])):
            key = rng.stream(root, "image", i)
            values.append(float(nll(model, params, jnp.asarray(image), key, spec["samples"])))
        return np.array(values)

    return estimate


def _compiled_loop(model: Model, params: Any, images: np.ndarray, spec: Mapping[str, Any], mesh: Any) -> Estimate:
    return _loop(model, params, images, spec, mesh, jax.jit(_nll_of_one, static_argnums=(0, 4)))
