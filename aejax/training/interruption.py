"""Ctrl-C and SIGTERM: at once where nothing is lost by it, at the next step in training."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupted(BaseException):
    """A request to stop, which `except Exception` must not swallow.

    Attributes:
      signal_number: which request.
      step: where training was left with a checkpoint, or None where it was not training.
    """

    def __init__(self, signal_number: int, step: int | None = None) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(name if step is None else f"{name} at step {step}")
        self.signal_number = signal_number
        self.step = step


class StopRequest:
    """Whether a signal has come.

    Attributes:
      signal_number: None until then.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._deferred = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """While open, a signal is only noted; in the end it raises Interrupted. Elsewhere it does so at once."""
        with self._mode(True):
            yield
        self._answer()

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """While open within `deferred`, a signal raises Interrupted at once, one that was noted before, too."""
        with self._mode(False):
            self._answer()
            yield

    def note(self, number: int) -> None:
        """Takes a signal's number. Raises Interrupted unless deferred."""
        self.signal_number = number
        self._answer()

    def _answer(self) -> None:
        if self.signal_number is not None and not self._deferred:
            raise Interrupted(self.signal_number)

    @contextlib.contextmanager
    def _mode(self, deferred: bool) -> Iterator[None]:
        before, self._deferred = self._deferred, deferred
        try:
            yield
        finally:
            self._deferred = before


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """While open, the first SIGINT or SIGTERM goes to the request; a second one acts as ever, if it takes too long.

    In a thread that is not the main one, signals are left as they are.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        for other, handler in handlers.items():
            signal.signal(other, handler)
        request.note(number)

    for number in handlers:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
