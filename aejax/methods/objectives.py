"""Objectives of the variational family: each a function of per-example terms to a loss per example, in nats.

A new one is a function `Terms -> Array (batch,)`, to be passed to `variational.vae`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from aejax import losses
from aejax.divergences import Kernel, maximum_mean_discrepancy


class Terms(NamedTuple):
    """What was computed for a batch of images with `samples` latents for each. Log-densities are in nats.

    Attributes:
      log_likelihood: log p(x | z), summed over pixels, (batch, samples).
      log_prior: log p(z), summed over latents, (batch, samples).
      log_posterior: log q(z | x), summed over latents, (batch, samples).
      kl: KL(q(z | x) || p(z)) in closed form, of each latent: (batch, latents). Their sum is the posterior's.
      latents: z, reparameterised: (batch, samples, latents).
      mean: of q(z | x), (batch, latents).
      log_variance: of q(z | x), (batch, latents).
      prior_samples: as many draws from the prior as there are images, (batch, latents).
      kl_weight: the weight of the KL at this step, ().
    """

    log_likelihood: Array
    log_prior: Array
    log_posterior: Array
    kl: Array
    latents: Array
    mean: Array
    log_variance: Array
    prior_samples: Array
    kl_weight: Array

    def log_weights(self) -> Array:
        """log p(x, z) / q(z | x), whose mean is the ELBO: (batch, samples)."""
        return self.log_likelihood + self.log_prior - self.log_posterior


Objective = Callable[[Terms], Array]


def negative_elbo(terms: Terms) -> Array:
    """Distortion plus kl_weight times the rate; an upper bound on -log p(x) where the weight is 1.

    Kingma and Welling (2014), eq. 10; with another weight the beta-VAE of Higgins et al. (2017), eq. 4.
    """
    return -terms.log_likelihood.mean(axis=1) + terms.kl_weight * terms.kl.sum(axis=1)


def negative_iwae(terms: Terms) -> Array:
    """-log of the mean importance weight, Burda et al. (2016), eq. 8: tighter with more samples, equal in mean to the
    ELBO with one."""
    log_w = terms.log_likelihood + terms.kl_weight * (terms.log_prior - terms.log_posterior)
    return jnp.log(log_w.shape[1]) - jax.nn.logsumexp(log_w, axis=1)


def free_bits(nats: float) -> Objective:
    """The negative ELBO where a latent whose KL, averaged over the batch, is below `nats` pays that much and no more.

    Kingma et al. (2016), eq. 15: such latents feel no pull towards the prior.
    """

    def objective(terms: Terms) -> Array:
        pays = terms.kl.mean(axis=0) > nats
        kl = jnp.where(pays, terms.kl, nats).sum(axis=1)
        return -terms.log_likelihood.mean(axis=1) + terms.kl_weight * kl

    return objective


def info_vae(alpha: float, weight: float, kernel: Kernel) -> Objective:
    """Zhao et al. (2019), eq. 6: distortion + (1 - alpha) KL + (alpha + weight - 1) MMD(q(z), p(z)).

    The MMD is the batch's, counted in nats per image. With alpha = 1 it is a WAE-MMD (Tolstikhin et al. 2018) whose
    penalty has this weight; its encoder is the Gaussian posterior. Batches hold 2 images or more.
    """

    def objective(terms: Terms) -> Array:
        mmd = maximum_mean_discrepancy(terms.latents[:, 0], terms.prior_samples, kernel)
        kl = terms.kl_weight * terms.kl.sum(axis=1)
        return -terms.log_likelihood.mean(axis=1) + (1 - alpha) * kl + (alpha + weight - 1) * mmd

    return objective


def wae_mmd(weight: float, kernel: Kernel) -> Objective:
    """Tolstikhin et al. (2018), algorithm 2: distortion + weight MMD(q(z), p(z))."""
    return info_vae(1.0, weight, kernel)


def beta_tc(beta: float, dataset_size: int) -> Objective:
    """beta-TCVAE, Chen et al. (2018), eq. 4: the KL's total correlation counts `beta` times.

    KL = index-code mutual information + total correlation + dimension-wise KL, estimated with the first latent of each
    image by minibatch-weighted sampling (their appendix C.1). With beta = 1 the three sum to log q(z | x) - log p(z).
    """

    def objective(terms: Terms) -> Array:
        z = terms.latents[:, 0]
        # (image i's latent, under image j's posterior, dimension)
        pairs = jax.vmap(jax.vmap(_log_density, (None, 0, 0)), (0, None, None))(z, terms.mean, terms.log_variance)
        scale = math.log(len(z) * dataset_size)
        log_qz = jax.nn.logsumexp(pairs.sum(axis=2), axis=1) - scale
        log_product = (jax.nn.logsumexp(pairs, axis=1) - scale).sum(axis=1)
        mutual_information = terms.log_posterior[:, 0] - log_qz
        total_correlation = log_qz - log_product
        dimension_wise = log_product - terms.log_prior[:, 0]
        kl = mutual_information + beta * total_correlation + dimension_wise
        return -terms.log_likelihood.mean(axis=1) + terms.kl_weight * kl

    return objective


def _log_density(z: Array, mean: Array, log_variance: Array) -> Array:
    """Of each dimension: (latents,) three times -> (latents,)."""
    return losses.gaussian_log_density(z[:, None], mean[:, None], log_variance[:, None])
