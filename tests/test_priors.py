"""The standard normal prior: its density, and that its samples follow it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aejax.priors import standard_normal


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 1), (2, 3, 5, 2)])
def test_log_prob_is_that_of_independent_normals_over_the_last_axis(shape: tuple[int, ...]) -> None:
    z = np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)
    actual = standard_normal(shape[-1]).log_prob(jnp.asarray(z))
    assert actual.shape == shape[:-1]
    np.testing.assert_allclose(actual, stats.norm.logpdf(z.astype(np.float64)).sum(-1), rtol=1e-5)


@pytest.mark.parametrize("latents", [1, 3])
def test_samples_are_standard_normal_and_independent(latents: int) -> None:
    prior = standard_normal(latents)
    z = np.asarray(prior.sample(jax.random.key(0), 4000), np.float64)
    assert prior.latents == latents
    assert z.shape == (4000, latents)
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.01
    np.testing.assert_allclose(np.cov(z.T).reshape(latents, latents), np.eye(latents), atol=0.1)


def test_the_mean_log_prob_of_samples_is_minus_the_entropy() -> None:
    prior = standard_normal(5)
    log_probs = prior.log_prob(prior.sample(jax.random.key(0), 10_000))
    error = float(log_probs.std()) / 100
    assert abs(float(log_probs.mean()) + 5 * stats.norm.entropy()) < 4 * error


def test_equal_keys_draw_equal_samples() -> None:
    sample = standard_normal(2).sample
    one, again, other = (sample(jax.random.key(seed), 3) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()
