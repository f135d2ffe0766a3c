"""Lock files, on file systems without locks too."""

import errno
from pathlib import Path

import filelock

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)


def acquire(file: Path, timeout: float) -> filelock.AcquireReturnProxy:
    """Takes the lock of this file, which is let go where the returned context ends.

    The operating system's lock; on a file system without such locks, as some network mounts are, the file itself, which
    then holds the process's number.

    Args:
      file: what processes that exclude each other name.
      timeout: seconds to wait for another process that has it; -1: for ever.

    Raises:
      filelock.Timeout: if another process keeps it.
      OSError: if the file cannot be written.
    """
    try:
        return filelock.FileLock(file).acquire(timeout=timeout)
    except OSError as error:
        if isinstance(error, filelock.Timeout) or error.errno not in _NO_LOCKS:
            raise
    return filelock.SoftFileLock(file.with_name(f"{file.name}.soft")).acquire(timeout=timeout)
