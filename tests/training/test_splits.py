"""The three parts are disjoint, cover everything and go by the configuration."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.data.feeds import DeviceFeed
from aejax.data.streaming import StreamingFeed
from aejax.training import splits as splits_module
from aejax.training.config import RunConfig
from aejax.training.devices import device_memory, make_mesh
from aejax.training.splits import load_splits, open_feed


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


IMAGES = np.zeros((20, 4, 4, 1), np.uint8)


@pytest.mark.parametrize(
    ("feed", "memory", "expected"),
    [
        ("auto", 4 * IMAGES.nbytes, DeviceFeed),
        ("auto", 4 * IMAGES.nbytes - 4, StreamingFeed),
        ("resident", 1, DeviceFeed),
        ("streaming", 2**40, StreamingFeed),
    ],
)
def test_auto_is_resident_up_to_a_quarter_of_a_devices_memory(
    monkeypatch: pytest.MonkeyPatch, feed: Any, memory: int, expected: type
) -> None:
    monkeypatch.setattr(splits_module, "device_memory", lambda devices: memory)
    assert type(open_feed(RunConfig(feed=feed), IMAGES, 4, make_mesh(1, 4))) is expected


def test_images_in_memory_are_streamed_by_this_process() -> None:
    feed = open_feed(RunConfig(feed="streaming", workers=3), IMAGES, 4, make_mesh(1, 4))
    assert isinstance(feed, StreamingFeed)
    assert feed.workers == 0


def test_a_device_of_this_machine_has_a_share_of_its_memory() -> None:
    assert 2**26 < device_memory() < 2**44
