"""A run's folder, <runs>/<experiment>/<name>/.

It holds config.json (see `aejax.training.records`), metrics.jsonl, checkpoints/, figures/, tensorboard/ and, in the
end, summary.json.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
from jax.sharding import Mesh

from aejax import locks, plots, tables
from aejax.batching import as_float
from aejax.errors import UserError
from aejax.models.description import describe
from aejax.models.trained import Trained
from aejax.training import distributed, records, report
from aejax.training.checkpoints import Checkpoints
from aejax.training.config import OnNonFinite, RunConfig, options_as_json, plain_name, shown_seed
from aejax.training.disk import disk_errors_as_user_errors
from aejax.training.fingerprints import MEANING
from aejax.training.interruption import StopRequest, stop_requests
from aejax.training.metrics_log import MetricsLog
from aejax.training.splits import Splits

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_TABLE_WIDTH = 100  # characters, which a terminal shows without breaking lines


class Run:
    """An open run. Made by `open_run`. Of several processes that train together, process 0 alone logs and draws.

    Attributes:
      path: the run's folder.
      checkpoints: what training resumes from.
      log: metrics and pictures by step.
      stop: whether Ctrl-C or SIGTERM has asked for an end since the run was opened.
      on_nonfinite: what becomes of a step whose loss or gradient is not finite.
      record: what config.json is to hold.
      model: the model that is trained, if it was named.
      image_shape: (height, width, channels) of the images, if it was named.
      seed: the first seed.
      caption: which of several seeds a figure shows; empty where there is one.
      resumed: whether an earlier program had left something here.
    """

    def __init__(
        self,
        path: Path,
        stop: StopRequest,
        record: dict[str, Any],
        on_nonfinite: OnNonFinite = "stop",
        *,
        model: Any = None,
        image_shape: tuple[int, ...] | None = None,
        seed: int = 0,
    ) -> None:
        self.path = path
        self.model, self.image_shape, self.seed = model, image_shape, seed
        self.caption = ""
        self.stop = stop
        self.on_nonfinite = on_nonfinite
        self.record = record
        report.commit()  # is remembered: of the code that was loaded, whatever becomes of it while the run trains
        self.resumed = any((path / name).exists() for name in ("checkpoints", "summary.json"))
        self.checkpoints = Checkpoints(path / "checkpoints", records.identity(record))
        self.log = MetricsLog(path, writes=distributed.first())

    def confirm(self, fingerprint: Mapping[str, str]) -> None:
        """Records the fingerprint of what the run computes, or compares it with the one that the run was begun with.

        Raises:
          UserError: where they differ, or those of several processes do.
        """
        distributed.agree("fingerprint", fingerprint, _changed)
        if not distributed.first():
            return
        recorded = records.read(self.path / "config.json")
        if recorded["fingerprint"] is not None:
            _compare(self.path, recorded, self.record, fingerprint)
            fingerprint = recorded["fingerprint"]
        record = {**recorded, "options": self.record["options"], "fingerprint": dict(fingerprint)}
        if record != recorded:
            write_json(self.path / "config.json", record)

    def trained(self, states: Sequence[Any], mesh: Mesh) -> list[Trained]:
        """Returns the trained models of the states of this run, one per seed.

        Raises:
          UserError: if the run was opened without its model or the shape of its images.
        """
        if self.model is None or self.image_shape is None:
            raise UserError(f"{self.path} was opened without model= and data=: hand them to open_run")
        return [
            Trained(self.model, self.model.own(state.params), self.image_shape, self.seed + i, mesh)
            for i, state in enumerate(states)
        ]

    def draw(self, reconstruct: Callable[[np.ndarray], np.ndarray], examples: np.ndarray, step: int) -> None:
        """Shows uint8 examples, and their reconstructions below, in TensorBoard at this step."""
        pictures = np.concatenate([as_float(examples), reconstruct(examples)])
        self.log.picture("reconstructions", plots.tile(pictures, columns=len(examples)), step)

    def figure(self, name: str, figure: Figure, *, every_seed: bool = False) -> None:
        """Saves figures/<name>.png; of a run of several seeds with its caption, unless it shows `every_seed`."""
        if distributed.first():
            if self.caption and not every_seed:
                plots.captioned(figure, self.caption)
            plots.save(figure, self.path / "figures" / f"{name}.png")

    def text(self, name: str, content: str) -> None:
        """Saves <name>, whole or not at all."""
        if distributed.first():
            write_text(self.path / name, content)

    def draw_curves(self, curves: Sequence[str] = ("bce", "mse")) -> None:
        """Draws figures/learning_curves.png: these metrics or, where the run has none of them, its loss."""
        records = self.log.records() if distributed.first() else []
        if records:  # a folder that sums up other runs has none
            known = [name for name in curves if any(name in record for record in records)]
            self.figure("learning_curves", plots.learning_curves(records, known or "loss"), every_seed=True)

    def finish(
        self,
        config: RunConfig,
        mesh: Mesh,
        table: tables.Table,
        curves: Sequence[str] = ("bce", "mse"),
        *,
        show: bool = True,
    ) -> None:
        """Writes summary.json, draws figures/learning_curves.png and prints the table: means and sd over seeds.

        `curves` are the metrics to draw; where the run has none of them, its loss. Without `show` nothing is printed,
        as for a run that is one part of a study.
        """
        if not distributed.first():
            return
        means = tables.reduced(table)
        per_seed = {
            row: {name: np.asarray(value).tolist() for name, value in columns.items()} for row, columns in table.items()
        }
        summary = {
            "experiment": self.record["experiment"],
            "options": options_as_json(config),
            "environment": report.environment(mesh),
            "command": report.command(),
            "seconds": None if self.resumed else report.seconds(),
            "splits": means,
            "per_seed": per_seed,
        }
        write_json(self.path / "summary.json", summary)
        self.draw_curves(curves)
        if not show:
            return
        print(tables.markdown({row: tables.cells(figures) for row, figures in means.items()}, "split", _TABLE_WIDTH))
        print(f"figures, metrics and checkpoints: {self.path}; code: {report.commit() or 'no git checkout'}")


@contextlib.contextmanager
def open_run(
    config: RunConfig,
    experiment: str,
    *,
    model: Any = None,
    image_shape: tuple[int, ...] | None = None,
    data: Splits | Mapping[str, Any] | None = None,
) -> Iterator[Run]:
    """Opens the run's folder, made if it is not there, for this process and those that train with it.

    Args:
      config: the options.
      experiment: the name of the folder below <runs>.
      model: the model that is trained; its description in config.json, which may be given as well, is what
        `aejax.load` builds it from again.
      image_shape: (height, width, channels) of the images; None: those of `data`.
      data: the splits, or what identifies other data, such as digests, as JSON values by name.

    Raises:
      UserError: if the folder is in use, or holds a run that differs in one of these or in what numbers depend on
        outside them (precision, generator); if the processes that train together differ; and at any time while the run
        is open, if the folder cannot be written.
    """
    name = config.name or f"{plain_name(config.dataset)}-seed{config.seed}"
    path = config.runs.expanduser() / experiment / name
    if isinstance(data, Splits):
        image_shape, data = image_shape or data.image_shape, data.fingerprint()
    record = records.describe(config, experiment, _description(model), image_shape, data)
    distributed.agree("run", record, functools.partial(records.differences, everything=True))
    claim = _claimed(path, record) if distributed.first() else contextlib.nullcontext()
    with claim, stop_requests() as stop, disk_errors_as_user_errors(path):
        _check_shared(path)
        run = Run(path, stop, record, config.on_nonfinite, model=model, image_shape=image_shape, seed=config.seed)
        run.caption = shown_seed(config)
        try:
            yield run
        finally:
            run.log.close()
            # After an error, a checkpoint's part may be awaited from a process that is gone.
            if distributed.count() == 1 or not run.checkpoints.saving():
                run.checkpoints.close()


def _check_shared(path: Path) -> None:
    """UserError, in every process, where the folder is not the same one for all."""
    token = path / ".shared"
    if distributed.count() == 1:
        return
    if distributed.first():
        token.write_text(f"{time.time_ns()} {os.getpid()}")
    distributed.barrier()
    found = distributed.gather(zlib.crc32(token.read_bytes()) if token.exists() else -1)
    if distributed.first():
        token.unlink(missing_ok=True)
    if (found != found[0]).any():
        raise UserError(f"{path} is not the same folder for all processes: set --runs to one that all share")


def _description(model: Any) -> Any:
    """Returns the model's description; None where there is no model, or one with parts that JSON cannot name."""
    if model is None or isinstance(model, dict):  # a description already
        return model
    try:
        return describe(model)
    except UserError:
        return None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON file, whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


