"""The importance-sampled likelihood in JAX: this project's, and one image after another, as people write it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jax import Array
from jax.sharding import Mesh

from aejax import batching, rng
from aejax.data.feeds import device_feed
from aejax.methods.variational import vae
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.likelihoods import Bernoulli, Likelihood, SquaredErrorOfSigmoid
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.models.trained import Trained
from aejax.nn import build as networks
from aejax.nn.heads import GaussianEncoder
from aejax.training.devices import make_mesh
from aejax.training.loop import train
from experiments.benchmark.contenders.jax_systems import device_of
from experiments.benchmark.harness.worker import Contender

BATCH = 20  # images at once in `Trained.log_likelihood`
_TRAINED_ON = 100  # images per step


class Size(NamedTuple):
    """A VAE with one hidden layer on each side."""

    hidden: int
    latents: int
    likelihood: Likelihood


SIZES = {"tutorial": Size(512, 2, SquaredErrorOfSigmoid()), "flax": Size(500, 20, Bernoulli())}

Estimate = Callable[[int], np.ndarray]


def model_of(size: str, image_shape: tuple[int, ...]) -> LatentVariableModel:
    hidden, latents, likelihood = SIZES[size]
    trunk, decoder = networks.trunk_and_decoder("dense", image_shape, latents, hidden=(hidden,))
    posterior = GaussianPosterior(GaussianEncoder(trunk, latents))
    return LatentVariableModel(posterior, decoder, StandardNormal(latents=latents), likelihood)


def build(spec: Mapping[str, Any]) -> Contender | dict[str, Any]:
    """The contender spec["form"] of spec["size"] with the params of spec["params"], an .npz file.

    A step estimates one image of spec["images"]. With spec["check"] it returns {"nll": estimates of that number of
    images} instead. The form "params" trains the params for spec["steps"] steps and saves them.
    """
    images = np.load(spec["images"])
    model = model_of(spec["size"], images.shape[1:])
    mesh = make_mesh(spec["devices"], BATCH, dense=True)
    if spec["form"] == "params":
        one = make_mesh(1, _TRAINED_ON, dense=True)
        feed, method = device_feed(images, min(_TRAINED_ON, len(images)), one), vae(model, optax.adam(1e-3))
        state = train(method, feed, rng.root_key(spec["seed"]), spec["steps"])
        np.savez(spec["params"], **traverse_util.flatten_dict(state.params, sep="/"))
        losses = batching.over_images(method.evaluate, one)(state, images)["loss"]
        return {"platform": jax.default_backend(), "loss": float(losses.mean())}

    with np.load(spec["params"]) as saved:
        params = jax.device_put(traverse_util.unflatten_dict(dict(saved), sep="/"))
    forms = {"aejax": _batches, "eager": _loop, "compiled": _compiled_loop}
    estimate = forms[spec["form"]](model, params, images, spec, mesh)
    if spec.get("check"):
        return {"nll": estimate(spec["check"]).tolist()}

    def block(count: int) -> None:
        estimate(count)  # in numpy: it is complete

    return Contender(block, *device_of(mesh))


def _batches(
    model: LatentVariableModel, params: Any, images: np.ndarray, spec: Mapping[str, Any], mesh: Mesh
) -> Estimate:
    trained = Trained(model, params, images.shape[1:], mesh=mesh)
    return lambda count: -trained.log_likelihood(images[:count], spec["samples"])


def _nll_of_one(model: LatentVariableModel, params: Any, image: Array, key: Array, samples: int) -> Array:
    log_weights = model.terms(params, image[None], key, samples).log_weights()
    return jnp.log(samples) - jax.nn.logsumexp(log_weights)


def _loop(
    model: LatentVariableModel,
    params: Any,
    images: np.ndarray,
    spec: Mapping[str, Any],
    mesh: Mesh,
    nll: Any = _nll_of_one,
) -> Estimate:
    root = rng.root_key(spec["seed"])

    def estimate(count: int) -> np.ndarray:
        values = []
        for i, image in enumerate(batching.as_float(images[:count])):
            key = rng.stream(root, "image", i)
            values.append(float(nll(model, params, jnp.asarray(image), key, spec["samples"])))
        return np.array(values)

    return estimate


def _compiled_loop(
    model: LatentVariableModel, params: Any, images: np.ndarray, spec: Mapping[str, Any], mesh: Mesh
) -> Estimate:
    return _loop(model, params, images, spec, mesh, jax.jit(_nll_of_one, static_argnums=(0, 4)))
