"""Posteriors over latents: the distribution q(z | x) of an image's latents, from an encoder.

Each is a frozen dataclass around a Flax module. Its functions take the params of the whole model and read those under
params["encoder"].
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aejax import losses

Params = Any


class PosteriorSample(NamedTuple):
    """Latents drawn from q(z | x) for a batch of images.

    Attributes:
      latents: (batch, samples, latents), reparameterised.
      log_prob: log q(z | x) in nats, (batch, samples); None where there is no density.
      mean: of q(z | x), (batch, latents), where it is a diagonal Gaussian; else None.
      log_variance: of q(z | x), (batch, latents), where it is a diagonal Gaussian; else None.
    """

    latents: Array
    log_prob: Array | None = None
    mean: Array | None = None
    log_variance: Array | None = None


@dataclass(frozen=True)
class Posterior(abc.ABC):
    """The base class.

    Attributes:
      encoder: a network of images (batch, height, width, channels).
      has_density: whether samples come with `log_prob`.
    """

    encoder: nn.Module
    has_density: ClassVar[bool] = True

    def init(self, key: Array, images: Array) -> Params:
        """Returns the initial params for images of this shape, to stand under params["encoder"]."""
        return self.encoder.init(key, images)

    @abc.abstractmethod
    def sample(self, params: Params, images: Array, key: Array, samples: int = 1) -> PosteriorSample:
        """Draws `samples` latents for each image."""

    @abc.abstractmethod
    def mean(self, params: Params, images: Array) -> Array:
        """Returns the latents (batch, latents) that stand for each image: what is probed, plotted and decoded."""

    def log_prob(self, params: Params, images: Array, latents: Array) -> Array:
        """Computes log q(z | x) in nats at given latents: (batch, samples, latents) -> (batch, samples)."""
        raise TypeError(f"{type(self).__name__} does not define log_prob at given latents")

    def extra_inputs(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape, for one image, of each further input of `outputs`, by name; {} where there is none."""
        return {}

    def outputs(self, params: Params, images: Array, *extra: Array) -> dict[str, Array]:
        """Computes what an exported encoder returns, by name; `extra` are the `extra_inputs`."""
        return {"latents": self.mean(params, images)}


@dataclass(frozen=True)
class DeterministicPosterior(Posterior):
    """A code as a function of the image; the encoder maps images to latents (batch, latents)."""

    has_density: ClassVar[bool] = False

    def sample(self, params: Params, images: Array, key: Array, samples: int = 1) -> PosteriorSample:
        codes = self.mean(params, images)
        return PosteriorSample(jnp.broadcast_to(codes[:, None], (len(codes), samples, codes.shape[-1])))

    def mean(self, params: Params, images: Array) -> Array:
        codes: Any = self.encoder.apply(params["encoder"], images)
        return codes


@dataclass(frozen=True)
class GaussianPosterior(Posterior):
    """A diagonal Gaussian; the encoder maps images to the mean and the log-variance, (batch, latents) each.

    Kingma and Welling (2013, arXiv:1312.6114), section 2.4.
    """

    def moments(self, params: Params, images: Array) -> tuple[Array, Array]:
        """Computes the mean and the log-variance of q(z | x), (batch, latents) each."""
        moments: Any = self.encoder.apply(params["encoder"], images)
        return moments

    def sample(self, params: Params, images: Array, key: Array, samples: int = 1) -> PosteriorSample:
        mean, log_variance = self.moments(params, images)
        noise = jax.random.normal(key, (len(images), samples, mean.shape[-1]))
        latents = mean[:, None] + jnp.exp(log_variance / 2)[:, None] * noise
        log_prob = losses.gaussian_log_density(latents, mean[:, None], log_variance[:, None])
        return PosteriorSample(latents, log_prob, mean, log_variance)

    def mean(self, params: Params, images: Array) -> Array:
        return self.moments(params, images)[0]

    def log_prob(self, params: Params, images: Array, latents: Array) -> Array:
        mean, log_variance = self.moments(params, images)
        return losses.gaussian_log_density(latents, mean[:, None], log_variance[:, None])

    def outputs(self, params: Params, images: Array, *extra: Array) -> dict[str, Array]:
        mean, log_variance = self.moments(params, images)
        return {"mean": mean, "log_variance": log_variance}


@dataclass(frozen=True)
class UniversalPosterior(Posterior):
    """A posterior of any shape: a function of the image and of noise, (images, noise (batch, noise)) -> latents.

    Makhzani et al. (2015, arXiv:1511.05644), section 2.2. It has no density; `mean` decodes zero noise.

    Attributes:
      noise: the number of noise inputs, which are N(0, I).
    """

    has_density: ClassVar[bool] = False
    noise: int = 8

    def init(self, key: Array, images: Array) -> Params:
        return self.encoder.init(key, images, jnp.zeros((len(images), self.noise)))

    def sample(self, params: Params, images: Array, key: Array, samples: int = 1) -> PosteriorSample:
        noise = jax.random.normal(key, (len(images), samples, self.noise))
        codes: Any = self.encoder.apply(
            params["encoder"], images.repeat(samples, axis=0), noise.reshape(-1, self.noise)
        )
        return PosteriorSample(codes.reshape(len(images), samples, -1))

    def mean(self, params: Params, images: Array) -> Array:
        codes: Any = self.encoder.apply(params["encoder"], images, jnp.zeros((len(images), self.noise)))
        return codes

    def extra_inputs(self) -> dict[str, tuple[int, ...]]:
        return {"noise": (self.noise,)}

    def outputs(self, params: Params, images: Array, *extra: Array) -> dict[str, Array]:
        codes: Any = self.encoder.apply(params["encoder"], images, *extra)
        return {"latents": codes}


@dataclass(frozen=True)
class ClassAndStylePosterior(DeterministicPosterior):
    """Probabilities of classes, then a style; the encoder maps images to (batch, classes + style), logits first.

    Makhzani et al. (2015, arXiv:1511.05644), section 2.4.

    Attributes:
      classes: the number of classes, or of clusters.
    """

    classes: int = 10

    def logits_and_style(self, params: Params, images: Array) -> tuple[Array, Array]:
        """Computes the logits of the classes (batch, classes) and the style (batch, style)."""
        code: Any = self.encoder.apply(params["encoder"], images)
        return code[:, : self.classes], code[:, self.classes :]

    def mean(self, params: Params, images: Array) -> Array:
        logits, style = self.logits_and_style(params, images)
        return jnp.concatenate([jax.nn.softmax(logits), style], axis=1)

    def outputs(self, params: Params, images: Array, *extra: Array) -> dict[str, Array]:
        logits, style = self.logits_and_style(params, images)
        return {"classes": jax.nn.softmax(logits), "style": style}
