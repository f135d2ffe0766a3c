"""Closeness of reconstructions to their targets: MSE, PSNR and SSIM, one value per image; on RGB or on `luma`.

Images are floating point, (n, h, w, c), in [0, 1]. Every function raises ValueError, naming the shapes or dtypes, for
anything else: a silent broadcast or a wrapped uint8 difference would give a plausible wrong number.
"""

import jax
import jax.numpy as jnp
import numpy as np

from aejax.errors import UserError
from aejax.evaluation import parallel

Images = jax.Array | np.ndarray

PSNR_CAP = 100.0  # dB

_SSIM_WINDOW = 11
_SSIM_BLOCK_PIXELS = 2**15  # fits the cache: 2.5 times as fast as one big block


@jax.jit
def mean_squared_error(reconstructions: Images, targets: Images) -> jax.Array:
    """Averages the squared error over pixels and channels: (n, h, w, c) twice -> (n,) float32. Works under jit."""
    _check(reconstructions, targets)
    difference = jnp.asarray(reconstructions, jnp.float32) - jnp.asarray(targets, jnp.float32)
    return jnp.mean(jnp.square(difference), axis=(1, 2, 3))


@jax.jit
def psnr(reconstructions: Images, targets: Images) -> jax.Array:
    """Returns the peak signal-to-noise ratio, -10 log10(MSE), in dB for a peak of 1: (n, h, w, c) twice -> (n,).

    Works under jit. The MSE is taken over all channels of one image and over all its pixels, those at the border
    included: "PSNR on RGB" is psnr(x, y), "PSNR on Y" is psnr(luma(x), luma(y)). An exact match gives PSNR_CAP (100 dB)
    instead of infinity, so that one such image does not make the average over images infinite; 8-bit images of up to
    150,000 values that differ at all stay below it.
    The figure usually reported is the mean of these values, not the PSNR of the mean MSE.
    """
    floor = 10 ** (-PSNR_CAP / 10)
    return -10 * jnp.log10(jnp.maximum(mean_squared_error(reconstructions, targets), floor))


def ssim_needs(image_shape: tuple[int, ...]) -> str | None:
    """Says in a line why SSIM cannot be computed for images (height, width, channels); None where it can."""
    h, w = image_shape[:2]
    if min(h, w) < _SSIM_WINDOW:
        return f"SSIM needs images of at least {_SSIM_WINDOW}x{_SSIM_WINDOW} pixels, not {h}x{w}"
    return None


def ssim(reconstructions: Images, targets: Images) -> np.ndarray:
    """Returns the structural similarity of images to their targets: (n, h, w, c) twice -> (n,) float32 in [-1, 1].

    Wang, Bovik, Sheikh and Simoncelli (2004, https://doi.org/10.1109/TIP.2003.819861).

    Protocol, in scikit-image's words: gaussian_weights=True, sigma=1.5 (an 11x11 window), use_sample_covariance=False,
    data_range=1, K1=0.01, K2=0.03. The similarity map is averaged over the positions whose window lies inside the image
    and over the channels. Equals skimage.metrics.structural_similarity(x, y, channel_axis=-1, ...) of each image in
    float64: its variances are differences of large numbers where an image is nearly white.

    Runs on the host.

    Raises:
      UserError: for images smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _check(reconstructions, targets)
    n, h, w, c = targets.shape
    if reason := ssim_needs(targets.shape[1:]):
        raise UserError(f"{reason}: enlarge them with --image-size")
    margin = _SSIM_WINDOW // 2
    block = max(1, _SSIM_BLOCK_PIXELS // (h * w * c))

    def of_block(rows: slice) -> np.ndarray:
        x, y = (
            np.asarray(images[rows], np.float64).transpose(0, 3, 1, 2).reshape(-1, w)
            for images in (reconstructions, targets)
        )
        # Images stacked into one tall picture share one call; windows across a seam fall in the margin that is cut off.
        _, similarity = structural_similarity(
            x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, full=True
        )
        inside = similarity.reshape(-1, c, h, w)[:, :, margin : h - margin, margin : w - margin]
        return inside.mean(axis=(1, 2, 3)).astype(np.float32)

    reconstructions, targets = np.asarray(reconstructions), np.asarray(targets)
    return parallel.on_all_cores(of_block, n, block, "SSIM")


def luma(images: Images) -> jax.Array:
    """Returns Y of ITU-R BT.601 in its studio range: RGB (n, h, w, 3) in [0, 1] -> (n, h, w, 1) in [16/255, 235/255].

    Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255, MATLAB's rgb2ycbcr, on which the super-resolution literature
    measures, with a peak of 1. In the full range [0, 1] every PSNR on Y would be 1.32 dB lower. Works under jit.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"expected RGB images of shape (n, h, w, 3), got {images.shape}")
    weights = jnp.array([65.481, 128.553, 24.966], jnp.float32)[:, None] / 255
    return jnp.matmul(jnp.asarray(images, jnp.float32), weights, precision="highest") + 16 / 255


def summary(reconstructions: Images, targets: Images) -> dict[str, np.ndarray]:
    """Returns {"mse", "psnr" (dB), "ssim"}, (n,) float32 each, as the functions above define them.

    Images smaller than SSIM's window have no "ssim": `ssim_needs` says so. Raises what the functions raise.
    """
    values = {
        "mse": np.asarray(mean_squared_error(reconstructions, targets)),
        "psnr": np.asarray(psnr(reconstructions, targets)),
    }
    return values if ssim_needs(targets.shape[1:]) else values | {"ssim": ssim(reconstructions, targets)}


def _check(reconstructions: Images, targets: Images) -> None:
    if reconstructions.shape != targets.shape or targets.ndim != 4:
        raise ValueError(f"expected two arrays of one shape (n, h, w, c), got {reconstructions.shape}, {targets.shape}")
    if not all(jnp.issubdtype(images.dtype, jnp.floating) for images in (reconstructions, targets)):
        raise ValueError(f"expected floating-point images in [0, 1], got {reconstructions.dtype}, {targets.dtype}")
