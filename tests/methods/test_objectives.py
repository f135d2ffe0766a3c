"""Objectives against the evidence of a linear model, which is known, their definitions and finite differences."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import Array
from jax.flatten_util import ravel_pytree
from scipy import stats

from aejax import losses
from aejax.divergences import inverse_multiquadratic, maximum_mean_discrepancy
from aejax.methods.method import Params
from aejax.methods.objectives import (
    Objective,
    Weight,
    beta_elbo,
    beta_iwae,
    beta_tc,
    free_bits,
    info_vae,
    negative_elbo,
    negative_iwae,
    wae_mmd,
)
from aejax.models.latent_variable import LatentVariableModel, Terms
from aejax.models.likelihoods import Gaussian
from aejax.models.posteriors import GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.nn.heads import GaussianEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.methods.linear_gaussian import evidence, exact_params, gap, linear_model, random_images, random_params

KEY = jax.random.key(0)
KERNEL = inverse_multiquadratic(2)
SIZES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))  # batch, samples, latents
THREE_SIZES = settings(max_examples=3, deadline=None, derandomize=True, database=None)


@pytest.fixture
def terms() -> Terms:
    """Of 6 images with 3 latents of 2 dimensions each."""
    return linear_model().terms(random_params(0), random_images(6), KEY, 3)


def first_only(terms: Terms) -> Terms:
    """As with one latent for each image."""
    names = ("log_likelihood", "log_prior", "log_posterior", "latents")
    return terms._replace(**{name: getattr(terms, name)[:, :1] for name in names})


def many(objective: Callable[[Terms], Array], params: Params, images: Array, samples: int) -> np.ndarray:
    """The objective for each image 3000 times, with noise of its own each time: (3000, images)."""
    repeated = jnp.tile(images, (3000, 1, 1, 1))
    values = jax.jit(lambda p, x: objective(linear_model().terms(p, x, KEY, samples)))(params, repeated)
    return np.asarray(values, np.float64).reshape(3000, len(images))


def standard_errors(values: np.ndarray) -> np.ndarray:
    return values.std(axis=0) / math.sqrt(len(values))


@pytest.mark.parametrize("seed", range(4))
def test_the_elbo_is_below_the_evidence_by_the_divergence_from_the_true_posterior(seed: int) -> None:
    images, params = random_images(3), random_params(seed)
    exact, missing = evidence(params, images), gap(params, images)
    assert (missing > 0.05).all()

    in_closed_form = -many(negative_elbo, params, images, 1)
    by_weights = many(lambda terms: terms.log_weights()[:, 0], params, images, 1)

    for bounds in (in_closed_form, by_weights):
        assert (bounds.mean(axis=0) < exact).all()
        np.testing.assert_array_less(np.abs(exact - bounds.mean(axis=0) - missing), 4.5 * standard_errors(bounds))


@THREE_SIZES
@given(SIZES)
@example((4, 3, 2))
def test_with_the_true_posterior_every_latents_weight_is_the_evidence(sizes: tuple[int, int, int]) -> None:
    batch, samples, latents = sizes
    images, params = random_images(batch), exact_params(1, latents)
    exact = evidence(params, images)

    terms = jax.jit(lambda p: linear_model(latents).terms(p, images, KEY, samples))(params)

    assert terms.log_weights().shape == (batch, samples)
    np.testing.assert_allclose(terms.log_weights(), np.repeat(exact[:, None], samples, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(negative_iwae(terms), -exact, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gap(params, images), 0, atol=1e-5)


def test_with_the_true_posterior_the_elbo_is_the_evidence_in_mean() -> None:
    images, params = random_images(3), exact_params(1)
    bounds = -many(negative_elbo, params, images, 4)
    np.testing.assert_array_less(np.abs(bounds.mean(axis=0) - evidence(params, images)), 4.5 * standard_errors(bounds))


def test_iwae_with_one_latent_is_the_elbo_of_that_latent(terms: Terms) -> None:
    one = first_only(terms)
    expected = -(one.log_likelihood + one.log_prior - one.log_posterior)[:, 0]
    np.testing.assert_allclose(negative_iwae(one), expected, rtol=1e-5)


def test_iwae_is_minus_the_log_of_the_mean_weight(terms: Terms) -> None:
    """With a weight, it weighs the prior over the posterior."""
    likelihood, prior, posterior = (
        np.asarray(a, np.float64) for a in (terms.log_likelihood, terms.log_prior, terms.log_posterior)
    )
    for objective, weight in ((negative_iwae, 1.0), (beta_iwae(0.5), 0.5), (beta_iwae(0.0), 0.0)):
        expected = -np.log(np.exp(likelihood + weight * (prior - posterior)).mean(axis=1))
        np.testing.assert_allclose(objective(terms), expected, rtol=1e-5)


def test_iwae_of_hugely_negative_weights_is_finite(terms: Terms) -> None:
    hopeless = terms._replace(log_likelihood=terms.log_likelihood - 1e4)
    np.testing.assert_allclose(negative_iwae(hopeless), negative_iwae(terms) + 1e4, rtol=1e-5)


def test_iwae_falls_to_the_evidence_with_the_number_of_latents() -> None:
    images, params = random_images(3), random_params(1)
    exact = -evidence(params, images)

    values = [many(negative_iwae, params, images, samples) for samples in (1, 5, 50)]

    means, errors = ([f(v) for v in values] for f in (lambda v: v.mean(axis=0), standard_errors))
    np.testing.assert_array_less(np.abs(means[0] - exact - gap(params, images)), 4.5 * errors[0])
    for few, more in ((0, 1), (1, 2)):
        np.testing.assert_array_less(means[more] + 4 * (errors[few] + errors[more]), means[few])
    for mean, error in zip(means, errors, strict=True):
        np.testing.assert_array_less(exact, mean + 4 * error)
    np.testing.assert_array_less(means[2] - exact, 0.3 * (means[0] - exact))


OBJECTIVES = {
    "elbo": negative_elbo,
    "beta elbo": beta_elbo(0.7),
    "iwae": negative_iwae,
    "beta iwae": beta_iwae(0.7),
    "info-vae": info_vae(0.3, 2, KERNEL, 0.7),
    "beta-tcvae": beta_tc(3, 100, 0.7),
    "free bits": free_bits(0.1, 0.7),
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_gradients_agree_with_finite_differences(objective: Objective) -> None:
    """Through encoder, noise and decoder, in float64."""
    posterior = GaussianPosterior(GaussianEncoder(MLP((3,), nn.tanh), 2))
    decoder = DenseDecoder((3,), (2, 2, 1), nn.tanh)
    model = LatentVariableModel(posterior, decoder, StandardNormal(latents=2), Gaussian(0.5))
    with jax.enable_x64(True):
        images = random_images(3).astype(jnp.float64)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.init(KEY, images))
        flat, unravel = ravel_pytree(params)
        assert flat.dtype == jnp.float64

        def loss(flat: Array) -> Array:
            return objective(model.terms(unravel(flat), images, KEY, 3)).mean()

        steps = 1e-5 * jnp.eye(len(flat))
        differences = jax.jit(jax.vmap(lambda step: (loss(flat + step) - loss(flat - step)) / 2e-5))(steps)
        gradient = jax.jit(jax.grad(loss))(flat)
        layers = [np.asarray(leaf) for leaf in jax.tree.leaves(unravel(gradient))]

    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-8)
    assert all((np.abs(layer) > 1e-4).any() for layer in layers)  # of both networks


def test_weights_of_the_kl(terms: Terms) -> None:
    distortion, rate = -terms.log_likelihood.mean(axis=1), terms.kl.sum(axis=1)
    for weight in (0.0, 0.5, 4.0):
        for mild in (beta_elbo(weight), free_bits(0, weight), info_vae(0, 1, KERNEL, weight)):
            np.testing.assert_allclose(mild(terms), distortion + weight * rate, rtol=1e-6)
    np.testing.assert_array_equal(negative_elbo(terms), beta_elbo(1.0)(terms))


WEIGHTED: dict[str, Callable[[Weight], Objective]] = {
    "elbo": beta_elbo,
    "iwae": beta_iwae,
    "free bits": lambda weight: free_bits(0.5, weight),
    "info-vae": lambda weight: info_vae(0.3, 2, KERNEL, weight),
    "beta-tcvae": lambda weight: beta_tc(3, 100, weight),
}


@pytest.mark.parametrize("of_weight", WEIGHTED.values(), ids=WEIGHTED.keys())
def test_a_weight_that_is_a_schedule_is_read_at_the_terms_step(
    terms: Terms, of_weight: Callable[[Weight], Objective]
) -> None:
    scheduled = of_weight(lambda step: 0.25 * step)
    for step in (0, 2, 6):
        found = jax.jit(scheduled)(terms._replace(step=jnp.int32(step)))
        np.testing.assert_allclose(found, of_weight(0.25 * step)(terms), rtol=1e-5)


# Batch means of their KL: 0.0025 and 2.5 nats, and one below half a nat though its second image alone is above.
MEANS = jnp.array([[0.1, 3.0, 0.1], [0.0, -1.0, 1.2]])
LOG_VARIANCES = jnp.zeros((2, 3))


def free_terms(terms: Terms, mean: Array, log_variance: Array) -> Terms:
    kl = losses.gaussian_kl(mean, log_variance)
    return jax.tree.map(lambda leaf: leaf[:2] if leaf.ndim else leaf, terms)._replace(kl=kl)


def test_free_bits_do_not_pull_at_latents_below_the_threshold(terms: Terms) -> None:
    mean, log_variance = MEANS, LOG_VARIANCES - 0.2

    def loss(mean: Array, log_variance: Array) -> Array:
        return free_bits(0.5, 0.5)(free_terms(terms, mean, log_variance)).sum()

    by_mean, by_log_variance = jax.grad(loss, (0, 1))(mean, log_variance)

    np.testing.assert_array_equal(by_mean[:, jnp.array([0, 2])], 0)
    np.testing.assert_array_equal(by_log_variance[:, jnp.array([0, 2])], 0)
    np.testing.assert_allclose(by_mean[:, 1], 0.5 * mean[:, 1], rtol=1e-6)  # 0.5: the KL's weight
    np.testing.assert_allclose(by_log_variance[:, 1], 0.5 * (jnp.exp(-0.2) - 1) / 2, rtol=1e-5)


@pytest.mark.parametrize("nats", [0.0, 0.5, 3.0])
def test_free_bits_pay_the_larger_of_the_threshold_and_the_batchs_mean_kl(terms: Terms, nats: float) -> None:
    two = free_terms(terms, MEANS, LOG_VARIANCES)
    values = free_bits(nats, 0.5)(two)
    expected = -two.log_likelihood.mean() + 0.5 * np.maximum(nats, np.asarray(two.kl).mean(axis=0)).sum()
    assert values.shape == (2,)
    np.testing.assert_allclose(values.mean(), expected, rtol=1e-6)


@pytest.mark.parametrize("dataset_size", [1, 10, 60_000])
def test_beta_tc_with_beta_1_is_the_elbo_of_its_latent_whatever_the_dataset_size(
    terms: Terms, dataset_size: int
) -> None:
    one = first_only(terms)
    expected = -(one.log_likelihood + one.log_prior - one.log_posterior)[:, 0]
    np.testing.assert_allclose(beta_tc(1, dataset_size)(one), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("beta", "dataset_size"), [(6.0, 6), (0.0, 1000)])
def test_beta_tc_is_the_minibatch_weighted_estimate_of_its_paper(terms: Terms, beta: float, dataset_size: int) -> None:
    z, mean, log_variance = (np.asarray(a, np.float64) for a in (terms.latents[:, 0], terms.mean, terms.log_variance))
    densities = stats.norm(mean, np.exp(log_variance / 2)).pdf(z[:, None])  # (image's latent, posterior, dimension)
    log_qz = np.log(densities.prod(axis=2).sum(axis=1) / (len(z) * dataset_size))
    log_marginals = np.log(densities.sum(axis=1) / (len(z) * dataset_size)).sum(axis=1)
    kl = np.asarray(terms.log_posterior - terms.log_prior)[:, 0] + (beta - 1) * (log_qz - log_marginals)

    expected = -np.asarray(terms.log_likelihood).mean(axis=1) + 0.5 * kl
    np.testing.assert_allclose(beta_tc(beta, dataset_size, 0.5)(terms), expected, rtol=1e-4)


def test_beta_tc_of_a_large_dataset(terms: Terms) -> None:
    one = first_only(terms)
    np.testing.assert_allclose(beta_tc(1, 10**9)(one), beta_tc(1, 10)(one), rtol=1e-4)


def test_info_vae_is_the_elbo_where_alpha_is_0_and_the_weight_1(terms: Terms) -> None:
    np.testing.assert_array_equal(info_vae(0, 1, KERNEL)(terms), negative_elbo(terms))


@pytest.mark.parametrize(("alpha", "weight"), [(0.0, 10.0), (0.5, 3.0), (1.0, 7.0), (-1.0, 2.0)])
def test_info_vae_weighs_kl_and_mmd(terms: Terms, alpha: float, weight: float) -> None:
    mmd = maximum_mean_discrepancy(terms.latents[:, 0], terms.prior_samples, KERNEL)
    distortion, rate = -terms.log_likelihood.mean(axis=1), terms.kl.sum(axis=1)
    expected = distortion + 0.5 * (1 - alpha) * rate + (alpha + weight - 1) * mmd
    np.testing.assert_allclose(info_vae(alpha, weight, KERNEL, 0.5)(terms), expected, rtol=1e-5)
    if alpha == 1:
        np.testing.assert_array_equal(wae_mmd(weight, KERNEL)(terms), info_vae(alpha, weight, KERNEL)(terms))


def test_a_wae_pays_for_latents_that_are_not_where_the_prior_is(terms: Terms) -> None:
    at_prior = terms._replace(latents=jnp.repeat(terms.prior_samples[:, None], 3, axis=1))
    shifted = [at_prior._replace(latents=at_prior.latents + shift) for shift in (0, 1, 2, 4)]
    values = [float(wae_mmd(10, KERNEL)(t).mean()) for t in shifted]
    assert values == sorted(values)
    assert values[-1] > values[0] + 1
    np.testing.assert_array_equal(
        wae_mmd(10, KERNEL)(at_prior._replace(kl=terms.kl + 9)), wae_mmd(10, KERNEL)(at_prior)
    )


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_objectives_do_not_depend_on_the_order_of_images(terms: Terms, objective: Objective) -> None:
    order = jnp.array([4, 0, 5, 2, 1, 3])
    permuted = jax.tree.map(lambda leaf: leaf[order] if leaf.ndim else leaf, terms)
    np.testing.assert_allclose(objective(permuted), objective(terms)[order], rtol=1e-5)
    assert objective(terms).shape == (6,)
