import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aejax.data import cache
from aejax.data.cache import Allocate, Arrays, cached
from aejax.errors import UserError
from aejax.paths import cache_folder

KEY = {"name": "toy/a-train", "size": 3}
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), np.uint8)
LABELS = np.arange(50, dtype=np.int32)


def refuse(_: Allocate) -> Arrays:
    raise AssertionError("built again")


def make(_: Allocate) -> Arrays:
    return Arrays(IMAGES, LABELS)


def files(suffix: str) -> list[Path]:
    return list((cache_folder() / "datasets").glob(f"*{suffix}"))


def test_second_call_reads_the_disk() -> None:
    cached(KEY, make)
    images, labels, _ = cached(KEY, refuse)
    assert labels is not None
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    assert images.flags.c_contiguous


def test_absent_labels_stay_absent() -> None:
    cached(KEY, lambda _: Arrays(IMAGES))
    assert cached(KEY, refuse).labels is None


def test_another_key_is_another_entry() -> None:
    cached(KEY, make)
    images, *_ = cached({**KEY, "size": 4}, lambda _: Arrays(IMAGES + 1, LABELS))
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
    cached(KEY, make)
    (path,) = files(suffix)
    damage(path)
    for build in (make, refuse):
        images, labels, _ = cached(KEY, build)
        assert labels is not None
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(labels, LABELS)


def test_unwritable_folder_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AEJAX_CACHE_DIR", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        images, *_ = cached(KEY, make)
        np.testing.assert_array_equal(images, IMAGES)


def test_leftovers_of_a_killed_process_are_removed_once_they_are_old() -> None:
    for name, age in (("old", 7200), ("new", 0)):
        folder = cache_folder() / "datasets" / f"incomplete-{name}"
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age,) * 2)
    cached(KEY, make)
    assert [path.name for path in (cache_folder() / "datasets").glob("incomplete-*")] == ["incomplete-new"]


def written(allocate: Allocate) -> Arrays:
    images = allocate(IMAGES.shape)
    images[:] = IMAGES
    return Arrays(images, LABELS, {"notes": ["a"], "count": 3})


def test_what_is_written_to_an_allocated_array_is_kept_without_a_copy() -> None:
    def build(allocate: Allocate) -> Arrays:
        arrays = written(allocate)
        assert isinstance(arrays.images, np.memmap)
        return arrays

    for one in (build, refuse):
        images, labels, meta = cached(KEY, one)
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(labels, LABELS)
        assert meta == {"notes": ["a"], "count": 3}
    assert not list((cache_folder() / "datasets").glob("incomplete-*"))


def test_a_part_of_an_allocated_array_is_kept_too() -> None:
    cached(KEY, lambda allocate: Arrays(written(allocate).images[:7]))
    np.testing.assert_array_equal(cached(KEY, refuse).images, IMAGES[:7])


def test_a_failed_build_leaves_nothing() -> None:
    def build(allocate: Allocate) -> Arrays:
        written(allocate)
        raise UserError("bad image")

    with pytest.raises(UserError, match="bad image"):
        cached(KEY, build)
    assert list((cache_folder() / "datasets").iterdir()) == []


def test_a_full_disk_is_found_before_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "posix_fallocate", full)
    np.testing.assert_array_equal(cached(KEY, written, IMAGES.nbytes).images, IMAGES)
    with pytest.raises(UserError, match=r"\$AEJAX_CACHE_DIR"):
        cached({**KEY, "size": 5}, written, IMAGES.nbytes - 1)


def test_large_files_are_checked_in_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(cache, "_PLACE_BYTES", 200)
    cached(KEY, make)
    cached(KEY, refuse)
    flip_a_bit(files(".images.npy")[0])
    with pytest.raises(AssertionError, match="built again"):
        cached(KEY, refuse)


def test_another_state_of_the_source_takes_the_place_of_the_one_before() -> None:
    cached({**KEY, "state": 1}, make)
    cached({**KEY, "size": 4, "state": 1}, make)
    before = set((cache_folder() / "datasets").iterdir())
    cached({**KEY, "state": 2}, make)
    assert len(set((cache_folder() / "datasets").iterdir())) == len(before) == 6
    cached({**KEY, "size": 4, "state": 1}, refuse)
    with pytest.raises(AssertionError, match="built again"):
        cached({**KEY, "state": 1}, refuse)


def test_a_kill_leaves_nothing_half() -> None:
    code = """
import os, signal
from aejax.data.cache import cached
def build(allocate):
    allocate((50, 4, 5, 3))[:20] = 7
    os.kill(os.getpid(), signal.SIGKILL)
cached({"name": "toy/a-train", "size": 3}, build)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == -signal.SIGKILL
    assert len(list((cache_folder() / "datasets").glob("incomplete-*/*"))) == 1
    np.testing.assert_array_equal(cached(KEY, make).images, IMAGES)
