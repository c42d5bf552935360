"""What a data set is, and how a name or a path becomes one."""

import contextlib
import errno
import os
import pathlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastvae.errors import DataFileError, FileAccessError, closest

NAMES = ("digits", "mnist")
_KIND_OF_SUFFIX = {".npy": "npy", ".npz": "npz", ".csv": "text", ".tsv": "text", ".txt": "text"}
_KIND_OF_START = {b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"PK\x05\x06": "npz", b"\x1f\x8b": "idx", b"\0\0": "idx"}


@dataclass(frozen=True, eq=False)
class DataSet:
    """Examples as rows, and what the source says about them.

    Attributes
    ----------
    name : str
        "digits", "mnist", or the name of the file.
    X : ndarray (N, D)
        The examples, real, in the dtype of the source; a read-only memory map where the file allows one. It may be
        big-endian (IDX) or in Fortran order (`.npy`): convert batch by batch.
    labels : ndarray (N,) or None
        Numbers or text.
    image_shape : (height, width) or None
        Where each row is an image, D = height * width.
    value_range : (low, high) or None
        The range that the source allows, where it is known without looking: (0, 255) for uint8 images.
    X_heldout, labels_heldout : ndarray (M, D), (M,) or None
        The test part, where the source has one.
    column_names : tuple of D str or None
        The header of a table.
    """

    name: str
    X: np.ndarray
    labels: np.ndarray | None = None
    image_shape: tuple[int, int] | None = None
    value_range: tuple[float, float] | None = None
    X_heldout: np.ndarray | None = None
    labels_heldout: np.ndarray | None = None
    column_names: tuple[str, ...] | None = None

    @classmethod
    def from_arrays(
        cls,
        name: str,
        array: np.ndarray,
        labels: np.ndarray | None = None,
        heldout: np.ndarray | None = None,
        labels_heldout: np.ndarray | None = None,
        value_range: tuple[float, float] | None = None,
        where: object = None,
    ) -> "DataSet":
        """Make rows of tables (N, D) or images (N, H, W); a memory map stays one.

        Raises
        ------
        DataFileError
            Neither a table nor images, not real numbers, empty, or counts that differ; `where` begins the message.
        """
        where = name if where is None else where
        X, image_shape = _rows(array, where)
        if value_range is None and image_shape and X.dtype == np.uint8:
            value_range = (0.0, 255.0)
        if value_range is None and X.dtype == np.bool_:
            value_range = (0.0, 1.0)
        _check_labels(labels, X, where)
        X_heldout = None
        if heldout is not None:
            X_heldout, _ = _rows(heldout, where)
            if heldout.shape[1:] != array.shape[1:]:
                raise DataFileError(f"{where}: training rows are {array.shape[1:]}, test rows are {heldout.shape[1:]}")
            _check_labels(labels_heldout, X_heldout, where)
        return cls(name, X, labels, image_shape, value_range, X_heldout, labels_heldout)


def _rows(array: np.ndarray, where: object) -> tuple[np.ndarray, tuple[int, int] | None]:
    """Return (N, D) and the image shape: a view, but for a Fortran-ordered stack that is in memory anyway."""
    if array.dtype.kind not in "buif":
        raise DataFileError(f"{where}: holds {array.dtype}, not real numbers; store integers or floats")
    if array.ndim not in (2, 3):
        raise DataFileError(
            f"{where}: shape {array.shape} has {array.ndim} dimensions; "
            "reshape it to a table (N, D) or to images (N, height, width)"
        )
    if array.size == 0:
        raise DataFileError(f"{where}: shape {array.shape} holds no values")
    if array.ndim == 2:
        return array, None
    if isinstance(array, np.memmap) and not array.flags.c_contiguous:
        raise DataFileError(
            f"{where}: images {array.shape} in Fortran order cannot be read as rows in place; "
            "save them with np.save(path, np.ascontiguousarray(images))"
        )
    return array.reshape(len(array), -1), (array.shape[1], array.shape[2])


def _check_labels(labels: np.ndarray | None, X: np.ndarray, where: object) -> None:
    if labels is not None and labels.shape != (len(X),):
        raise DataFileError(f"{where}: labels have shape {labels.shape}; {len(X)} examples need ({len(X)},)")


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


def load(
    name_or_path: str | os.PathLike[str],
    array: str | None = None,
    labels: str | int | None = None,
    progress: bool | None = None,
    header: str | bool = "auto",
) -> DataSet:
    """Load a data set by name or from a file.

    Parameters
    ----------
    name_or_path : str or PathLike
        "digits" (built in), "mnist" (downloaded once), or the path of a `.npy`, `.npz`, `.csv`, `.tsv`, `.txt` or IDX
        file. A file that is called like a data set is reached as `./mnist`. What a suffix does not tell, the first
        bytes do.
    array : str, optional
        The array of an `.npz` that holds the examples.
    labels : str or int, optional
        The array of an `.npz`, or the column of a text table, that holds the labels. A column is its name or its
        number, from 1; -1 is the last.
    progress : bool, optional
        False keeps the download of "mnist" quiet.
    header : "auto", "yes" or "no", or a bool
        Whether the first line of a text table names its columns: see `fastvae.data.tables.load_text`.

    Returns
    -------
    DataSet

    Raises
    ------
    FileAccessError
        The file is missing or unreadable, or MNIST could not be downloaded.
    DataFileError
        The content is not what it should be.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"a data set is a name or a path, not {type(name_or_path).__name__}")
    text = os.fsdecode(name_or_path)
    if name_or_path in NAMES:
        if array is not None or labels is not None or header != "auto":
            raise ValueError(f"array, labels and header choose within a file; {text!r} comes with its own")
        if text == "digits":
            from fastvae.data.digits import load_digits

            return load_digits()
        from fastvae.data.mnist import load_mnist

        return load_mnist(progress=progress)
    is_bare = not pathlib.Path(text).suffix and not any(c in text for c in "/\\\0")
    if is_bare and not os.path.lexists(text):
        raise FileAccessError(f"{text!r} is neither a data set nor a file: {closest(text, NAMES)}, or a path")
    path = regular_file(text)
    kind = _kind(path)
    if array is not None and kind != "npz":
        raise DataFileError(f"{path}: array={array!r} chooses within an .npz; this file holds one array")
    if labels is not None and kind not in ("npz", "text"):
        raise DataFileError(f"{path}: labels={labels!r} chooses within an .npz or a text table; this file is neither")
    if header != "auto" and kind != "text":
        raise DataFileError(f"{path}: header={header!r} is for text tables; this file is none")
    if kind == "idx":
        from fastvae.data.idx import load_idx

        return load_idx(path)
    from fastvae.data import arrays, tables

    if kind == "npy":
        return arrays.load_npy(path)
    if kind == "npz":
        return arrays.load_npz(path, array, None if labels is None else str(labels))
    return tables.load_text(path, labels, header)


def _kind(path: pathlib.Path) -> str:
    if path.suffix.lower() in _KIND_OF_SUFFIX:
        return _KIND_OF_SUFFIX[path.suffix.lower()]
    with access(path), open(path, "rb") as file:
        start = file.read(8)
    for magic, kind in _KIND_OF_START.items():
        if start.startswith(magic):
            return kind
    # A damaged IDX file should be told so, not be taken for a table.
    return "idx" if any(word in path.name.lower() for word in ("idx", "ubyte", ".gz")) else "text"
