"""Comparison of samples with real images by `classifier.Classifier`, which is trained on the real ones.

Functions of its features and logits, on the host, in float64. They raise ValueError, naming the shapes, for arrays of
other shapes and for values that are not finite.
"""

import math

import numpy as np
from scipy import special

from aejax.evaluation import classifier


def needs(image_shape: tuple[int, ...], train_labels: np.ndarray | None, test_labels: np.ndarray | None) -> str | None:
    """Says in a line why samples cannot be compared with test images; None where they can.

    A classifier is needed, and two test images, as one has no covariance.
    """
    if test_labels is not None and len(test_labels) < 2:
        return f"the Fréchet distance needs 2 test images, not {len(test_labels)}"
    return classifier.needs(image_shape, train_labels, test_labels)


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Returns the squared Fréchet distance between Gaussians fitted to two sets of features: (n, d), (m, d).

    Heusel et al. (2017, https://arxiv.org/abs/1706.08500), eq. 6: |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)),
    with the unbiased covariances A and B.

    The feature space is the classifier's 64 ReLU features, not Inception's: the values are NOT comparable with FID from
    the literature, nor with those of a classifier trained on other images or from another key. The distance is biased
    upwards where there are few images, more for some models than for others (Chong and Forsyth 2020,
    https://arxiv.org/abs/1911.07023): compare large sets of one size, and two sets of real images of that size too.

    Raises:
      ValueError: also for fewer than two rows, which have no covariance.
    """
    _check(features_a, "features (n, d)", rows=2)
    _check(features_b, "features (n, d)", rows=2)
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(f"expected features of one length, got {features_a.shape}, {features_b.shape}")
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    root_a, root_b = _covariance_factor(a), _covariance_factor(b)
    # tr (A B)^(1/2) is the sum of the singular values of R_a R_b^T: no square root of a difference, and real numbers.
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    trace = np.square(root_a).sum() + np.square(root_b).sum() - 2 * shared
    return max(0.0, float(np.square(a.mean(0) - b.mean(0)).sum() + trace))


def class_balance(logits: np.ndarray) -> dict[str, float]:
    """Measures how evenly and how decidedly the classifier sorts images into classes: logits (n, classes).

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


def _covariance_factor(features: np.ndarray) -> np.ndarray:
    """Returns R with R^T R the unbiased covariance of the features (n, d)."""
    _, factor = np.linalg.qr(features - features.mean(0))
    return factor / math.sqrt(len(features) - 1)


def _check(values: np.ndarray, expected: str, rows: int) -> None:
    if values.ndim != 2 or len(values) < rows or not values.shape[1]:
        raise ValueError(f"expected {expected}, n at least {rows}, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"expected {expected} that are all finite, got NaN or infinity in {values.shape}")
