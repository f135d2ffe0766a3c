"""Results of runs: those that are finished, and those of commands that are run again."""

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aejax.errors import UserError
from experiments.rows.result import Figure, Figures, Result, rounded

PLACES = ("--runs", "--data-dir", "--raw-dir", "--name")  # options that say where a run is kept, not what it computes


class Finished(NamedTuple):
    """What a finished run's summary.json holds.

    Attributes:
      folder: the run's.
      experiment: its name.
      options: those that decide what is computed, but for the seeds.
      seeds: those that were trained.
      table: a value, or one per seed, by line and column.
      environment: versions, devices, machine, commit and date.
      command: as it was typed; None for a run of an older version.
      seconds: from the program's start to the table; None where the run was resumed, or of an older version.
    """

    folder: Path
    experiment: str
    options: dict[str, Any]
    seeds: list[int]
    table: dict[str, dict[str, Any]]
    environment: dict[str, Any]
    command: str | None
    seconds: float | None


def read_finished(folder: Path) -> Finished:
    """Reads a finished run.

    Raises:
      UserError: if the folder holds none, or its summary is damaged or of another version.
    """
    file = folder.expanduser() / "summary.json"
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        options = dict(summary["options"])
        first, count = int(options.pop("seed")), int(options.pop("seeds", 1))
        return Finished(
            folder=folder,
            experiment=summary["experiment"],
            options=options,
            seeds=list(range(first, first + count)),
            table=summary["per_seed"],
            environment=dict(summary["environment"]),
            command=summary.get("command"),
            seconds=summary.get("seconds"),
        )
    except FileNotFoundError:
        raise UserError(f"{folder} holds no finished run (no summary.json)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged, or of another version ({type(error).__name__}: {error})") from None


def figures_of(runs: Sequence[Finished]) -> Figures:
    """Puts the figures of runs together that differ in their seeds alone; those that all of them have.

    Raises:
      UserError: if they differ in more, or have a seed in common.
    """
    first, *others = runs
    for run in others:
        names = [name for name in first.options if first.options[name] != run.options.get(name)]
        if run.experiment != first.experiment or names:
            options = ", ".join("--" + name.replace("_", "-") for name in names) or "the experiment"
            raise UserError(
                f"{first.folder} and {run.folder} differ in {options}: name runs that differ in seeds alone"
            )
    seeds = [seed for run in runs for seed in run.seeds]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"two of the runs have a seed in common: seeds {', '.join(map(str, sorted(seeds)))}")
    return {
        line: {
            column: _together([run.table[line][column] for run in runs], [len(run.seeds) for run in runs])
            for column in columns
            if all(column in run.table.get(line, {}) for run in runs)
        }
        for line, columns in first.table.items()
        if all(line in run.table for run in runs)
    }


def _together(values: Sequence[Any], counts: Sequence[int]) -> Figure:
    """One figure of several runs' values; it does not depend on the seed where each run has one number, the same."""
    if all(np.ndim(value) == 0 for value in values) and len({rounded(float(value)) for value in values}) == 1:
        return Figure(rounded(float(values[0])))
    return Figure.of_seeds(
        np.concatenate([np.broadcast_to(value, count) for value, count in zip(values, counts, strict=True)])
    )


def run_commands(commands: Sequence[str], part: str | None = None, runs: Path | None = None) -> list[Finished]:
    """Runs commands one after another and reads what each has left; their progress goes to the terminal.

    Args:
      commands: as a user types them.
      part: of several runs that a command makes, the one whose folder's name ends with "-<part>"; None: the last.
      runs: the folder to keep the runs in; None: a temporary one.

    Raises:
      UserError: if a command fails, or leaves no such run.
    """
    with tempfile.TemporaryDirectory(prefix="aejax-runs-") as temporary:
        return [_run(command, part, runs or Path(temporary)) for command in commands]


def _run(command: str, part: str | None, runs: Path) -> Finished:
    python, *words = shlex.split(command)
    if python != "python" or words[:1] != ["-m"]:
        raise UserError(f"{command!r} does not begin with 'python -m': write it as it is typed")
    before = {file: file.stat().st_mtime_ns for file in runs.glob("*/*/summary.json")}
    print(f"$ {command}", file=sys.stderr, flush=True)
    start = time.monotonic()
    status = subprocess.run([sys.executable, *words, "--runs", str(runs)], check=False).returncode
    seconds = time.monotonic() - start
    if status:
        raise UserError(f"{command!r} ended with status {status}")
    written = [file for file in runs.glob("*/*/summary.json") if file.stat().st_mtime_ns != before.get(file)]
    if part is not None:
        written = [file for file in written if file.parent.name.endswith(f"-{part}")]
    if not written:
        raise UserError(f"{command!r} left no finished run{'' if part is None else f' called *-{part}'}")
    finished = read_finished(max(written, key=lambda file: file.stat().st_mtime_ns).parent)
    return finished._replace(command=command, seconds=seconds)


def result_of(runs: Sequence[Finished], commands: Sequence[str] = ()) -> Result:
    """Makes a result of finished runs that differ in their seeds alone.

    Args:
      runs: one, or several.
      commands: what made them, in place of what they say of it.

    Raises:
      UserError: if the runs do not belong together, or what made them is not known.
    """
    figures, first = figures_of(runs), runs[0]
    typed = list(commands)
    for run in runs if not commands else ():
        if run.command is None:
            raise UserError(f"{run.folder} does not say what made it: add --command 'python -m experiments....'")
        typed.append(run.command)
    plain = [_without_places(command) for command in dict.fromkeys(typed)]
    commits = list(dict.fromkeys(run.environment.pop("commit", None) for run in runs))
    dates = sorted(run.environment.pop("finished", None) or "" for run in runs)
    seconds = [run.seconds for run in runs]
    known = all(value is not None for value in seconds)
    foreign = [command for command, _ in plain if not command.startswith("python -m experiments.")]
    missing = sorted({name for _, names in plain for name in names})
    reason = f"{foreign[0]!r} is no command of this project" if foreign else None
    if missing:
        reason = f"needs {', '.join(missing)}, which is not part of this project"
    return Result(
        title=f"{first.experiment}, {Path(str(first.options.get('dataset', ''))).name}",
        commands=tuple(command for command, _ in plain),
        commit=", ".join(map(str, commits)) if any(commits) else None,
        date=dates[-1] or None,
        environment=first.environment,
        seeds=tuple(seed for run in runs for seed in run.seeds),
        seconds=round(sum(value for value in seconds if value is not None), 1) if known else None,
        not_remade=reason,
        figures=figures,
    )


def _without_places(command: str) -> tuple[str, list[str]]:
    """Returns a command without the options that name places, and the names of other files outside the project."""
    kept: list[str] = []
    outside: list[str] = []
    words = iter(shlex.split(command))
    for word in words:
        if word in PLACES:
            next(words, None)
        elif word.split("=")[0] in PLACES:
            continue
        elif Path(word).expanduser().is_absolute():
            outside.append(Path(word).name)
            kept.append(Path(word).name)
        else:
            kept.append(word)
    return shlex.join(kept), outside
