"""Objectives of the variational family: functions of a batch's `Terms` to one loss per example, in nats.

A new objective is a function `Terms -> Array (batch,)`, to be passed to `variational.vae`. One whose weight changes
while training reads `terms.step`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from aejax import losses
from aejax.divergences import Kernel, maximum_mean_discrepancy
from aejax.models.latent_variable import Terms

Objective = Callable[[Terms], Array]


Weight = float | Callable[[Array], Any]
"""A number, or a function of the number of updates so far."""


def negative_elbo(terms: Terms) -> Array:
    """Computes distortion + rate, an upper bound on -log p(x).

    Kingma and Welling (2013, arXiv:1312.6114), equation 10.
    """
    return -terms.log_likelihood.mean(axis=1) + terms.kl.sum(axis=1)


def beta_elbo(beta: Weight) -> Objective:
    """Returns distortion + beta * rate.

    Higgins et al. (2017), beta-VAE, equation 4; with a schedule from 0 to 1, the annealing of Bowman et al. (2015,
    arXiv:1511.06349), section 3.1. With beta = 1 it is `negative_elbo`.
    """

    def objective(terms: Terms) -> Array:
        return -terms.log_likelihood.mean(axis=1) + _at(beta, terms) * terms.kl.sum(axis=1)

    return objective


def negative_iwae(terms: Terms) -> Array:
    """Computes -log of the mean importance weight: tighter with more samples, equal in mean to the ELBO with one.

    Burda et al. (2015, arXiv:1509.00519), equation 8.
    """
    return beta_iwae(1.0)(terms)


def beta_iwae(beta: Weight) -> Objective:
    """Returns the objective of `negative_iwae` with log p(z) - log q(z | x) counted `beta` times."""

    def objective(terms: Terms) -> Array:
        log_w = terms.log_likelihood + _at(beta, terms) * (terms.log_prior - terms.log_posterior)
        return jnp.log(log_w.shape[1]) - jax.nn.logsumexp(log_w, axis=1)

    return objective


def miwae(groups: int) -> Objective:
    """Returns the mean over `groups` equal groups of the samples of each group's negative IWAE bound.

    Rainforth et al. (2018, arXiv:1802.04537), section 5: M groups of K samples. With one group it is
    `negative_iwae`; with as many as samples, the ELBO as estimated from them.
    """

    def objective(terms: Terms) -> Array:
        log_w = terms.log_weights()
        batch, samples = log_w.shape
        if samples % groups:
            raise ValueError(f"{samples} samples are not {groups} equal groups")
        bounds = jax.nn.logsumexp(log_w.reshape(batch, groups, -1), axis=2) - math.log(samples // groups)
        return -bounds.mean(axis=1)

    return objective


def ciwae(beta: float) -> Objective:
    """Returns beta times the negative ELBO plus 1 - beta times the negative IWAE bound, both of the same samples.

    Rainforth et al. (2018, arXiv:1802.04537), section 5.
    """

    def objective(terms: Terms) -> Array:
        return -beta * terms.log_weights().mean(axis=1) + (1 - beta) * negative_iwae(terms)

    return objective


def free_bits(nats: float, beta: Weight = 1.0) -> Objective:
    """Returns distortion + beta * rate, where a latent whose KL, averaged over the batch, is below `nats` costs `nats`.

    Kingma et al. (2016, arXiv:1606.04934), equation 15: such latents feel no pull towards the prior.
    """

    def objective(terms: Terms) -> Array:
        pays = terms.kl.mean(axis=0) > nats
        kl = jnp.where(pays, terms.kl, nats).sum(axis=1)
        return -terms.log_likelihood.mean(axis=1) + _at(beta, terms) * kl

    return objective


def info_vae(alpha: float, weight: float, kernel: Kernel, beta: Weight = 1.0) -> Objective:
    """Returns distortion + (1 - alpha) beta KL + (alpha + weight - 1) MMD(q(z), p(z)).

    Zhao et al. (2017, arXiv:1706.02262), equation 6. The MMD is the batch's, counted in nats per image. With alpha = 1
    it is a WAE-MMD whose penalty has this weight and whose encoder is the Gaussian posterior. Batches hold 2 images or
    more.
    """

    def objective(terms: Terms) -> Array:
        mmd = maximum_mean_discrepancy(terms.latents[:, 0], terms.prior_samples, kernel)
        kl = _at(beta, terms) * terms.kl.sum(axis=1)
        return -terms.log_likelihood.mean(axis=1) + (1 - alpha) * kl + (alpha + weight - 1) * mmd

    return objective


def wae_mmd(weight: float, kernel: Kernel) -> Objective:
    """Returns distortion + weight MMD(q(z), p(z)): Tolstikhin et al. (2017, arXiv:1711.01558), algorithm 2."""
    return info_vae(1.0, weight, kernel)


def beta_tc(beta: float, dataset_size: int, kl_weight: Weight = 1.0) -> Objective:
    """Returns the objective of beta-TCVAE, where the KL's total correlation counts `beta` times.

    Chen et al. (2018, arXiv:1802.04942), equation 4. KL = index-code mutual information + total correlation +
    dimension-wise KL, estimated with the first latent of each image by minibatch-weighted sampling (appendix C.1). With
    beta = 1 the three sum to log q(z | x) - log p(z). TypeError for a posterior that is no diagonal Gaussian.
    """

    def objective(terms: Terms) -> Array:
        z, mean, log_variance = terms.latents[:, 0], terms.mean, terms.log_variance
        if mean is None or log_variance is None:
            raise TypeError("beta_tc needs a posterior that is a diagonal Gaussian")
        # (image i's latent, under image j's posterior, dimension)
        pairs = jax.vmap(jax.vmap(_log_density, (None, 0, 0)), (0, None, None))(z, mean, log_variance)
        scale = math.log(len(z) * dataset_size)
        log_qz = jax.nn.logsumexp(pairs.sum(axis=2), axis=1) - scale
        log_product = (jax.nn.logsumexp(pairs, axis=1) - scale).sum(axis=1)
        mutual_information = terms.log_posterior[:, 0] - log_qz
        total_correlation = log_qz - log_product
        dimension_wise = log_product - terms.log_prior[:, 0]
        kl = mutual_information + beta * total_correlation + dimension_wise
        return -terms.log_likelihood.mean(axis=1) + _at(kl_weight, terms) * kl

    return objective


def tutorial_mistake(terms: Terms) -> Array:
    """Computes the tutorial's loss, whose latents were drawn with exp(log-variance) as the standard deviation.

    Its log-variance is half of the true one, and its KL is that of the halved one: the loss is no bound.
    """
    assert terms.mean is not None
    assert terms.log_variance is not None
    kl = losses.gaussian_kl(terms.mean, terms.log_variance / 2)
    return -terms.log_likelihood.mean(axis=1) + kl.sum(axis=1)


def _at(weight: Weight, terms: Terms) -> Array:
    """Returns the weight at the terms' step."""
    return jnp.asarray(weight(terms.step) if callable(weight) else weight)


def _log_density(z: Array, mean: Array, log_variance: Array) -> Array:
    """Computes the log-density of each dimension: (latents,) three times -> (latents,)."""
    return losses.gaussian_log_density(z[:, None], mean[:, None], log_variance[:, None])
