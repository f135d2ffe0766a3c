"""Moments of each noise, its edges, and the purity that all share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aejax import corruptions
from aejax.corruptions import Corruption

KEY = jax.random.key(0)
SHAPE = (50, 20, 20, 2)  # one for all, since each new shape is compiled anew
NOISES = {
    "gaussian": corruptions.Gaussian(0.5, 0.3),
    "salt_and_pepper": corruptions.SaltAndPepper(0.3),
    "masking": corruptions.Masking(0.3),
    "speckle": corruptions.Speckle(0.3),
}
every_noise = pytest.mark.parametrize("corrupt", NOISES.values(), ids=NOISES)


def grey(value: float) -> np.ndarray:
    return np.full(SHAPE, value, np.float32)


def corrupted(corrupt: Corruption, images: np.ndarray, key: jax.Array = KEY) -> np.ndarray:
    return np.asarray(corrupt(key, jnp.asarray(images)))


@every_noise
def test_noise_keeps_shape_dtype_and_range(corrupt: Corruption) -> None:
    images = np.random.default_rng(0).random(SHAPE, np.float32)
    found = corrupted(corrupt, images)
    assert (found.shape, found.dtype) == (SHAPE, np.float32)
    assert found.min() >= 0
    assert found.max() <= 1


@every_noise
def test_equal_keys_give_equal_noise_and_other_keys_other_noise(corrupt: Corruption) -> None:
    images = grey(0.4)
    np.testing.assert_array_equal(corrupted(corrupt, images), corrupted(corrupt, images))
    assert (corrupted(corrupt, images) != corrupted(corrupt, images, jax.random.key(1))).mean() > 0.3


@every_noise
def test_every_pixel_and_channel_of_every_image_draws_its_own(corrupt: Corruption) -> None:
    found = corrupted(corrupt, grey(0.5)) - 0.5
    for axis in (0, 1, 2, 3):
        one, other = np.take(found, 0, axis).ravel(), np.take(found, 1, axis).ravel()
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(one.size)


def test_gaussian_noise_has_its_mean_and_std_where_nothing_is_clipped() -> None:
    found = corrupted(corruptions.Gaussian(0.1, 0.05), grey(0.4))
    np.testing.assert_allclose(found.mean(), 0.5, atol=1e-3)
    np.testing.assert_allclose(found.std(), 0.05, atol=1e-3)


def test_the_tutorials_noise_on_black_and_white() -> None:
    """clip(N(0.5, 0.3), 0, 1) in the background; of white pixels, those are left white whose noise is not negative."""
    below = stats.norm.cdf(-0.5 / 0.3)
    black, white = corrupted(corruptions.Gaussian(), grey(0.0)), corrupted(corruptions.Gaussian(), grey(1.0))
    np.testing.assert_allclose(black.mean(), 0.5, atol=5e-3)
    np.testing.assert_allclose([(black == 0).mean(), (black == 1).mean()], below, atol=3e-3)
    np.testing.assert_allclose((white == 1).mean(), 1 - below, atol=3e-3)


def test_salt_and_pepper_share_the_amount() -> None:
    found = corrupted(corruptions.SaltAndPepper(0.3), grey(0.4))
    np.testing.assert_allclose([(found == 0).mean(), (found == 1).mean()], 0.15, atol=5e-3)
    assert set(np.unique(found)) == {np.float32(0), np.float32(0.4), np.float32(1)}


def test_masking_sets_its_fraction_to_zero_and_leaves_the_rest() -> None:
    found = corrupted(corruptions.Masking(0.3), grey(0.4))
    np.testing.assert_allclose((found == 0).mean(), 0.3, atol=5e-3)
    assert set(np.unique(found)) == {np.float32(0), np.float32(0.4)}


def test_speckle_is_proportional_to_the_pixel() -> None:
    for value in (0.0, 0.2, 0.4):
        found = corrupted(corruptions.Speckle(0.3), grey(value))
        np.testing.assert_allclose(found.mean(), value, atol=2e-3)
        np.testing.assert_allclose(found.std(), 0.3 * value, atol=2e-3)


@pytest.mark.parametrize(
    "corrupt",
    [
        corruptions.Gaussian(0, 0),
        corruptions.SaltAndPepper(0),
        corruptions.Masking(0),
        corruptions.Speckle(0),
        corruptions.Downscale(1),
    ],
)
def test_no_noise_is_the_identity(corrupt: Corruption) -> None:
    images = np.random.default_rng(0).random((3, 4, 5, 2), np.float32)
    np.testing.assert_array_equal(corrupted(corrupt, images), images)


def test_all_of_it_is_all_of_it() -> None:
    assert (corrupted(corruptions.Masking(1), grey(0.4)) == 0).all()
    assert set(np.unique(corrupted(corruptions.SaltAndPepper(1), grey(0.4)))) == {0, 1}


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(value: float) -> None:
    for corruption in (corruptions.SaltAndPepper, corruptions.Masking):
        with pytest.raises(ValueError, match="expected a probability"):
            corruption(value)


@pytest.mark.parametrize("factor", [2, 4])
def test_box_downscaling_takes_means(factor: int) -> None:
    images = np.random.default_rng(0).random((2, 8, 12, 3), np.float32)
    found = corrupted(corruptions.Downscale(factor), images)
    assert found.shape == (2, 8 // factor, 12 // factor, 3)
    for y, x in np.ndindex(found.shape[1:3]):
        block = images[:, factor * y : factor * (y + 1), factor * x : factor * (x + 1)]
        np.testing.assert_allclose(found[:, y, x], block.mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("kernel", ["box", "bicubic"])
def test_downscaling_is_antialiased(kernel: str) -> None:
    """Stripes one pixel wide lie beyond what the small image can show: they must become grey, not black or white."""
    stripes = np.zeros((1, 16, 16, 1), np.float32)
    stripes[:, ::2] = 1
    inside = corrupted(corruptions.Downscale(2, kernel), stripes)[:, 2:-2, 2:-2]  # type: ignore[arg-type]
    np.testing.assert_allclose(inside, 0.5, atol=0.05)


def test_sizes_that_the_factor_does_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="28 x 27 pixels cannot be made 2 times smaller"):
        corruptions.Downscale(2)(KEY, jnp.zeros((1, 28, 27, 1)))
