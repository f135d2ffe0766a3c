"""The three parts are disjoint, cover everything and go by the configuration."""

from pathlib import Path

import numpy as np

from aejax.training.config import RunConfig
from aejax.training.splits import load_splits


def test_nine_tenths_to_learn_from_one_to_choose_by_and_the_test_set(tmp_path: Path) -> None:
    images = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=images[:20], x_test=images[20:])
    splits = load_splits(RunConfig(dataset=str(tmp_path / "mine.npz"), image_size=2))
    assert [dataset.images.shape for dataset in splits] == [(18, 2, 2, 1), (2, 2, 2, 1), (10, 2, 2, 1)]
    found = np.concatenate([dataset.images[:, 0, 0, 0] for dataset in splits])
    np.testing.assert_array_equal(found, np.arange(30))


def test_nothing_held_out(tmp_path: Path) -> None:
    images = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=images[:20], x_test=images[20:])
    splits = load_splits(RunConfig(dataset=str(tmp_path / "mine.npz")), hold_out=False)
    assert {name: len(part.images) for name, part in splits.parts().items()} == {"train": 20, "test": 10}
    assert splits.held_out is splits.test
