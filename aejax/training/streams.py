"""Standard output and error that never end a run: closed, unread, or unable to show a character."""

import codecs
import os
import sys
from typing import IO, Any

_PLAIN = {"±": "+-", "…": "...", "│": "|", "─": "-"}


class _Unbroken:
    """A text stream whose output is dropped from where on nobody reads it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        # What Python still holds of it goes there, too, when the process ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def protect() -> None:
    """Makes this process's standard streams such that no write to them can fail."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: a file that is opened later would get its number, and with it what C libraries print
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("aejax.plain", _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of the process
        elif isinstance(stream, _Unbroken):
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="aejax.plain")
        setattr(sys, name, _Unbroken(stream))


def flush() -> None:
    """Writes out what is held back, as Python would do at its end, where a failure changes the exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in text), error.end
