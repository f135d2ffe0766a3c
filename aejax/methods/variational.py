"""The variational autoencoder (Kingma and Welling 2014) and its family: what is sampled, and the method around it.

What to make of the terms that are computed here, which losses differ in, is in `objectives`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from aejax import losses, priors, rng
from aejax.methods import objectives
from aejax.methods.method import Loss, Method, Metrics, Params, TrainState, one_optimizer
from aejax.methods.objectives import Objective, Terms
from aejax.pixels import BERNOULLI, Pixels

Transform = Callable[[Array, Array], Array]


class Model(NamedTuple):
    """A latent-variable model p(z) p(x | z) with a posterior q(z | x); its params are {"encoder": ..., "decoder": ...}.

    Attributes:
      encoder: images (batch, height, width, channels) -> mean and log-variance of q(z | x), (batch, latents) each.
      decoder: latents (batch, latents) -> outputs (batch, height, width, channels * pixels.outputs_per_value).
      pixels: what the outputs are: p(x | z).
      log_variance_as_log_std: takes the log-variance for the logarithm of the standard deviation when it samples: the
        mistake of the lesson that this project began as, kept for comparison. The loss is then no bound.
    """

    encoder: nn.Module
    decoder: nn.Module
    pixels: Pixels = BERNOULLI
    log_variance_as_log_std: bool = False

    def init(self, key: Array, images: Array) -> Params:
        """The initial params for images of this shape."""
        keys = rng.stream(key, "encoder"), rng.stream(key, "decoder")
        (mean, _), encoder = self.encoder.init_with_output(keys[0], images)
        return {"encoder": encoder, "decoder": self.decoder.init(keys[1], mean)}

    def posterior(self, params: Params, images: Array) -> tuple[Array, Array]:
        """Mean and log-variance of q(z | x): (batch, latents) each."""
        moments: Any = self.encoder.apply(params["encoder"], images)
        return moments

    def decode(self, params: Params, latents: Array) -> Array:
        """(..., latents) -> outputs (..., height, width, channels)."""
        outputs: Any = self.decoder.apply(params["decoder"], latents.reshape(-1, latents.shape[-1]))
        return outputs.reshape(*latents.shape[:-1], *outputs.shape[1:])


def sample_terms(
    model: Model, params: Params, images: Array, key: Array, samples: int = 1, kl_weight: Array | float = 1.0
) -> Terms:
    """Draws `samples` latents for each image and computes every term that an objective may want."""
    mean, log_variance = model.posterior(params, images)
    std = jnp.exp(log_variance if model.log_variance_as_log_std else log_variance / 2)
    noise = jax.random.normal(key, (len(images), samples, mean.shape[-1]))
    latents = mean[:, None] + std[:, None] * noise
    outputs = model.decode(params, latents)
    targets = jnp.broadcast_to(images[:, None], (len(images), samples, *images.shape[1:]))
    nll = model.pixels.loss(outputs.reshape(-1, *outputs.shape[2:]), targets.reshape(-1, *images.shape[1:]))
    prior = priors.standard_normal(mean.shape[-1])
    return Terms(
        log_likelihood=-nll.reshape(len(images), samples),
        log_prior=losses.gaussian_log_density(latents),
        log_posterior=losses.gaussian_log_density(latents, mean[:, None], log_variance[:, None]),
        kl=losses.gaussian_kl(mean, log_variance),
        latents=latents,
        mean=mean,
        log_variance=log_variance,
        prior_samples=prior.sample(rng.stream(key, "prior"), len(images)),
        kl_weight=jnp.asarray(kl_weight),
    )


def vae(
    model: Model,
    optimizer: optax.GradientTransformation,
    objective: Objective = objectives.negative_elbo,
    samples: int = 1,
    *,
    kl_weight: float | optax.Schedule = 1.0,
    transform: Transform | None = None,
) -> Method:
    """Minimises an objective, by default the negative evidence lower bound (ELBO).

    Args:
      model: the two networks and the likelihood.
      optimizer: any optax transformation.
      objective: terms -> one value per example.
      samples: latents drawn for each image and step in training.
      kl_weight: of the KL in the objective, or a schedule of it by the step: beta (Higgins et al. 2017), or annealing
        (Bowman et al. 2016).
      transform: (key, images) -> the images to model, such as `corruptions.binarize`; None: the images themselves.

    Returns:
      A method with the metrics "loss" (the objective; in evaluation the negative ELBO whatever the objective),
      "distortion" (the negative log-likelihood under the posterior) and "rate" (the KL to the prior), all in nats per
      image; and, in evaluation, "mse" per pixel between the images and the pictures of their (transformed) posterior
      means. In evaluation one latent is drawn for each image.
    """

    def plain(params: Params, images: Array, key: Array, weight: Array) -> tuple[Array, Metrics]:
        terms = sample_terms(model, params, images, key, samples, weight)
        return objective(terms), _metrics(terms)

    return _method(model, optimizer, plain, kl_weight, transform)


def doubly_reparameterized(
    model: Model,
    optimizer: optax.GradientTransformation,
    samples: int,
    *,
    transform: Transform | None = None,
) -> Method:
    """IWAE with the encoder's gradient of Tucker et al. (2019), eq. 8 (DReG): its signal does not fade with `samples`.

    With the normalised weights w, the decoder follows sum w d log w and the encoder sum w^2 d log w along the latents
    alone. Arguments and metrics are those of `vae`.
    """

    def dreg(params: Params, images: Array, key: Array, weight: Array) -> tuple[Array, Metrics]:
        def log_weights(params: Params, frozen: str, key: Array) -> Terms:
            return sample_terms(model, {**params, frozen: jax.lax.stop_gradient(params[frozen])}, images, key, samples)

        # The compiler merges the two passes forwards, which share their noise; only backwards do they differ.
        for_decoder = log_weights(params, "encoder", jax.random.clone(key))
        for_encoder = log_weights(params, "decoder", key)
        fixed = (jax.lax.stop_gradient(m) for m in (for_encoder.mean, for_encoder.log_variance))
        log_posterior = losses.gaussian_log_density(for_encoder.latents, *(m[:, None] for m in fixed))
        along_latents = for_encoder.log_likelihood + for_encoder.log_prior - log_posterior
        log_w = for_decoder.log_weights()
        w = jax.lax.stop_gradient(jax.nn.softmax(log_w, axis=1))
        surrogate = -(w * log_w + w**2 * along_latents).sum(axis=1)
        value = objectives.negative_iwae(for_decoder)
        return jax.lax.stop_gradient(value - surrogate) + surrogate, _metrics(for_decoder)

    return _method(model, optimizer, dreg, 1.0, transform)


def _method(
    model: Model,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    kl_weight: float | optax.Schedule,
    transform: Transform | None,
) -> Method:
    def transformed(images: Array, key: Array) -> Array:
        return images if transform is None else transform(rng.stream(key, "transform"), images)

    def training_loss(params: Params, images: Array, key: Array, weight: Array) -> tuple[Array, Metrics]:
        return loss(params, transformed(images, key), key, weight)

    def evaluate(params: Params, images: Array, key: Array) -> tuple[Array, Metrics]:
        terms = sample_terms(model, params, transformed(images, key), key)
        pictures = model.pixels.picture(model.decode(params, terms.mean))
        mse = losses.squared_error(pictures, images) / math.prod(images.shape[1:])
        return objectives.negative_elbo(terms), _metrics(terms) | {"mse": mse}

    schedule = kl_weight if callable(kl_weight) else optax.constant_schedule(kl_weight)
    return one_optimizer(model.init, training_loss, optimizer, evaluate=evaluate, weight=schedule)


def _metrics(terms: Terms) -> Metrics:
    return {"distortion": -terms.log_likelihood.mean(axis=1), "rate": terms.kl.sum(axis=1)}


def reconstruct(model: Model) -> Callable[[TrainState, Array, Array], Array]:
    """(state, images, key) -> pictures in [0, 1], decoded from the posterior's mean; the key is not used."""

    def apply(state: TrainState, images: Array, key: Array) -> Array:
        mean, _ = model.posterior(state.params, images)
        return model.pixels.picture(model.decode(state.params, mean))

    return apply


def encode(model: Model) -> Callable[[TrainState, Array, Array], tuple[Array, Array]]:
    """(state, images, key) -> mean and log-variance of the posterior, (batch, latents) each; the key is not used."""
    return lambda state, images, key: model.posterior(state.params, images)


def generate(model: Model, latents: int) -> Callable[[TrainState, Array, int], Array]:
    """(state, key, n) -> n pictures in [0, 1] of latents drawn from the prior: (n, height, width, channels)."""

    def sample(state: TrainState, key: Array, n: int) -> Array:
        z = priors.standard_normal(latents).sample(key, n)
        return model.pixels.picture(model.decode(state.params, z))

    return sample
