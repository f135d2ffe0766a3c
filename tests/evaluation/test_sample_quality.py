"""The Fréchet distance between Gaussians whose moments are exact, and histograms counted by hand."""

import numpy as np
import pytest
from scipy import linalg

from aejax.evaluation.sample_quality import class_balance, frechet_distance

RANDOM = np.random.default_rng(0)


def sample(mean: np.ndarray, covariance: np.ndarray, n: int = 200) -> np.ndarray:
    """(n, d) with exactly this mean and this unbiased covariance, which may be singular."""
    d = len(mean)
    centred = RANDOM.standard_normal((n, d))
    white = np.linalg.qr(centred - centred.mean(0))[0] * np.sqrt(n - 1)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return mean + white @ (vectors * np.sqrt(np.maximum(eigenvalues, 0))).T


def covariance(d: int, rank: int | None = None) -> np.ndarray:
    factor = RANDOM.standard_normal((d, rank or d))
    return factor @ factor.T


def rotation(d: int) -> np.ndarray:
    return np.linalg.qr(RANDOM.standard_normal((d, d)))[0]


def test_covariances_with_the_same_axes_have_a_closed_form() -> None:
    """|mean_a - mean_b|^2 + sum (std_a - std_b)^2, along axes that are not those of the coordinates."""
    axes, std_a, std_b = rotation(6), RANDOM.uniform(0, 3, 6), RANDOM.uniform(0, 3, 6)
    mean_a, mean_b = RANDOM.standard_normal((2, 6))
    a, b = (sample(m, axes * s**2 @ axes.T) for m, s in ((mean_a, std_a), (mean_b, std_b)))
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((std_a - std_b) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_covariances_of_two_dimensions_have_a_closed_form() -> None:
    """The trace of a 2 x 2 matrix's root is sqrt(tr + 2 sqrt(det)), whatever the axes."""
    a, b = covariance(2), covariance(2)
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2 * root
    assert expected > 0.1
    assert frechet_distance(sample(np.zeros(2), a), sample(np.zeros(2), b, 90)) == pytest.approx(expected)


def test_a_shift_costs_its_squared_length() -> None:
    a = sample(np.zeros(5), covariance(5))
    assert frechet_distance(a, a + np.array([3, 0, 4, 0, 0])) == pytest.approx(25)


def test_one_feature_is_a_difference_of_means_and_deviations() -> None:
    a, b = sample(np.array([1.0]), np.array([[4.0]])), sample(np.array([3.0]), np.array([[25.0]]))
    assert frechet_distance(a, b) == pytest.approx(2**2 + 3**2)


@pytest.mark.parametrize("rank", [64, 20, 1])
def test_a_set_has_distance_0_from_itself_in_any_order_also_with_features_that_never_fire(rank: int) -> None:
    a = sample(np.ones(64), 100 * covariance(64, rank))
    a[:, 10:20] = 0
    assert 0 <= frechet_distance(a, a[::-1]) < 1e-12 * np.trace(np.cov(a, rowvar=False))


@pytest.mark.parametrize("rank", [8, 3])
def test_the_distance_is_that_of_scipys_matrix_root(rank: int) -> None:
    a, b = sample(np.zeros(8), covariance(8, rank)), sample(np.ones(8), covariance(8), 50)
    covariances = [np.cov(features, rowvar=False) for features in (a, b)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = 8 + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_the_distance_is_symmetric_also_where_one_covariance_is_singular() -> None:
    a, b = sample(np.zeros(8), covariance(8, 3)), sample(np.ones(8), covariance(8))
    assert frechet_distance(a, b) > 8
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)


def test_a_common_rotation_and_shift_change_nothing_and_a_scale_its_square() -> None:
    a, b = sample(np.zeros(7), covariance(7)), sample(np.ones(7), covariance(7))
    turn, expected = rotation(7), frechet_distance(a, b)
    assert frechet_distance(a @ turn + 5, b @ turn + 5) == pytest.approx(expected)
    assert frechet_distance(a @ turn, b) != pytest.approx(expected, rel=0.01)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * expected)


def test_float32_features_are_compared_in_float64() -> None:
    a, b = (sample(mean, covariance(4)).astype(np.float32) for mean in (np.full(4, 1e3), np.full(4, 1e3 + 1)))
    assert frechet_distance(a, b) == frechet_distance(a.astype(np.float64), b.astype(np.float64))


def test_features_of_other_shapes_and_values_that_are_not_finite_are_refused() -> None:
    a = RANDOM.standard_normal((9, 4))
    for wrong, message in ((a[0], r"\(4,\)"), (a[:1], r"\(1, 4\)"), (a[:, :3], r"\(9, 3\)"), (a[:, :0], r"\(9, 0\)")):
        with pytest.raises(ValueError, match=message):
            frechet_distance(a, wrong)
        with pytest.raises(ValueError, match=message):
            frechet_distance(wrong, a)
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            frechet_distance(a, np.where(a == a[3, 2], value, a))


def test_even_classes_have_the_full_entropy_and_one_class_none() -> None:
    assert class_balance(np.tile(50 * np.eye(4), (3, 1))) == pytest.approx(
        {"entropy": 1, "rarest_class": 1 / 4, "confidence": 1}
    )
    assert class_balance(np.tile(50 * np.eye(4)[:1], (3, 1))) == pytest.approx(
        {"entropy": 0, "rarest_class": 0, "confidence": 1}
    )


def test_a_histogram_counted_by_hand() -> None:
    """Six images of class 0, two of class 2; each with the logit ln 3 against two of 0: a probability of 3 / 5."""
    logits = np.log(3) * np.eye(3, dtype=np.float32)[[0, 0, 0, 2, 0, 0, 2, 0]]
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(3)
    assert class_balance(logits) == pytest.approx({"entropy": entropy, "rarest_class": 0, "confidence": 0.6})


def test_large_logits_do_not_overflow_and_their_common_shift_changes_nothing() -> None:
    logits = RANDOM.standard_normal((30, 5))
    assert class_balance(logits + 1e4) == pytest.approx(class_balance(logits))
    assert class_balance(1e6 * logits)["confidence"] == pytest.approx(1)


@pytest.mark.parametrize("shape", [(4,), (0, 3), (4, 1), (4, 3, 1)])
def test_logits_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="logits"):
        class_balance(np.zeros(shape))


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        class_balance(np.array([[0, np.nan]]))