@contextlib.contextmanager
def _claimed(path: Path, wanted: dict[str, Any]) -> Iterator[None]:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = locks.acquire(path / ".lock", timeout=0)
    except filelock.Timeout:
        raise UserError(f"{path} is in use by another process: wait for it, or choose another --name") from None
    except OSError as error:
        remedy = "shorten --name" if error.errno == errno.ENAMETOOLONG else "choose another folder with --runs"
        raise UserError(f"{path} cannot be written ({error.strerror}): {remedy}") from None
    with lock:
        _claim(path, wanted)
        yield


def _claim(path: Path, wanted: dict[str, Any]) -> None:
    file = path / "config.json"
    if not file.exists():
        if (path / "metrics.jsonl").exists() or (path / "checkpoints").exists():
            raise UserError(f"{path} holds a run without its config.json: choose another --name")
        try:
            write_json(file, wanted)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}): choose another folder with --runs") from None
        return
    for name in ("checkpoints", "tensorboard", "figures"):
        if (path / name).exists() and not (path / name).is_dir():
            raise UserError(f"{path / name} is a file where a folder belongs: remove it, or choose another --name")
    recorded = records.read(file)
    if differences := records.differences(recorded, wanted):
        raise UserError(f"{path} holds a run with {'; '.join(differences)}: choose another --name, or remove it")
    if not os.access(path, os.W_OK):
        raise UserError(f"{path} cannot be written: choose another folder with --runs")
    if drift := records.drift(recorded, wanted):
        print(f"{path}: {drift}", file=sys.stderr)
    if recorded["fingerprint"] is None and recorded["options"] != wanted["options"]:
        write_json(file, {**recorded, "options": wanted["options"]})


def _compare(
    path: Path, recorded: Mapping[str, Any], wanted: Mapping[str, Any], fingerprint: Mapping[str, str]
) -> None:
    """Refuses another fingerprint than the recorded one; says so where the two cannot be compared."""
    if records.drift(recorded, wanted):
        print(f"{path}: whether the training step is the one that the run was begun with is not known", file=sys.stderr)
        return
    changed = _changed(recorded["fingerprint"], fingerprint)
    if not changed:
        return
    old, new = (record["options"].get("epochs") for record in (recorded, wanted))
    what = f"another {', another '.join(changed)}"
    if old != new and MEANING["step"] in changed:
        raise UserError(
            f"--epochs {new} makes {what} than {path} was begun with, as its schedule depends on the number of epochs, "
            f"which was {old}: leave it at that, or choose another --name"
        )
    raise UserError(f"{path} was begun with {what}: undo the change, choose another --name, or remove the run")


def _changed(recorded: Mapping[str, str], fingerprint: Mapping[str, str]) -> list[str]:
    return [MEANING[part] for part in MEANING if recorded.get(part) != fingerprint[part]]
