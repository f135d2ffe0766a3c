"""The three parts are disjoint, cover everything and go by the configuration."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aejax.data import load
from aejax.data.feeds import DeviceFeed
from aejax.data.streaming import StreamingFeed
from aejax.training import splits as splits_module
from aejax.training.config import RunConfig
from aejax.training.devices import device_memory, make_mesh
from aejax.training.splits import Splits, load_splits, open_feed


def numbered(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)


def numbers(splits: Splits) -> list[list[int]]:
    return [dataset.images[:, 0, 0, 0].tolist() for dataset in splits.parts().values()]


def save(tmp_path: Path, **arrays: np.ndarray) -> RunConfig:
    np.savez(tmp_path / "mine.npz", **arrays)  # type: ignore[arg-type]
    return RunConfig(dataset=str(tmp_path / "mine.npz"))


def test_nine_tenths_to_learn_from_one_to_choose_by_and_the_test_set(tmp_path: Path) -> None:
    splits = load_splits(save(tmp_path, x_train=numbered(20), x_test=numbered(30)[20:]))
    learn, choose, test = numbers(splits)
    assert (len(learn), len(choose)) == (18, 2)
    assert sorted(learn + choose) == list(range(20))
    assert sorted(test) == list(range(20, 30))


def test_nothing_held_out(tmp_path: Path) -> None:
    splits = load_splits(save(tmp_path, x_train=numbered(20), x_test=numbered(30)[20:]), hold_out=False)
    assert {name: len(part.images) for name, part in splits.parts().items()} == {"train": 20, "test": 10}
    assert splits.held_out is splits.test


def test_official_splits_stay_as_they_are() -> None:
    splits = load_splits(RunConfig(dataset="digits"))
    for found, split in zip(splits, ("train[:90%]", "train[90%:]", "test"), strict=True):
        expected = load("digits", split)
        np.testing.assert_array_equal(found.images, expected.images)
        np.testing.assert_array_equal(found.labels, expected.labels)


def test_an_official_validation_split_is_held_out(tmp_path: Path) -> None:
    splits = load_splits(save(tmp_path, x_train=numbered(20), x_val=numbered(23)[20:], x_test=numbered(30)[23:]))
    assert [sorted(part) for part in numbers(splits)] == [list(range(20)), [20, 21, 22], list(range(23, 30))]


def test_images_sorted_by_class_are_drawn_from_every_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = save(tmp_path, images=numbered(200), labels=np.repeat(np.array(["ape", "bee", "cat", "dog"]), 50))
    splits = load_splits(config)
    assert [len(part) for part in numbers(splits)] == [162, 18, 20]
    assert splits.class_names == ("ape", "bee", "cat", "dog")
    for part in splits:
        assert part.labels is not None
        np.testing.assert_allclose(np.bincount(part.labels), len(part.labels) / 4, atol=1)
    first, *others = capsys.readouterr().err.splitlines()
    assert first.endswith("200 images, no test part: 20 of them, drawn by a fixed hash of their place and from every "
                          "class alike, are the test set")  # fmt: skip
    assert others == []
    assert numbers(load_splits(config)) == numbers(splits)


def test_what_a_user_should_know_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {"x_train": numbered(20), "y_train": np.arange(20) % 2, "x_test": numbered(25)[18:]}
    load_splits(save(tmp_path, **arrays, y_test=np.array([1] * 6 + [-1])))
    lines = capsys.readouterr().err
    assert "2 of the 7 test images are, pixel for pixel, also among those to learn from" in lines
    assert "the test split has no image of 1 of the 2 classes ('0')" in lines
    assert "1 of 27 images have no label" in lines


def test_any_number_of_channels(tmp_path: Path) -> None:
    splits = load_splits(save(tmp_path, images=np.zeros((30, 8, 8, 2), np.uint8)))
    assert splits.train.images.shape[1:] == (8, 8, 2)


def test_a_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    images, labels = numbered(30), np.arange(30) % 3
    one = load_splits(save(tmp_path, images=images, labels=labels)).fingerprint()
    assert one["images"] == {"train": 24, "held_out": 3, "test": 3}
    assert (one["shape"], one["classes"]) == ([4, 4, 1], 3)
    assert json.loads(json.dumps(one)) == one
    assert load_splits(save(tmp_path, images=images, labels=labels)).fingerprint() == one
    changed = images.copy()
    changed[17, 1, 2] ^= 1
    others = [{"images": changed, "labels": labels}, {"images": images, "labels": (labels + 1) % 3}, {"images": images}]
    others.append({"images": images, "labels": labels + 7})  # other names
    assert (
        len({load_splits(save(tmp_path, **other)).fingerprint()["sha256"] for other in others} | {one["sha256"]}) == 5
    )


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


def test_a_device_of_this_machine_has_a_share_of_its_memory() -> None:
    assert 2**26 < device_memory() < 2**44
