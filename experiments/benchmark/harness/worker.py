"""A contender of the benchmark in a process of its own, so that thread pools and device counts do not interfere.

The process reads JSON lines, first what to build and then numbers of steps, answers each with one, and sleeps between.
"""

import contextlib
import importlib
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from aejax.errors import UserError

_WARM_UP_STEPS = 10

# By spec["side"], the module whose `build(spec)` a worker calls. Imported in the worker alone, and only this one: the
# libraries of another would count in its memory and its threads.
SIDES = {
    "jax": "experiments.benchmark.contenders.jax_systems",
    "torch": "experiments.benchmark.contenders.torch_epochs",
    "check": "experiments.benchmark.contenders.equality",
    "limits": "experiments.benchmark.contenders.limits",
    "card": "experiments.benchmark.contenders.card",
    "jax_feeds": "experiments.benchmark.contenders.jax_feeds",
    "jax_likelihood": "experiments.benchmark.contenders.jax_likelihood",
    "torch_likelihood": "experiments.benchmark.contenders.torch_likelihood",
}

# Environment variables of workers that are compared.
VARIABLES = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # each compiles anew
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # they share a GPU's memory
}


class Contender(NamedTuple):
    """The thing that a worker times.

    Attributes:
      block: takes this many steps from the start of an epoch, shuffling and gathering included, and waits for them.
      device: where it computes, for the table.
      device_memory: the accelerator's peak so far, in bytes; None on a CPU.
      prepare: done before each measurement, untimed.
      unit: a measurement is fair if its number of steps is a multiple of this one.
    """

    block: Callable[[int], None]
    device: str
    device_memory: Callable[[], int] | None = None
    prepare: Callable[[], None] = lambda: None
    unit: int = 1


class WorkerError(Exception):
    """A worker failed; the message is one line that says how."""


class Worker:
    """The parent's end of a worker process.

    Args:
      spec: for `build(spec)` of the module SIDES[spec["side"]], as JSON values.
      log: takes what the process writes to stderr.
      variables: of the environment, set for it on top of this process's own.
    """

    def __init__(self, spec: Mapping[str, Any], log: TextIO, variables: Mapping[str, str]) -> None:
        self._spec = spec
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from experiments.benchmark.harness.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | variables,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then closes its workers
        )

    def setup(self) -> dict[str, Any]:
        """Builds the contender, and returns {"build_s", "first_step_s" with its compilation, "warm_up_s", "device",
        "unit"}; or returns what a check found."""
        return self._ask(self._spec)

    def run(self, steps: int) -> dict[str, Any]:
        """Takes the steps. Returns their "seconds", the peak "memory_mib" so far, and "host_mib", that of the process
        itself without the files that are mapped into it."""
        return self._ask(steps)

    def kill(self) -> None:
        """Ends the process at once. Whoever waits for an answer gets a WorkerError."""
        self._process.kill()

    def close(self) -> None:
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # a request that it never read
                stream.close()

    def _ask(self, request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"its process ended with status {self._process.wait()}")
        reply = json.loads(line)
        if "user_error" in reply:
            raise UserError(reply["user_error"])
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply


def main() -> None:
    # Whatever libraries print must not mix with the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    contender: Contender | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if contender is None:
                began = time.perf_counter()
                built = importlib.import_module(SIDES[request["side"]]).build(request)
                if isinstance(built, Contender):
                    contender = built
                    reply = {"build_s": time.perf_counter() - began, "device": contender.device, "unit": contender.unit}
                    reply |= {"first_step_s": _seconds(contender, 1)}
                    reply |= {"warm_up_s": _seconds(contender, _WARM_UP_STEPS)}
                else:
                    reply = built
            else:
                contender.prepare()
                reply = {
                    "seconds": _seconds(contender, request),
                    "host_mib": (_host_memory() - _mapped_files()) // 2**20,
                }
                reply |= {"memory_mib": _peak_memory(contender) // 2**20}
        except UserError as error:
            reply = {"user_error": str(error)}
        except Exception as error:  # this contender's row will say so, and the others go on
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"}
        print(json.dumps(reply), file=replies, flush=True)


def _seconds(contender: Contender, steps: int) -> float:
    began = time.perf_counter()
    contender.block(steps)
    return time.perf_counter() - began


def _peak_memory(contender: Contender) -> int:
    """The peak of the accelerator's memory in bytes, or on a CPU that of the contender's processes."""
    return _host_memory() if contender.device_memory is None else contender.device_memory()


def _mapped_files() -> int:
    """The bytes of files that this process has mapped and read so far; 0 where no /proc says it."""
    status = Path("/proc/self/status")
    found = re.search(r"RssFile:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 1024 * int(found[1]) if found else 0


def _host_memory() -> int:
    """The largest resident sizes so far of this process and of those that it has started, added up, in bytes."""
    statuses = [Path("/proc/self/status")]
    statuses += [Path(f"/proc/{child.pid}/status") for child in multiprocessing.active_children()]
    # Under Linux, getrusage would also count the parent, whose memory this process shared before it ran Python.
    found = [re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) for status in statuses if status.exists()]
    if found:
        return sum(1024 * int(match[1]) for match in found if match)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
