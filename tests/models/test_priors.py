"""Priors: their densities, and that their samples follow them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aejax.models.priors import MixtureOnRing, Prior, StandardNormal, SwissRoll


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 1), (2, 3, 5, 2)])
def test_log_prob_is_that_of_independent_normals_over_the_last_axis(shape: tuple[int, ...]) -> None:
    z = np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)
    actual = StandardNormal(latents=shape[-1]).log_prob({}, jnp.asarray(z))
    assert actual.shape == shape[:-1]
    np.testing.assert_allclose(actual, stats.norm.logpdf(z.astype(np.float64)).sum(-1), rtol=1e-5)


@pytest.mark.parametrize("latents", [1, 3])
def test_samples_are_standard_normal_and_independent(latents: int) -> None:
    prior = StandardNormal(latents=latents)
    z = np.asarray(prior.sample({}, jax.random.key(0), 4000), np.float64)
    assert prior.latents == latents
    assert z.shape == (4000, latents)
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.01
    np.testing.assert_allclose(np.cov(z.T).reshape(latents, latents), np.eye(latents), atol=0.1)


def test_the_mean_log_prob_of_samples_is_minus_the_entropy() -> None:
    prior = StandardNormal(latents=5)
    log_probs = prior.log_prob({}, prior.sample({}, jax.random.key(0), 10_000))
    error = float(log_probs.std()) / 100
    assert abs(float(log_probs.mean()) + 5 * stats.norm.entropy()) < 4 * error


def test_equal_keys_draw_equal_samples() -> None:
    sample = StandardNormal(latents=2).sample
    one, again, other = (sample({}, jax.random.key(seed), 3) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


def in_plane() -> list[tuple[str, Prior]]:
    return [("mixture", MixtureOnRing()), ("swiss_roll", SwissRoll())]


@pytest.mark.parametrize(("name", "prior"), in_plane())
def test_a_class_is_its_part_of_the_prior(name: str, prior: Prior) -> None:
    assert prior.parts == 10
    whole = np.asarray(prior.sample({}, jax.random.key(0), 20_000))
    labels = jnp.arange(20_000) % 10
    parts = np.asarray(prior.sample_part({}, jax.random.key(1), labels))
    assert whole.shape == parts.shape == (20_000, 2)
    for axis in range(2):
        assert stats.ks_2samp(whole[:, axis], parts[:, axis]).pvalue > 0.01
    centres = np.stack([parts[np.asarray(labels) == label].mean(axis=0) for label in range(10)])
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    assert distances[~np.eye(10, dtype=bool)].min() > 0.1


def test_the_mixtures_density_integrates_to_one_and_is_that_of_its_samples() -> None:
    prior = MixtureOnRing()
    axis = np.linspace(-9, 9, 401)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1), jnp.float32)
    density = np.exp(np.asarray(prior.log_prob({}, grid), np.float64))
    cell = (axis[1] - axis[0]) ** 2
    assert density.sum() * cell == pytest.approx(1, abs=1e-3)
    samples = prior.sample({}, jax.random.key(0), 20_000)
    cross_entropy = -(density * np.log(np.maximum(density, 1e-300))).sum() * cell
    assert -float(prior.log_prob({}, samples).mean()) == pytest.approx(cross_entropy, abs=0.03)


def test_the_swiss_roll_is_even_along_its_length_and_grows_with_its_angle() -> None:
    prior = SwissRoll(turns=2.0, radius=4.0, noise=0.0)
    points = np.asarray(prior.sample({}, jax.random.key(0), 5000), np.float64)
    radius = np.linalg.norm(points, axis=1)
    assert radius.max() <= 4 + 1e-5
    angle = 2 * np.pi * 2.0 * radius / 4  # what the radius says
    np.testing.assert_allclose(points, radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), atol=1e-4)
    assert stats.kstest((radius / 4) ** 2, "uniform").pvalue > 0.01


@pytest.mark.parametrize("prior", [MixtureOnRing(across=0.0), SwissRoll(noise=0.0)], ids=["mixture", "swiss_roll"])
def test_the_centre_line_has_its_share_of_each_part_before_it(prior: Prior) -> None:
    for label in (0, 7):
        part = np.asarray(prior.sample_part({}, jax.random.key(2), jnp.full(1000, label)))
        line = np.asarray(prior.centre_line(jnp.full(401, label), (jnp.arange(401) + 0.5) / 401))
        distances = np.linalg.norm(part[:, None] - line[None], axis=2)
        assert np.median(distances.min(axis=1)) < 0.01  # without width, all points lie on it
        # And its places are as frequent as the shares say.
        assert stats.kstest((distances.argmin(axis=1) + 0.5) / 401, "uniform").pvalue > 0.01
