"""What a run's config.json holds: all that decides what the run computes, and how two such records differ."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from aejax import paths, rng
from aejax.errors import UserError
from aejax.training.checkpoints import Checkpoints
from aejax.training.config import RunConfig, options_as_json
from aejax.training.devices import local_devices

LAYOUT = 2
_SECTIONS = {"layout", "experiment", "options", "model", "image_shape", "data", "environment", "fingerprint"}
# Of the environment, what changes the numbers; the rest may change their last digits.
_DECISIVE = ("x64", "generator", "threefry_partitionable", "matmul_precision")
# The fingerprint says whether another number of epochs changes anything but the end.
_MAY_GROW = "epochs"


class RunRecord(NamedTuple):
    """A run as its folder tells of it.

    Attributes:
      path: the folder.
      experiment: the name under which it was opened.
      options: the options that decide what is computed, as JSON values.
      model: the description that the experiment gave of its model, as JSON values, or None.
      image_shape: (height, width, channels), or None.
      data: what the experiment said of its data, or None.
      seed: the first seed.
      seeds: the number of seeds that were trained together.
      identity: a digest of all that decides what is computed, the number of epochs aside.
    """

    path: Path
    experiment: str
    options: dict[str, Any]
    model: Any
    image_shape: tuple[int, ...] | None
    data: dict[str, Any] | None
    seed: int
    seeds: int
    identity: str


def describe(
    config: RunConfig,
    experiment: str,
    model: Any = None,
    image_shape: tuple[int, ...] | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns what config.json is to hold before anything was computed, as JSON values."""
    record = {
        "layout": LAYOUT,
        "experiment": experiment,
        "options": options_as_json(config),
        "model": model,
        "image_shape": image_shape,
        "data": data,
        "environment": environment(config.devices),
        "fingerprint": None,
    }
    return json.loads(json.dumps(record))


def environment(devices: int = 0) -> dict[str, Any]:
    """Returns what outside a command's options numbers depend on."""
    return {
        "x64": bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
        "generator": rng.GENERATOR,
        "threefry_partitionable": bool(jax.config.jax_threefry_partitionable),  # type: ignore[attr-defined]
        "matmul_precision": jax.config.jax_default_matmul_precision,  # type: ignore[attr-defined]
        "platform": local_devices(devices)[0].platform,
        "jax": jax.__version__,
    }


def identity(record: Mapping[str, Any]) -> str:
    """Returns a digest of the experiment, the options but for the number of epochs, the model and the data."""
    options = {name: value for name, value in record["options"].items() if name != _MAY_GROW}
    parts = [record["experiment"], options, record["model"], record["image_shape"], record["data"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read(file: Path) -> dict[str, Any]:
    """Reads a config.json.

    Raises:
      UserError: if it is damaged, or that of another layout.
    """
    remedy = f"choose another --name, or remove {file.parent}"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(record, dict) and record and record.get("layout") != LAYOUT:
            age = "a newer" if isinstance(record.get("layout"), int) and record["layout"] > LAYOUT else "an older"
            raise UserError(f"{file.parent} holds a run of {age} layout, which this version cannot read: {remedy}")
        types = {"experiment": str, "options": dict, "environment": dict}
        optional = {"data": dict, "fingerprint": dict, "image_shape": list}
        sound = (
            set(record) == _SECTIONS
            and all(isinstance(record[name], kind) for name, kind in types.items())
            and (record["fingerprint"] is None or re.fullmatch(r"\d+-\d+", record["fingerprint"]["seeds"]))
            and all(record[name] is None or isinstance(record[name], kind) for name, kind in optional.items())
        )
    except (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise UserError(f"{file} is damaged: {remedy}")
    return record


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any], *, everything: bool = False) -> list[str]:
    """Names each field that two records differ in, with both values.

    With `everything`, also the number of epochs, and what of the environment changes last digits at most.
    """
    found = []
    for section in ("experiment", "options", "model", "image_shape", "data"):
        found += different("" if section == "options" else section, recorded[section], wanted[section])
    old, new = recorded["environment"], wanted["environment"]
    for name in new if everything else _DECISIVE:
        found += different(name, old.get(name), new.get(name))
    return [text for text in found if everything or not text.startswith(f"{_MAY_GROW}=")]


def drift(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Says how the platform or JAX have changed, which may change the last digits of what is computed."""
    old, new = (
        f"jax {record['environment'].get('jax')} on {record['environment'].get('platform')}"
        for record in (recorded, wanted)
    )
    return None if old == new else f"begun with {old}, going on with {new}: the last digits may differ"


def read_run(folder: str | os.PathLike) -> RunRecord:
    """Reads what a run's folder tells of it.

    Raises:
      UserError: if the folder holds no run, or a damaged one, or one of another layout.
    """
    path = paths.local(os.fspath(folder), "the run")
    if not (path / "config.json").is_file():
        raise UserError(f"{path} holds no run (no config.json): name a folder <runs>/<experiment>/<name>")
    record = read(path / "config.json")
    options, shape, fingerprint = record["options"], record["image_shape"], record["fingerprint"]
    seed, seeds = options.get("seed", 0), options.get("seeds", 1)
    if fingerprint is not None:  # a program may train other seeds than its options say
        first, last = map(int, fingerprint["seeds"].split("-"))
        seed, seeds = first, last - first + 1
    return RunRecord(
        path=path,
        experiment=record["experiment"],
        options=options,
        model=record["model"],
        image_shape=None if shape is None else tuple(shape),
        data=record["data"],
        seed=seed,
        seeds=seeds,
        identity=identity(record),
    )


def read_params(
    folder: str | os.PathLike, which: Literal["last", "best"] = "last", seed_index: int = 0
) -> tuple[int, Any]:
    """Reads the params of one seed from a run's checkpoint.

    Args:
      folder: the run's.
      which: the last checkpoint, or the one with the lowest loss on the first split that training evaluates.
      seed_index: of a run of several seeds, which one, from 0.

    Returns:
      The checkpoint's step, and the params as dicts, lists and numpy arrays.

    Raises:
      UserError: if there is no such checkpoint or seed, or it is damaged.
    """
    run = read_run(folder)
    if not 0 <= seed_index < run.seeds:
        raise UserError(f"{run.path} has the seed indices 0 to {run.seeds - 1}, not {seed_index}")
    with _checkpoints(run) as checkpoints:
        step, tree = checkpoints.read(which)
    try:
        params = tree["state"]["params"]
    except (KeyError, TypeError, IndexError):
        raise UserError(f"{run.path}: its state has no params: name a run of a method that has") from None
    return step, jax.tree.map(lambda leaf: leaf[seed_index], params)


@contextlib.contextmanager
def _checkpoints(run: RunRecord) -> Iterator[Checkpoints]:
    path = run.path / "checkpoints"
    if not path.is_dir() or not any(path.iterdir()):
        raise UserError(f"{run.path} holds no checkpoint: name a run that has trained, not one that sums up others")
    with contextlib.closing(Checkpoints(path, run.identity)) as checkpoints:
        yield checkpoints


def different(name: str, old: Any, new: Any) -> list[str]:
    """Names what differs in two JSON values below `name`, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        prefix = f"{name}." if name else ""
        return [text for key in {**new, **old} for text in different(f"{prefix}{key}", old.get(key), new.get(key))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and dict in map(type, old):
        return [text for i, pair in enumerate(zip(old, new, strict=True)) for text in different(f"{name}[{i}]", *pair)]
    return [] if old == new else [f"{name}={old!r}, not {new!r}"]
