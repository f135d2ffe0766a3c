"""A run's folder, <runs>/<experiment>/<name>/.

It holds config.json, metrics.jsonl, checkpoints/, figures/, tensorboard/ and, in the end, summary.json.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
from jax.sharding import Mesh

from aejax import plots, tables
from aejax.batching import as_float
from aejax.errors import UserError
from aejax.models.trained import Trained
from aejax.training import distributed, report
from aejax.training.checkpoints import Checkpoints
from aejax.training.config import OnNonFinite, RunConfig, options_as_json, plain_name
from aejax.training.disk import disk_errors_as_user_errors
from aejax.training.interruption import StopRequest, stop_requests
from aejax.training.metrics_log import MetricsLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Run:
    """An open run. Made by `open_run`. Of several processes that train together, process 0 alone logs and draws.

    Attributes:
      path: the run's folder.
      checkpoints: what training resumes from.
      log: metrics and pictures by step.
      stop: whether Ctrl-C or SIGTERM has asked for an end since the run was opened.
      on_nonfinite: what becomes of a step whose loss or gradient is not finite.
    """

    def __init__(
        self,
        path: Path,
        stop: StopRequest,
        on_nonfinite: OnNonFinite = "stop",
        model: Any = None,
        image_shape: tuple[int, ...] = (),
        seed: int = 0,
    ) -> None:
        self.path = path
        self.model, self.image_shape, self.seed = model, image_shape, seed
        self.stop = stop
        self.on_nonfinite = on_nonfinite
        self.checkpoints = Checkpoints(path / "checkpoints")
        self.log = MetricsLog(path, writes=distributed.first())

    def trained(self, states: Sequence[Any], mesh: Mesh) -> list[Trained]:
        """Returns the trained models of the states of this run, one per seed."""
        return [
            Trained(self.model, self.model.own(state.params), self.image_shape, self.seed + i, mesh)
            for i, state in enumerate(states)
        ]

    def draw(self, reconstruct: Callable[[np.ndarray], np.ndarray], examples: np.ndarray, step: int) -> None:
        """Shows uint8 examples, and their reconstructions below, in TensorBoard at this step."""
        pictures = np.concatenate([as_float(examples), reconstruct(examples)])
        self.log.picture("reconstructions", plots.tile(pictures, columns=len(examples)), step)

    def figure(self, name: str, figure: Figure) -> None:
        """Saves figures/<name>.png."""
        if distributed.first():
            plots.save(figure, self.path / "figures" / f"{name}.png")

    def text(self, name: str, content: str) -> None:
        """Saves <name>, whole or not at all."""
        if distributed.first():
            write_text(self.path / name, content)

    def finish(
        self, config: RunConfig, mesh: Mesh, table: tables.Table, curves: Sequence[str] = ("bce", "mse")
    ) -> None:
        """Writes summary.json, draws figures/learning_curves.png and prints the metrics of each split, or other row.

        `curves` are the metrics to draw; where the run has none of them, its loss.
        """
        if not distributed.first():
            return
        means = tables.reduced(table)
        write_json(
            self.path / "summary.json",
            {
                "experiment": self.path.parent.name,
                "options": options_as_json(config),
                "environment": report.environment(mesh),
                "splits": means,
                "per_seed": {
                    row: {name: np.asarray(value).tolist() for name, value in columns.items()}
                    for row, columns in table.items()
                },
            },
        )
        if records := self.log.records():  # a folder that sums up other runs has none
            known = [name for name in curves if any(name in record for record in records)]
            self.figure("learning_curves", plots.learning_curves(records, known or "loss"))
        print(tables.markdown({row: tables.cells(figures) for row, figures in means.items()}, "split"))
        print(f"figures, metrics and checkpoints: {self.path}")


@contextlib.contextmanager
def open_run(config: RunConfig, experiment: str, *, model: Any = None, data: Any = None) -> Iterator[Run]:
    """Opens the run's folder, made if it is not there, for this process and those that train with it.

    Raises:
      UserError: if the folder is in use or holds a run of another configuration, and at any time while the run is open,
        if the folder cannot be written.
    """
    name = config.name or f"{plain_name(config.dataset)}-seed{config.seed}"
    path = config.runs.expanduser() / experiment / name
    claim = _claimed(path, options_as_json(config)) if distributed.first() else contextlib.nullcontext()
    with claim, stop_requests() as stop, disk_errors_as_user_errors(path):
        distributed.barrier()
        if not path.exists():
            raise UserError(f"{path}, made by process 0, is not there: set --runs to a folder that all processes share")
        run = Run(path, stop, config.on_nonfinite, model, data.image_shape if data else (), config.seed)
        try:
            yield run
        finally:
            run.log.close()
            # After an error, a checkpoint's part may be awaited from a process that is gone.
            if distributed.count() == 1 or not run.checkpoints.saving():
                run.checkpoints.close()


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
        lock = filelock.FileLock(path / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(f"{path} is in use by another process: wait for it, or choose another --name") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another folder with --runs") from None
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
    try:
        found = json.loads(file.read_text())
        differences = [
            f"{key}={found.get(key)!r}, not {wanted.get(key)!r}"
            for key in {**wanted, **found}
            if found.get(key) != wanted.get(key)
        ]
    except (OSError, ValueError, AttributeError, TypeError):
        raise UserError(f"{file} is damaged: choose another --name, or remove {path}") from None
    if differences:
        raise UserError(f"{path} holds a run with {'; '.join(differences)}: choose another --name, or remove it")
    if not os.access(path, os.W_OK):
        raise UserError(f"{path} cannot be written: choose another folder with --runs")
