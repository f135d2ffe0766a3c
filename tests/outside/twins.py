"""Twins of the objectives: numpy in float64, or complex for the complex step, from the papers' equations.

Nothing here uses aejax. Sums and exponentials are taken as the papers write them, without care for overflow: the
arrays of the tests are small.
"""

import math
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Params = Any


def dense(layer: Params, x: Array) -> Array:
    """Computes x W + b."""
    return x @ layer["kernel"] + layer["bias"]


def relu(x: Array) -> Array:
    return np.where(np.real(x) > 0, x, 0)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def log_normal(x: Array, mean: Array | float, variance: Array | float) -> Array:
    """Computes log N(x; mean, variance) elementwise: Bishop (2006), equation 1.46."""
    return -np.log(2 * math.pi * variance) / 2 - (x - mean) ** 2 / (2 * variance)


class Terms(NamedTuple):
    """Of images (batch,) with samples k: densities (batch, k), KL of each latent, latents, moments, prior samples."""

    log_likelihood: Array
    log_prior: Array
    log_posterior: Array
    kl: Array
    latents: Array
    mean: Array
    variance: Array
    prior_samples: Array


def bernoulli_log_likelihood(logits: Array, x: Array) -> Array:
    """Computes sum of x log p + (1 - x) log(1 - p) over the last axis: Kingma and Welling (2013), appendix C.1."""
    p = sigmoid(logits)
    return (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(-1)


def encode(params: Params, x: Array) -> tuple[Array, Array]:
    """Computes the mean and variance of q(z | x): a hidden layer with tanh; log-variances bounded to 15."""
    encoder = params["encoder"]["params"]
    hidden = np.tanh(dense(encoder["trunk"]["Dense_0"], x))
    return dense(encoder["mean"], hidden), np.exp(15 * np.tanh(dense(encoder["log_variance"], hidden) / 15))


def decode(params: Params, z: Array) -> Array:
    """Computes logits of pixels: a hidden layer with tanh."""
    decoder = params["decoder"]["params"]
    return dense(decoder["pixels"], np.tanh(dense(decoder["MLP_0"]["Dense_0"], z)))


def terms(params: Params, x: Array, noise: Array, prior_samples: Array) -> Terms:
    """Computes the terms of a VAE with Bernoulli pixels for images (batch, pixels) and noise (batch, k, latents)."""
    mean, variance = encode(params, x)
    z = mean[:, None] + np.sqrt(variance)[:, None] * noise
    return Terms(
        log_likelihood=bernoulli_log_likelihood(decode(params, z), x[:, None]),
        log_prior=log_normal(z, 0, 1).sum(-1),
        log_posterior=log_normal(z, mean[:, None], variance[:, None]).sum(-1),
        kl=-(1 + np.log(variance) - mean**2 - variance) / 2,  # Kingma and Welling (2013), appendix B
        latents=z,
        mean=mean,
        variance=variance,
        prior_samples=prior_samples,
    )


def elbo(t: Terms) -> Array:
    """Kingma and Welling (2013), equation 10: minus the lower bound of each image."""
    return t.kl.sum(1) - t.log_likelihood.mean(1)


def beta_elbo(t: Terms, beta: float) -> Array:
    """Higgins et al. (2017), equation 4."""
    return beta * t.kl.sum(1) - t.log_likelihood.mean(1)


def iwae(t: Terms) -> Array:
    """Burda et al. (2015), equation 8: minus log of the mean of p(x, z) / q(z | x)."""
    return -np.log((np.exp(t.log_likelihood) * np.exp(t.log_prior) / np.exp(t.log_posterior)).mean(1))


def free_bits(t: Terms, nats: float) -> Array:
    """Kingma et al. (2016), equation 15, of the whole batch: ()."""
    means = t.kl.mean(0)
    return -t.log_likelihood.mean() + np.where(np.real(means) > nats, means, nats).sum()


def multiquadratic(x: Array, y: Array, latents: int) -> Array:
    """Tolstikhin et al. (2018), section 4: C / (C + |x - y|^2), summed over their code's scales."""
    square = ((x - y) ** 2).sum()
    return sum(2 * latents * s / (2 * latents * s + square) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))


