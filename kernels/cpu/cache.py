"""Compiled code on the disk, so that only the first process compiles: one file for each function and types of operands.

numba has a cache too, which is not used: it stops the import where no folder can be written to, fails for ever on a
file that a power cut has damaged, does not see changes in functions that are inlined, and lies among the sources, where
it outlives the package.

A file's name holds a digest of all that the code depends on: the sources of the kernels, the types, the processor, the
unit of the products, the versions of what compiled it. Its first bytes are a digest of the rest; a file that does not
agree with it counts for nothing, and is replaced. What is in it gets run: so it is read only from folders to which no
stranger may write.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import pickle
import stat
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import llvmlite
import numba
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

from fastvae.kernels.cpu.processor import BFLOAT16, UNIT

_HERE = pathlib.Path(__file__).parent
VERSIONS = numba.__version__, llvmlite.__version__, sys.version
_DIGEST = hashlib.sha256().digest_size
NAME, ENDING = "fastvae", ".nbc"
UNUSED = 90 * 86400  # seconds after which the code of other versions is removed


def _digest_of_sources(folder: pathlib.Path) -> str:
    """Of the kernels in a folder, and of what all folders share."""
    if sources := sorted([*folder.glob("*.py"), *_HERE.parent.glob("*.py")]):
        return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
    frozen = getattr(sys, "frozen", False)  # a program or an archive that holds them: known by its size and time
    file = pathlib.Path(sys.executable) if frozen else next(p for p in _HERE.parents if p.exists())
    return hashlib.sha256(repr((file.stat().st_size, file.stat().st_mtime_ns)).encode()).hexdigest()


SHARED_DIGEST = _digest_of_sources(_HERE)
DEVICE_DIGEST = _digest_of_sources(_HERE.parent / "cuda")  # the same for a GPU's kernels, see `cuda.driver.compiled`


@dataclass(frozen=True)
class Folder:
    """A folder for compiled code; `named`: the user has chosen it, and trusts whoever writes there."""

    path: pathlib.Path
    named: bool = False

    def check(self) -> None:
        """Raise `OSError` where there is no such folder, or one that somebody else may have filled."""
        status = self.path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(0, "not a folder")
        if not hasattr(os, "geteuid"):  # Windows, where these folders are the user's own
            return
        own, mode = status.st_uid == os.geteuid(), status.st_mode
        if self.named:
            shared = self.path.parent.stat().st_mode & stat.S_IWOTH
            safe = not mode & stat.S_IWOTH and (own or status.st_uid == 0 or not shared)
        else:
            safe = own and not mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not safe:
            raise PermissionError(0, "others may write there")

    def files(self, pattern: str) -> list[pathlib.Path]:
        """The files there whose code may be run."""
        try:
            self.check()
            return list(self.path.glob(pattern))
        except OSError:
            return []

    def read(self, name: str) -> bytes | None:
        """What `write` was given, or None."""
        try:
            self.check()
            content = (self.path / name).read_bytes()
        except OSError:
            return None
        digest, data = content[:_DIGEST], content[_DIGEST:]
        return data if hashlib.sha256(data).digest() == digest else None

    def write(self, name: str, data: bytes) -> None:
        """Put a file there, as a whole; the first of a process also removes what nobody has used for long."""
        self._make()
        self.check()
        _remove_unused(self)
        file = self.path / name
        partial = self.path / f"{name}.{uuid.uuid4().hex[:8]}"
        try:
            with open(partial, "xb", opener=functools.partial(os.open, mode=0o644)) as stream:
                stream.write(hashlib.sha256(data).digest() + data)
            partial.replace(file)
        except BaseException as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            if not (os.name == "nt" and isinstance(error, PermissionError) and file.exists()):
                raise  # else another process holds the same code open there

    def _make(self) -> None:
        if self.path.exists():
            return
        if not self.path.is_absolute():
            raise FileNotFoundError(0, "there is no home folder")
        above = next(path for path in self.path.parents if path.exists())
        if not self.named and hasattr(os, "geteuid") and os.geteuid() == 0 != above.stat().st_uid:
            raise PermissionError(0, f"{above} belongs to another user")  # `sudo` leaves HOME as it was
        self.path.mkdir(0o755 if self.named else 0o700, parents=True, exist_ok=True)


@functools.cache
def _remove_unused(folder: Folder) -> None:
    for file in folder.files(f"*{ENDING}*"):
        with contextlib.suppress(OSError):  # gone, or not ours
            own = any(f"-{digest[:12]}-" in file.name for digest in (SHARED_DIGEST, DEVICE_DIGEST))
            if not own and time.time() - file.stat().st_mtime > UNUSED:
                file.unlink()


def folders() -> Iterator[Folder]:
    """Where code is looked for, and kept in the first that takes it: what NUMBA_CACHE_DIR names, or else the user's
    folder for caches; a temporary folder of the user's own."""
    settings: Any = config  # its attributes are set while it is imported
    if settings.CACHE_DIR:
        yield Folder(pathlib.Path(settings.CACHE_DIR).absolute() / NAME, named=True)
    else:
        path = pathlib.Path(AppDirs(NAME, appauthor=False).user_cache_dir)
        yield Folder(path if path.is_absolute() else pathlib.Path(os.path.expanduser("~/.cache"), NAME))
    user = f"-{os.geteuid()}" if hasattr(os, "geteuid") else ""
    try:
        yield Folder(pathlib.Path(tempfile.gettempdir(), NAME + user))
    except FileNotFoundError:  # no folder for temporary files
        return


