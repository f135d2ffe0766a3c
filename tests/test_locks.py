"""Locks, also where the file system has none."""

import errno
import os
from pathlib import Path

import filelock
import pytest

from aejax import locks


@pytest.mark.parametrize("number", [None, errno.ENOLCK, errno.EOPNOTSUPP])
def test_one_of_two_has_the_lock(number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if number is not None:

        def refuse(descriptor: int, operation: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.flock", refuse)
    first = locks.acquire(tmp_path / ".lock", timeout=0)  # kept: what lets the lock go must be the context's end
    with first, pytest.raises(filelock.Timeout):
        locks.acquire(tmp_path / ".lock", timeout=0)
    with locks.acquire(tmp_path / ".lock", timeout=0):
        pass


def test_a_folder_that_cannot_be_written_is_no_missing_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="name too long"):
        locks.acquire(tmp_path / ("x" * 300), timeout=0)
