"""Arrays in files: `.npy` as a memory map, `.npz` archives, neither ever unpickled."""

import contextlib
import dataclasses
import difflib
import io
import math
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, NamedTuple

import numpy as np

from fastvae.data.dataset import DataSet, side_by_side
from fastvae.data.files import access, regular_file
from fastvae.errors import DataFileError, closest

_USUAL_NAMES = ("X", "x", "images", "data")
_USUAL_LABELS = ("y", "labels", "label", "target", "targets")
_LONGEST_HEADER = 10_000  # as NumPy has it
_MOST_INFLATED = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}  # bytes that can come of one


class ArrayHeader(NamedTuple):
    """What an array in a file says about itself."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype

    @property
    def n_bytes(self) -> int:
        """The size of the values, as a Python integer, which does not overflow."""
        return math.prod(self.shape) * self.dtype.itemsize


def _read_header(file: IO[bytes], where: str) -> ArrayHeader:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        reader = readers[version]
        begin = file.read(2 if version == (1, 0) else 4)
        length = int.from_bytes(begin, "little")
        if length > _LONGEST_HEADER:  # NumPy would read it all, and then refuse it
            raise ValueError(f"its header is said to take {length} bytes, at most {_LONGEST_HEADER} are read")
        header = ArrayHeader(*reader(io.BytesIO(begin + file.read(length))))
    except OSError:
        raise
    except Exception as error:  # NumPy evaluates the header as a literal: what a damaged one raises is open
        reason = " ".join(str(error).split())[:120]
        raise DataFileError(f"{where}: not a readable NumPy array ({type(error).__name__}: {reason})") from None
    if header.dtype.hasobject:
        raise DataFileError(f"{where}: holds Python objects (a pickle), which are never loaded; save numbers")
    if any(size < 0 for size in header.shape):
        raise DataFileError(f"{where}: the header says shape {header.shape}; a size cannot be negative")
    return header


def load_npy(path: str | os.PathLike[str]) -> DataSet:
    """Load a table (N, D) or images (N, H, W) from a `.npy` file as a read-only memory map, without reading values.

    Raises
    ------
    FileAccessError
        The file cannot be read.
    DataFileError
        Not a `.npy` file, cut off, objects, another number of dimensions, images in Fortran order.
    """
    path = regular_file(path)
    with access(path), open(path, "rb") as file:
        header = _read_header(file, str(path))
        wanted, size = file.tell() + header.n_bytes, os.fstat(file.fileno()).st_size
        if size != wanted:
            fault = "cut off" if size < wanted else "too long for one array"
            raise DataFileError(
                f"{path}: {fault}: shape {header.shape} of {header.dtype} takes {wanted} bytes with the header, "
                f"found {size} bytes; save the array again"
            )
        if header.n_bytes == 0:  # nothing to map
            raise DataFileError(f"{path}: shape {header.shape} holds no values")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return DataSet.from_arrays(path.name, array, where=path)


@contextlib.contextmanager
def _open_npz(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """Open an `.npz`; whatever a damaged one raises in the body becomes a `DataFileError`."""
    damage = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError, ValueError)
    try:
        with access(path), zipfile.ZipFile(path) as archive:
            yield archive
    except (DataFileError, OSError):
        raise
    except MemoryError:
        raise DataFileError(f"{path}: the array does not fit into memory; save it as .npy, which is mapped") from None
    except damage as error:
        reason = " ".join(str(error).split())[:120]
        raise DataFileError(f"{path}: not a readable .npz, or cut off ({reason}); save or fetch it again") from None


def npz_headers(path: str | os.PathLike[str]) -> dict[str, ArrayHeader | None]:
    """Return the header of each array in an `.npz`, None where it holds objects or is not readable as an array."""
    path = regular_file(path)
    headers: dict[str, ArrayHeader | None] = {}
    with _open_npz(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as file, contextlib.suppress(DataFileError):
                    headers[member.filename[:-4]] = None
                    headers[member.filename[:-4]] = _read_header(file, str(path))
    return headers


def npz_array(path: str | os.PathLike[str], name: str) -> np.ndarray:
    """Return the array `name` of an `.npz`, never by pickle, and only if the archive has room for what it says.

    Raises
    ------
    FileAccessError, DataFileError
        The file cannot be read; it or the array is damaged, or holds objects.
    """
    path = regular_file(path)
    with _open_npz(path) as archive:
        member = archive.getinfo(name + ".npy")
        with archive.open(member) as file:
            header = _read_header(file, f"{path}, array {name!r}")
            if file.tell() + header.n_bytes != member.file_size:
                raise DataFileError(
                    f"{path}, array {name!r}: shape {header.shape} of {header.dtype} does not fit the "
                    f"{member.file_size} bytes that are stored; save it again"
                )
            most = _MOST_INFLATED.get(member.compress_type, math.inf) * min(member.compress_size, path.stat().st_size)
            if member.file_size > most:
                raise DataFileError(
                    f"{path}, array {name!r}: cut off: shape {header.shape} of {header.dtype} takes {header.n_bytes} "
                    f"bytes, which {member.compress_size} stored ones cannot hold; save it again"
                )
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def load_npz(
    path: str | os.PathLike[str], array: str | None = None, labels: str | None = None, condition: Sequence[str] = ()
) -> DataSet:
    """Load one array of an `.npz` archive, its labels and its test part.

    Parameters
    ----------
    path : str or PathLike
    array : str, optional
        The array with the examples. Otherwise `x_train`; or the only one with two or three dimensions; or the one
        called X, x, images or data.
    labels : str, optional
        The array with the labels. Otherwise `y_train` for `x_train`, `<stem>_y` for `<stem>_x`, or the one called
        y, labels or target, where it is one for each example.
    condition : sequence of str
        The arrays (N,) or (N, C) of a condition; several (N,) must be numbers. For the test part those whose names end
        in `_test` instead of `_train`.

    Returns
    -------
    DataSet
        With `x_test` and `y_test` as the held-out part of `x_train`.

    Raises
    ------
    FileAccessError, DataFileError
        The file cannot be read; it is damaged; no array has the name, or which one to take is open.
    """
    path = regular_file(path)
    headers = npz_headers(path)
    key = _choose(path, headers, array)
    X = npz_array(path, key)

    def partner(candidates: Iterable[str], n_rows: int) -> np.ndarray | None:
        for name in candidates:
            header = headers.get(name)
            if header and header.shape == (n_rows,):
                return npz_array(path, name)
        return None

    stem = re.sub(r"^[xX]_", "y_", key) if re.match("[xX]_", key) else re.sub(r"_[xX]$", "_y", key)
    if labels is None:
        y = partner((stem, *_USUAL_LABELS), len(X)) if X.ndim else None
    else:
        _check_has(path, headers, labels, "--labels")
        y = npz_array(path, labels)
    heldout = labels_heldout = None
    test_key = re.sub("_train$", "_test", key)
    if test_key != key and headers.get(test_key):
        heldout = npz_array(path, test_key)
        candidates = [re.sub("_train$", "_test", labels or stem)]
        labels_heldout = partner(candidates, len(heldout)) if heldout.ndim else None
    where = f"{path}, array {key!r}"
    data = DataSet.from_arrays(path.name, X, y, heldout, labels_heldout, where=where)
    if not condition:
        return data
    for name in condition:
        _check_has(path, headers, name, "--condition")
    found = _condition(path, condition, len(data.X))
    tests = [re.sub("_train$", "_test", name) for name in condition]
    found_heldout = None
    if heldout is not None and all(headers.get(test) for test in tests) and not set(tests) & set(condition):
        found_heldout = _condition(path, tests, len(heldout))
    return dataclasses.replace(data, condition=found, condition_heldout=found_heldout)


def _condition(path: pathlib.Path, names: Sequence[str], rows: int) -> np.ndarray:
    """Arrays of a condition, each with so many rows, as one."""
    columns = [npz_array(path, name) for name in names]
    for name, column in zip(names, columns, strict=True):
        if column.ndim not in (1, 2) or len(column) != rows or (column.ndim == 2 and len(names) > 1):
            wanted = f"({rows},)" + (f" or ({rows}, C)" if len(names) == 1 else "")
            raise DataFileError(f"{path}, array {name!r}: shape {column.shape} is no condition; {wanted} needed")
    return side_by_side(columns, names, path)


def _check_has(path: pathlib.Path, headers: dict[str, ArrayHeader | None], name: str, option: str) -> None:
    if name not in headers:
        raise DataFileError(f"{path}: holds no array {name!r} ({option}); {valid_names(name, headers)}")


def valid_names(name: object, names: Iterable[str]) -> str:
    """Say the valid names as `closest` does, but not hundreds of them."""
    names = list(names)
    if len(names) <= 20:
        return closest(name, names)
    near = difflib.get_close_matches(str(name), names, n=5, cutoff=0.5)
    return f"{closest(name, near or names[:5])}, ... ({len(names)} in all)"


def instead(name: object, others: Iterable[str], source: object) -> str:
    """Say which columns a table without `name` has that might be meant: the nearest of `others`, or what there is."""
    others = list(others)
    if near := difflib.get_close_matches(str(name), others, n=1):
        return f"did you mean {near[0]!r}?"
    if not others:
        return f"{source} has no other columns"
    return f"of other columns {source} has {', '.join(map(repr, others[:5]))}{', ...' if len(others) > 5 else ''}"


def _choose(path: pathlib.Path, headers: dict[str, ArrayHeader | None], array: str | None) -> str:
    if not headers:
        raise DataFileError(f"{path}: holds no arrays; write it with np.savez(path, X=array)")
    if array is not None:
        _check_has(path, headers, array, "--array")
        return array
    fitting = [n for n, h in headers.items() if h and len(h.shape) in (2, 3) and h.dtype.kind in "buif"]
    if "x_train" in fitting:
        return "x_train"
    usual = [name for name in _USUAL_NAMES if name in fitting]
    if len(fitting) == 1 or usual:
        return fitting[0] if len(fitting) == 1 else usual[0]
    shown = [f"{n} {h.shape} {h.dtype}" if h else f"{n} (not readable as numbers)" for n, h in headers.items()]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    fault = "no array has" if not fitting else "more than one array has"
    raise DataFileError(
        f"{path}: {fault} two or three dimensions; choose with --array NAME (array= in Python): "
        f"{', '.join(shown[:20])}{more}"
    )