def keep(name: str, data: bytes) -> None:
    """Write a file into the first folder that takes it. A process in which that is not the first one says so, once."""
    fault = None
    for folder in folders():
        try:
            folder.write(name, data)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            fault = fault or f"the compiled kernels cannot be kept in {folder.path} ({reason})"
            continue
        return _say_once(f"{fault}: they are kept in {folder.path}") if fault else None
    return _say_once(f"{fault}: each new process compiles them again, which takes some seconds")


SAID: list[str] = []


def _say_once(fault: str) -> None:
    if not SAID:
        SAID.append(f"{fault}. NUMBA_CACHE_DIR=folder names another place")
        warnings.warn_explicit(SAID[0], RuntimeWarning, filename=NAME, lineno=0)  # in one line: no code of the user's


class Cache(NullCache):
    """What numba asks for the code of a function before it compiles it, and gives it afterwards."""

    def __init__(self, function: Any):
        self._function = function

    def prefix(self) -> str:
        """How the names of the function's files begin."""
        function = self._function
        name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}".replace("<", "").replace(">", "")
        return f"{name}-{SHARED_DIGEST[:12]}-"

    def _file_name(self, types: Any, codegen: Any) -> str:
        cells = [_name(cell.cell_contents) for cell in self._function.__closure__ or ()]
        code = self._function.__code__.co_firstlineno, types, codegen.magic_tuple(), cells
        key = repr((code, SHARED_DIGEST, UNIT.name, BFLOAT16, VERSIONS))
        return f"{self.prefix()}{hashlib.sha256(key.encode()).hexdigest()[:24]}{ENDING}"

    def load_overload(self, types: Any, target_context: Any) -> Any:
        """The code, or None. numba itself would first load all that it needs to compile, half a second's work."""
        rtsys.initialize(target_context)
        name = self._file_name(types, target_context.codegen())
        for folder in folders():
            data = folder.read(name)
            if data is not None:
                try:
                    return CompileResult._rebuild(target_context, *pickle.loads(data))
                except Exception:  # it was whole, but numba does not understand it: it is compiled and written again
                    continue
        return None

    def save_overload(self, types: Any, compiled: Any) -> None:
        """Keep the code, unless it holds addresses, which belong to this process."""
        if not compiled.library.has_dynamic_globals:
            keep(self._file_name(types, compiled.codegen), dumps(compiled._reduce()))

    def holds_any(self) -> bool:
        """Whether an earlier process has kept code of this function, for whatever types."""
        return any(folder.files(f"{self.prefix()}*{ENDING}") for folder in folders())


def _name(value: Any) -> str:
    """What a closure holds; numba's own key for that changes from process to process."""
    return value.py_func.__qualname__ if hasattr(value, "py_func") else repr(value)


def sizes() -> dict[str, int]:
    """Folders that hold compiled code of this package, and how many bytes, of all versions that lie there."""
    kept = {str(folder.path): folder.files(f"*{ENDING}") for folder in folders()}
    return {path: sum(file.stat().st_size for file in files) for path, files in kept.items() if files}
