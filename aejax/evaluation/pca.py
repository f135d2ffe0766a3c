"""Principal component analysis: the linear autoencoder with the least squared error.

A baseline for every model that reconstructs. With one component for each of the model's latents, the reconstruction of
training images has the least mean squared error of all linear maps through a vector of that size (Baldi and Hornik
1989, https://doi.org/10.1016/0893-6080(89)90014-2).

Images are numpy arrays (n, height, width, channels): uint8, which stand for value / 255, or floating point in [0, 1].
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aejax.evaluation import parallel

_BLOCK_BYTES = 2**25  # of float64 images at once
_EXACT = 4096  # images or values, whichever are fewer, up to which the decomposition is exact
_START = 2048  # images from which the iteration starts
_EXTRA = 16  # more components than wanted, which make it converge
_ITERATIONS = 6


@dataclass(frozen=True)
class PCA:
    """A fitted projection onto principal components.

    Attributes:
      mean: of the training images, float64 (height, width, channels).
      components: orthonormal, float64 (components, height * width * channels), by falling variance.
      variances: of the training images along the components, float64 (components,).
      total_variance: summed over all pixels and channels. The mean squared error of the training images, before
        clipping, is (total_variance - variances.sum()) / (height * width * channels).
    """

    mean: np.ndarray
    components: np.ndarray
    variances: np.ndarray
    total_variance: float

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Projects images onto the components: (n, height, width, channels) -> float32 (n, components).

        Raises:
          ValueError: for images of another shape than those it was fitted to.
        """
        if images.shape[1:] != self.mean.shape:
            raise ValueError(f"expected images (n, {', '.join(map(str, self.mean.shape))}), got {images.shape}")
        codes = [block @ self.components.T for block in _centred(images, self.mean.ravel())]
        return np.concatenate([np.empty((0, len(self.components))), *codes]).astype(np.float32)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Maps codes to images, clipped to [0, 1]: (n, components) -> float32 (n, height, width, channels)."""
        pixels = np.asarray(codes, np.float64) @ self.components + self.mean.ravel()
        return np.clip(pixels, 0, 1).astype(np.float32).reshape(-1, *self.mean.shape)

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Encodes and decodes images: (n, height, width, channels) -> float32 of the same shape, in [0, 1]."""
        return self.decode(self.encode(images))


def fit(images: np.ndarray, components: int) -> PCA:
    """Fits principal components to images in blocks, so that memory does not grow with their number.

    The decomposition is exact where there are at most 4096 images or 4096 values per image: of the float64 covariance
    of the values, or of the Gram matrix of the images where they are fewer. Else it is a subspace iteration (Halko,
    Martinsson and Tropp 2011, https://arxiv.org/abs/0909.4061, algorithm 4.4) that starts from the components of 2048
    of the images. Nothing is random.

    Args:
      images: (n, height, width, channels), one or more.
      components: the number of latents to compare with. Fewer are kept where the images vary along fewer directions.

    Raises:
      ValueError: for other shapes, and for fewer components than one.
    """
    if images.ndim != 4 or not images.size or components < 1:
        raise ValueError(f"expected images (n, h, w, c) and 1 component or more, got {images.shape}, {components}")
    n, values = len(images), int(np.prod(images.shape[1:]))
    zero = np.zeros(values)
    mean = np.sum([block.sum(axis=0) for block in _centred(images, zero)], axis=0) / n
    total = sum(float(np.square(block).sum()) for block in _centred(images, mean)) / n
    count = min(components, values)
    if min(n, values) > _EXACT:
        start = fit(images[:: -(-n // max(_START, count + _EXTRA))], count + _EXTRA).components
        variances, vectors = _subspace_iteration(images, mean, start)
    elif values <= n:
        variances, vectors = _of_covariance(images, mean)
    else:
        variances, vectors = _of_gram_matrix(images, mean)
    kept = variances[:count] > 1e-12 * max(total, 1e-300)
    return PCA(mean.reshape(images.shape[1:]), vectors[:count][kept], variances[:count][kept], total)


def _of_covariance(images: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns variances (values,), falling, and their components (values, values)."""
    covariance = np.zeros((len(mean), len(mean)))
    with parallel.bar(len(images), "principal components") as bar:
        for block in _centred(images, mean):
            covariance += block.T @ block
            bar.update(len(block))
    variances, vectors = np.linalg.eigh(covariance / len(images))
    return variances[::-1], vectors[:, ::-1].T


def _of_gram_matrix(images: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns variances (m,), falling, and their components (m, values), where images are fewer than values; m < n."""
    gram = np.concatenate([np.hstack([a @ b.T for b in _centred(images, mean)]) for a in _centred(images, mean)])
    squares, vectors = np.linalg.eigh(gram)
    kept = squares > 1e-12 * max(squares[-1], 1e-300)
    weights = (vectors[:, kept] / np.sqrt(squares[kept]))[:, ::-1]
    components = np.zeros((weights.shape[1], len(mean)))
    start = 0
    for block in _centred(images, mean):
        components += weights[start : start + len(block)].T @ block
        start += len(block)
    return squares[kept][::-1] / len(images), components


def _subspace_iteration(images: np.ndarray, mean: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns variances (m,), falling, and their components (m, values), from components (m, values) near them."""
    basis = start.T
    with parallel.bar(_ITERATIONS * len(images), "principal components") as bar:
        for _ in range(_ITERATIONS):
            product = np.zeros_like(basis)
            for block in _centred(images, mean):
                product += block.T @ (block @ basis)
                bar.update(len(block))
            basis, _ = np.linalg.qr(product)
    projected = np.zeros((basis.shape[1],) * 2)
    for block in _centred(images, mean):
        codes = block @ basis
        projected += codes.T @ codes
    variances, rotation = np.linalg.eigh(projected / len(images))
    return variances[::-1], (basis @ rotation[:, ::-1]).T


def _centred(images: np.ndarray, mean: np.ndarray) -> Iterator[np.ndarray]:
    """Yields blocks of images in [0, 1] without their mean (values,): float64 (b, values)."""
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    size = max(1, _BLOCK_BYTES // (8 * len(mean)))
    for start in range(0, len(images), size):
        block = np.asarray(images[start : start + size], np.float64)
        yield block.reshape(len(block), -1) / scale - mean
