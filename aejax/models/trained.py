"""A trained model: a model with its params, as plain functions of numpy arrays.

Evaluation, plots, the latent page, export and a notebook all take a `Trained`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from aejax import batching, rng
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel, log_likelihood_by_importance
from aejax.models.posteriors import Params

Model = LatentVariableModel | ImageToImage
_LIKELIHOOD_BATCH, _LIKELIHOOD_ROWS = 20, 1000  # decoded at once: their pixels stay in a CPU's cache


@dataclass(frozen=True, eq=False)
class Trained:
    """A model with its params.

    Images are uint8, or floats in [0, 1], of shape (n, height, width, channels). What comes back is float32. All
    functions go through arrays in batches, so that memory does not grow with n. What is random is the same at every
    call: it depends on `seed` and on the place in the array.

    Attributes:
      model: what the params belong to; hashable.
      params: the model's params; further ones, such as a discriminator's, are left alone.
      image_shape: (height, width, channels) of the images that it was trained on.
      seed: of the run; it gives prior samples.
      mesh: the devices to use; None: the first device.
      about: facts for people, such as the run's folder, its options and the step.
    """

    model: Any
    params: Params
    image_shape: tuple[int, ...]
    seed: int = 0
    mesh: Mesh | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def has_latents(self) -> bool:
        """Whether `encode` and `decode` are defined."""
        return getattr(self.model, "has_latents", True)

    @property
    def has_prior(self) -> bool:
        """Whether `generate`, `sample_prior` and `sample_posterior` are defined."""
        return hasattr(self.model, "prior")

    @property
    def has_density(self) -> bool:
        """Whether `log_likelihood` is defined."""
        return getattr(self.model, "has_density", False)

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one of the encoder's or network's inputs: the images', or that of a corrupted image."""
        if not hasattr(self.model, "corrupt"):
            return self.image_shape
        image = jax.ShapeDtypeStruct((1, *self.image_shape), np.float32)
        return jax.eval_shape(self.model.corrupt, image, jax.eval_shape(rng.root_key, 0)).shape[1:]

    @cached_property
    def latents(self) -> int:
        """The number of values in an image's code; 0 where the model has no latents."""
        if not self.has_latents:
            return 0
        image = jax.ShapeDtypeStruct((1, *self.input_shape), np.float32)
        return int(np.prod(jax.eval_shape(self.model.encode, self.params, image).shape[1:]))

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Returns the latents (n, ...) that stand for images; of a Gaussian posterior, the mean."""
        return self.over(_encode, images)

    def sample_posterior(self, images: np.ndarray) -> np.ndarray:
        """Draws one latent (n, latents) for each image: together, a sample of the aggregated posterior."""
        return self.over(_sample_posterior, images)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Maps latents (n, ...) to the expected pixels, in [0, 1]."""
        return self.over(_pictures, np.asarray(latents, np.float32))

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Encodes and decodes images: the expected pixels, in [0, 1]."""
        return self.over(_reconstruct, images)

    def degrade(self, images: np.ndarray) -> np.ndarray:
        """Corrupts images as in training, with the same noise at every call."""
        return self.over(_degrade, images)

    def restore(self, images: np.ndarray) -> np.ndarray:
        """Corrupts images as `degrade` does and restores them: the expected pixels, in [0, 1]."""
        return self.over(_restore, images)

    def sample_prior(self, n: int, stream: str = "samples") -> np.ndarray:
        """Draws latents (n, latents) from the prior; another name of the stream gives other ones."""
        return self._drawn(_sample_prior, n, stream)

    def generate(self, n: int, stream: str = "samples") -> np.ndarray:
        """Decodes n draws from the prior: the expected pixels, in [0, 1]."""
        return self._drawn(_generate, n, stream)

    def log_likelihood(self, images: np.ndarray, samples: int = 5000) -> np.ndarray:
        """Estimates log p(x) of images in nats, (n,), by importance sampling with `samples` latents for each.

        On average the estimate is never above the truth. Images are modelled as they are: for binarised ones, binarise
        them before.
        """
        return self.over(_log_likelihood, images, _LIKELIHOOD_BATCH, samples)

    def over(self, function: Callable[..., Any], values: np.ndarray, batch_size: int = 512, *settings: int) -> Any:
        """Applies (model, *settings, params, batch, key) -> a tree of rows to all rows of an array, in batches."""
        mesh = self.mesh or Mesh(np.array(jax.devices()[:1]), ("data",))
        return batching.over_images(_Call(function, self.model, settings), mesh, batch_size)(self.params, values)

    def _drawn(self, function: Callable[..., Array], n: int, stream: str) -> np.ndarray:
        root = rng.stream(rng.root_key(self.seed), stream)
        return batching.drawn(_Call(function, self.model), self.params, root, n)


@dataclass(frozen=True)
class _Call:
    """A function of a model. It equals that of an equal model, so that both share one compiled program."""

    function: Callable[..., Any]
    model: Any
    settings: tuple[int, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        return self.function(self.model, *self.settings, *arguments)


def _encode(model: Any, params: Params, images: Array, key: Array) -> Array:
    return model.encode(params, images)


def _sample_posterior(model: Any, params: Params, images: Array, key: Array) -> Array:
    return model.sample_posterior(params, images, key)


def _pictures(model: Any, params: Params, latents: Array, key: Array) -> Array:
    return model.pictures(params, latents)


def _reconstruct(model: Any, params: Params, images: Array, key: Array) -> Array:
    return model.reconstruct(params, images)


def _degrade(model: Any, params: Params, images: Array, key: Array) -> Array:
    return model.corrupt(images, key)


def _restore(model: Any, params: Params, images: Array, key: Array) -> Array:
    return model.restore(params, model.corrupt(images, key))


def _sample_prior(model: Any, params: Params, key: Array, n: int) -> Array:
    return model.prior.sample(params, key, n)


def _generate(model: Any, params: Params, key: Array, n: int) -> Array:
    return model.generate(params, key, n)


def _log_likelihood(model: Any, samples: int, params: Params, images: Array, key: Array) -> Array:
    return log_likelihood_by_importance(model, params, images, key, samples, _LIKELIHOOD_ROWS)
