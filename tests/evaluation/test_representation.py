"""Accuracies that are known beforehand: of separable clusters, of labels without meaning, of votes counted by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, special
from scipy.spatial import cKDTree

from aejax.evaluation.representation import knn_accuracy, linear_probe_accuracy, needs

ACCURACIES = (knn_accuracy, linear_probe_accuracy)


def clusters(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Four clusters of 5 latents, each at its own distance along its own axis, far beyond its spread."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    return (10 * np.eye(4, 5)[labels] + rng.standard_normal((n, 5))).astype(np.float32), labels


@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_separable_clusters_are_told_apart(accuracy: Callable[..., float]) -> None:
    assert accuracy(*clusters(0), *clusters(1)) == 1.0


@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_shuffled_labels_are_guessed_at_chance(accuracy: Callable[..., float]) -> None:
    train, train_labels = clusters(0, 1000)
    test, test_labels = clusters(1, 1000)
    for labels in (train_labels, test_labels):
        np.random.default_rng(2).shuffle(labels)
    deviation = np.sqrt(1 / 4 * 3 / 4 / 1000)
    assert accuracy(train, train_labels, test, test_labels) == pytest.approx(1 / 4, abs=4 * deviation)


@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_the_accuracy_is_that_of_the_test_latents(accuracy: Callable[..., float]) -> None:
    test, test_labels = clusters(1)
    wrong = np.concatenate([(test_labels[:50] + 1) % 4, test_labels[50:]])
    assert accuracy(*clusters(0), test, wrong) == 0.75


def overlapping(seed: int, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of a spread at which a fifth of the latents or more lies among another's."""
    latents, labels = clusters(seed, n)
    noise = 8 * np.random.default_rng(seed + 10).standard_normal(latents.shape)
    return np.round(32 * (latents + noise)).astype(np.float32) / 32, labels


@pytest.mark.parametrize("offset", [0, 4096])
def test_the_nearest_neighbours_are_those_of_scipys_tree(offset: int) -> None:
    (train, labels), (test, test_labels) = overlapping(0), overlapping(1)
    _, nearest = cKDTree(train.astype(np.float64)).query(test.astype(np.float64), k=10)
    votes = np.stack([np.bincount(row, minlength=4) for row in labels[nearest]])
    expected = np.mean(votes.argmax(axis=1) == test_labels)
    assert 0.3 < expected < 0.9
    assert knn_accuracy(train + np.float32(offset), labels, test + np.float32(offset), test_labels) == expected


def test_the_probe_is_the_minimum_of_its_objective_by_another_optimiser() -> None:
    (train, labels), (test, test_labels) = overlapping(0), overlapping(1)
    mean, std = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    x, unseen = (train - mean) / std, (test - mean) / std

    def objective(flat: np.ndarray) -> float:
        weights, bias = flat[:20].reshape(5, 4), flat[20:]
        return (
            -special.log_softmax(x @ weights + bias, axis=1)[np.arange(len(x)), labels].sum() + (weights**2).sum() / 2
        )

    found = optimize.minimize(objective, np.zeros(24), method="BFGS").x
    predicted = (unseen @ found[:20].reshape(5, 4) + found[20:]).argmax(axis=1)
    expected = np.mean(predicted == test_labels)
    assert linear_probe_accuracy(train, labels, test, test_labels) == pytest.approx(expected, abs=1.5 / 150)


@pytest.mark.parametrize(("neighbours", "expected"), [(1, 1.0), (3, 0.0), (5, 0.0)])
def test_the_nearest_neighbours_vote(neighbours: int, expected: float) -> None:
    train = np.array([[0.1], [1.0], [-1.0], [2.0], [-3.0]])
    labels = np.array([7, 3, 3, 3, 7])
    assert knn_accuracy(train, labels, np.array([[0.0]]), np.array([7]), neighbours) == expected


def test_of_classes_with_as_many_votes_the_smaller_label_wins() -> None:
    train, labels = np.array([[0.1], [1.0]]), np.array([7, 3])
    assert knn_accuracy(train, labels, np.array([[0.0]]), np.array([3]), 2) == 1.0


def test_neighbours_tell_rings_apart_and_a_linear_probe_does_not() -> None:
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    labels = np.arange(200) % 2
    rings = (1.0 + labels[:, None]) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert knn_accuracy(rings, labels, rings, labels, 3) == 1.0
    assert linear_probe_accuracy(rings, labels, rings, labels) < 0.7


def test_the_probe_ignores_the_scale_of_latents_and_those_that_are_constant() -> None:
    """The penalty on the weights would hide a small latent, and a constant has no standard deviation to divide by."""
    (train, labels), (test, test_labels) = clusters(0), clusters(1)
    expected = linear_probe_accuracy(train[:, :2], labels, test[:, :2], test_labels)
    assert 0.5 < expected < 1  # two of the four clusters lie at the origin of these two latents
    small = np.array([1e-4, 1, 0], np.float32)
    found = linear_probe_accuracy(train[:, :3] * small + 3, labels, test[:, :3] * small + 3, test_labels)
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_shapes_and_dtypes_that_do_not_fit_are_refused(accuracy: Callable[..., float]) -> None:
    x, y = clusters(0)
    with pytest.raises(ValueError, match=r"\(200, 5\), \(199,\)"):
        accuracy(x, y[1:], x, y)
    with pytest.raises(ValueError, match=r"\(200, 5, 1\)"):
        accuracy(x, y, x[..., None], y)
    with pytest.raises(ValueError, match=r"\(0, 5\)"):
        accuracy(x, y, x[:0], y[:0])
    with pytest.raises(ValueError, match=r"\(200, 5\), \(200, 4\)"):
        accuracy(x, y, x[:, 1:], y)
    with pytest.raises(ValueError, match="int32"):
        accuracy(x.astype(np.int32), y, x, y)
    with pytest.raises(ValueError, match="float64"):
        accuracy(x, y, x, y.astype(float))


@pytest.mark.parametrize("neighbours", [0, 201])
def test_more_neighbours_than_latents_or_none_are_refused(neighbours: int) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to 200 neighbours.*got {neighbours}"):
        knn_accuracy(*clusters(0), *clusters(1), neighbours)


@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_rows_without_a_label_are_left_out(accuracy: Callable[..., float]) -> None:
    (train, labels), (test, test_labels) = clusters(0), clusters(1)
    wrong = (test_labels + 1) % 4
    some, others = np.arange(200) < 100, np.arange(200) % 2 == 0
    expected = accuracy(train[some], labels[some], test[others], wrong[others])
    found = accuracy(train, np.where(some, labels, -1), test, np.where(others, wrong, -7))
    assert found == expected
    with pytest.raises(ValueError, match="labels of 0 and more"):
        accuracy(train, labels, test, np.full(200, -1))


def test_what_a_dataset_lacks_is_known_before_training() -> None:
    enough = np.arange(10) % 2
    assert needs((1, 1, 1), enough, np.array([0])) is None
    assert needs((1, 1, 1), np.append(enough[:9], -1), np.array([0])) == (
        "kNN and the linear probe need 10 training images with a label, not 9"
    )
    assert "two classes" in str(needs((1, 1, 1), np.zeros(10, int), np.array([0])))


def test_a_probe_of_one_class_is_refused() -> None:
    x, y = clusters(0)
    with pytest.raises(ValueError, match="class"):
        linear_probe_accuracy(x, np.zeros_like(y), x, y)
