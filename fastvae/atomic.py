"""Files that are written whole or not at all; what the system refuses is said in one line, with what to do."""

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import numpy as np

from fastvae.errors import FileAccessError

if sys.platform != "win32":
    import fcntl

_PARTIAL = re.compile(r"\..*\.[0-9a-f]{16}\.partial", re.DOTALL)
_ADVICE = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some of your quota or choose another disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) or choose another disk",
    errno.EACCES: "check the permissions of the file and its folder",
    errno.EPERM: "check the permissions of the file and its folder",
    errno.EROFS: "choose a folder that can be written to",
    errno.EISDIR: "give the name of a file in it",
}


def checked_path(path: str | os.PathLike[str]) -> str:
    """Return `path` as text; refuse what no system takes for a name."""
    name = os.fsdecode(path)
    try:
        valid = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise FileAccessError(errno.EINVAL, "no file can have this name; give another path", name)
    return name


def access_error(exc: OSError, action: str, consequence: str, name: str) -> FileAccessError:
    """Put a system's error in one line: what could not be done, why, what that means, what to do."""
    number = exc.errno or errno.EIO
    reason = exc.strerror or str(exc) or os.strerror(number)
    return FileAccessError(number, f"{action}: {reason}; {consequence}{_ADVICE.get(number, 'check the path')}", name)


def _earlier_file(target: str) -> os.stat_result | None:
    """Return the status of the regular file to be replaced, or None; refuse what `open` or sense would refuse."""
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, f"the folder {folder!r} does not exist, create it first")
    try:
        earlier = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(earlier.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(earlier.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")  # a rename would replace the device or pipe itself
    os.close(os.open(target, os.O_WRONLY))  # write-protected: a rename would not mind
    return earlier


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise before the work what `atomic_file` would raise after it: no folder, no permission, a folder or device."""
    name = checked_path(path)
    try:
        target = os.path.realpath(name)
        _earlier_file(target)
        temporary, descriptor = _new_partial(*os.path.split(target))
        os.unlink(temporary)
        os.close(descriptor)
    except OSError as exc:
        raise access_error(exc, "could not write the file", "an earlier file is unchanged; ", name) from exc


def _new_partial(folder: str, name: str) -> tuple[str, int]:
    """Create a temporary file and lock it: the lock says "alive" to `remove_partials` and ends with the process."""
    while True:
        temporary = os.path.join(folder, f".{name[:40]}.{secrets.token_hex(8)}.partial")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.exists(temporary):  # else it was removed in the moment before the lock
            return temporary, descriptor
        os.close(descriptor)


def remove_partials(folder: str | os.PathLike[str]) -> int:
    """Remove the temporary files that killed processes left in `folder`; return how many there were.

    Only regular files named ``.<name>.<16 hexadecimal digits>.partial`` that no living process holds are removed.
    What cannot be listed, opened, locked or removed is left as it is.
    """
    removed = 0
    with suppress(OSError), os.scandir(os.fsdecode(folder)) as entries:
        for entry in entries:
            if not (_PARTIAL.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)):
                continue
            with suppress(OSError):
                if sys.platform == "win32":  # where nobody can remove a file that is open
                    os.unlink(entry.path)
                else:
                    descriptor = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        os.unlink(entry.path)
                    finally:
                        os.close(descriptor)
                removed += 1
    return removed


@contextmanager
def atomic_file(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears at `path` only when it is complete and on the disk.

    The content goes to a temporary file in the same folder, which replaces `path` when the block ends. Whatever
    happens before (an exception, a full disk, SIGKILL, a power cut), what stood at `path` stands there unchanged.
    A temporary file that a killed process left behind is removed by the next `atomic_file` in that folder.

    Parameters
    ----------
    path : str or path-like
        The folder must exist. A symbolic link is followed. Permissions are those of the file replaced, else what
        `open` would give; the owner is the writer, and other hard links keep the earlier content.
    mode : {"wb", "w"}
        "w" is UTF-8 text, line ends as written.

    Raises
    ------
    FileAccessError
        The file could not be written: one line that says why and what to do.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode={mode!r} is not known: valid: 'wb', 'w'")
    name = checked_path(path)
    target = os.path.realpath(name)
    folder, base = os.path.split(target)
    temporary, descriptor, inside = "", -1, False
    try:
        if name and not os.path.basename(name):  # "models/": realpath would drop the slash
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        earlier = _earlier_file(target)
        remove_partials(folder)
        temporary, descriptor = _new_partial(folder, base)
        if earlier and stat.S_IMODE(os.fstat(descriptor).st_mode) != stat.S_IMODE(earlier.st_mode):
            os.chmod(temporary, stat.S_IMODE(earlier.st_mode) & 0o777)  # before there is anything to read in it
        text = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
        file = open(descriptor, mode, closefd=False, **text)  # type: ignore[call-overload]  # noqa: SIM115
        try:
            inside = True
            yield file
            inside = False
        except BaseException:
            with suppress(OSError, ValueError):  # the first failure is the one to report
                file.close()
            raise
        file.close()
        os.fsync(descriptor)
        if sys.platform == "win32":  # where an open file cannot be renamed
            os.close(descriptor)
            descriptor = -1
        os.replace(temporary, target)
        temporary = ""
    except OSError as exc:
        if inside and exc.filename is not None:
            raise  # about another file that the block used
        raise access_error(exc, "could not write the file", "an earlier file is unchanged; ", name) from exc
    finally:
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)
        if descriptor >= 0:
            os.close(descriptor)
    with suppress(OSError):  # not every system can; the file itself is complete and in place
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def save_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write one array to a `.npy`, whole or not at all. (`np.save` hides the system's reason when a disk is full.)"""
    array = np.ascontiguousarray(array)
    with atomic_file(path) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
