"""Folders that a user names, and the ones to use where the user has no home folder."""

import functools
import os
import re
import sys
import tempfile
from pathlib import Path

import platformdirs

from aejax.errors import UserError


def is_url(text: str) -> bool:
    """Returns whether the text names a place such as gs://bucket/folder, which is no folder of this machine."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None


def local(path: str | Path, option: str) -> Path:
    """Returns the path with ~ as the user's home folder.

    Args:
      path: what the user has given.
      option: the option or variable that it was given with, for the message.

    Raises:
      UserError: if it is a URL, or begins with ~ where the user has no home folder.
    """
    if is_url(str(path)):
        raise UserError(f"{option} {path}: choose a place on this machine, such as a mount")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{option} {path}: there is no home folder: name the folder without ~") from None


def cache_folder() -> Path:
    """Returns the cache folder: $AEJAX_CACHE_DIR, else the user's cache folder of the operating system.

    Raises:
      UserError: as of `local`.
    """
    if named := os.environ.get("AEJAX_CACHE_DIR"):
        return local(named, "AEJAX_CACHE_DIR")
    try:
        return Path(platformdirs.user_cache_dir("aejax"))
    except RuntimeError:
        return _temporary()


def in_home(name: str) -> Path:
    """Returns ~/<name>, or <cache folder>/<name> where the user has no home folder."""
    try:
        return Path.home() / name
    except RuntimeError:
        return cache_folder() / name


@functools.cache
def _temporary() -> Path:
    """Makes the cache folder of a user without a home folder, and says so once."""
    folder = Path(tempfile.gettempdir()) / f"aejax-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
        # Compiled programs are read from it, so nobody else may write there.
        own = state.st_uid == os.getuid() and not state.st_mode & 0o022 and not folder.is_symlink()
    except OSError:
        own = False
    if not own:
        raise UserError(f"no home folder, and {folder} belongs to another user: set AEJAX_CACHE_DIR to a folder")
    print(f"no home folder: the cache folder is {folder} (AEJAX_CACHE_DIR names another)", file=sys.stderr)
    return folder
