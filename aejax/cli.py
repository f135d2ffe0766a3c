"""From the command line to an experiment's main function, and from its errors to one line and an exit status."""

import argparse
import contextlib
import dataclasses
import functools
import io
import re
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import tyro
from absl import logging

from aejax.errors import UserError
from aejax.training import distributed, records, streams
from aejax.training.compilation_cache import enable_compilation_cache
from aejax.training.config import RunConfig, options_of_all
from aejax.training.interruption import Interrupted
from aejax.training.nonfinite import NonFiniteError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
Recipes = tuple[str, Mapping[str, Config]]


def run(main: Callable[[Config], None], config_class: type[Config], recipes: Recipes[Config] | None = None) -> None:
    """Parses the command line into the dataclass, whose docstrings are the help, and runs `main`.

    Args:
      main: what to run.
      config_class: the options.
      recipes: an option's name, and for each of its values the configuration whose fields are then the defaults:
        `("recipe", {"tutorial": Config(), "flax": Config(latents=20)})`.

    Exit status: 0; 1 where training diverged; 2 for bad input; 128 + the signal's number where it was interrupted. All
    but 0 with one line on stderr and no traceback, which is kept for bugs.
    """
    streams.protect()
    logging.set_verbosity(logging.FATAL)  # Orbax logs, with a traceback from each of its threads, what it then raises
    try:
        config = parse(config_class, recipes)
        enable_compilation_cache()
        together = isinstance(config, RunConfig) and config.distributed
        with distributed.joined(together, message_and_status):
            if isinstance(config, RunConfig):
                distributed.agree("options", options_of_all(config), functools.partial(records.different, ""))
            main(config)
        if together:
            distributed.leave()
    except (UserError, NonFiniteError, Interrupted, KeyboardInterrupt) as error:
        message, status = message_and_status(error)
        print(message, file=sys.stderr)
        sys.exit(status)
    finally:
        streams.flush()


def message_and_status(error: BaseException) -> tuple[str, int]:
    """What a user is told of an error, and the exit status."""
    match error:
        case UserError():
            return f"error: {error}", 2
        case NonFiniteError():
            return f"error: {error}", 1
        case Interrupted():
            kept = "" if error.step is None else " with a checkpoint"
            return f"stopped by {error}{kept}; the same command goes on from there", 128 + error.signal_number
        case KeyboardInterrupt():
            return "stopped; the same command goes on from the latest checkpoint", 128 + signal.SIGINT
    return distributed.failure(error)


def parse(config_class: type[Config], recipes: Recipes[Config] | None = None) -> Config:
    """Parses the command line into the dataclass, with the defaults of the recipe that it names.

    Raises:
      UserError: in one line, for what tyro explains in a box of several.
    """
    recipe = None if recipes is None else _recipe(config_class, *recipes)
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(config_class) if recipe is None else tyro.cli(config_class, default=recipe)
    except SystemExit as stop:
        if not stop.code:
            raise
        words = [line.strip(" │") for line in box.getvalue().splitlines() if not re.fullmatch(r"[ ╭╮╰╯│─]*", line)]
        text = " ".join(" ".join(word for word in words if not word.startswith("╭")).split())
        raise UserError(f"{text.split(' For full helptext')[0]} (--help explains)") from None


def _recipe(config_class: type[Config], option: str, recipes: Mapping[str, Config]) -> Config:
    """The configuration of the recipe on the command line, or of the dataclass's own default."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{option.replace('_', '-')}", dest="name", nargs="?", default=None)
    name = parser.parse_known_args()[0].name
    if name is None:
        (name,) = (field.default for field in dataclasses.fields(config_class) if field.name == option)
    if name not in recipes:
        raise UserError(f"--{option.replace('_', '-')} {name}: choose from {', '.join(recipes)} (--help explains)")
    return dataclasses.replace(recipes[name], **{option: name})
