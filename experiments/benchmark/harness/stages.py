"""What the stages of the accelerator benchmark share: options, the time that is left, and workers that end with it."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from experiments.benchmark.harness.worker import VARIABLES, Worker


@dataclass(frozen=True)
class Options:
    """The command line of `accelerator`, whose help says what each means."""

    folder: Path
    platform: str
    dataset: str
    batch_size: int
    images: int
    steps: int
    repeats: int
    epochs: int
    systems: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """What the results depend on; the folder and the choice of systems are left out."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in ("folder", "systems")}


@dataclass
class Bench:
    """What stages share.

    Attributes:
      options: of the command.
      log: takes what processes write to stderr.
      deadline: of time.monotonic(), at which all processes are killed.
      environment: further variables for all processes.
      results: so far, by stage.
      running: what ends the processes that run now.
    """

    options: Options
    log: TextIO
    deadline: float
    environment: Mapping[str, str]
    results: dict[str, dict[str, Any]]
    running: list[Callable[[], None]] = field(default_factory=list)

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def stop(self) -> None:
        """Ends all processes now, and lets no stage begin."""
        self.deadline = time.monotonic()
        for end in list(self.running):
            end()

    @contextlib.contextmanager
    def ended_by(self, end: Callable[[], None]) -> Iterator[None]:
        """Has `end` called at the deadline or at `stop`, if either comes first."""
        timer = threading.Timer(max(0.0, self.left()), end)
        self.running.append(end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self.running.remove(end)

    @property
    def images(self) -> str:
        return str(self.options.folder / "images.npy")

    def variables(self, platform: str) -> dict[str, str]:
        """The environment of a process that computes on the platform."""
        # What GPUs are called depends on their maker: JAX finds them by itself.
        return VARIABLES | dict(self.environment) | ({} if platform == "gpu" else {"JAX_PLATFORMS": platform})

    @contextlib.contextmanager
    def worker(self, spec: Mapping[str, Any], platform: str = "") -> Iterator[Worker]:
        """A worker on the platform, by default the benchmark's, which is killed at the deadline."""
        common = {"images": self.images, "batch_size": self.options.batch_size, "devices": 1, "seed": 0}
        worker = Worker(common | dict(spec), self.log, self.variables(platform or self.options.platform))
        with contextlib.closing(worker), self.ended_by(worker.kill):
            yield worker


class Stage(NamedTuple):
    """A part of the benchmark: what `run` returns is its result; `overlaps` where it may run beside others like it."""

    name: str
    run: Callable[[Bench], dict[str, Any]]
    overlaps: bool = False

    @property
    def group(self) -> str:
        return "prepare" if self.name in ("device", "images") else self.name.split("/")[0]
