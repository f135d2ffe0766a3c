"""All that needs an accelerator, in a given time: what is most valuable comes first, and each result is kept at once.

python -m experiments.benchmark.accelerator --minutes 10                      on the machine's GPU
python -m experiments.benchmark.accelerator --platform cpu --minutes 30       a rehearsal without one
python -m experiments.benchmark.accelerator --only smoke,equality             some of the stages

Needs a checkout, jax, flax, optax and orbax, and PyTorch for the comparison. It names those of aejax's requirements
that the machine lacks; wheels that were carried there are used with --wheels FOLDER. Nothing is downloaded.

Each result is a line of JSON in <runs>/accelerator/<name>/results.jsonl, with "stage" and either its values or
"failed". Started again, the same command takes the stages that are not there yet.
"""

# Of this project it imports only what needs the standard library and numpy: it has to start where packages are missing.
import argparse
import concurrent.futures
import importlib.metadata
import itertools
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aejax.errors import UserError
from experiments.benchmark import accelerator_stages as stages
from experiments.benchmark.harness.stages import Bench, Options, Stage

_ROOT = Path(__file__).parents[2]
_SHORTEST = 5.0  # seconds that have to be left for a stage to begin


def main(arguments: Sequence[str] | None = None) -> None:
    began = time.monotonic()
    options, minutes, wheels, only = parse(arguments)
    folder = options.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "workers.log").open("a")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): choose another folder with --runs") from None
    environment = {} if wheels is None else unpacked(wheels, folder / "packages")
    with log:
        chosen = options.as_json()
        bench = Bench(options, log, began + 60 * minutes, environment, done(folder / "results.jsonl", chosen))
        missing = missing_requirements(environment)
        keep(bench, {"stage": "machine", **machine(), "missing": missing, "minutes": minutes, "options": chosen})
        if missing:
            print(f"missing of aejax's requirements: {', '.join(missing)}\n{how_to_carry(missing)}", flush=True)
        todo = [stage for stage in stages.all_stages(options) if only is None or stage.group in ("prepare", *only)]
        left = run(bench, [stage for stage in todo if stage.group == "prepare" or stage.name not in bench.results])
    keep(bench, {"stage": "end", "seconds": round(time.monotonic() - began, 1), "not_begun": left})
    for line in stages.ratios(bench.results):
        print(line)
    print(f"all results: {folder / 'results.jsonl'}")


def run(bench: Bench, todo: Sequence[Stage]) -> list[str]:
    """Takes the stages in order, but at once those that follow each other and may overlap.

    Returns:
      The names of the stages that did not begin.

    Raises:
      UserError: where the first stage finds another platform than the one that is asked for.
    """
    left = [stage.name for stage in todo]
    wanted = bench.options.platform
    for together in batches(todo):
        with concurrent.futures.ThreadPoolExecutor(_at_once()) as pool:
            futures = [pool.submit(attempt, bench, stage) for stage in together]
            try:
                for future in concurrent.futures.as_completed(futures):
                    if (result := future.result()) is not None:
                        left.remove(result["stage"])
                        keep(bench, result)
            except KeyboardInterrupt:
                bench.stop()
                raise
        found = bench.results.get("device", {}).get("platform", wanted)
        if found != wanted:
            raise UserError(f"JAX found no {wanted} here, only a {found}: choose --platform {found}")
    return left


def batches(todo: Sequence[Stage]) -> Iterator[list[Stage]]:
    """Splits the stages into those that may run at once. One that is timed runs alone."""
    for overlaps, group in itertools.groupby(todo, lambda stage: stage.overlaps):
        stages = list(group)
        yield from [stages] if overlaps else [[stage] for stage in stages]


def _at_once() -> int:
    return max(1, (os.cpu_count() or 1) // 4)


def attempt(bench: Bench, stage: Stage) -> dict[str, Any] | None:
    """The result of the stage, or how it failed in one line; None where no time is left for it."""
    if bench.left() < _SHORTEST:
        return None
    began = time.monotonic()
    try:
        found = stage.run(bench)
    except Exception as error:  # the other stages go on
        text = (str(error).strip().splitlines() or [""])[0][:300]
        found = {"failed": f"{type(error).__name__}: {text}" if bench.left() > 0 else "the time was over"}
    return {"stage": stage.name, **found, "took_s": round(time.monotonic() - began, 2)}


def keep(bench: Bench, result: dict[str, Any]) -> None:
    """Appends the result to results.jsonl, past all buffers, and shows it."""
    bench.results[result["stage"]] = result
    with (bench.options.folder / "results.jsonl").open("a") as file:
        print(json.dumps(result), file=file, flush=True)
        os.fsync(file.fileno())
    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in result.items()}
    values = ", ".join(f"{name} {value}" for name, value in shown.items() if name != "stage" and value != "")
    print(f"{result['stage']}: {values}", flush=True)


