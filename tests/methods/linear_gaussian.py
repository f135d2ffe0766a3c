"""A variational autoencoder whose evidence and true posterior are known: linear networks and Gaussian pixels."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats

from aejax.methods.method import Params
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.likelihoods import Gaussian
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import StandardNormal

IMAGE = (2, 2, 1)
PIXELS = math.prod(IMAGE)
STD = 0.6


class Encoder(nn.Module):
    """Images to the mean A x + b and one log-variance for all."""

    latents: int

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        mean = nn.Dense(self.latents, name="mean")(images.reshape(len(images), -1))
        log_variance = self.param("log_variance", nn.initializers.zeros, (self.latents,))
        return mean, jnp.broadcast_to(log_variance, mean.shape)


class Decoder(nn.Module):
    """Latents to the pixels W z + c."""

    @nn.compact
    def __call__(self, latents: Array) -> Array:
        return nn.Dense(PIXELS, name="pixels")(latents).reshape(len(latents), *IMAGE)


def linear_model(latents: int = 2) -> LatentVariableModel:
    posterior, prior = GaussianPosterior(Encoder(latents)), StandardNormal(latents=latents)
    return LatentVariableModel(posterior, Decoder(), prior, Gaussian(STD))


def random_images(batch: int, seed: int = 0) -> Array:
    return jax.random.uniform(jax.random.key(seed), (batch, *IMAGE))


def random_params(seed: int, latents: int = 2) -> Params:
    """All of order 1, encoder and decoder unrelated."""
    random = np.random.default_rng(seed)
    a, w = random.normal(0, 0.7, (2, PIXELS, latents))
    log_variance = random.uniform(-2, 0.5, latents)
    return _params(a, random.normal(0, 0.3, latents), log_variance, w.T, random.normal(0, 0.3, PIXELS))


def exact_params(seed: int, latents: int = 2) -> Params:
    """A random decoder and the encoder that is its true posterior; that is diagonal, for W has orthogonal columns."""
    random = np.random.default_rng(seed)
    columns, _ = np.linalg.qr(random.normal(size=(PIXELS, latents)))
    w, c = columns * random.uniform(0.5, 1.5, latents), random.normal(0, 0.3, PIXELS)
    decoder = _params(np.zeros((PIXELS, latents)), np.zeros(latents), np.zeros(latents), w.T, c)
    offset, covariance = true_posterior(decoder, np.zeros((1, *IMAGE)))
    return _params(w @ covariance / STD**2, offset[0], np.log(np.diag(covariance)), w.T, c)


def _params(a: np.ndarray, b: np.ndarray, log_variance: np.ndarray, w: np.ndarray, c: np.ndarray) -> Params:
    encoder = {"mean": {"kernel": a, "bias": b}, "log_variance": log_variance}
    decoder = {"pixels": {"kernel": w, "bias": c}}
    params = {"encoder": {"params": encoder}, "decoder": {"params": decoder}}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)


def evidence(params: Params, images: Array) -> np.ndarray:
    """log p(x) = log N(x; c, W W^T + std^2 I) of each image, in float64."""
    w, c = _decoder(params)
    density = stats.multivariate_normal(c, w @ w.T + STD**2 * np.eye(PIXELS))
    return density.logpdf(_flat(images)).reshape(len(images))


def true_posterior(params: Params, images: Array | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of p(z | x) of each image, (batch, latents), and its covariance, (latents, latents), in float64."""
    w, c = _decoder(params)
    covariance = np.linalg.inv(np.eye(w.shape[1]) + w.T @ w / STD**2)
    return (_flat(images) - c) @ w @ covariance / STD**2, covariance


def gap(params: Params, images: Array) -> np.ndarray:
    """KL(q(z | x) || p(z | x)) of each image: what the ELBO lacks to the evidence; in float64."""
    encoder = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["encoder"]["params"])
    mean = _flat(images) @ encoder["mean"]["kernel"] + encoder["mean"]["bias"]
    variance = np.exp(encoder["log_variance"])
    true_mean, covariance = true_posterior(params, images)
    precision = np.linalg.inv(covariance)
    distances = np.einsum("bi,ij,bj->b", mean - true_mean, precision, mean - true_mean)
    log_volumes = np.linalg.slogdet(covariance)[1] - encoder["log_variance"].sum()
    return (distances + np.trace(precision * variance) - len(variance) + log_volumes) / 2


def _decoder(params: Params) -> tuple[np.ndarray, np.ndarray]:
    """W (pixels, latents) and c."""
    layer = params["decoder"]["params"]["pixels"]
    return np.asarray(layer["kernel"], np.float64).T, np.asarray(layer["bias"], np.float64)


def _flat(images: Array | np.ndarray) -> np.ndarray:
    return np.asarray(images, np.float64).reshape(len(images), -1)
