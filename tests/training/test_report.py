"""A run's environment in its summary: devices, versions, memory and commit."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from aejax.training.report import commit, environment, peak_memory_mib


def test_the_environment_names_devices_and_versions() -> None:
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    found = environment(mesh)
    assert found["devices"] == "2 x cpu (cpu)"
    assert found["jax"] == jax.__version__
    assert json.loads(json.dumps(found)) == found


def test_the_command_is_the_one_that_was_typed() -> None:
    program = "from aejax.training import report; print(report.command()); print(report.machine())"
    words = [sys.executable, "-c", program, "--name", "a b"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
    command, machine = said.splitlines()
    assert shlex.split(command) == ["python", *words[1:]]
    assert machine.endswith(" cores")


def test_peak_memory_is_in_mib() -> None:
    assert 50 < peak_memory_mib() < 20_000  # a factor of 1024 either way would leave these bounds


def test_the_commit_is_named_and_whether_anything_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    code = tmp_path / "code.py"
    code.write_text("one")
    assert commit.__wrapped__(tmp_path) is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    assert commit.__wrapped__(tmp_path) == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "notes").touch()  # nobody's code
    assert commit.__wrapped__(tmp_path) == git("rev-parse", "--short=12", "HEAD")
    code.write_text("two")
    assert commit.__wrapped__(tmp_path) == git("rev-parse", "--short=12", "HEAD") + " + changes"
