"""The classifier learns small images, equal keys train equal ones, and blocks of images give what the whole gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import rng
from aejax.data import load
from aejax.evaluation import classifier, sample_quality
from aejax.evaluation.classifier import Classifier

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits() -> Classifier:
    data = load("digits", "train", image_size=8)
    assert data.labels is not None
    return classifier.train(
        rng.root_key(0), data.images, data.labels, classes=10, epochs=6, batch_size=64, learning_rate=1e-2
    )


def as_float(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 255


def coloured(n: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, 9, 11, 3), noise that is brighter in the channel of its label."""
    labels = RANDOM.integers(0, 3, n)
    images = RANDOM.integers(0, 128, (n, 9, 11, 3)) + 127 * np.eye(3, dtype=int)[labels][:, None, None]
    return images.astype(np.uint8), labels


def train_coloured(seed: int) -> Classifier:
    images, labels = COLOURED
    return classifier.train(rng.root_key(seed), images, labels, classes=3, batch_size=8, learning_rate=1e-2)


COLOURED = coloured()


def test_digits_of_unseen_writers_are_recognised(digits: Classifier) -> None:
    test = load("digits", "test", image_size=8)
    assert test.labels is not None
    logits = digits.logits(as_float(test.images))
    assert logits.shape == (360, 10)
    assert classifier.accuracy(logits, test.labels) > 0.9


def test_odd_sizes_and_several_channels_are_learnt() -> None:
    images, labels = coloured()
    found = train_coloured(0)
    assert found.image_shape == (9, 11, 3)
    assert classifier.accuracy(found.logits(as_float(images)), labels) > 0.9


def test_fewer_images_than_a_batch_holds_are_one_batch() -> None:
    images, labels = COLOURED
    first, expected = (
        classifier.train(rng.root_key(0), images, labels, classes=3, epochs=1, batch_size=size) for size in (None, 96)
    )
    jax.tree.map(np.testing.assert_array_equal, first.params, expected.params)


def test_images_without_a_label_are_left_out() -> None:
    images, labels = COLOURED
    known = np.arange(96) % 3 > 0
    some = np.where(known, labels, -1)
    first = classifier.train(rng.root_key(0), images, some, classes=3, batch_size=8, epochs=1)
    second = classifier.train(rng.root_key(0), images[known], labels[known], classes=3, batch_size=8, epochs=1)
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    logits = np.eye(3)[labels]
    assert classifier.accuracy(np.where(known[:, None], logits, logits[:, ::-1]), some) == 1
    with pytest.raises(ValueError, match="labels of 0 and more"):
        classifier.accuracy(logits, np.full(96, -1))


@pytest.mark.parametrize(
    ("shape", "train", "test", "reason"),
    [
        ((8, 9, 1), [0, 1, -1], [1, -1], None),
        ((7, 9, 1), [0, 1], [1], "at least 8x8 pixels, not 7x9"),
        ((8, 8, 1), None, [1], "labels, which this dataset lacks"),
        ((8, 8, 1), [-1, -1], [1], "all of the training images' are unknown"),
        ((8, 8, 1), [3, 3, -1], [1], "two classes, not one"),
        ((8, 8, 1), [1, -1], [1], "2 training images with a label, not 1"),
        ((8, 8, 1), [0, 1], [-1], "1 test image with a label, not 0"),
    ],
)
def test_what_a_dataset_lacks_is_known_before_training(
    shape: tuple[int, ...], train: list[int] | None, test: list[int], reason: str | None
) -> None:
    labels = [None if values is None else np.array(values) for values in (train, test)]
    found = classifier.needs(shape, *labels)
    assert found is None if reason is None else reason in str(found)
    more = None if labels[1] is None else labels[1].repeat(2)
    assert sample_quality.needs(shape, labels[0], more) == found
    assert "2 test images, not 1" in str(sample_quality.needs(shape, labels[0], np.array([1])))


def test_equal_keys_train_equal_classifiers_and_others_do_not() -> None:
    first, again, other = (train_coloured(seed).params for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert all(not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True))


