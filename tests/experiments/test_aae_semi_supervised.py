"""The semi-supervised and clustering experiment from its command line."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax import cli
from aejax.data.datasets import Dataset
from aejax.errors import UserError
from experiments import aae_semi_supervised as experiment
from experiments.aae_semi_supervised import Config, training_examples


@pytest.mark.parametrize(
    ("options", "name"),
    [(["--labels", 50], "digits-labels50"), (["--clusters", 12, "--style-critic", "gan"], "digits-clusters12")],
)
def test_one_command_learns_from_few_labels_or_from_none(tmp_path: Path, options: list[Any], name: str) -> None:
    small = ["--dataset", "digits", "--image-size", 8, "--batch-size", 100, "--epochs", 2, "--devices", 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiment", *map(str, [*small, *options, "--hidden", 32, "--runs", tmp_path])])
        cli.run(experiment.main, Config)
    folder = tmp_path / "aae_semi_supervised" / f"{name}-seed0"
    rows = json.loads((folder / "summary.json").read_text())["splits"]
    assert all(0 <= row["error"] <= 1 for row in rows.values())
    assert {path.stem for path in (folder / "figures").iterdir()} == {"classes_and_styles", "learning_curves"}


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


def test_what_cannot_be_is_refused() -> None:
    data, labels = some_data()
    with pytest.raises(UserError, match="--labels 7 is not a multiple of the 3 classes"):
        training_examples(Config(labels=7), data, labels)
    with pytest.raises(UserError, match="--labels 9 asks for 3 images of each class, more than there are"):
        training_examples(Config(labels=9), data, labels)
    with pytest.raises(UserError, match="--adversarial-b1 must be below 1, not 1"):
        Config(adversarial_b1=1.0)
    assert (training_examples(Config(clusters=4), data, labels).labels == -1).all()