def done(file: Path, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The results of earlier calls that did not fail, by their stage; a line that was cut off is none.

    Raises:
      UserError: where the earlier calls had other options.
    """
    found: dict[str, dict[str, Any]] = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            result = json.loads(line)
            if "failed" not in result:
                found[result["stage"]] = result
        except (ValueError, TypeError, KeyError):
            continue
    earlier = found.get("machine", {}).get("options", options)
    for name, value in options.items():
        if earlier.get(name) != value:
            raise UserError(
                f"{file.parent} holds results of {name} {earlier.get(name)}, not {value}: choose another --name"
            )
    return found


def machine() -> dict[str, Any]:
    """The machine as far as the standard library and nvidia-smi know it."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        cards = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        cards = "none that nvidia-smi knows"
    versions = {}
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "torch", "numpy"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    load = os.getloadavg()[0]
    where = {
        "cards": cards,
        "cores": os.cpu_count(),
        "load_average": load,
        "python": sys.version.split()[0],
        "versions": versions,
    }
    return {**where, "date": time.strftime("%Y-%m-%d %H:%M")}


def missing_requirements(environment: dict[str, str]) -> list[str]:
    """The distributions among aejax's requirements that are not installed, nor in the folder of carried packages."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[<>=!~\[; ]", requirement)[0] for requirement in project["dependencies"]]
    places = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path]
    installed = _installed(places)
    return [name for name in names if _plain(name) not in installed]


def how_to_carry(missing: Sequence[str]) -> str:
    """The command that fetches the missing packages elsewhere, for this machine's Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"where there is a network: pip download --only-binary=:all: --python-version {version} -d wheels "
        f"{' '.join(missing)}; then here: --wheels wheels, of which only those that are missing here are used"
    )


def unpacked(wheels: Path, target: Path) -> dict[str, str]:
    """Installs the wheels of what this machine lacks into a folder of the run.

    Returns:
      The environment variables with which other processes find it.
    """
    found = sorted(wheels.glob("*.whl"))
    if not found:
        raise UserError(f"--wheels {wheels} holds no wheels: name another folder")
    installed = _installed(sys.path)
    files = [str(file) for file in found if _plain(file.name.split("-")[0]) not in installed]
    if not files:
        return {}
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(target)]
    finished = subprocess.run([*command, "--upgrade", *files], capture_output=True, text=True)
    if finished.returncode:
        why = (finished.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise UserError(f"--wheels {wheels} cannot be installed: {why}")
    return {"PYTHONPATH": os.pathsep.join([str(target.absolute()), *filter(None, [os.environ.get("PYTHONPATH")])])}


def parse(arguments: Sequence[str] | None) -> tuple[Options, float, Path | None, list[str] | None]:
    """The command line. Argparse reads it, as tyro may be among the packages that are missing."""
    parser = argparse.ArgumentParser("accelerator", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.description = __doc__
    parser.error = _refuse  # type: ignore[method-assign]
    add = parser.add_argument
    add("--platform", choices=("gpu", "tpu", "cpu"), default="gpu", help="what JAX computes on (default: gpu)")
    add("--minutes", type=_positive, default=10, help="time for all of it; a stage that does not end is killed then")
    add("--only", help=f"groups of stages, with commas between them, of {', '.join(stages.GROUPS)} (default: all)")
    add("--wheels", type=Path, help="a folder of wheels, which are unpacked into the run's folder and used from there")
    add("--dataset", default="digits", help="of the smoke test and for images to time on (default: digits)")
    add("--batch-size", type=int, default=256, help="images per step (default: 256)")
    add("--images", type=int, default=54_000, help="in an epoch (default: 54000)")
    add("--steps", type=int, default=420, help="of each measurement (default: 420)")
    add("--repeats", type=int, default=3, help="measurements of each contender (default: 3)")
    add("--epochs", type=int, default=30, help="of the autoencoder's run that is timed whole (default: 30)")
    add("--systems", nargs="+", default=list(stages.SYSTEMS), choices=stages.SYSTEMS, help="what is trained")
    add("--runs", type=Path, default=Path("runs"), help="the folder of all runs (default: runs)")
    add("--name", default="", help="the folder <runs>/accelerator/<name>; empty: the platform")
    found = vars(parser.parse_args(arguments))
    minutes, wheels, only = (found.pop(name) for name in ("minutes", "wheels", "only"))
    only = only and only.split(",")
    if only and not set(only) <= set(stages.GROUPS):
        raise UserError(f"--only {','.join(only)}: choose from {', '.join(stages.GROUPS)}")
    folder = found.pop("runs").expanduser() / "accelerator" / (found.pop("name") or found["platform"])
    for name in ("batch_size", "images", "steps", "repeats", "epochs"):
        if found[name] < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {found[name]}")
    if found["images"] < found["batch_size"]:
        raise UserError(f"--batch-size {found['batch_size']} is more than --images {found['images']}: lower it")
    return Options(folder=folder, **found), minutes, wheels, only


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def _refuse(message: str) -> Any:
    raise UserError(f"{message} (--help explains)")


def _installed(places: Sequence[str]) -> set[str]:
    return {_plain(found.metadata["Name"] or "") for found in importlib.metadata.distributions(path=list(places))}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "stopped; results.jsonl keeps what was measured, and the same command goes on from there", file=sys.stderr
        )
        sys.exit(130)