def test_each_epoch_has_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of epoch 0 in all epochs trains another classifier."""
    stream, expected = rng.stream, jax.tree.leaves(train_coloured(0).params)
    classifier._train.clear_cache()
    monkeypatch.setattr(rng, "stream", lambda root, name, step=0: stream(root, name, 0))
    found = jax.tree.leaves(train_coloured(0).params)
    classifier._train.clear_cache()
    assert all(not np.array_equal(x, y) for x, y in zip(found, expected, strict=True))


def test_logits_are_an_affine_function_of_64_relu_features(digits: Classifier) -> None:
    images = RANDOM.random((200, 8, 8, 1), np.float32)
    features, logits = digits.features(images), digits.logits(images)
    assert features.shape == (200, classifier.FEATURES) == (200, 64)
    assert features.dtype == logits.dtype == np.float32
    assert features.min() == 0
    assert features.max() > 0
    last = digits.params["params"]["Dense_1"]
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"], logits, atol=1e-4)


def test_blocks_of_images_give_what_the_whole_gives(digits: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    images = RANDOM.random((11, 8, 8, 1), np.float32)
    logits, features = digits.logits(images), digits.features(images)
    monkeypatch.setattr(classifier, "_BLOCK_PIXELS", 4 * 8 * 8)
    order = RANDOM.permutation(11)
    np.testing.assert_allclose(digits.logits(images[order]), logits[order], atol=1e-5)
    np.testing.assert_allclose(digits.features(jnp.asarray(images)), features, atol=1e-5)


def test_arrays_of_all_lengths_share_one_program_of_bounded_size(
    digits: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    original = classifier._apply

    def recording(network: classifier.ConvClassifier, params: object, images: np.ndarray) -> object:
        sizes.append(len(images))
        return original(network, params, images)

    monkeypatch.setattr(classifier, "_apply", recording)
    monkeypatch.setattr(classifier, "_BLOCK_PIXELS", 4 * 8 * 8 + 1)
    for n in (1, 4, 5):
        assert digits.logits(np.zeros((n, 8, 8, 1), np.float32)).shape == (n, 10)
    assert sizes == [4, 4, 4, 4]


def test_accuracy_is_the_share_of_largest_logits() -> None:
    logits = np.array([[0, 1, 2], [3, 1, 2], [-1, -2, -3], [0, 5, 1]])
    assert classifier.accuracy(logits, np.array([2, 1, 0, 0])) == 0.5


def test_images_that_the_classifier_was_not_trained_for_are_refused(digits: Classifier) -> None:
    images = np.zeros((2, 8, 8, 1), np.float32)
    for function in (digits.logits, digits.features):
        for wrong in (images[0], images[:0], images[:, :7], images.repeat(3, -1)):
            with pytest.raises(ValueError, match=r"expected images \(n, 8, 8, 1\)"):
                function(wrong)
        with pytest.raises(ValueError, match="uint8"):
            function(images.astype(np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": COLOURED[0][0]}, r"\(9, 11, 3\)"),
        ({"images": COLOURED[0][:, :7]}, "at least 8x8"),
        ({"images": as_float(COLOURED[0])}, "float32"),
        ({"labels": COLOURED[1][1:]}, r"\(95,\)"),
        ({"labels": COLOURED[1].astype(float)}, "float64"),
        ({"labels": COLOURED[1] + 1}, "labels up to 2, got 3"),
        ({"labels": np.full(96, -1)}, "1 to 0 images"),
        ({"labels": np.zeros(96, int), "classes": 1}, "at least 2 classes"),
        ({"epochs": 0}, "1 epoch"),
        ({"batch_size": 0}, "1 to 96 images"),
        ({"batch_size": 97}, "1 to 96 images"),
    ],
)
def test_training_on_anything_else_is_refused(change: dict[str, object], message: str) -> None:
    arguments = {"images": COLOURED[0], "labels": COLOURED[1], "classes": 3, "batch_size": 8, **change}
    with pytest.raises(ValueError, match=message):
        classifier.train(rng.root_key(0), **arguments)  # type: ignore[arg-type]


def test_labels_that_do_not_fit_the_logits_are_refused() -> None:
    for logits, labels in ((np.zeros((3, 2)), [0, 1]), (np.zeros((2, 2)), [0, 2]), (np.zeros(2), [0, 1])):
        with pytest.raises(ValueError, match="expected"):
            classifier.accuracy(logits, np.array(labels))
