"""Contenders timed in turn: A B A B ..., so that a drift of the machine's speed meets all alike."""

import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from tqdm import tqdm

from experiments.benchmark.harness.worker import WorkerError

Role = Literal["ours", "rival", "once"]
Item = TypeVar("Item")
Measured = TypeVar("Measured")

STOPPED = 128 + signal.SIGINT  # the exit status after Ctrl-C

# A setting of PyTorch that a short first round finds this many times slower than its best is not timed further.
_HOPELESS = 1.5


@dataclass
class Row:
    """The measurements of one contender.

    Attributes:
      name: as shown.
      role: "ours"; "rival", a setting of PyTorch, whose best counts; or "once", timed once and never counted.
      seconds: per epoch, one per round. A row with a note has only the value that the note explains, or none.
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


class Spent(NamedTuple):
    """Seconds that a benchmark took.

    Attributes:
      starting: to start processes, load data, initialise, compile and take the first steps.
      timing: in measurements, screening included.
      checking: for what else was found out before and after, such as whether both sides compute the same.
    """

    starting: float
    timing: float
    checking: float = 0.0

    def __str__(self) -> str:
        total = max(sum(self), 1e-9)
        share = self.starting / total
        checks = f", {self.checking:.0f} s for checks" if self.checking else ""
        return (
            f"This took {total:.0f} s: {self.starting:.0f} s ({share:.0%}) to start and compile, {self.timing:.0f} s "
            f"in measurements{checks}."
        )


class Timed(Protocol):
    """The part of a `Worker` that `measure` needs."""

    def setup(self) -> dict[str, Any]: ...
    def run(self, steps: int) -> dict[str, Any]: ...
    def close(self) -> None: ...


def measure(
    entries: Sequence[Entry], start: Callable[[Mapping[str, Any]], Timed], plan: Plan, bar: tqdm
) -> tuple[list[Row], Spent]:
    """Times the entries in turn, round after round. An entry that fails leaves a row that says so.

    Each entry has one process, which starts and compiles once and lives through all rounds. PyTorch's settings first
    run twice for a few steps; the hopeless ones are left out of the rounds. An entry that is timed once runs before the
    rounds.
    """
    turns = _Turns(entries, plan, bar)
    began = time.perf_counter()
    try:
        for row, entry in zip(turns.rows, entries, strict=True):
            turns.start(row, start(entry.spec))
        started = time.perf_counter()
        for row in turns.rows:
            if row.role == "once":
                turns.run(row, plan.steps)
                turns.leave(row, "timed once, not counted")
        turns.screen()
        bar.total = bar.n + plan.rounds * len(turns.workers)
        for _ in range(plan.rounds):
            for row, entry in zip(turns.rows, entries, strict=True):
                turns.run(row, entry.steps or plan.steps)
    finally:
        for worker in turns.workers.values():
            worker.close()
    return turns.rows, Spent(started - began, time.perf_counter() - started)


class _Turns:
    """The rows of a measurement, and the workers of those that are still in it."""

    def __init__(self, entries: Sequence[Entry], plan: Plan, bar: tqdm) -> None:
        self.rows = [Row(entry.name, entry.role) for entry in entries]
        self.workers: dict[str, Timed] = {}
        self._plan, self._bar = plan, bar

    def start(self, row: Row, worker: Timed) -> None:
        self.workers[row.name] = worker
        if reply := self._ask(row, worker.setup):
            row.start_up_s = reply["build_s"] + reply["first_step_s"]
            row.warm_up_s, row.device = reply["warm_up_s"], reply["device"]

    def run(self, row: Row, steps: int) -> None:
        worker = self.workers.get(row.name)
        if worker is not None and (reply := self._ask(row, lambda: worker.run(steps))):
            row.seconds.append(reply["seconds"] * self._plan.steps_per_epoch / steps)
            row.memory_mib = reply["memory_mib"]

    def leave(self, row: Row, note: str) -> None:
        """Ends the row, unless it has failed before."""
        if worker := self.workers.pop(row.name, None):
            row.note = note
            worker.close()

    def screen(self) -> None:
        """Leaves out the rivals that are hopeless, and forgets the times of the others."""
        for _ in range(2):
            for row in self.rows:
                if row.role == "rival":
                    self.run(row, self._plan.screening_steps)
        rivals = [row for row in self.rows if row.role == "rival" and row.seconds]
        best = min((min(row.seconds) for row in rivals), default=0)
        for row in rivals:
            if min(row.seconds) > _HOPELESS * best:
                row.seconds = [min(row.seconds)]
                self.leave(row, f"screened out, timed over {self._plan.screening_steps} steps")
            else:
                row.seconds.clear()

    def _ask(self, row: Row, ask: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        self._bar.set_description(row.name)
        try:
            return ask()
        except WorkerError as error:
            row.seconds.clear()
            self.leave(row, f"failed: {error}")
            return None
        finally:
            self._bar.update()


def until_stopped(items: Iterable[Item], measure_one: Callable[[Item], Measured]) -> tuple[list[Measured], bool]:
    """Measures the items one after another.

    Ctrl-C ends it early and in one line: where something is complete by then, the caller can keep it.

    Returns:
      The results, and whether all items are among them.
    """
    results: list[Measured] = []
    try:
        for item in items:
            results.append(measure_one(item))
        return results, True
    except KeyboardInterrupt:
        if not results:
            print("stopped; nothing was complete, and nothing was written", file=sys.stderr)
            sys.exit(STOPPED)
        return results, False
