"""Ctrl-C and SIGTERM as a request to stop at the next step, not in the middle of one."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """Training stopped on request, with a checkpoint at `step`; `signal_number` says which request."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"{signal.Signals(signal_number).name} at step {step}")
        self.signal_number = signal_number
        self.step = step


class StopRequest:
    """`signal_number` is None until a signal comes."""

    signal_number: int | None = None


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """While open, the first SIGINT or SIGTERM is noted; a second one acts as ever, for a user who cannot wait."""
    request = StopRequest()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        for other, handler in handlers.items():
            signal.signal(other, handler)

    for number in handlers:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
