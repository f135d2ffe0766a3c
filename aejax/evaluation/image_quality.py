"""How close reconstructions come to their targets: MSE, PSNR and SSIM, one value per image.

Images are floating point, (n, h, w, c), in [0, 1]. Every function raises ValueError, naming the shapes or dtypes, for
anything else: a silent broadcast or a wrapped uint8 difference would give a plausible wrong number.
"""

import jax
import jax.numpy as jnp
import numpy as np

from aejax.errors import UserError

Images = jax.Array | np.ndarray

PSNR_CAP = 100.0  # dB

_SSIM_WINDOW = 11
_SSIM_BLOCK_PIXELS = 2**15  # fits the cache: 2.5 times as fast as one big block


def mean_squared_error(reconstructions: Images, targets: Images) -> jax.Array:
    """Squared error, averaged over pixels and channels: (n, h, w, c) twice -> (n,) float32. Works under jit."""
    _check(reconstructions, targets)
    difference = jnp.asarray(reconstructions, jnp.float32) - jnp.asarray(targets, jnp.float32)
    return jnp.mean(jnp.square(difference), axis=(1, 2, 3))


def psnr(reconstructions: Images, targets: Images) -> jax.Array:
    """Peak signal-to-noise ratio, -10 log10(MSE), in dB for a peak of 1: (n, h, w, c) twice -> (n,). Works under jit.

    The MSE is taken over all channels of one image. An exact match gives PSNR_CAP (100 dB) instead of infinity, so
    that one such image does not make the average over images infinite; 8-bit images of up to 150,000 values that
    differ at all stay below it.
    The figure usually reported is the mean of these values, not the PSNR of the mean MSE.
    """
    floor = 10 ** (-PSNR_CAP / 10)
    return -10 * jnp.log10(jnp.maximum(mean_squared_error(reconstructions, targets), floor))


def ssim(reconstructions: Images, targets: Images) -> np.ndarray:
    """Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004): (n, h, w, c) twice -> (n,) float32 in [-1, 1].

    Protocol, in scikit-image's words: gaussian_weights=True, sigma=1.5 (an 11x11 window), use_sample_covariance=False,
    data_range=1, K1=0.01, K2=0.03. The similarity map is averaged over the positions whose window lies inside the image
    and over the channels. Equals skimage.metrics.structural_similarity(x, y, channel_axis=-1, ...) of each image.

    Runs on the host. Raises UserError for images smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _check(reconstructions, targets)
    n, h, w, c = targets.shape
    if min(h, w) < _SSIM_WINDOW:
        raise UserError(
            f"SSIM needs images of at least {_SSIM_WINDOW}x{_SSIM_WINDOW} pixels, not {h}x{w}: enlarge them"
        )
    margin = _SSIM_WINDOW // 2
    x, y = (np.asarray(images, np.float32).transpose(0, 3, 1, 2) for images in (reconstructions, targets))
    values = np.empty(n, np.float32)
    block = max(1, _SSIM_BLOCK_PIXELS // (h * w * c))
    for start in range(0, n, block):
        rows = slice(start, start + block)
        # Images stacked into one tall picture share one call; windows across a seam fall in the margin that is cut off.
        _, similarity = structural_similarity(
            x[rows].reshape(-1, w),
            y[rows].reshape(-1, w),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            full=True,
        )
        inside = similarity.reshape(-1, c, h, w)[:, :, margin : h - margin, margin : w - margin]
        values[rows] = inside.mean(axis=(1, 2, 3), dtype=np.float64)
    return values


def summary(reconstructions: Images, targets: Images) -> dict[str, np.ndarray]:
    """{"mse", "psnr" (dB), "ssim"} -> (n,) float32 each, as the functions above define them; raises what they raise."""
    return {
        "mse": np.asarray(mean_squared_error(reconstructions, targets)),
        "psnr": np.asarray(psnr(reconstructions, targets)),
        "ssim": ssim(reconstructions, targets),
    }


def _check(reconstructions: Images, targets: Images) -> None:
    if reconstructions.shape != targets.shape or targets.ndim != 4:
        raise ValueError(f"expected two arrays of one shape (n, h, w, c), got {reconstructions.shape}, {targets.shape}")
    if not all(jnp.issubdtype(images.dtype, jnp.floating) for images in (reconstructions, targets)):
        raise ValueError(f"expected floating-point images in [0, 1], got {reconstructions.dtype}, {targets.dtype}")
