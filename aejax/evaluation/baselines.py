"""Baselines without training: classical filters and upscaling, which a network has to beat.

Images are float32 numpy arrays, (n, height, width, channels), in [0, 1]; every result is clipped to [0, 1].
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy import ndimage, optimize

from aejax.evaluation import image_quality, parallel

UPSCALERS = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic", "Lanczos": "lanczos3"}
"""Names of jax.image.resize's methods: bicubic is Keys's cubic with a = -0.5, Lanczos has three lobes."""

Filter = Callable[[np.ndarray, float], np.ndarray]

_BLOCK_VALUES = 2**17  # pixels and channels of one thread's images: a second's work at most


def gaussian_filter(images: np.ndarray, sigma: float) -> np.ndarray:
    """Convolves each channel with a Gaussian of standard deviation `sigma` pixels; edges are mirrored."""
    return _on_all_cores(lambda block: ndimage.gaussian_filter(block, (0, sigma, sigma, 0), mode="mirror"), images)


def median_filter(images: np.ndarray, size: float) -> np.ndarray:
    """Takes medians over size x size pixels of each channel; edges are mirrored."""
    window = (1, int(size), int(size), 1)
    return _on_all_cores(lambda block: ndimage.median_filter(block, window, mode="mirror"), images)


def non_local_means(images: np.ndarray, h: float) -> np.ndarray:
    """Applies scikit-image's non-local means: 5x5 patches sought 6 pixels around, decay `h`.

    Buades, Coll and Morel (2005, https://doi.org/10.1109/CVPR.2005.38).
    """
    from skimage.restoration import denoise_nl_means

    options: dict[str, Any] = {"patch_size": 5, "patch_distance": 6, "h": h, "fast_mode": True, "channel_axis": -1}

    def restore(block: np.ndarray) -> np.ndarray:
        # scikit-image drops a single channel.
        return np.stack([denoise_nl_means(image, **options).reshape(image.shape) for image in block])

    return _on_all_cores(restore, images)


FILTERS: Mapping[str, tuple[Filter, str, tuple[float, ...]]] = {
    "Gaussian filter": (gaussian_filter, "sigma", (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)),
    "median filter": (median_filter, "size", (3, 5, 7)),
    "non-local means": (non_local_means, "h", (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)),
}
"""By name: the filter, its parameter and the values to choose from."""


@dataclass(frozen=True)
class Denoiser:
    """A filter with an affine map: clip(scale * filter(x, value) + offset, 0, 1) of noisy images x."""

    filter: Filter
    value: float
    scale: float
    offset: float

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        return np.clip(self.scale * self.filter(noisy, self.value) + self.offset, 0, 1).astype(np.float32)


def fit_denoisers(noisy: np.ndarray, clean: np.ndarray) -> dict[str, Denoiser]:
    """Fits an affine map and each of FILTERS to training images; the noisy input as it is comes first.

    Each filter is taken at the value of its parameter, and with the affine map, that give the highest mean PSNR.

    Returns:
      By name and setting, such as "median filter, size 5".
    """
    fitted = {"noisy input": Denoiser(_identity, 0, 1, 0)}
    with parallel.bar(1 + sum(len(values) for *_, values in FILTERS.values()), "filters", unit=" settings") as bar:

        def fit(function: Filter, value: float) -> tuple[float, Denoiser]:
            scale, offset, decibel = affine_fit(function(noisy, value), clean)
            bar.update()
            return decibel, Denoiser(function, value, scale, offset)

        fitted["affine map"] = fit(_identity, 0)[1]
        for name, (function, parameter, values) in FILTERS.items():
            _, best = max((fit(function, value) for value in values), key=lambda candidate: candidate[0])
            fitted[f"{name}, {parameter} {best.value:g}"] = best
    return fitted


def affine_fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Finds (scale, offset) with the highest mean PSNR of clip(scale * x + offset, 0, 1) to y, and that PSNR in dB.

    Clipping makes this another map than the least-squares one, from which the search (Nelder and Mead 1965,
    https://doi.org/10.1093/comjnl/7.4.308) starts: more contrast puts noise in the black background below 0.
    """
    n = len(x)
    x, y = np.asarray(x, np.float32).reshape(n, -1), np.asarray(y, np.float32).reshape(n, -1)

    def loss(parameters: np.ndarray) -> float:
        restored = np.clip(np.float32(parameters[0]) * x + np.float32(parameters[1]), 0, 1)
        mse = np.mean(np.square(restored - y), axis=1, dtype=np.float64)
        return float(np.mean(10 * np.log10(np.maximum(mse, 10 ** (-image_quality.PSNR_CAP / 10)))))

    deviation = x - x.mean()
    scale = float(np.mean(deviation * y) / max(float(np.mean(deviation**2)), 1e-12))
    found = optimize.minimize(loss, (scale, float(y.mean() - scale * x.mean())), method="Nelder-Mead", tol=1e-4)
    return float(found.x[0]), float(found.x[1]), -float(found.fun)


def upscale(images: np.ndarray, factor: int, method: str) -> np.ndarray:
    """Upscales by interpolation, clipped to [0, 1]: (n, h, w, c) -> (n, h * factor, w * factor, c).

    `method` is one of UPSCALERS. Pixels are squares: the centre of the first output pixel lies (factor - 1) / 2 output
    pixels before that of the first input pixel; weights beyond the border are left out and the rest made to sum to 1,
    as in Pillow.
    """
    n, h, w, c = images.shape
    resized = jax.image.resize(images, (n, h * factor, w * factor, c), UPSCALERS[method])
    return np.clip(np.asarray(resized), 0, 1)


def _identity(images: np.ndarray, value: float) -> np.ndarray:
    return images


def _on_all_cores(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Applies a function of images, each by itself, to blocks of them in threads."""
    size = max(1, _BLOCK_VALUES // max(1, int(np.prod(images.shape[1:]))))
    return parallel.on_all_cores(lambda rows: function(images[rows]), len(images), size, "filtering")
