"""Metrics and pictures by step: metrics.jsonl, and the same for TensorBoard."""

import functools
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from aejax.errors import UserError


class MetricsLog:
    """Appends to <path>/metrics.jsonl and <path>/tensorboard.

    A line is {"step", "epoch", "split", metric: value, ...}; a value that is not finite is null. What cannot be written
    raises OSError here, not in a thread of tensorboardX, whose end nobody would see. With `writes` False, as where
    another process writes them, everything is dropped.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self._writes = writes
        self._file = path / "metrics.jsonl"
        self._events = path / "tensorboard"
        self._writer: Any = None

    def records(self) -> list[dict[str, Any]]:
        """All sound records so far, in the order of their steps.

        Raises:
          UserError: where the file is something else.
        """
        return [record for line in self._lines() if (record := _record(line)) is not None]

    def has(self, step: int) -> bool:
        """Whether there are records of this step. Without writing, True."""
        return not self._writes or any(record["step"] == step for record in self.records())

    def rewind(self, step: int, steps_per_epoch: int | None = None) -> None:
        """Drops the records after `step`, which training resumed from `step` will write again, and damaged lines.

        Says in a line what is damaged, and which epochs up to `step` have no record.
        """
        if not self._writes:
            return
        kept = [record for record in self.records() if record["step"] <= step]
        if damaged := sum(_record(line) is None for line in self._lines()):
            print(f"{self._file}: {damaged} damaged lines are dropped, and the rest is kept", file=sys.stderr)
        there = {record["step"] for record in kept}
        ends = range(steps_per_epoch, step, steps_per_epoch) if steps_per_epoch else ()
        if missing := [str(epoch) for epoch, end in enumerate(ends, 1) if end not in there]:
            print(f"{self._file}: the metrics of epochs {', '.join(missing)} were lost", file=sys.stderr)
        partial = self._file.with_name(".metrics.jsonl.tmp")
        with partial.open("w", encoding="utf-8") as file:
            file.write("".join(_line(record) for record in kept))
            _sync(file)
        partial.replace(self._file)
        tensorboard = _tensorboard()
        self.close()
        self._events.mkdir(exist_ok=True)
        self._writer = tensorboard.event_file_writer.EventsWriter(str(self._events / "events"))
        # TensorBoard then forgets what earlier files hold of this step and later ones.
        session_log = tensorboard.proto.event_pb2.SessionLog
        self._event(step + 1, file_version="brain.Event:2")
        self._event(step + 1, session_log=session_log(status=session_log.START))

    def write(self, step: int, epoch: int, splits: Mapping[str, Mapping[str, float]]) -> None:
        """Appends one record per split, on the disk when it returns: no checkpoint is to be newer than its metrics."""
        if not self._writes:
            return
        records: Sequence[dict[str, Any]] = [
            {"step": step, "epoch": epoch, "split": split, **{k: _finite(v) for k, v in metrics.items()}}
            for split, metrics in splits.items()
        ]
        with self._file.open("a", encoding="utf-8") as file:
            file.write("".join(_line(record) for record in records))
            _sync(file)
        for split, metrics in splits.items():
            for name, value in metrics.items():
                self._event(step, summary=_tensorboard().summary.scalar(f"{name}/{split}", value))
        self._writer.flush()

    def scalar(self, name: str, value: float, step: int) -> None:
        """For TensorBoard alone: what depends on the machine, such as speed."""
        self._event(step, summary=_tensorboard().summary.scalar(name, value))

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """For TensorBoard: uint8 (height, width, 3)."""
        self._event(step, summary=_tensorboard().summary.image(name, image, dataformats="HWC"))

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _lines(self) -> list[bytes]:
        try:
            # What follows the last newline was never completely written.
            return self._file.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        except IsADirectoryError:
            raise UserError(
                f"{self._file} is a folder where a file belongs: remove it, or choose another --name"
            ) from None

    def _event(self, step: int, **what: Any) -> None:
        if not self._writes:
            return
        self._writer.write_event(_tensorboard().proto.event_pb2.Event(wall_time=time.time(), step=step, **what))


@functools.cache
def _tensorboard() -> Any:
    """tensorboardX, imported late as `--help` need not pay for it, and without PyTorch, which it would look for."""
    had_torch = "torch" in sys.modules
    if not had_torch:
        sys.modules["torch"] = None  # type: ignore[assignment] # an import of it fails, which tensorboardX allows for
    try:
        import tensorboardX.event_file_writer
        import tensorboardX.proto.event_pb2
        import tensorboardX.summary
    finally:
        if not had_torch:
            del sys.modules["torch"]
    return tensorboardX


def _record(line: bytes) -> dict[str, Any] | None:
    """A line's record, or None where it is damaged."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    sound = isinstance(record, dict) and type(record.get("step")) is int and isinstance(record.get("split"), str)
    return record if sound and type(record.get("epoch")) is int else None


def _sync(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
