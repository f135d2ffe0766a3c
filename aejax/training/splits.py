"""The three parts of a dataset that every experiment uses."""

from typing import NamedTuple

from aejax.data import load
from aejax.data.datasets import Dataset
from aejax.errors import UserError
from aejax.training.config import RunConfig


class Splits(NamedTuple):
    """The first 90% of the train split to learn from, its last 10% to choose by, and the test split to report."""

    train: Dataset
    held_out: Dataset
    test: Dataset


def load_splits(config: RunConfig) -> Splits:
    """Loads the configured dataset; UserError as of `load`, and for images that no figure can show."""
    splits = Splits(
        *(
            load(config.dataset, split, config.data_dir, config.raw_dir, config.image_size)
            for split in ("train[:90%]", "train[90%:]", "test")
        )
    )
    if (channels := splits.train.images.shape[-1]) not in (1, 3):
        raise UserError(f"--dataset {config.dataset} has {channels} channels: experiments take grey (1) or RGB (3)")
    return splits
