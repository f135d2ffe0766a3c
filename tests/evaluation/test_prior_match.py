"""Distances between samples against closed forms for Gaussians, and the Parzen window against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aejax.evaluation import parzen
from aejax.evaluation.prior_match import distances, moments, sliced_wasserstein, squared_sliced_wasserstein

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)


def test_a_shift_is_as_far_as_its_mean_projection() -> None:
    # Each projection moves by its cosine with the shift, whose mean square is 1 / d.
    x = RANDOM.normal(size=(500, 4)).astype(np.float32)
    shift = np.array([3.0, 0, 0, 4.0], np.float32)
    found = sliced_wasserstein(KEY, jnp.asarray(x), jnp.asarray(x + shift), 4096)
    assert float(found) == pytest.approx(5 / 2, rel=0.05)


def test_a_change_of_scale_between_gaussians() -> None:
    # W2 between N(0, 1) and N(0, s^2) is |s - 1| along every direction.
    x = RANDOM.normal(size=(5000, 3)).astype(np.float32)
    y = 1.5 * RANDOM.normal(size=(5000, 3)).astype(np.float32)
    assert float(sliced_wasserstein(KEY, jnp.asarray(x), jnp.asarray(y))) == pytest.approx(0.5, rel=0.05)


def test_it_is_zero_for_a_permutation_and_symmetric() -> None:
    x, y = (RANDOM.normal(size=(50, 2)).astype(np.float32) for _ in range(2))
    assert float(sliced_wasserstein(KEY, jnp.asarray(x), jnp.asarray(x[::-1]))) < 1e-6
    assert sliced_wasserstein(KEY, jnp.asarray(x), jnp.asarray(y)) == pytest.approx(
        float(sliced_wasserstein(KEY, jnp.asarray(y), jnp.asarray(x))), rel=1e-6
    )


def test_the_number_of_projections_is_kept_in_blocks() -> None:
    x, y = (jnp.asarray(RANDOM.normal(size=(50, 2)).astype(np.float32)) for _ in range(2))
    first = [float(sliced_wasserstein(KEY, x, y, n)) for n in (1, 5, 16)]
    assert len(set(first)) == 3


def test_two_samples_of_one_distribution_are_nearer_than_one_of_another() -> None:
    one, two = (RANDOM.normal(size=(2000, 5)).astype(np.float32) for _ in range(2))
    floor, far = distances(KEY, one, two), distances(KEY, one + 0.5, two)
    assert far["sliced_wasserstein"] > 3 * floor["sliced_wasserstein"]
    assert far["mmd"] > 20 * abs(floor["mmd"])


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.02, 0.05, 0.2])
def test_the_squared_distance_between_distributions_has_no_floor(shift: float) -> None:
    """Gaussians of 150 latents a known shift apart: a root mean square of this size in each direction."""
    random = np.random.default_rng(0)
    step = random.normal(size=150)
    step *= shift * np.sqrt(150) / np.linalg.norm(step)
    x, y = (random.normal(size=(1500, 150)) for _ in range(2))
    found = squared_sliced_wasserstein(KEY, x + step + 1000, y + 1000, projections=150)
    assert abs(found.value - shift**2) < found.high - found.low  # four standard errors
    # The square of the distance between the samples has a floor of 0.004, forty times the smallest shift's.
    assert abs(found.value - shift**2) < 6e-4 + 0.15 * shift**2
    assert found.root().value == pytest.approx(shift, abs=0.02)


def test_the_squared_distance_of_a_change_of_scale_and_of_the_largest_common_size() -> None:
    x, y = RANDOM.normal(size=(4000, 3)), 1.5 * RANDOM.normal(size=(5000, 3))
    found = squared_sliced_wasserstein(KEY, x, y)
    assert abs(found.value - 0.25) < found.high - found.low < 0.1


def test_intervals_cover_the_truth_and_estimates_of_equal_distributions_are_0_in_mean() -> None:
    for shift, count in ((0.0, 40), (0.3, 40)):
        found = []
        for i in range(count):
            x, y = (RANDOM.normal(size=(100, 2)) for _ in range(2))
            found.append(squared_sliced_wasserstein(jax.random.fold_in(KEY, i), x + shift, y, 8))
        error = np.array([estimate.value - shift**2 for estimate in found])
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(count)
        assert np.mean([estimate.low <= shift**2 <= estimate.high for estimate in found]) > 0.8


def test_too_few_codes_have_fewer_figures() -> None:
    x, y = (RANDOM.normal(size=(6, 2)).astype(np.float32) for _ in range(2))
    assert len(distances(KEY, x, y)) == 5
    assert list(distances(KEY, x[:5], y[:5])) == ["sliced_wasserstein", "mmd"]
    assert list(distances(KEY, x[:1], y[:1])) == ["sliced_wasserstein"]
    for wrong, folds in ((x[:5], 3), (x, 2), (x, 4), (x[:, :1], 3)):
        with pytest.raises(ValueError, match="expected two samples"):
            squared_sliced_wasserstein(KEY, wrong, y, folds=folds)


def test_a_distance_far_from_the_origin_is_the_one_near_it() -> None:
    x, y = (np.round(RANDOM.normal(size=(200, 4)) * 64).astype(np.float32) / 64 for _ in range(2))
    near, far = (distances(KEY, x + np.float32(offset), y + np.float32(offset)) for offset in (0, 4096))
    for name, value in near.items():
        assert far[name] == pytest.approx(value, abs=1e-6)


def test_moments_of_known_distributions() -> None:
    codes = np.stack([RANDOM.normal(2, 3, 100_000), RANDOM.uniform(-1, 1, 100_000), np.full(100_000, 7.0)], axis=1)
    found = moments(codes)
    np.testing.assert_allclose(found["mean"], [2, 0, 7], atol=0.04)
    np.testing.assert_allclose(found["std"], [3, 3**-0.5, 0], atol=0.02)
    np.testing.assert_allclose(found["kurtosis"], [3, 1.8, 0], atol=0.06)


def test_parzen_is_the_density_of_a_mixture_of_gaussians() -> None:
    samples, images = RANDOM.uniform(size=(7, 2, 2, 1)), RANDOM.uniform(size=(230, 2, 2, 1))
    densities = [
        stats.multivariate_normal(sample.ravel(), 0.3**2 * np.eye(4)).pdf(images.reshape(-1, 4)) for sample in samples
    ]
    expected = np.log(np.mean(densities, axis=0))
    np.testing.assert_allclose(parzen.log_likelihood(samples, images, 0.3), expected, rtol=1e-4, atol=1e-5)


def test_the_bandwidth_is_that_of_the_samples_spread() -> None:
    samples = RANDOM.normal(size=(300, 2, 1, 1))
    chosen = parzen.choose_bandwidth(samples, RANDOM.normal(size=(300, 2, 1, 1)), [0.01, 0.3, 30.0])
    assert chosen == 0.3


def test_the_standard_error_is_that_of_a_mean() -> None:
    values = RANDOM.normal(3, 2, 10_000).astype(np.float32)
    mean, error = parzen.mean_and_standard_error(values)
    assert mean == pytest.approx(3, abs=0.1)
    assert error == pytest.approx(0.02, rel=0.05)
