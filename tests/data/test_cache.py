import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aejax.data.cache import Arrays, cached, directory

KEY = {"name": "toy/a-train", "size": 3}
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), np.uint8)
LABELS = np.arange(50, dtype=np.int32)


def refuse() -> Arrays:
    raise AssertionError("built again")


def files(suffix: str) -> list[Path]:
    return list((directory() / "datasets").glob(f"*{suffix}"))


def test_second_call_reads_the_disk() -> None:
    cached(KEY, lambda: (IMAGES, LABELS))
    images, labels = cached(KEY, refuse)
    assert labels is not None
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    assert images.flags.c_contiguous


def test_absent_labels_stay_absent() -> None:
    cached(KEY, lambda: (IMAGES, None))
    assert cached(KEY, refuse)[1] is None


def test_another_key_is_another_entry() -> None:
    cached(KEY, lambda: (IMAGES, LABELS))
    images, _ = cached({**KEY, "size": 4}, lambda: (IMAGES + 1, LABELS))
    np.testing.assert_array_equal(images, IMAGES + 1)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("suffix", [".images.npy", ".labels.npy", ".json"])
@pytest.mark.parametrize(
    "damage", [flip_a_bit, truncate, Path.unlink, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"[1]")]
)
def test_damaged_entry_is_rebuilt(suffix: str, damage: Callable[[Path], None]) -> None:
    cached(KEY, lambda: (IMAGES, LABELS))
    (path,) = files(suffix)
    damage(path)
    for build in (lambda: (IMAGES, LABELS), refuse):
        images, labels = cached(KEY, build)
        assert labels is not None
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(labels, LABELS)


def test_unwritable_folder_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AEJAX_CACHE_DIR", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        images, _ = cached(KEY, lambda: (IMAGES, LABELS))
        np.testing.assert_array_equal(images, IMAGES)


def test_leftovers_of_a_killed_process_are_removed_once_they_are_old() -> None:
    for name, age in (("old", 7200), ("new", 0)):
        folder = directory() / "datasets" / f"incomplete-{name}"
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age,) * 2)
    cached(KEY, lambda: (IMAGES, LABELS))
    assert [path.name for path in (directory() / "datasets").glob("incomplete-*")] == ["incomplete-new"]
