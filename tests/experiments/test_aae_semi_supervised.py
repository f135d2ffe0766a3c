"""The semi-supervised and clustering experiment from its command line."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from aejax.data.datasets import Dataset
from aejax.errors import UserError
from aejax.models.trained import Trained
from aejax.training.splits import Splits
from experiments import aae_semi_supervised as experiment
from experiments.aae_semi_supervised import Config, build_model, training_examples
from tests.experiments.conftest import figures, run, summary

SMALL = ["--dataset", "digits", "--limit", 400, "--batch-size", 50, "--epochs", 2, "--devices", 1, "--hidden", 16]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--labels", 50, "--seeds", 2], "digits-labels50-seeds0-1"),
        (["--clusters", 12, "--style-gan-loss", "gan"], "digits-clusters12-seed0"),
    ],
)
def test_one_command_learns_from_few_labels_or_from_none(tmp_path: Path, options: list[Any], name: str) -> None:
    run(experiment, *SMALL, *options, "--runs", tmp_path)
    folder = tmp_path / "aae_semi_supervised" / name
    rows = summary(folder)["splits"]
    assert list(rows) == ["train", "held_out", "test"]
    assert all(0 <= row["error"] <= 1 for row in rows.values())
    assert figures(folder) == {"classes_and_styles", "learning_curves"}


def some_data() -> tuple[Dataset, np.ndarray]:
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0], np.int32)
    images = np.arange(9, dtype=np.uint8).reshape(9, 1, 1, 1)
    return Dataset("some", "train", images, labels), labels


def test_labels_are_of_so_many_images_of_each_class_and_belong_to_them() -> None:
    data, labels = some_data()
    found = training_examples(Config(labels=6), data, labels)
    which = found.labelled[:, 0, 0, 0]
    np.testing.assert_array_equal(found.labels, labels[which])
    assert len(which) == 9
    assert len(set(which.tolist())) == 6
    assert [len({int(w) for w in which if labels[w] == label}) for label in range(3)] == [2, 2, 2]
    other = training_examples(Config(labels=6, seed=3), data, labels)
    assert set(other.labelled.ravel().tolist()) != set(which.tolist())


def test_images_without_a_label_are_trained_on_and_never_told() -> None:
    data, labels = some_data()
    labels = np.where(np.arange(9) % 4 == 3, -1, labels)  # leaves one image of class 2 and two of the others
    found = training_examples(Config(labels=3), data, labels)
    assert (found.labels >= 0).all()
    np.testing.assert_array_equal(found.images, data.images)
    # A class that no training image has asks for no label.
    without = np.where(labels == 1, -1, labels)
    assert set(training_examples(Config(labels=2), data, without).labels.tolist()) == {0, 2}


def test_images_without_a_label_count_in_no_error() -> None:
    data, labels = some_data()
    half = np.where(np.arange(9) < 5, labels, -1)
    some = Dataset("some", "test", data.images, half)
    of_known = experiment.of_split(some)
    np.testing.assert_array_equal(of_known.labels, labels[:5])
    np.testing.assert_array_equal(of_known.images, data.images[:5])
    config = Config(hidden=(3,), clusters=4, style=2)
    model = build_model(config, (1, 1, 1), 4)
    trained = Trained(model, model.init(jax.random.key(0), data.images / np.float32(255)), (1, 1, 1))
    known = Dataset("some", "test", data.images[:5], half[:5])
    found = experiment.cluster_errors(Splits(some, some, some), [trained])
    assert found == experiment.cluster_errors(Splits(known, known, known), [trained])


def test_what_cannot_be_is_refused() -> None:
    data, labels = some_data()
    with pytest.raises(UserError, match="--labels 7 is not a multiple of the 3 classes"):
        training_examples(Config(labels=7), data, labels)
    with pytest.raises(UserError, match="--labels 9 asks for 3 images of each class, more than there are"):
        training_examples(Config(labels=9), data, labels)
    with pytest.raises(UserError, match="--adversarial-b1 must be below 1, not 1"):
        Config(adversarial_b1=1.0)
    assert (training_examples(Config(clusters=4), data, labels).labels == -1).all()
