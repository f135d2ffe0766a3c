"""Recorded results: run again and compared, recorded, and written into the pages' tables.

python -m experiments.reproduce                                 what is recorded, how long it takes, what made it
python -m experiments.reproduce autoencoder/digits              run again: equal, within the spread of seeds, or differs
python -m experiments.reproduce digits                          all small ones
python -m experiments.reproduce --record autoencoder/mnist-latents16 --from runs/autoencoder/mnist-residual16-seed*
python -m experiments.reproduce --record autoencoder/mnist --command "python -m experiments.autoencoder --seeds 3"
python -m experiments.reproduce --record autoencoder/mnist      run again, and recorded anew
python -m experiments.reproduce --pages                         write the tables of all pages
"""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from aejax import cli
from aejax.errors import UserError
from aejax.tables import markdown
from experiments.rows import comparison, pages, result, running, wording


@dataclass(frozen=True, kw_only=True)
class Config:
    """Run recorded results again and compare, record new ones, or write the pages' tables from them; without
    arguments, list them. The status is 1 where a figure differs."""

    rows: tyro.conf.Positional[tuple[str, ...]] = ()
    """names of results, <study>/<name>; a study; or the start of a name"""
    runs: Path | None = None
    """keep the runs in this folder, where what is finished is not trained again; None: a temporary folder"""
    record: str | None = None
    """write the result <study>/<name>, of finished runs (--from) or of commands that are run now"""
    from_runs: Annotated[tuple[Path, ...], tyro.conf.arg(name="from")] = ()
    """finished runs, <runs>/<experiment>/<name>, that differ in their seeds alone"""
    command: tuple[str, ...] = ()
    """what to record, or what made the runs of --from: one command in quotes, or one for each seed"""
    part: str | None = None
    """where a command makes several runs, record the one whose folder's name ends with -<part>"""
    title: str | None = None
    """a few words on what was run"""
    note: str | None = None
    """what else a reader should know of it"""
    tolerance: float | None = None
    """the relative difference that is not counted as one when the result is run again"""
    pages: bool = False
    """write the tables of all pages"""


def main(config: Config) -> None:
    if sum([bool(config.rows), config.record is not None, config.pages]) > 1:
        raise UserError("names of results, --record and --pages are three different things to do: choose one")
    if config.record is None and (config.from_runs or config.command):
        raise UserError("--from and --command say what to record: add --record <study>/<name>")
    if config.record is not None:
        record(config, config.record)
    elif config.pages:
        for page in pages.write_all():
            print(page)
    elif config.rows:
        sys.exit(reproduce(result.matching(config.rows), config.runs))
    else:
        print(listing())


def listing() -> str:
    """Returns a table of all results: title, seeds, time; and below it the commands."""
    results = {name: result.read(name) for name in result.names()}
    table = {
        name: {
            "what": one.title,
            "seeds": wording.seeds_text(one.seeds),
            "time": wording.time_text(one.seconds),
            "recorded": one.date or "",
            "": "" if one.not_remade is None else "not run again",
        }
        for name, one in results.items()
    }
    commands = [f"{name}\n  " + "\n  ".join(one.commands or ("no command",)) for name, one in results.items()]
    return markdown(table, "row") + "\n\n" + "\n".join(commands)


def reproduce(names: list[str], runs: Path | None) -> int:
    """Runs results again, prints what is said of each figure, and returns the exit status."""
    differing, lines = [], []
    for name in names:
        recorded = result.read(name)
        if recorded.not_remade is not None:
            lines.append(f"{name}: not run again: {recorded.not_remade}")
            if len(names) == 1:
                raise UserError(lines[-1])
            continue
        finished = running.run_commands(recorded.commands, recorded.part, runs)
        verdicts = comparison.compare_all(recorded.figures, running.figures_of(finished), recorded.tolerance)
        print(f"\n{name}")
        for address, verdict in verdicts.items():
            print(f"  {address}: {verdict.text}", flush=True)
        if any(verdict.kind == "differs" for verdict in verdicts.values()):
            differing.append(name)
        took = wording.time_text(sum(run.seconds or 0 for run in finished))
        lines.append(f"{name}: {comparison.overall(verdicts)} ({took})")
    print("\n" + "\n".join(lines))
    return 1 if differing else 0


def record(config: Config, name: str) -> None:
    """Writes a result; what was written by hand of an earlier one of that name stays."""
    old = result.read(name) if name in result.names() else None
    if config.from_runs:
        new = running.result_of([running.read_finished(folder) for folder in config.from_runs], config.command)
    else:
        commands = config.command or (() if old is None else old.commands)
        if not commands:
            raise UserError(f"--record {name}: add --from RUN, or --command 'python -m experiments....'")
        part = config.part or (None if old is None else old.part)
        new = running.result_of(running.run_commands(commands, part, config.runs), commands)
        new = dataclasses.replace(new, part=part)
    by_hand = {} if old is None else {field: getattr(old, field) for field in ("title", "note", "references")}
    if old is not None:
        by_hand |= {"tolerance": old.tolerance, "part": new.part or old.part}
    given = {field: getattr(config, field) for field in ("title", "note", "tolerance", "part")}
    new = dataclasses.replace(new, **by_hand | {field: value for field, value in given.items() if value is not None})
    print(pages.table(new))
    print(f"{result.write(name, new)}: commit it with the pages, which --pages writes")


if __name__ == "__main__":
    cli.run(main, Config)
