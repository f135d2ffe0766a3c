"""A run that is killed again and again, compared with one that is left alone: both have to end equal to the bit.

python -m experiments.benchmark.soak --kills 30                   an autoencoder on MNIST, killed (-9) at random
python -m experiments.benchmark.soak --experiment vae --kills 10  another experiment
python -m experiments.benchmark.soak --dataset digits --kills 3   no download
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
from tqdm import tqdm

from aejax import cli, rng
from aejax.errors import UserError
from aejax.tables import markdown
from aejax.training.checkpoints import Checkpoints
from aejax.training.config import RunConfig, at_least
from aejax.training.records import read_run
from aejax.training.runs import write_json
from experiments.benchmark.harness import report

_QUICK = {
    "autoencoder": ["--network", "tutorial"],
    "vae": ["--recipe", "tutorial", "--nll-samples", "0", "--no-judge-samples"],
    "aae": ["--parzen-samples", "0", "--no-judge-samples"],
}  # small networks, and no evaluation that takes long
_LAST_STEP = re.compile(r"(\d+)/\d+ \[")  # of the progress bar
_RESUMED = re.compile(r"(?:resuming|complete), at step (\d+) of")


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Kill an experiment again and again, start it again each time, and compare with a run that was left alone. The
    table and both runs go to <runs>/soak/<name>/, which a newer soak overwrites."""

    experiment: Literal["autoencoder", "vae", "aae"] = "autoencoder"
    """the experiment that is trained"""
    epochs: int = at_least(1, 80)
    """passes over the training images; enough of them that the run outlasts all kills"""
    kills: int = at_least(1, 30)
    """number of kills; their moments are drawn from --seed"""
    longest: float = at_least(1, 15.0)
    """most seconds from the start of a process to its kill, start-up included"""
    name: str = ""
    """the folder; empty: <dataset>-<experiment>"""


class Kill(NamedTuple):
    """One life of the process.

    Attributes:
      seconds: how long it lived.
      resumed: the step at which training began, or -1 where it had not begun.
      reached: the last step that the progress bar showed, or -1.
    """

    seconds: float
    resumed: int
    reached: int


def main(config: Config) -> None:
    folder = config.runs.expanduser() / "soak" / (config.name or f"{Path(config.dataset).name}-{config.experiment}")
    in_peace = command(config, folder / "in_peace")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): choose another folder with --runs") from None
    live(in_peace, None)
    root = rng.root_key(config.seed)
    kills: list[Kill] = []
    with tqdm(total=config.kills, unit="kill") as bar:
        while len(kills) < config.kills:
            moment = jax.random.uniform(rng.stream(root, "kill", len(kills)), minval=0.5, maxval=config.longest)
            life = live(command(config, folder / "killed"), float(moment))
            if life is None:
                raise UserError(
                    f"the run was complete after {len(kills)} kills: raise --epochs, or lower --longest or --kills"
                )
            kills.append(life)
            bar.update()
            bar.set_postfix(step=life.reached)
    live(command(config, folder / "killed"), None)

    rows = compare(folder / "in_peace" / config.experiment / "run", folder / "killed" / config.experiment / "run")
    trained = [kill for kill in kills if kill.resumed >= 0]
    lost = [kill.reached - after.resumed for kill, after in itertools.pairwise(trained)]
    rows = {
        "kills": str(len(kills)),
        "of these, before training went on": str(len(kills) - len(trained)),
        "lives resumed from a checkpoint": str(sum(kill.resumed > 0 for kill in trained)),
        "most steps lost at a kill": str(max([*lost, 0])),
        "farthest step before the last life": str(max(kill.reached for kill in kills)),
        **rows,
    }
    table = markdown({name: {"": value} for name, value in rows.items()}, f"{config.experiment}, {config.dataset}")
    print(table)
    (folder / "table.md").write_text(table + "\n")
    write_json(folder / "kills.json", {"rows": rows, "kills": [kill._asdict() for kill in kills]})
    print(f"both runs and the table: {folder}")
    if "no" in rows.values():
        sys.exit(1)


def command(config: Config, runs: Path) -> list[str]:
    """The experiment's own command line."""
    words = [sys.executable, "-m", f"experiments.{config.experiment}", *_QUICK.get(config.experiment, [])]
    words += ["--epochs", str(config.epochs), *report.options_of_runs(config)]
    return [*words, "--runs", str(runs), "--name", "run"]


def live(words: Sequence[str], seconds: float | None) -> Kill | None:
    """Runs the command and kills it after `seconds`; returns None where it ended before.

    Raises:
      UserError: if it ended with an error.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        log.seek(0)
        said = log.read()
    if status is None:
        steps = [int(step) for step in _LAST_STEP.findall(said)]
        resumed = (int(found[1]) if (found := _RESUMED.search(said)) else 0) if steps else -1
        return Kill(time.monotonic() - began, resumed, max([resumed, *steps]))
    if status:
        raise UserError(f"the run ended with status {status}: {(said.strip().splitlines() or ['it said nothing'])[-1]}")
    return None


def compare(peace: Path, killed: Path) -> dict[str, str]:
    """Compares the last states and the metrics of both runs to the bit: yes where they are equal, else no."""
    sums = [final_checksum(run) for run in (peace, killed)]
    metrics = [(run / "metrics.jsonl").read_bytes() for run in (peace, killed)]
    return {
        "parameters, optimiser state and metric sums equal": "yes" if sums[0] == sums[1] else "no",
        "metrics.jsonl equal, no gap and no line twice": "yes" if metrics[0] == metrics[1] else "no",
    }


def final_checksum(run: Path) -> tuple[int, str]:
    """The last checkpoint's step, and the SHA-256 of all that it holds."""
    checkpoints = Checkpoints(run / "checkpoints", read_run(run).identity)
    step = max(checkpoints.steps())
    found = checkpoints.saved_checksum(step)
    checkpoints.close()
    return step, found


if __name__ == "__main__":
    cli.run(main, Config)
