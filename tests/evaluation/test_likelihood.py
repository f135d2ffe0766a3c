"""Importance-sampled likelihood against the exact evidence of a linear-Gaussian model."""

import jax
import numpy as np
import pytest

from aejax.evaluation.likelihood import active_units, bits_per_dimension
from aejax.models.latent_variable import log_likelihood_by_importance
from aejax.models.posteriors import Params
from tests.methods.linear_gaussian import evidence, exact_params, gap, linear_model, random_images, random_params

MODEL = linear_model()
IMAGES = random_images(4)
KEY = jax.random.key(0)


def nll(params: Params, samples: int, rows: int = 1000, seed: int = 0) -> np.ndarray:
    return -np.asarray(log_likelihood_by_importance(MODEL, params, IMAGES, jax.random.key(seed), samples, rows))


@pytest.mark.parametrize(("samples", "rows"), [(1, 1000), (7, 8), (10, 40), (3, 1)])
def test_it_is_exact_with_the_true_posterior_for_any_number_of_samples_in_any_blocks(samples: int, rows: int) -> None:
    # Every weight is then the evidence itself, so a sample too many or too few would show as log(k') - log(k).
    params = exact_params(1)
    np.testing.assert_allclose(nll(params, samples, rows), -evidence(params, IMAGES), rtol=1e-5)


def test_it_comes_close_with_many_samples_where_the_elbo_does_not() -> None:
    params = random_params(2)
    exact = -evidence(params, IMAGES)
    assert gap(params, IMAGES).min() > 0.3  # the ELBO is off by that
    np.testing.assert_allclose(nll(params, 20_000), exact, atol=0.1)


def test_with_few_samples_it_is_an_upper_bound_on_average() -> None:
    params = random_params(2)
    few = jax.vmap(lambda key: -log_likelihood_by_importance(MODEL, params, IMAGES, key, 2, 1000))(
        jax.random.split(KEY, 2000)
    )
    standard_error = few.std(axis=0) / 2000**0.5
    assert (few.mean(axis=0) - 5 * standard_error > -evidence(params, IMAGES)).all()


def test_blocks_draw_different_samples() -> None:
    params = random_params(2)
    one_block, two_blocks = nll(params, 5, rows=20), nll(params, 10, rows=20)
    assert (one_block != two_blocks).all()


def test_a_unit_is_active_where_its_mean_varies_by_more_than_a_hundredth() -> None:
    means = np.random.default_rng(0).normal(0, [1.0, 0.2, 0.05, 0.0], (10_000, 4))  # variances 1, 0.04, 0.0025, 0
    assert active_units(means) == 2
    assert active_units(means + 100) == 2


def test_a_bit_per_value_is_ln_2_per_value() -> None:
    assert bits_per_dimension(784 * np.log(2), 784) == pytest.approx(1)
