"""A run's folder: what a training leaves on the disk, and how one continues from there.

config.json      what was asked for and what was chosen
metrics.jsonl    one object an epoch
checkpoint.npz   model, optimizer and position, replaced as a whole
model.npz        the trained model
report.html      a page to play with
*.png            pictures, with the `plot` extra
"""

import errno
import hashlib
import itertools
import json
import math
import os
import pathlib
import shutil
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file, remove_partials
from fastvae.command_line import terminate
from fastvae.errors import DataFileError, FileAccessError, FolderInUseError
from fastvae.models.saving import SavedEstimator
from fastvae.progress import ProgressObserver
from fastvae.training import Schedule, State

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ATTEMPTS = 100
NO_FOLDER = {
    errno.EEXIST: "it is a file; name a folder",
    errno.ENOTDIR: "a part of it is a file; name a folder",
    errno.EACCES: "it may not be written to; name another folder, or change its permissions",
    errno.EROFS: "it lies where nothing may be written; name another folder",
}
HASHED_BYTES = 1 << 28
PICTURES = 1 << 20  # bytes, of all
LOCKED_BYTE = 1 << 20  # on Windows, where nobody can read what is locked: behind the number of the process


def _make(path: pathlib.Path, made: list[pathlib.Path]) -> None:
    """Make the folder and those above it; add to `made` those that were not there."""
    if path.parent != path and not path.parent.exists():
        _make(path.parent, made)
    try:
        path.mkdir()
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode) and not path.is_dir():  # lstat: it may have gone in between
            raise
    else:
        made.append(path)


class RunFolder:
    """The files of one run."""

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoint = self.path / "checkpoint.npz"
        self.model = self.path / "model.npz"
        self._lock = self.path / ".lock"

    def holds_a_run(self) -> bool:
        """True where a run has been started."""
        return self.config.exists() or self.checkpoint.exists() or self.model.exists()

    def check_complete(self) -> None:
        """Refuse to continue, and so to overwrite, a run of which a file is missing that the rest needs."""
        for present, missing in ((self.checkpoint, self.config), (self.model, self.checkpoint)):
            if present.exists() and not missing.exists():
                raise DataFileError(
                    f"{self.path} holds {present.name} but no {missing.name}: put it back, or start anew"
                )

    @contextmanager
    def claimed(self, new: bool = False) -> Iterator[None]:
        """Have the folder for oneself: made where it is missing (`new`: by nobody else), and locked to the block's end.

        The lock ends with the process, however that ends. A folder that is empty then and was made here goes again.
        """
        made: list[pathlib.Path] = []
        descriptor = -1
        try:
            try:
                for attempt in range(ATTEMPTS):
                    try:
                        _make(self.path, made)
                        if new and self.path not in made:
                            raise BlockingIOError(errno.EEXIST, "somebody was faster")
                        descriptor = self._locked()
                        break
                    except FileNotFoundError:  # another command has just removed an empty folder, or its lock
                        if attempt == ATTEMPTS - 1:
                            raise
            except BlockingIOError:
                raise FolderInUseError(
                    f"{self.path}: {self._owner()}; wait for its end, or name another folder"
                ) from None
            except OSError as error:
                reason = NO_FOLDER.get(error.errno or 0) or (error.strerror or "cannot be made").lower()
                raise FileAccessError(error.errno, f"--out: {reason}", str(self.path)) from None
            remove_partials(self.path)
            yield
        finally:
            if descriptor >= 0:
                if sys.platform == "win32":  # where an open file cannot be removed
                    os.close(descriptor)
                with suppress(OSError):
                    self._lock.unlink()
                if sys.platform != "win32":
                    os.close(descriptor)
            with suppress(OSError):  # there is something in it, or somebody else has removed it
                for path in reversed(made):
                    path.rmdir()

    @classmethod
    @contextmanager
    def claimed_new(cls, name: str, parent: str = "runs") -> Iterator["RunFolder"]:
        """Have the first of parent/name, parent/name-2, ... that does not exist for oneself, as `claimed` does."""
        for number in itertools.count(1):
            folder = cls(pathlib.Path(parent) / (name if number == 1 else f"{name}-{number}"))
            if os.path.lexists(folder.path):
                continue
            with ExitStack() as stack:
                try:
                    stack.enter_context(folder.claimed(new=True))
                except FolderInUseError:
                    continue
                yield folder
                return

    def names(self) -> list[str]:
        """The files in the folder, without the lock."""
        return sorted(path.name for path in self.path.iterdir() if path != self._lock)

    def check_room(self, parameters: int, early_stopping: bool) -> None:
        """Refuse a disk that cannot hold the run's files: the model, and twice the checkpoint while it is replaced."""
        model = 4 * parameters
        needed = model + 2 * model * (6 if early_stopping else 3) + PICTURES
        with suppress(OSError):  # not every file system says
            there = sum(path.stat().st_size for path in (self.model, self.checkpoint) if path.exists())
            free = shutil.disk_usage(self.path).free
            if free < needed - there:
                raise ValueError(
                    f"{self.path}: the run's files need about {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free "
                    "there: free some space or choose another disk"
                )

    def _locked(self) -> int:
        """The descriptor of the lock file, locked."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if sys.platform == "win32":
                os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
                try:
                    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                except OSError as error:
                    raise BlockingIOError(error.errno, "in use") from None
            else:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise
                except OSError:  # a file system without locks
                    pass
                if not (self._lock.exists() and os.path.samestat(os.fstat(descriptor), self._lock.stat())):
                    raise FileNotFoundError(errno.ENOENT, "the lock was removed before it was locked")
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid():<12}\n".encode())  # over that of a process that was killed
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _owner(self) -> str:
        try:
            return f"process {int(self._lock.read_text('ascii'))} is training there"
        except (OSError, ValueError):
            return "another process is training there"

    def write_config(self, config: dict[str, Any]) -> None:
        """Replace config.json."""
        with atomic_file(self.config, "w") as file:
            json.dump(config, file, indent=2)
            file.write("\n")

    def read_config(self) -> dict[str, Any] | None:
        """What config.json holds, or None without one."""
        if not self.config.exists():
            return None
        try:
            config = json.loads(self.config.read_text("utf-8"))
            if not isinstance(config, dict) or "options" not in config:
                raise ValueError("it is not the configuration of a run")
        except (ValueError, RecursionError) as error:
            raise DataFileError(f"{self.config}: {error}; start anew in another folder") from None
        return config

    def write_metrics(self, records: list[dict[str, float]]) -> None:
        """Replace metrics.jsonl by these epochs: a run that continues drops the epochs it will do again."""
        with atomic_file(self.metrics, "w") as file:
            file.writelines(_line(record) for record in records)

    def append_metrics(self, record: dict[str, float]) -> None:
        """Add one epoch, in one write."""
        try:
            with open(self.metrics, "ab", buffering=0) as file:
                file.write(_line(record).encode())
        except OSError as error:
            reason = (error.strerror or "cannot be written").lower()
            raise FileAccessError(error.errno, reason, str(self.metrics)) from None


def finite_or_none(values: dict[str, Any]) -> dict[str, Any]:
    """The same with NaN and infinity, which JSON has no words for, as None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _line(record: dict[str, float]) -> str:
    return json.dumps(finite_or_none(record), allow_nan=False) + "\n"


