"""From the command line to an experiment's main function, and from its errors to one line and an exit status."""

import contextlib
import io
import re
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

import tyro
from absl import logging

from aejax.errors import UserError
from aejax.training import processes
from aejax.training.compilation import keep_programs
from aejax.training.config import RunConfig
from aejax.training.interruption import Interrupted
from aejax.training.nonfinite import NonFiniteError

Config = TypeVar("Config")


def run(main: Callable[[Config], None], config_class: type[Config]) -> None:
    """Parses the command line into the dataclass, whose docstrings are the help, and runs `main`.

    Exit status: 0; 1 where training diverged; 2 for bad input; 128 + the signal's number where it was interrupted. All
    but 0 with one line on stderr and no traceback, which is kept for bugs.
    """
    logging.set_verbosity(logging.FATAL)  # Orbax logs, with a traceback from each of its threads, what it then raises
    try:
        config = parse(config_class)
        keep_programs()
        with processes.joined(isinstance(config, RunConfig) and config.distributed, verdict):
            main(config)
    except (UserError, NonFiniteError, Interrupted, KeyboardInterrupt) as error:
        message, status = verdict(error)
        print(message, file=sys.stderr)
        sys.exit(status)


def verdict(error: BaseException) -> tuple[str, int]:
    """What a user is told of an error, and the exit status."""
    match error:
        case UserError():
            return f"error: {error}", 2
        case NonFiniteError():
            return f"error: {error}", 1
        case Interrupted():
            text = f"stopped by {error} with a checkpoint; the same command goes on from there"
            return text, 128 + error.signal_number
        case KeyboardInterrupt():
            return "stopped; the same command goes on from the latest checkpoint", 128 + signal.SIGINT
    return processes.failure(error)


def parse(config_class: type[Config]) -> Config:
    """The command line as the dataclass.

    Raises:
      UserError: in one line, for what tyro explains in a box of several.
    """
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(config_class)
    except SystemExit as stop:
        if not stop.code:
            raise
        words = [line.strip(" │") for line in box.getvalue().splitlines() if not re.fullmatch(r"[ ╭╮╰╯│─]*", line)]
        text = " ".join(" ".join(word for word in words if not word.startswith("╭")).split())
        raise UserError(f"{text.split(' For full helptext')[0]} (--help explains)") from None