def mmd(x: Array, y: Array) -> Array:
    """Gretton et al. (2012), equation 3, by loops over all pairs."""
    d = x.shape[1]
    of_x = np.mean([multiquadratic(a, b, d) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    of_y = np.mean([multiquadratic(a, b, d) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    return of_x + of_y - 2 * np.mean([multiquadratic(a, b, d) for a in x for b in y])


def wae(t: Terms, weight: float) -> Array:
    """Tolstikhin et al. (2018), algorithm 2."""
    return -t.log_likelihood.mean(1) + weight * mmd(t.latents[:, 0], t.prior_samples)


def info_vae(t: Terms, alpha: float, weight: float) -> Array:
    """Zhao et al. (2017), equation 6, negated."""
    divergence = mmd(t.latents[:, 0], t.prior_samples)
    return -t.log_likelihood.mean(1) + (1 - alpha) * t.kl.sum(1) + (alpha + weight - 1) * divergence


def beta_tc(t: Terms, beta: float, images: int) -> Array:
    """Chen et al. (2018), equation 4, with the densities of appendix C.1: (1 / NM) sum over j of q(z_i | x_j)."""
    m, d = t.mean.shape
    z = t.latents[:, 0]
    each = np.array([[np.exp(log_normal(z[i], t.mean[j], t.variance[j])) for j in range(m)] for i in range(m)])
    log_q = np.log(each.prod(2).sum(1) / (images * m))
    log_product = sum(np.log(each[:, :, k].sum(1) / (images * m)) for k in range(d))
    information, correlation = t.log_posterior[:, 0] - log_q, log_q - log_product
    return -t.log_likelihood.mean(1) + information + beta * correlation + (log_product - t.log_prior[:, 0])


def discriminator(layers: Params, z: Array) -> Array:
    """Computes a discriminator with one hidden layer and ReLU: (n, d) -> (n,)."""
    return dense(layers["Dense_1"], relu(dense(layers["Dense_0"], z)))[:, 0]


def discriminator_gradient(layers: Params, z: Array) -> Array:
    """Differentiates it by the chain rule: (n, d) -> (n, d)."""
    passes = np.real(dense(layers["Dense_0"], z)) > 0
    return (passes * layers["Dense_1"]["kernel"][:, 0]) @ layers["Dense_0"]["kernel"].T


def gan_discriminator(layers: Params, real: Array, fake: Array, r1: float = 0.0) -> Array:
    """Goodfellow et al. (2014), equation 1, negated, with the R1 penalty of Mescheder et al. (2018), equation 9."""
    penalty = r1 / 2 * (discriminator_gradient(layers, real) ** 2).sum(1)
    d_real, d_fake = sigmoid(discriminator(layers, real)), sigmoid(discriminator(layers, fake))
    return -np.log(d_real) - np.log(1 - d_fake) + penalty


def gan_generator(layers: Params, fake: Array) -> Array:
    """Goodfellow et al. (2014), section 3: maximise log D(G(z)) rather than minimise log(1 - D(G(z)))."""
    return -np.log(sigmoid(discriminator(layers, fake)))


def wgan_critic(layers: Params, real: Array, fake: Array, epsilon: Array, weight: float = 10.0) -> Array:
    """Gulrajani et al. (2017), algorithm 1, lines 5 to 7."""
    between = epsilon * real + (1 - epsilon) * fake
    norm = np.sqrt((discriminator_gradient(layers, between) ** 2).sum(1))
    return discriminator(layers, fake) - discriminator(layers, real) + weight * (norm - 1) ** 2


def wgan_generator(layers: Params, fake: Array) -> Array:
    """Gulrajani et al. (2017), algorithm 1, line 11."""
    return -discriminator(layers, fake)
