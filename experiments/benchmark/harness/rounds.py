"""Contenders timed in turn: A B A B ..., so that a drift of the machine's speed meets all alike."""

import contextlib
import signal
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from tqdm import tqdm

from experiments.benchmark.harness.worker import WorkerError

Role = Literal["ours", "rival", "once"]

# A setting of PyTorch that a short first round finds this many times slower than its best is not timed further.
_HOPELESS = 1.5


@dataclass
class Row:
    """What was measured of one contender.

    Attributes:
      name: as shown.
      role: "ours"; "rival", a setting of PyTorch, whose best counts; or "once", timed once and never counted.
      seconds: per epoch, one per round; of rows with a note only the one that the note explains, or none.
      start_up_s: data to memory, initialisation, compilation and the first step.
      warm_up_s: the few steps after it.
      memory_mib: the process's peak, or the accelerator's.
      device: what it computed on.
      note: why this is not a row like the others: screened out, timed once, failed.
    """

    name: str
    role: Role
    seconds: list[float] = field(default_factory=list)
    start_up_s: float | None = None
    warm_up_s: float | None = None
    memory_mib: int | None = None
    device: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Entry(NamedTuple):
    """A contender before it has run: `spec` is what its worker builds; `steps` are its own, where not the plan's."""

    name: str
    role: Role
    spec: Mapping[str, Any]
    steps: int | None = None


class Plan(NamedTuple):
    """How often, and for how many steps each time, entries are timed."""

    rounds: int
    steps: int
    screening_steps: int
    steps_per_epoch: int


class Timed(Protocol):
    """What `measure` needs of a `Worker`."""

    def setup(self) -> dict[str, Any]: ...
    def run(self, steps: int) -> dict[str, Any]: ...
    def close(self) -> None: ...


def measure(entries: Sequence[Entry], start: Callable[[Mapping[str, Any]], Timed], plan: Plan, bar: tqdm) -> list[Row]:
    """Times the entries in turn, round after round; one that fails leaves a row that says so.

    PyTorch's settings first run twice for a few steps, and those that are hopeless are left out of the rounds. An entry
    that is timed once runs before the rounds.
    """
    rows = [Row(entry.name, entry.role) for entry in entries]
    workers: dict[str, Timed] = {}

    def leave(row: Row, note: str) -> None:
        row.note = note
        workers.pop(row.name).close()

    def attempt(row: Row, ask: Callable[[Timed], dict[str, Any]]) -> dict[str, Any] | None:
        bar.set_description(row.name)
        try:
            return ask(workers[row.name])
        except WorkerError as error:
            row.seconds.clear()
            leave(row, f"failed: {error}")
            return None
        finally:
            bar.update()

    def run(row: Row, steps: int) -> None:
        if row.name in workers and (reply := attempt(row, lambda worker: worker.run(steps))):
            row.seconds.append(reply["seconds"] * plan.steps_per_epoch / steps)
            row.memory_mib = reply["memory_mib"]

    try:
        for row, entry in zip(rows, entries, strict=True):
            workers[row.name] = start(entry.spec)
            if reply := attempt(row, lambda worker: worker.setup()):
                row.start_up_s = reply["build_s"] + reply["first_step_s"]
                row.warm_up_s, row.device = reply["warm_up_s"], reply["device"]
            if row.role == "once":
                run(row, plan.steps)
                if row.seconds:
                    leave(row, "timed once, not counted")

        rivals = [row for row in rows if row.role == "rival"]
        for _ in range(2):
            for row in rivals:
                run(row, plan.screening_steps)
        rivals = [row for row in rivals if row.seconds]
        best = min((min(row.seconds) for row in rivals), default=0)
        for row in rivals:
            if min(row.seconds) > _HOPELESS * best:
                row.seconds = [min(row.seconds)]
                leave(row, f"screened out, timed over {plan.screening_steps} steps")
            else:
                row.seconds.clear()

        bar.total = bar.n + plan.rounds * len(workers)
        for _ in range(plan.rounds):
            for row, entry in zip(rows, entries, strict=True):
                run(row, entry.steps or plan.steps)
    finally:
        for worker in workers.values():
            worker.close()
    return rows


@contextlib.contextmanager
def stop_without_a_trace() -> Iterator[None]:
    """Ctrl-C ends the command in one line: a benchmark writes its page whole or not at all."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
