"""A second process takes the compiled programs of the first from the disk, and computes the same."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from aejax.training.compilation_cache import enable_compilation_cache

PROGRAM = """
import jax, jax.numpy as jnp
from jax._src import monitoring
from aejax.training.compilation_cache import enable_compilation_cache

found = []
monitoring.register_event_listener(lambda event, **_: found.append(event) if event.endswith("cache_hits") else None)
enable_compilation_cache()
result = jax.jit(lambda x: jnp.sin(x) @ x.T)(jnp.linspace(0, 1, 12).reshape(3, 4))
print(len(found), jax.device_get(result).tobytes().hex(), sep="\\n")
"""


def run(cache: Path, **variables: str) -> list[str]:
    of_the_suite = "JAX_COMPILATION_CACHE_DIR"
    environment = {name: value for name, value in os.environ.items() if name != of_the_suite}
    environment |= {"AEJAX_CACHE_DIR": str(cache), **variables}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert "warning" not in done.stderr.lower()
    return done.stdout.split()


def test_a_program_is_compiled_once(tmp_path: Path) -> None:
    cold, warm = run(tmp_path), run(tmp_path)
    assert int(cold[0]) == 0 < int(warm[0])
    assert warm[1] == cold[1]


@pytest.mark.parametrize("cache", ["/dev/null/cache", "chosen"])
def test_a_folder_that_cannot_be_written_or_was_chosen_is_left_alone(tmp_path: Path, cache: str) -> None:
    if cache == "chosen":
        run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))
        assert {path.name for path in tmp_path.iterdir()} == {"mine"}
    else:
        assert run(Path(cache))[0] == "0"


def test_a_user_id_without_a_name_keeps_no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unnamed(self: Path) -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setenv("AEJAX_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(Path, "owner", unnamed)
    of_the_suite = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        enable_compilation_cache()
        assert not jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    finally:
        jax.config.update("jax_compilation_cache_dir", of_the_suite)
