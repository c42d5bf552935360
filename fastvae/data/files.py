"""Files with data in them, before their content is looked at: which can be read, and why another cannot."""

import contextlib
import errno
import os
import pathlib
import stat
from collections.abc import Iterator

from fastvae.errors import DataFileError, FileAccessError


@contextlib.contextmanager
def access(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` of the body into a `FileAccessError` which names `path`."""
    try:
        yield
    except FileAccessError:
        raise
    except OSError as error:
        if error.errno is None:
            raise FileAccessError(f"{os.fspath(path)!r} cannot be read or written: {error}") from error
        reason = (error.strerror or "cannot be read or written").lower()
        raise FileAccessError(error.errno, reason, os.fspath(path)) from error


def regular_file(path: str | os.PathLike[str]) -> pathlib.Path:
    """Return `path` as a `Path` if it is a file with something in it.

    Raises
    ------
    FileAccessError
        Missing, a folder, a pipe or a device, no permission to look.
    DataFileError
        Empty.
    """
    result = pathlib.Path(path)
    try:
        with access(result):
            status = result.stat()
    except ValueError as error:
        if not isinstance(error, FileAccessError):  # a NUL character in the path
            raise FileAccessError(errno.EINVAL, "not a path", str(path)) from error
        if error.errno != errno.ENOENT:
            raise
        place = "" if result.is_absolute() else f" (looked in {os.getcwd()})"
        raise FileAccessError(errno.ENOENT, f"no such file{place}", str(path)) from None
    if stat.S_ISDIR(status.st_mode):
        raise FileAccessError(errno.EISDIR, "this is a folder; name one data file in it", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise FileAccessError(errno.EINVAL, "a pipe or a device; save the data to a file first", str(path))
    if status.st_size == 0:
        raise DataFileError(f"{path}: the file is empty")
    return result
