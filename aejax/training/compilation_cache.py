"""Compiled programs kept on the disk, so that the same command compiles them once."""

import sys

import jax

from aejax.paths import cache_folder

_MOST_BYTES = 2**30


def enable_compilation_cache() -> None:
    """Has JAX keep what it compiles in <cache folder>/programs, where nobody has chosen a folder.

    At most a GiB; the programs not used for longest go. JAX's own variables come first: JAX_COMPILATION_CACHE_DIR names
    another folder, and JAX_ENABLE_COMPILATION_CACHE=false keeps nothing. A folder that cannot be written costs time
    alone. A program from the disk is the one that was compiled: runs stay equal bit for bit.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    folder = cache_folder() / "programs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        _ = sys.platform == "win32" or (folder / ".writable").owner()  # JAX asks for it to keep within the size
    except (OSError, KeyError):  # KeyError: of a user id without a name, as in many containers
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    # A run has dozens of small programs besides the large one, and together they take as long.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
