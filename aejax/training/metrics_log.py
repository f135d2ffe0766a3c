"""Metrics and pictures by step: metrics.jsonl, and the same for TensorBoard."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


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
        """All records so far, in the order of their steps; a last line cut short by a crash is left out."""
        try:
            lines = self._file.read_text().split("\n")
        except FileNotFoundError:
            return []
        # What follows the last newline was never completely written.
        return [json.loads(line) for line in lines[:-1]]

    def rewind(self, step: int) -> None:
        """Drops the records after `step`, which training resumed from `step` will write again."""
        if not self._writes:
            return
        kept = [record for record in self.records() if record["step"] <= step]
        partial = self._file.with_name(".metrics.jsonl.tmp")
        partial.write_text("".join(_line(record) for record in kept))
        partial.replace(self._file)
        from tensorboardX.event_file_writer import EventsWriter  # here, since `--help` need not pay for it
        from tensorboardX.proto.event_pb2 import SessionLog

        self.close()
        self._events.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(self._events / "events"))
        # TensorBoard then forgets what earlier files hold of this step and later ones.
        self._event(step + 1, file_version="brain.Event:2")
        self._event(step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, epoch: int, splits: Mapping[str, Mapping[str, float]]) -> None:
        """Appends one record per split."""
        if not self._writes:
            return
        from tensorboardX import summary

        records: Sequence[dict[str, Any]] = [
            {"step": step, "epoch": epoch, "split": split, **{k: _finite(v) for k, v in metrics.items()}}
            for split, metrics in splits.items()
        ]
        with self._file.open("a") as file:
            file.write("".join(_line(record) for record in records))
        for split, metrics in splits.items():
            for name, value in metrics.items():
                self._event(step, summary=summary.scalar(f"{name}/{split}", value))
        self._writer.flush()

    def scalar(self, name: str, value: float, step: int) -> None:
        """For TensorBoard alone: what depends on the machine, such as speed."""
        from tensorboardX import summary

        self._event(step, summary=summary.scalar(name, value))

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """For TensorBoard: uint8 (height, width, 3)."""
        from tensorboardX import summary

        self._event(step, summary=summary.image(name, image, dataformats="HWC"))

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _event(self, step: int, **what: Any) -> None:
        if not self._writes:
            return
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, **what))


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
