"""The model and what is drawn from it: the terms that objectives take, reconstructions and new pictures."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy import special, stats

from aejax.divergences import inverse_multiquadratic
from aejax.methods import objectives
from aejax.methods.method import Params
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.methods.linear_gaussian import (
    IMAGE,
    STD,
    linear_model,
    random_images,
    random_params,
)

KEY, OTHER = jax.random.key(0), jax.random.key(1)
POSTERIOR, PRIOR = GaussianPosterior(GaussianEncoder(MLP((5,)), 3)), StandardNormal(latents=3)
MODEL = LatentVariableModel(POSTERIOR, DenseDecoder((5,), IMAGE), PRIOR)


@pytest.fixture
def images() -> Array:
    return random_images(6, seed=2)


@pytest.fixture
def params(images: Array) -> Params:
    return MODEL.init(KEY, images)


def test_params_are_those_of_the_two_networks_each_from_its_own_key(images: Array) -> None:
    class Same(nn.Module):
        """As encoder and as decoder the same."""

        @nn.compact
        def __call__(self, x: Array) -> tuple[Array, Array]:
            y = nn.Dense(4)(x.reshape(len(x), -1))
            return y, y

    params = LatentVariableModel(GaussianPosterior(Same()), Same(), StandardNormal(latents=4)).init(KEY, images)
    assert set(params) == {"encoder", "decoder"}
    kernels = [params[part]["params"]["Dense_0"]["kernel"] for part in ("encoder", "decoder")]
    assert (kernels[0] != kernels[1]).all()


def test_latents_have_the_standard_deviation_of_their_log_variance() -> None:
    images, params = random_images(2), random_params(0)
    params["encoder"]["params"]["log_variance"] = jnp.array([-2.0, 1.0])
    terms = linear_model().terms(params, images, KEY, 20_000)
    np.testing.assert_allclose(terms.latents.std(axis=1), np.exp([[-2 / 2, 1 / 2]] * 2), rtol=0.03)
    np.testing.assert_allclose(terms.latents.mean(axis=1), terms.mean, atol=0.1)


def test_terms_are_their_densities(images: Array) -> None:
    params = random_params(0)
    terms = linear_model().terms(params, images, KEY, 4, 7)
    z, mean, log_variance = (np.asarray(a, np.float64) for a in (terms.latents, terms.mean, terms.log_variance))
    decoder = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["decoder"]["params"]["pixels"])
    pixels = stats.norm(z @ decoder["kernel"] + decoder["bias"], STD)
    posterior = stats.norm(mean[:, None], np.exp(log_variance[:, None] / 2))

    assert z.shape == (6, 4, 2)
    likelihood = pixels.logpdf(np.asarray(images).reshape(6, 1, -1)).sum(-1)
    np.testing.assert_allclose(terms.log_likelihood, likelihood, rtol=1e-5)
    np.testing.assert_allclose(terms.log_prior, stats.norm.logpdf(z).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(terms.log_posterior, posterior.logpdf(z).sum(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(terms.kl, (mean**2 + np.exp(log_variance) - log_variance - 1) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(terms.log_weights(), terms.log_likelihood + terms.log_prior - terms.log_posterior)
    assert (terms.step, terms.step.dtype) == (7, jnp.int32)


@pytest.mark.parametrize("samples", [1, 2])
def test_every_latent_has_noise_of_its_own_and_so_have_the_samples_of_the_prior(samples: int) -> None:
    equal = jnp.full((5, *IMAGE), 0.5)
    terms = jax.jit(lambda images: MODEL.terms(MODEL.init(KEY, images), images, KEY, samples))(equal)
    noise = (terms.latents - terms.mean[:, None]) / jnp.exp(terms.log_variance / 2)[:, None]
    assert noise.shape == (5, samples, 3)
    assert terms.prior_samples.shape == (5, 3)
    drawn = jnp.concatenate([noise.ravel(), terms.prior_samples.ravel()])
    assert jnp.diff(jnp.sort(drawn)).min() > 1e-5


def test_decode_keeps_images_and_their_latents_in_order(params: Params) -> None:
    z = jax.random.normal(KEY, (3, 4, 3))
    together = MODEL.decode(params, z)
    assert together.shape == (3, 4, *IMAGE)
    for i in range(3):
        for j in range(4):
            np.testing.assert_allclose(together[i, j], MODEL.decode(params, z[i, j][None])[0], rtol=1e-5, atol=1e-6)


EXTREME_OBJECTIVES = {
    "elbo": objectives.negative_elbo,
    "iwae": objectives.negative_iwae,
    "free bits": objectives.free_bits(1.0),
    "beta-tcvae": objectives.beta_tc(4, 100),
    "wae": objectives.wae_mmd(10, inverse_multiquadratic(3)),
}


@pytest.mark.parametrize("scale", [1e2, 1e4])
@pytest.mark.parametrize("objective", EXTREME_OBJECTIVES.values(), ids=EXTREME_OBJECTIVES.keys())
def test_extreme_params_give_finite_losses_and_gradients(
    objective: objectives.Objective, scale: float, images: Array, params: Params
) -> None:
    def loss(params: Params) -> tuple[Array, Array]:
        terms = MODEL.terms(params, images, KEY, 2)
        return objective(terms).mean(), jnp.abs(terms.log_variance).max()

    wild = jax.tree.map(lambda leaf: scale * leaf, params)
    (value, largest), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(wild)

    assert largest > 14.9  # at the bound
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_reconstructions_are_the_pictures_of_the_posteriors_mean_and_do_not_mix_images(
    images: Array, params: Params
) -> None:
    order = jnp.array([4, 0, 5, 2, 1, 3])
    pictures = MODEL.reconstruct(params, images)
    mean, log_variance = POSTERIOR.moments(params, images)

    assert pictures.shape == images.shape
    np.testing.assert_allclose(pictures, special.expit(MODEL.decode(params, mean)), rtol=1e-5)
    np.testing.assert_array_equal(MODEL.encode(params, images), mean)
    np.testing.assert_allclose(MODEL.reconstruct(params, images[order]), pictures[order], rtol=1e-5)
    permuted = POSTERIOR.moments(params, images[order])
    for one, other in zip(permuted, (mean, log_variance), strict=True):
        np.testing.assert_allclose(one, other[order], rtol=1e-5, atol=1e-6)


def test_generated_pictures_follow_the_prior() -> None:
    """Of a linear decoder: mean c and covariance W W^T, without the pixels' own noise."""
    model, params = linear_model(), random_params(0)
    layer = params["decoder"]["params"]["pixels"]
    params["decoder"]["params"]["pixels"] = {"kernel": 0.05 * layer["kernel"], "bias": jnp.full(4, 0.5)}
    w = 0.05 * np.asarray(layer["kernel"], np.float64)

    pictures = model.generate(params, KEY, 4000)

    assert pictures.shape == (4000, *IMAGE)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    flat = np.asarray(pictures, np.float64).reshape(4000, -1)
    np.testing.assert_allclose(flat.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(np.cov(flat.T), w.T @ w, atol=0.1 * np.abs(w.T @ w).max())
    np.testing.assert_array_equal(model.generate(params, KEY, 4000), pictures)
    assert (model.generate(params, OTHER, 4000) != pictures).any()