def fingerprint(X: np.ndarray, condition: np.ndarray | None = None) -> str:
    """A digest of shape, dtype and content; of more than 256 MB, the content of 4096 rows spread evenly. With a
    condition beside X, as a network reads it, the digests of both."""
    if condition is not None:
        return f"{fingerprint(X)} {fingerprint(condition)}"
    digest = hashlib.sha256(f"{X.shape} {X.dtype.str}".encode())
    rows = np.arange(len(X)) if X.nbytes <= HASHED_BYTES else np.linspace(0, len(X) - 1, 4096).astype(int)
    for start in range(0, len(rows), 1024):
        digest.update(np.ascontiguousarray(X[rows[start : start + 1024]]).data)
    return digest.hexdigest()


def is_ink(X: np.ndarray) -> bool:
    """True where most of an image is empty, at the low end of the range: shown dark on light, like ink on paper."""
    some = np.asarray(X[:: max(1, len(X) // 1000)], np.float64)
    return bool(np.median(some) < some.min() + 0.25 * np.ptp(some))


class RunObserver(ProgressObserver):
    """Progress, a line of metrics an epoch, and a checkpoint every so many seconds, after whatever step that is."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    NOBODYS = (*ProgressObserver.NOBODYS, terminate)

    def __init__(self, folder: RunFolder, model: SavedEstimator, checkpoint_seconds: float):
        super().__init__()
        self._folder, self._model, self._interval = folder, model, checkpoint_seconds

    def started(self, state: State, schedule: Schedule, examples: int) -> None:
        """Write the first checkpoint: the drawn weights."""
        super().started(state, schedule, examples)
        self._folder.write_metrics(state.records)
        self.save()

    def stepped(self, state: State, examples: int) -> None:
        """Save when it is time."""
        super().stepped(state, examples)
        if time.monotonic() >= self._due:
            self.save()

    def epoch_finished(self, state: State, record: dict[str, float]) -> None:
        """Add the epoch to the metrics."""
        self._folder.append_metrics(record)
        super().epoch_finished(state, record)

    def save(self) -> None:
        """Write a checkpoint, unless the parameters have left the finite numbers: then the last good one stays."""
        if np.isfinite(self._model.network_.parameters.values).all():
            self._model.save_checkpoint(self._folder.checkpoint)
        self._due = time.monotonic() + self._interval
