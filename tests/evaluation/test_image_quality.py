import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.color
import skimage.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from aejax.errors import UserError
from aejax.evaluation import image_quality


def pair(seed: int, shape: tuple[int, ...], noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random(shape, np.float32)
    return np.clip(targets + noise * rng.standard_normal(shape, np.float32), 0, 1), targets


def reference_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Scikit-image on one image in float64."""
    return structural_similarity(
        x.astype(np.float64),
        y.astype(np.float64),
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(1, 5),
    h=st.integers(11, 40),
    w=st.integers(11, 40),
    c=st.integers(1, 4),
    noise=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_summary_agrees_with_scikit_image_image_by_image(
    seed: int, n: int, h: int, w: int, c: int, noise: float
) -> None:
    reconstructions, targets = pair(seed, (n, h, w, c), noise)
    found = image_quality.summary(reconstructions, targets)
    assert {name: values.shape for name, values in found.items()} == {"mse": (n,), "psnr": (n,), "ssim": (n,)}
    for i, (x, y) in enumerate(zip(reconstructions, targets, strict=True)):
        assert found["mse"][i] == pytest.approx(mean_squared_error(x, y), abs=1e-6)
        assert found["ssim"][i] == pytest.approx(reference_ssim(x, y), abs=1e-7)
        if noise:
            assert found["psnr"][i] == pytest.approx(peak_signal_noise_ratio(y, x, data_range=1), abs=1e-4)


def test_ssim_of_blocks_that_do_not_divide_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pair(0, (7, 12, 15, 2))
    whole = image_quality.ssim(x, y)
    monkeypatch.setattr(image_quality, "_SSIM_BLOCK_PIXELS", 3 * 12 * 15 * 2)
    np.testing.assert_array_equal(image_quality.ssim(x, y), whole)
    monkeypatch.setattr(image_quality, "_SSIM_BLOCK_PIXELS", 1)
    np.testing.assert_array_equal(image_quality.ssim(x, y), whole)


@pytest.mark.parametrize("contrast", [0.01, 1e-3])
def test_ssim_is_accurate_on_nearly_white_images(contrast: float) -> None:
    x, y = pair(1, (4, 28, 28, 1), 0.02)
    x, y = 1 - contrast * x, 1 - contrast * y
    expected = [reference_ssim(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(image_quality.ssim(x, y), expected, atol=1e-7)


def test_a_broken_image_does_not_touch_its_neighbours() -> None:
    x, y = pair(2, (3, 16, 16, 1))
    clean = image_quality.ssim(x, y)
    x[1] = np.nan
    broken = image_quality.ssim(x, y)
    np.testing.assert_array_equal(broken[[0, 2]], clean[[0, 2]])
    assert np.isnan(broken[1])


@pytest.mark.parametrize(("offset", "decibel"), [(1.0, 0.0), (0.1, 20.0), (0.01, 40.0)])
def test_psnr_of_a_constant_offset(offset: float, decibel: float) -> None:
    targets = jnp.zeros((2, 5, 4, 3))
    np.testing.assert_allclose(image_quality.mean_squared_error(targets + offset, targets), offset**2, rtol=1e-5)
    np.testing.assert_allclose(image_quality.psnr(targets + offset, targets), decibel, atol=1e-4)


def test_exact_match_is_capped_and_below_it_lies_every_8_bit_difference() -> None:
    targets = jnp.zeros((1, 387, 387, 1))
    assert image_quality.psnr(targets, targets) == pytest.approx(image_quality.PSNR_CAP)
    assert image_quality.psnr(targets.at[0, 0, 0].set(1 / 255), targets)[0] < image_quality.PSNR_CAP


def test_identical_images_have_ssim_one_and_all_metrics_are_symmetric() -> None:
    x, y = pair(3, (4, 20, 17, 3))
    np.testing.assert_allclose(image_quality.ssim(x, x), 1, atol=1e-6)
    for name, values in image_quality.summary(x, y).items():
        np.testing.assert_allclose(image_quality.summary(y, x)[name], values, rtol=1e-6)


def test_ssim_of_constant_images_is_the_luminance_term() -> None:
    x, y = np.full((1, 11, 11, 1), 0.2, np.float32), np.full((1, 11, 11, 1), 0.6, np.float32)
    expected = (2 * 0.2 * 0.6 + 0.01**2) / (0.2**2 + 0.6**2 + 0.01**2)
    np.testing.assert_allclose(image_quality.ssim(x, y), expected, atol=1e-4)


def test_mse_and_psnr_trace_under_jit_and_keep_nan() -> None:
    x, y = pair(4, (3, 8, 8, 1))
    x[2, 0, 0, 0] = np.nan
    for metric in (image_quality.mean_squared_error, image_quality.psnr):
        np.testing.assert_allclose(jax.jit(metric)(x, y), metric(jnp.asarray(x), jnp.asarray(y)), rtol=1e-6)
        assert np.isnan(jax.jit(metric)(x, y)[2])


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    x, y = pair(5, (2, 28, 10, 1))
    with pytest.raises(UserError, match="at least 11x11 pixels, not 28x10"):
        image_quality.ssim(x, y)
    assert image_quality.ssim_needs((28, 10, 1)) == "SSIM needs images of at least 11x11 pixels, not 28x10"
    assert image_quality.ssim_needs((11, 11, 1)) is None
    assert list(image_quality.summary(x, y)) == ["mse", "psnr"]


def test_shapes_and_dtypes_that_would_broadcast_or_wrap_are_refused() -> None:
    x, y = pair(6, (2, 12, 12, 3))
    for metric in (image_quality.mean_squared_error, image_quality.psnr, image_quality.ssim):
        with pytest.raises(ValueError, match=r"\(2, 12, 12, 1\), \(2, 12, 12, 3\)"):
            metric(x[..., :1], y)
        with pytest.raises(ValueError, match=r"\(12, 12, 3\)"):
            metric(x[0], y[0])
        with pytest.raises(ValueError, match="uint8"):
            metric((255 * x).astype(np.uint8), y)


def test_ssim_calls_scikit_image_once_per_block_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counting(*args: np.ndarray, **options: object) -> tuple[float, np.ndarray]:
        calls.append(args[0].shape)
        return structural_similarity(*args, **options)

    monkeypatch.setattr(skimage.metrics, "structural_similarity", counting)
    image_quality.ssim(*pair(7, (400, 28, 28, 1)))
    assert len(calls) == 10  # image by image is six times as slow


def test_luma_is_matlabs_rgb2ycbcr() -> None:
    images = pair(8, (3, 11, 12, 3))[0]
    found = image_quality.luma(images)
    assert found.shape == (3, 11, 12, 1)
    np.testing.assert_allclose(found[..., 0], skimage.color.rgb2ycbcr(images)[..., 0] / 255, atol=1e-6)
    ends = image_quality.luma(np.stack([np.zeros((1, 1, 3)), np.ones((1, 1, 3))]))
    np.testing.assert_allclose(np.ravel(ends), [16 / 255, 235 / 255], atol=1e-6)


def test_psnr_on_luma_of_a_grey_difference_is_that_of_the_studio_range() -> None:
    x, y = np.full((1, 4, 4, 3), 0.4), np.full((1, 4, 4, 3), 0.5)
    found = image_quality.psnr(image_quality.luma(x), image_quality.luma(y))
    np.testing.assert_allclose(found, 20 + 20 * np.log10(255 / 219), atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 4, 4, 1), (4, 4, 3)])
def test_luma_of_what_is_not_rgb_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected RGB images"):
        image_quality.luma(np.zeros(shape))
