"""A full disk, or a folder that cannot be written: said in one line, whichever library noticed it."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from aejax.errors import UserError

_REFUSALS = [
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM") if hasattr(errno, name)
]


@contextlib.contextmanager
def disk_errors_as_user_errors(folder: Path) -> Iterator[None]:
    """Makes a UserError of every error within that says that `folder` cannot be written, and leaves all others."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (why := refusal(error)) is None:
            raise
        raise UserError(
            f"{folder} cannot be written ({why}); what it held before is kept: make room there, or choose another "
            "folder with --runs"
        ) from error


def refusal(error: BaseException | None) -> str | None:
    """The operating system's words, if a disk that cannot be written is what the error says or where it comes from."""
    while error is not None:
        if isinstance(error, OSError):
            if error.errno is not None and error.errno in _REFUSALS:
                return os.strerror(error.errno)
        else:
            # Libraries in C++, such as TensorStore below Orbax, pass the system's words on in errors of their own.
            for number in _REFUSALS:
                if os.strerror(number) in str(error):
                    return os.strerror(number)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None
