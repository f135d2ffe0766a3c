"""Folders of users without a home folder, and names that are no folders of this machine."""

import os
from pathlib import Path

import pytest

from aejax import paths
from aejax.errors import UserError


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user id without a name and without HOME; the temporary folder is returned."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME", "AEJAX_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    paths._temporary.cache_clear()
    return tmp_path


def test_a_user_without_a_home_has_a_cache_of_their_own_and_is_told_once(
    homeless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = paths.cache_folder()
    assert folder == homeless / f"aejax-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert paths.cache_folder() == folder
    assert paths.in_home("tensorflow_datasets") == folder / "tensorflow_datasets"
    (line,) = capsys.readouterr().err.splitlines()
    assert str(folder) in line
    with pytest.raises(UserError, match="--runs ~/runs: there is no home folder"):
        paths.local("~/runs", "--runs")


def test_a_cache_that_others_can_write_is_refused(homeless: Path) -> None:
    folder = homeless / f"aejax-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UserError, match="belongs to another user: set AEJAX_CACHE_DIR"):
        paths.cache_folder()


@pytest.mark.parametrize("name", ["gs://bucket/x", "s3://b", "hdfs://host/x", "file:///x", "memory:/x"])
def test_a_url_is_no_folder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^--runs .*: choose a place on this machine"):
        paths.local(name, "--runs")
    monkeypatch.setenv("AEJAX_CACHE_DIR", name)
    with pytest.raises(UserError, match=r"^AEJAX_CACHE_DIR"):
        paths.cache_folder()


@pytest.mark.parametrize("name", ["plain", "/a:b/c", "C:/x", "a/b://c"])
def test_other_names_are_folders(name: str) -> None:
    assert paths.local(name, "--runs") == Path(name)
