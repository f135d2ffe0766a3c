"""Small datasets as a user would bring them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

MakeDataset = Callable[..., str]


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """(name, size, channels) -> the path of an .npz file with 40 training images and 20 to test."""

    def make(name: str, size: int = 12, channels: int = 1) -> str:
        random = np.random.default_rng(len(name))
        small = random.integers(0, 256, (60, size // 2, size // 2, channels), np.uint8)
        images, labels = small.repeat(2, 1).repeat(2, 2), np.arange(60) % 4
        path = tmp_path / f"{name}.npz"
        np.savez(path, x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
        return str(path)

    return make
