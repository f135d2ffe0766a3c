"""Several processes that train together, on several hosts or one for each GPU, through `jax.distributed`.

Every process runs the same code on a mesh over the devices of all, and process 0 alone logs and draws. Where one fails,
all end: the others would wait for it in their next collective operation.
"""

import atexit
import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax._src.distributed import global_state  # its key-value store has no public name
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.errors import UserError

_HEARTBEAT_SECONDS = 30  # a process unheard of for so long is dead
_SHUTDOWN_SECONDS = 3600  # the others' patience while process 0 draws
_POLL_SECONDS = 0.5
_FAREWELL_SECONDS = 5
_ENDED = "aejax/ended"
# What libraries say of a collective operation whose other processes are gone.
_LOST = ("Gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Socket closed")
_agreements = itertools.count()

MessageAndStatus = Callable[[BaseException], tuple[str, int]]


def count() -> int:
    """Processes that train together. Touches no device."""
    return global_state.num_processes


def first() -> bool:
    """Whether this is process 0, or the only one."""
    return count() == 1 or jax.process_index() == 0


def gather(*values: int) -> np.ndarray:
    """The values of every process, once all have got here: int64 (processes, values). To be called by all."""
    own = np.array([values], np.int64)
    if count() == 1:
        return own
    mesh = Mesh(np.array([jax.local_devices(process_index=i)[0] for i in range(count())]), ("process",))
    words = jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("process")), own.view(np.int32))
    return np.asarray(jax.device_put(words, NamedSharding(mesh, PartitionSpec()))).view(np.int64)


def barrier() -> None:
    """Returns once all processes have got here."""
    gather(0)


def agree(
    name: str,
    values: Mapping[str, Any],
    differences: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]],
) -> None:
    """Compares JSON values with those of process 0. To be called by all processes, in the same order.

    Args:
      name: what the values are.
      values: by their names.
      differences: (values of process 0, values of this process) -> a description of each difference.

    Raises:
      UserError: in a process whose values differ, with the name of each and both values.
    """
    if count() == 1:
        return
    client: Any = global_state.client
    place = f"aejax/agree/{next(_agreements)}/{name}"
    if first():
        client.key_value_set(place, json.dumps(values))
        return
    expected = json.loads(client.blocking_key_value_get(place, 1000 * _SHUTDOWN_SECONDS))
    if found := differences(expected, json.loads(json.dumps(values))):
        raise UserError(f"process 0 has {'; '.join(found)}: start all processes with the same command and data")


def failure(error: BaseException) -> tuple[str, int]:
    """What to say of an exception that nobody foresaw, and the exit status."""
    return "".join(traceback.format_exception(error)).rstrip(), 1


@contextlib.contextmanager
def joined(distributed: bool, message_and_status: MessageAndStatus = failure) -> Iterator[None]:
    """Joins the processes that were started together, before anything touches a device, and parts from them in the end.

    An exception inside ends this process at once, with the message and the exit status that `message_and_status` gives
    for it. The other processes end too, with the message's last line and the same status.

    Args:
      distributed: False: this is the only process, and nothing happens at all.
      message_and_status: exception -> the message for stderr and the exit status.

    Raises:
      UserError: if it is not configured how to reach the other processes. JAX itself ends this one where they have not
        answered within 5 minutes.
    """
    if not distributed:
        yield
        return
    _initialize()
    ending = threading.Lock()
    parted = threading.Event()
    watch = threading.Thread(target=_watch, args=(global_state.client, ending, parted), daemon=True)
    watch.start()
    try:
        yield
    except BaseException as error:
        _end(*(_of_others(error) or message_and_status(error)), ending)
    jax.distributed.shutdown()
    # Python ends a thread that then comes back from C++ by a C++ exception, which aborts the process.
    parted.set()
    watch.join()


def leave() -> NoReturn:
    """Ends this process with status 0, once all that was to be done is done.

    Python's own end may abort a process that has trained with others: a thread that comes back from C++ by then ends in
    a C++ exception ("exception not rethrown").
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _of_others(error: BaseException) -> tuple[str, int] | None:
    """What to say of an error that says no more than that another process is gone, and the status; else None."""
    if not any(word in str(error) for word in _LOST):
        return None
    client: Any = global_state.client
    for _ in range(int(_FAREWELL_SECONDS / _POLL_SECONDS)):
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            status, message = client.key_value_try_get(_ENDED).split(" ", 1)
            return message, int(status)
        time.sleep(_POLL_SECONDS)
    return "error: another process was lost; started again, all go on from the latest checkpoint", 1


def _initialize() -> None:
    _check_address()
    # Its handler would swallow a SIGTERM that comes before training. `fit` agrees on the step to stop at by itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            # Read here, as JAX reads the address's variable alone; None is for it to find out from the scheduler.
            num_processes=_variable("JAX_NUM_PROCESSES"),
            process_id=_variable("JAX_PROCESS_ID"),
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (ValueError, LookupError) as error:
        raise UserError(
            "--distributed: found no Slurm, Open MPI, Kubernetes or Cloud TPU, nor, by hand, JAX_COORDINATOR_ADDRESS "
            f"(<host of process 0>:<port>), JAX_NUM_PROCESSES and JAX_PROCESS_ID: set all three ({error})"
        ) from None
    except RuntimeError as error:
        raise UserError(f"--distributed: the processes cannot find each other ({str(error).splitlines()[0]})") from None


def _variable(name: str) -> int | None:
    text = os.environ.get(name)
    try:
        return int(text) if text else None
    except ValueError:
        raise UserError(f"{name} must be a whole number, not {text!r}") from None


def _check_address() -> None:
    """Checks what would end the process without a word: a coordinator's port that is no number, or is taken.

    Raises:
      UserError: with the variable to change.
    """
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_COORDINATOR_PORT"):
        text = os.environ.get(name)
        host, _, port = (text or "").rpartition(":")
        if not text or (name == "JAX_COORDINATOR_ADDRESS" and not host):
            continue
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
            raise UserError(f"--distributed: {name}={text}: the port must be a number from 1 to 65535")
        if os.environ.get("JAX_PROCESS_ID") == "0":
            with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    server.bind(("", int(port)))
                    server.listen()
                except OSError as error:
                    raise UserError(
                        f"--distributed: {name}={text}: process 0 cannot listen there ({error.strerror}): choose "
                        "another port"
                    ) from None


def _watch(client: Any, ending: threading.Lock, parted: threading.Event) -> None:
    """Ends this process when another one has said that it ends."""
    while not parted.wait(_POLL_SECONDS):
        try:
            said = client.key_value_try_get(_ENDED)
        except jax.errors.JaxRuntimeError as error:
            if "NOT_FOUND" not in str(error):
                return  # the processes have parted; JAX itself ends those whose process 0 is lost
            continue
        status, message = said.split(" ", 1)
        _end(message, int(status), ending)


def _end(message: str, status: int, ending: threading.Lock) -> None:
    """Leaves without JAX's farewell, which would wait for processes that wait for this one."""
    ending.acquire()  # for good: where the main thread and the watching one both come here, the first ends the process
    client: Any = global_state.client
    own, last = global_state.process_id, message.splitlines()[-1]
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client.key_value_set(_ENDED, f"{status} process {own}: {last}")
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client.key_value_set(f"{_ENDED}/{own}", "")
        # The store lives in process 0, which must be the last.
        for other in range(count() if own == 0 else 0):
            client.blocking_key_value_get(f"{_ENDED}/{other}", 1000 * _FAREWELL_SECONDS)
        threading.Event().wait(_POLL_SECONDS if own == 0 else 0)
    os._exit(status)
