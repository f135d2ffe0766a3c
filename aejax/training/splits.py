"""The three parts of a dataset that every experiment uses."""

from typing import NamedTuple

from aejax.data import load
from aejax.data.datasets import Dataset
from aejax.training.config import RunConfig


class Splits(NamedTuple):
    """The first 90% of the train split to learn from, its last 10% to choose by, and the test split to report."""

    train: Dataset
    held_out: Dataset
    test: Dataset


def load_splits(config: RunConfig) -> Splits:
    """Loads the configured dataset; UserError as of `load`."""
    return Splits(
        *(
            load(config.dataset, split, config.data_dir, config.raw_dir, config.image_size)
            for split in ("train[:90%]", "train[90%:]", "test")
        )
    )
