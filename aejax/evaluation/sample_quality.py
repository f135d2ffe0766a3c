"""How samples compare with real images in the eyes of `classifier.Classifier`, which is trained on the real ones.

Functions of its features and logits, on the host, in float64. They raise ValueError, naming the shapes, for arrays of
other shapes and for values that are not finite.
"""

import math

import numpy as np
from scipy import special


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Squared Fréchet distance between Gaussians fitted to two sets of features: (n, d), (m, d) -> a number >= 0.

    Heusel et al. (2017), eq. 6: |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), with the unbiased covariances A and B.

    The feature space is the classifier's 64 ReLU features, not Inception's: the values are NOT comparable with FID from
    the literature, nor with those of a classifier trained on other images or from another key. The distance is biased
    upwards where there are few images, more for some models than for others (Chong and Forsyth 2020): compare large
    sets of one size, and beside them two sets of real images of that size.

    Raises:
      ValueError: also for fewer than two rows, which have no covariance.
    """
    _check(features_a, "features (n, d)", rows=2)
    _check(features_b, "features (n, d)", rows=2)
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(f"expected features of one length, got {features_a.shape}, {features_b.shape}")
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    covariance_a, covariance_b = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (a, b))
    root = _square_root(covariance_a)
    # A^(1/2) B A^(1/2) has the eigenvalues of A B and is symmetric: no complex root of a singular matrix.
    eigenvalues = np.linalg.eigvalsh(root @ covariance_b @ root)
    trace = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum()
    return max(0.0, float(np.square(a.mean(0) - b.mean(0)).sum() + trace))


def class_balance(logits: np.ndarray) -> dict[str, float]:
    """How evenly and how decidedly the classifier sorts images into classes: logits (n, classes) -> three numbers.

    They say whether classes are missing, not whether the images are good: compare with their values for real images.

    Returns:
      "entropy": of the histogram of predicted classes, over its maximum ln(classes): 1 where all classes are as
        frequent, 0 where there is only one.
      "rarest_class": the share of images in the least frequent class, in [0, 1 / classes].
      "confidence": the probability of the predicted class, in [1 / classes, 1], averaged over the images.

    Raises:
      ValueError: also for fewer than two classes.
    """
    _check(logits, "logits (n, classes)", rows=1)
    n, classes = logits.shape
    if classes < 2:
        raise ValueError(f"expected logits of at least two classes, got {logits.shape}")
    probabilities = special.softmax(np.asarray(logits, np.float64), axis=1)
    # Of the logits: probabilities may round to equal.
    shares = np.bincount(np.asarray(logits).argmax(1), minlength=classes) / n
    return {
        "entropy": float(special.entr(shares).sum()) / math.log(classes),
        "rarest_class": float(shares.min()),
        "confidence": float(probabilities.max(1).mean()),
    }


def _square_root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root; eigenvalues that rounding made negative count as 0."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(eigenvalues, 0)) @ vectors.T


def _check(values: np.ndarray, expected: str, rows: int) -> None:
    if values.ndim != 2 or len(values) < rows or not values.shape[1]:
        raise ValueError(f"expected {expected}, n at least {rows}, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"expected {expected} that are all finite, got NaN or infinity in {values.shape}")
