"""Exit statuses, and one line on stderr for all but bugs."""

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from absl import logging

from aejax import cli
from aejax.errors import UserError
from aejax.training.config import RunConfig, above, at_least
from aejax.training.interruption import Interrupted
from aejax.training.nonfinite import NonFiniteError


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """What this does."""

    epochs: int = at_least(1, 30)
    """passes over the images"""
    learning_rate: float = above(0, 1e-3)
    """of Adam"""


Command = Callable[..., tuple[Any, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """(main, arguments) -> exit status, stdout, stderr."""

    def call(main: Callable[[Config], None], *arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
        status: Any = 0
        try:
            cli.run(main, Config)
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


def raising(error: BaseException) -> Callable[[Config], None]:
    def main(config: Config) -> None:
        raise error

    return main


def test_options_reach_main_and_success_is_silent(command: Command) -> None:
    seen = []
    assert command(seen.append, "--epochs", "3", "--learning-rate", "0.5", "--seed", "9") == (0, "", "")
    assert seen == [Config(epochs=3, learning_rate=0.5, seed=9)]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UserError("--batch-size 9 is odd: lower it"), 2, "error: --batch-size 9 is odd: lower it"),
        (NonFiniteError("NaN at step 4"), 1, "error: NaN at step 4"),
        (Interrupted(signal.SIGTERM, 17), 143, "stopped by SIGTERM at step 17 "),
        (Interrupted(signal.SIGINT, 17), 130, "stopped by SIGINT at step 17 with a checkpoint; "),
        (Interrupted(signal.SIGINT), 130, "stopped by SIGINT; "),
        (KeyboardInterrupt(), 130, "stopped; "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_end_has_its_status_and_one_line(command: Command, error: BaseException, status: int, words: str) -> None:
    found, out, err = command(raising(error))
    assert found == status
    assert out == ""
    assert err.startswith(words)
    assert err.count("\n") == 1
    assert err.endswith("\n")


def test_what_libraries_log_does_not_stand_beside_the_one_line(
    command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    def main(config: Config) -> None:
        try:
            raise OSError("disk full")
        except OSError:
            logging.exception("a thread of Orbax failed")
        raise UserError("--runs is full")

    verbosity = logging.get_verbosity()
    assert command(main) == (2, "", "error: --runs is full\n")
    assert not caplog.records
    logging.set_verbosity(verbosity)


def test_a_bug_keeps_its_traceback(command: Command) -> None:
    with pytest.raises(ZeroDivisionError):
        command(raising(ZeroDivisionError("a bug")))


def test_a_value_out_of_bounds_is_one_line(command: Command) -> None:
    status, out, err = command(raising(AssertionError("main was called")), "--learning-rate", "-1")
    assert (status, out) == (2, "")
    assert err == "error: --learning-rate must be a finite number above 0, not -1.0\n"


def test_an_option_that_does_not_exist_is_refused(command: Command) -> None:
    status, _, err = command(raising(AssertionError("main was called")), "--epoch-count", "3")
    assert status == 2
    assert "--epoch-count" in err


def test_help_names_every_option_and_its_purpose(command: Command) -> None:
    status, out, err = command(raising(AssertionError("main was called")), "--help")
    assert (status, err) == (0, "")
    assert "What this does." in out
    for field in dataclasses.fields(Config):
        assert re.search(rf"--{field.name.replace('_', '-')}[ ,]", out)
    assert "passes over the images" in out


@dataclass(frozen=True, kw_only=True)
class WithRecipes(Config):
    recipe: Literal["small", "large"] = "small"
    """whose training to repeat"""
    width: int = 1
    """of the layers"""


RECIPES = {"small": WithRecipes(width=2), "large": WithRecipes(width=8, epochs=100, seed=5)}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], WithRecipes(recipe="small", width=2)),
        (["--recipe", "large"], WithRecipes(recipe="large", width=8, epochs=100, seed=5)),
        (["--epochs", "3", "--recipe=large"], WithRecipes(recipe="large", width=8, epochs=3, seed=5)),
    ],
)
def test_a_recipe_is_the_defaults(monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: WithRecipes) -> None:
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    assert cli.parse(WithRecipes, ("recipe", RECIPES)) == expected


@pytest.mark.parametrize("arguments", [["--recipe", "huge"], ["--recipe"], ["--recipe", "large", "--width", "wide"]])
def test_a_wrong_recipe_is_one_line(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    with pytest.raises(UserError, match=r"--(recipe|width).*\(--help explains\)$"):
        cli.parse(WithRecipes, ("recipe", RECIPES))


def test_the_help_shows_the_defaults_of_the_recipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["experiment", "--recipe", "large", "--help"])
    with pytest.raises(SystemExit):
        cli.parse(WithRecipes, ("recipe", RECIPES))
    assert re.search(r"--width INT.*default: 8", capsys.readouterr().out)


SCRIPT = """
import sys, tyro
from dataclasses import dataclass
from aejax import cli

@dataclass(frozen=True)
class Config:
    pass

def main(config):
    for _ in range(20_000):
        print("0.5 ± 0.1")
    print("to stderr ±", file=sys.stderr)
    open(sys.argv[0] + ".done", "w").close()

cli.run(main, Config)
"""


@pytest.mark.parametrize("redirection", ["| true", ">&-", "2>&-", "> /dev/full", ">&- 2>&- <&-", "| cat"])
def test_output_that_nobody_reads_or_can_show_never_ends_a_run(tmp_path: Path, redirection: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONIOENCODING": "ascii"}  # noqa: PTH109
    command = f"set -o pipefail; {shlex.quote(sys.executable)} {shlex.quote(str(script))} {redirection}"
    found = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert script.with_name("script.py.done").exists()
    assert "Traceback" not in found.stderr
    assert "Exception" not in found.stderr
    if redirection == "| cat":
        assert found.stdout == "0.5 +- 0.1\n" * 20_000
        assert found.stderr == "to stderr +-\n"
