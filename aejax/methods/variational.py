"""The variational autoencoder (Kingma and Welling 2013, arXiv:1312.6114) and its family: a model, and an objective.

What to minimise of the terms that the model computes is in `objectives`.
"""

import math

import jax
import optax
from jax import Array

from aejax import losses, rng
from aejax.corruptions import Corruption
from aejax.methods import objectives
from aejax.methods.method import Loss, Method, Metrics, Params, one_optimizer
from aejax.methods.objectives import Objective
from aejax.models.latent_variable import LatentVariableModel, Terms


def vae(
    model: LatentVariableModel,
    optimizer: optax.GradientTransformation,
    objective: Objective = objectives.negative_elbo,
    samples: int = 1,
    *,
    transform: Corruption | None = None,
) -> Method:
    """Makes the method that minimises an objective, by default the negative evidence lower bound (ELBO).

    Args:
      model: with densities of prior and posterior.
      optimizer: any optax transformation.
      objective: terms -> one value per example.
      samples: latents drawn for each image and step in training.
      transform: (key, images) -> the images to model, such as `corruptions.binarize`; None: the images themselves.

    Returns:
      A method with the metrics "loss" (the objective), "distortion" (the negative log-likelihood under the posterior)
      and "rate" (the KL to the prior), in nats per image; in evaluation those of `elbo`.

    >>> method = vae(model, optax.adam(1e-3), objectives.beta_elbo(4.0))
    """

    def loss(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        terms = model.terms(params, _transformed(transform, images, key), key, samples, step)
        return objective(terms), _metrics(terms)

    return one_optimizer(model.init, loss, optimizer, evaluate=elbo(model, transform))


def doubly_reparameterized(
    model: LatentVariableModel,
    optimizer: optax.GradientTransformation,
    samples: int,
    *,
    transform: Corruption | None = None,
) -> Method:
    """Makes IWAE with the encoder's gradient of DReG, whose signal does not fade with `samples`.

    Tucker et al. (2018, arXiv:1810.04152), equation 8: with the normalised weights w, the decoder follows sum w d log w
    and the encoder sum w^2 d log w along the latents alone. The posterior needs `log_prob` at given latents. Arguments
    and metrics are those of `vae`.
    """

    def loss(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        images = _transformed(transform, images, key)
        frozen = jax.lax.stop_gradient(params)

        # The compiler merges the two forward passes, which share their noise; only the backward passes differ.
        for_decoder = model.terms({**params, "encoder": frozen["encoder"]}, images, jax.random.clone(key), samples)
        for_encoder = model.terms({**frozen, "encoder": params["encoder"]}, images, key, samples)
        log_posterior = model.posterior.log_prob(frozen, images, for_encoder.latents)
        along_latents = for_encoder.log_likelihood + for_encoder.log_prior - log_posterior
        log_w = for_decoder.log_weights()
        w = jax.lax.stop_gradient(jax.nn.softmax(log_w, axis=1))
        surrogate = -(w * log_w + w**2 * along_latents).sum(axis=1)
        value = objectives.negative_iwae(for_decoder)
        return jax.lax.stop_gradient(value - surrogate) + surrogate, _metrics(for_decoder)

    return one_optimizer(model.init, loss, optimizer, evaluate=elbo(model, transform))


def partially_weighted(
    model: LatentVariableModel,
    optimizer: optax.GradientTransformation,
    samples: int,
    groups: int,
    *,
    transform: Corruption | None = None,
) -> Method:
    """Makes PIWAE: decoder and prior follow IWAE with all samples, the encoder MIWAE with the samples in groups.

    Rainforth et al. (2018, arXiv:1802.04537), section 5. `samples` is a multiple of `groups`. The other
    arguments and the metrics are those of `vae`.
    """
    for_encoder = objectives.miwae(groups)

    def loss(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        images = _transformed(transform, images, key)
        frozen = jax.lax.stop_gradient(params)

        # The compiler merges the two forward passes, which share their noise; only the backward passes differ.
        tight = model.terms({**params, "encoder": frozen["encoder"]}, images, jax.random.clone(key), samples)
        grouped = for_encoder(model.terms({**frozen, "encoder": params["encoder"]}, images, key, samples))
        value = objectives.negative_iwae(tight) + grouped - jax.lax.stop_gradient(grouped)
        return value, _metrics(tight)

    return one_optimizer(model.init, loss, optimizer, evaluate=elbo(model, transform))


def elbo(model: LatentVariableModel, transform: Corruption | None = None) -> Loss:
    """Returns the loss that any latent-variable model with densities is evaluated by, whatever it was trained with.

    Its values are the negative ELBO of one latent for each image, with the metrics "distortion", "rate" and "mse": per
    pixel, between the images and the reconstructions from their (transformed) posterior means.
    """

    def loss(params: Params, images: Array, key: Array, step: Array) -> tuple[Array, Metrics]:
        modelled = _transformed(transform, images, key)
        terms = model.terms(params, modelled, key)
        mse = losses.squared_error(model.reconstruct(params, modelled), images) / math.prod(images.shape[1:])
        return objectives.negative_elbo(terms), _metrics(terms) | {"mse": mse}

    return loss


def _transformed(transform: Corruption | None, images: Array, key: Array) -> Array:
    return images if transform is None else transform(rng.stream(key, "transform"), images)


def _metrics(terms: Terms) -> Metrics:
    return {"distortion": -terms.log_likelihood.mean(axis=1), "rate": terms.kl.sum(axis=1)}
