"""The three parts of a dataset that every experiment uses."""

from typing import NamedTuple

from aejax.data import load
from aejax.data.datasets import Dataset
from aejax.errors import UserError
from aejax.training.config import RunConfig


class Splits(NamedTuple):
    """The first 90% of the train split to learn from, its last 10% to choose by, and the test split to report.

    Where nothing is held out, `train` is the whole train split and `held_out` is `test` itself.
    """

    train: Dataset
    held_out: Dataset
    test: Dataset

    def parts(self) -> dict[str, Dataset]:
        """The splits by name, without "held_out" where nothing is."""
        return {name: data for name, data in self._asdict().items() if name != "held_out" or data is not self.test}


def load_splits(config: RunConfig, *, hold_out: bool = True) -> Splits:
    """Loads the configured dataset; UserError as of `load`, and for images that no figure can show."""

    def part(split: str) -> Dataset:
        return load(config.dataset, split, config.data_dir, config.raw_dir, config.image_size)

    test = part("test")
    splits = Splits(part("train[:90%]"), part("train[90%:]"), test) if hold_out else Splits(part("train"), test, test)
    if (channels := splits.train.images.shape[-1]) not in (1, 3):
        raise UserError(f"--dataset {config.dataset} has {channels} channels: experiments take grey (1) or RGB (3)")
    return splits
