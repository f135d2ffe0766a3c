"""Filters at their best setting, and upscaling, against scikit-image and Pillow image by image."""

import numpy as np
import pytest
from PIL import Image
from skimage import filters
from skimage.restoration import denoise_nl_means

from aejax.evaluation import baselines, image_quality

RANDOM = np.random.default_rng(0)


def smooth_images(n: int = 8, size: int = 16, channels: int = 1) -> np.ndarray:
    """Discs, bright on black."""
    y, x = np.mgrid[:size, :size]
    centres = RANDOM.uniform(5, size - 5, (n, 2, channels))
    distance = np.hypot(y[..., None] - centres[:, None, None, 0], x[..., None] - centres[:, None, None, 1])
    return np.clip(5 - distance, 0, 1).astype(np.float32)


def noisy(images: np.ndarray) -> np.ndarray:
    return np.clip(images + RANDOM.normal(0.5, 0.3, images.shape), 0, 1).astype(np.float32)


def test_the_gaussian_filter_is_scikit_images() -> None:
    images = RANDOM.random((3, 9, 10, 3), np.float32)
    for image, found in zip(images, baselines.gaussian_filter(images, 1.25), strict=True):
        expected = filters.gaussian(image, 1.25, mode="mirror", channel_axis=-1)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_median_filter_takes_medians_of_squares_within_one_channel() -> None:
    images = RANDOM.random((2, 7, 8, 2), np.float32)
    found = baselines.median_filter(images, 3)
    for y, x in np.ndindex(5, 6):
        square = images[:, y : y + 3, x : x + 3]
        np.testing.assert_array_equal(found[:, y + 1, x + 1], np.median(square, axis=(1, 2)))


@pytest.mark.parametrize("channels", [1, 3])
def test_non_local_means_treats_each_image_by_itself(channels: int) -> None:
    images = noisy(smooth_images(2, 12, channels))
    found = baselines.non_local_means(images, 0.4)
    assert found.shape == images.shape
    alone = denoise_nl_means(images[1], patch_size=5, patch_distance=6, h=0.4, channel_axis=-1)
    np.testing.assert_allclose(found[1], alone.reshape(12, 12, channels), atol=1e-6)


@pytest.mark.parametrize("function", [function for function, *_ in baselines.FILTERS.values()])
def test_blocks_in_threads_change_no_value_and_keep_the_order(
    function: baselines.Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noisy(smooth_images(7, 11, 2))
    whole = function(images, 3)
    monkeypatch.setattr(baselines, "_BLOCK_VALUES", 2 * 11 * 11 * 2)
    np.testing.assert_array_equal(function(images, 3), whole)
    np.testing.assert_array_equal(function(images[:1], 3), whole[:1])


def test_the_affine_fit_undoes_an_affine_map() -> None:
    y = RANDOM.random((4, 5, 6, 1), np.float32)
    scale, offset, decibel = baselines.affine_fit((y - 0.25) / 3, y)
    assert (scale, offset) == (pytest.approx(3, abs=0.01), pytest.approx(0.25, abs=0.01))
    assert decibel > 50


def test_the_affine_fit_is_the_best_after_clipping() -> None:
    """No map on a grid around it gives a higher mean PSNR, and the least-squares map, which ignores clipping, less."""
    clean = smooth_images()
    x = noisy(clean)

    def score(scale: float, offset: float) -> float:
        return float(image_quality.psnr(np.clip(scale * x + offset, 0, 1).astype(np.float32), clean).mean())

    scale, offset, decibel = baselines.affine_fit(x, clean)
    assert score(scale, offset) == pytest.approx(decibel, abs=1e-3)
    grid = [score(scale + i / 20, offset + j / 20) for i in range(-4, 5) for j in range(-4, 5)]
    assert decibel > max(grid) - 1e-2
    assert decibel > score(*np.polyfit(x.ravel(), clean.ravel(), 1)) + 0.5


def test_the_affine_fit_of_a_constant_is_finite() -> None:
    y = RANDOM.random((4, 5, 6, 1), np.float32)
    scale, offset, _ = baselines.affine_fit(np.full_like(y, 0.3), y)
    assert 0.3 * scale + offset == pytest.approx(y.mean(), abs=0.02)


def test_each_filter_is_fitted_at_its_best_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one setting restores the images exactly, up to a scale and an offset, it is the one that is chosen."""

    def cheat(images: np.ndarray, value: float) -> np.ndarray:
        return images if value != 7 else (clean - 0.25) / 3

    clean = smooth_images()
    monkeypatch.setattr(baselines, "FILTERS", {"cheat": (cheat, "skill", (1, 7, 9))})
    fitted = baselines.fit_denoisers(noisy(clean), clean)
    assert list(fitted) == ["noisy input", "affine map", "cheat, skill 7"]
    best = fitted["cheat, skill 7"]
    np.testing.assert_allclose(best(noisy(clean)), clean, atol=1e-3)


def test_filters_beat_the_affine_map_which_beats_the_noisy_input() -> None:
    clean, other = smooth_images(), smooth_images()
    fitted = baselines.fit_denoisers(noisy(clean), clean)
    kinds = [name.split(",")[0] for name in fitted]
    assert kinds == ["noisy input", "affine map", "Gaussian filter", "median filter", "non-local means"]
    inputs = noisy(other)
    errors = [np.square(denoiser(inputs) - other).mean() for denoiser in fitted.values()]
    np.testing.assert_array_equal(fitted["noisy input"](inputs), inputs)
    assert errors[0] > errors[1] > max(errors[2:])
    for denoiser in fitted.values():
        found = denoiser(inputs)
        assert (found.dtype, found.shape) == (np.float32, inputs.shape)
        assert found.min() >= 0
        assert found.max() <= 1


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("method", baselines.UPSCALERS)
def test_upscaling_is_pillows(method: str, factor: int) -> None:
    images = smooth_images(2, 12, 3)
    found = baselines.upscale(images, factor, method)
    assert found.shape == (2, 12 * factor, 12 * factor, 3)
    resampling = Image.Resampling[method.upper()]
    for i, c in np.ndindex(2, 3):
        expected = Image.fromarray(images[i, ..., c]).resize((12 * factor,) * 2, resampling)
        np.testing.assert_allclose(found[i, ..., c], np.clip(np.asarray(expected), 0, 1), atol=1e-4)


def test_nearest_upscaling_of_box_means_gives_their_means_back() -> None:
    images = RANDOM.random((2, 3, 4, 1), np.float32)
    found = baselines.upscale(images, 2, "nearest")
    np.testing.assert_array_equal(found, images.repeat(2, 1).repeat(2, 2))
