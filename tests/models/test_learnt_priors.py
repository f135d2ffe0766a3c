"""Learnt priors: densities that integrate to 1, and samples that follow them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as Fit

from aejax.models.flows import FlowPrior
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.mixture_prior import GaussianMixture
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import Prior
from aejax.models.vamp_prior import VampPrior
from aejax.nn.flows import AffineCouplings
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder

SHAPE = (2, 2, 1)
POSTERIOR = GaussianPosterior(GaussianEncoder(MLP((4,)), 2))
PRIORS = [
    FlowPrior(latents=2, flow=AffineCouplings(2, 4)),
    GaussianMixture(latents=2, components=3),
    VampPrior(latents=2, posterior=POSTERIOR, pseudo_inputs=3),
]


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
def test_the_density_integrates_to_one_and_samples_follow_it(prior: Prior) -> None:
    model = LatentVariableModel(POSTERIOR, DenseDecoder((4,), SHAPE), prior)
    params = model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)))
    params = {**params, "prior": jax.tree.map(lambda leaf: leaf + 0.3, params["prior"])}  # off symmetry
    axis = np.linspace(-12, 12, 241)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1), jnp.float32)
    weights = np.exp(np.asarray(jax.jit(prior.log_prob)(params, grid), np.float64)) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(weights.sum(), 1, atol=0.01)

    draws = np.asarray(prior.sample(params, jax.random.key(1), 20_000), np.float64)
    mean = np.einsum("xy,xyd->d", weights, grid)
    square = np.einsum("xy,xyd,xye->de", weights, grid, grid)
    error = draws.std() / len(draws) ** 0.5
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=6 * error)
    np.testing.assert_allclose(draws.T @ draws / len(draws), square, atol=0.03 * square.max())


def test_a_mixture_has_the_density_of_scikit_learn_s() -> None:
    points = np.asarray(jax.random.normal(jax.random.key(0), (60, 3))) * [1, 2, 3] + [0, 5, 0]
    fit = Fit(2, random_state=0).fit(points)
    params = {
        "log_weights": jnp.log(fit.weights_),
        "means": jnp.asarray(fit.means_),
        "factors": jnp.linalg.cholesky(fit.covariances_),
    }
    found = GaussianMixture(latents=3, components=2).log_prob({"prior": params}, jnp.asarray(points).reshape(6, 10, 3))
    np.testing.assert_allclose(found.reshape(-1), fit.score_samples(points), rtol=1e-4, atol=1e-4)


def test_pseudo_inputs_move_the_prior_and_their_gradient_reaches_the_encoder() -> None:
    prior = dataclasses.replace(PRIORS[2])
    model = LatentVariableModel(POSTERIOR, DenseDecoder((4,), SHAPE), prior)
    params = model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)))
    gradient = jax.grad(lambda params: prior.log_prob(params, jnp.ones((1, 2))).sum())(params)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["prior"]))
    assert any(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["encoder"]))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient["decoder"]))
