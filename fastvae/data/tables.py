"""Arrays and tables in files: `.npy` as a memory map, `.npz`, and text with a delimiter."""

import contextlib
import csv
import difflib
import itertools
import math
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, NamedTuple

import numpy as np

from fastvae.data.datasets import DataSet, access, regular_file
from fastvae.errors import DataFileError, closest

_USUAL_NAMES = ("X", "x", "images", "data")
_USUAL_LABELS = ("y", "labels", "label", "target", "targets")
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
_DECIMAL_COMMA = r"[-+]?\d+,\d+"
_SAMPLE_LINES = 50


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
        header = ArrayHeader(*readers[version](file))
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
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def load_npz(path: str | os.PathLike[str], array: str | None = None, labels: str | None = None) -> DataSet:
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
    return DataSet.from_arrays(path.name, X, y, heldout, labels_heldout, where=where)


def _check_has(path: pathlib.Path, headers: dict[str, ArrayHeader | None], name: str, option: str) -> None:
    if name not in headers:
        raise DataFileError(f"{path}: holds no array {name!r} ({option}); {_valid(name, headers)}")


def _valid(name: object, names: Iterable[str]) -> str:
    """Say the valid names as `closest` does, but not hundreds of them."""
    names = list(names)
    if len(names) <= 20:
        return closest(name, names)
    near = difflib.get_close_matches(str(name), names, n=5, cutoff=0.5)
    return f"{closest(name, near or names[:5])}, ... ({len(names)} in all)"


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
    shown = [f"{n} {h.shape} {h.dtype}" if h else f"{n} (not numbers)" for n, h in headers.items()]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    fault = "no array has" if not fitting else "more than one array has"
    raise DataFileError(
        f"{path}: {fault} two or three dimensions; choose with --array NAME (array= in Python): "
        f"{', '.join(shown[:20])}{more}"
    )


class _Lines:
    """The lines of a table but comments (# first) and blank ones; `number` is that of the last one given, from 1."""

    def __init__(self, file: Iterable[str]):
        self.file, self.number = file, 0

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.number += 1
            if line.strip() and not line.startswith("#"):
                yield line


class _Layout(NamedTuple):
    """How the lines of a table are cut into columns."""

    delimiter: str | None  # None: blanks
    names: tuple[str, ...] | None
    width: int
    label_column: int | None

    def cells(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self.delimiter) if self.delimiter else map(str.split, lines)

    def column(self, j: int) -> str:
        return f"column {j + 1}" + (f" ({_shown(self.names[j])})" if self.names else "")


def load_text(path: str | os.PathLike[str], labels: str | int | None = None) -> DataSet:
    """Load a table of numbers from text: columns cut by commas, semicolons, tabs or blanks, UTF-8.

    The first line is a header if none of its cells is a number. Lines that begin with # and blank lines are skipped.

    Parameters
    ----------
    path : str or PathLike
    labels : str or int, optional
        The column that holds labels, which may be text: its name, or its number from 1 (-1 is the last).

    Returns
    -------
    DataSet
        X (N, D) float64 without the label column; labels as integers, else floats, else text.

    Raises
    ------
    FileAccessError
        The file cannot be read.
    DataFileError
        Empty, not text, not UTF-8, lines of different length, text, empty cells, values that are not finite: with
        the line and the column, from 1.
    """
    path = regular_file(path)
    texts: list[str] = []
    try:
        with access(path), open(path, "rb") as raw:
            _refuse_binary(path, raw.read(4096))
        with access(path), open(path, encoding="utf-8-sig") as file:
            rows = iter(_Lines(file))
            sample = list(itertools.islice(rows, _SAMPLE_LINES))
            layout = _sniff(path, sample, labels)
            values = _parse(itertools.chain(sample[bool(layout.names) :], rows), layout, texts)
        if values is None or values.shape[1] != layout.width or not np.isfinite(values).all():
            texts.clear()
            with access(path), open(path, encoding="utf-8-sig") as file:
                values = _parse_slowly(path, _Lines(file), layout, texts)
    except UnicodeDecodeError:
        raise DataFileError(_where_not_utf8(path)) from None
    except csv.Error as error:
        raise DataFileError(f"{path}: cannot be cut into columns: {error}") from None
    except MemoryError:
        raise DataFileError(f"{path}: the table does not fit into memory; save it as .npy, which is mapped") from None
    names = layout.names
    if layout.label_column is not None:
        values = np.delete(values, layout.label_column, axis=1)
        names = names and names[: layout.label_column] + names[layout.label_column + 1 :]
    dataset = DataSet.from_arrays(path.name, values, _as_labels(texts) if texts else None, where=path)
    return DataSet(path.name, dataset.X, dataset.labels, column_names=names)


def _refuse_binary(path: pathlib.Path, start: bytes) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataFileError(f"{path}: the text is UTF-16; save it as UTF-8")
    if b"\0" in start:
        raise DataFileError(
            f"{path}: neither text nor a known binary file (a zero byte at {start.index(0)}); "
            "readable are .npy, .npz, .csv, .tsv, .txt and IDX files"
        )


def _where_not_utf8(path: pathlib.Path) -> str:
    with access(path), open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
                return f"{path}, line {number}: {found} is not UTF-8; save it as UTF-8"
    return f"{path}: not UTF-8; save it as UTF-8"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's digit grouping, which no table means


def _sniff(path: pathlib.Path, sample: list[str], labels: str | int | None) -> _Layout:
    if not sample:
        raise DataFileError(f"{path}: holds no rows, only blank lines and comments")
    # What cuts the most lines; where two are even, the comma may be a decimal one.
    n_cut = {d: sum(len(cells) > 1 for cells in csv.reader(sample, delimiter=d)) for d in ("\t", ";", ",")}
    delimiter = max(n_cut, key=n_cut.__getitem__)
    layout = _Layout(delimiter if n_cut[delimiter] else None, None, 0, None)
    first = [cell.strip() for cell in next(iter(layout.cells(sample)))]
    is_data = any(_is_number(cell) or re.fullmatch(_DECIMAL_COMMA, cell) for cell in first)
    is_header = not is_data and any(cell.lower() not in _MISSING for cell in first)
    if is_header and len(sample) == 1:
        raise DataFileError(f"{path}: holds no rows, only the header {_shown(sample[0].strip())}")
    layout = layout._replace(names=tuple(first) if is_header else None, width=len(first))
    if labels is None:
        return layout
    column = _label_column(path, layout, labels)
    if layout.width == 1:
        raise DataFileError(f"{path}: its one column is the label column; nothing is left to learn from")
    return layout._replace(label_column=column)


def _label_column(path: pathlib.Path, layout: _Layout, labels: str | int) -> int:
    if layout.names and str(labels) in layout.names:
        return layout.names.index(str(labels))
    if re.fullmatch(r"-?\d+", str(labels)):
        number = int(labels)
        if 1 <= abs(number) <= layout.width:
            return number - 1 if number > 0 else layout.width + number
        raise DataFileError(f"{path}: labels={labels!r}: columns are 1 to {layout.width}, or -1 for the last")
    known = _valid(labels, layout.names) if layout.names else "the table has no header; give the column's number"
    raise DataFileError(f"{path}: labels={labels!r} is no column; {known}")


def _parse(lines: Iterable[str], layout: _Layout, texts: list[str]) -> np.ndarray | None:
    """Let NumPy parse the rows, (N, width); None where it cannot, so that the slow pass says why."""

    def keep(cell: str) -> float:
        texts.append(cell.strip())
        return 0.0

    converters: dict[int | str, Callable[[str], float]] | None
    converters = None if layout.label_column is None else {layout.label_column: keep}
    quote = '"' if layout.delimiter else None
    try:
        return np.loadtxt(
            lines,
            dtype=np.float64,
            comments=None,
            delimiter=layout.delimiter,
            converters=converters,
            ndmin=2,
            encoding=None,
            quotechar=quote,
        )
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError):
        return None


def _parse_slowly(path: pathlib.Path, lines: _Lines, layout: _Layout, texts: list[str]) -> np.ndarray:
    """Name the first fault with its place; or parse what only Python can."""
    rows: list[np.ndarray] = []
    n_missing, first_missing = 0, ""
    for cells in itertools.islice(layout.cells(lines), bool(layout.names), None):
        where = f"{path}, line {lines.number}"
        if len(cells) != layout.width:
            model = "the header" if layout.names else "the first row"
            raise DataFileError(f"{where}: {len(cells)} columns, where {model} has {layout.width}")
        row = np.zeros(layout.width)
        for j, cell in enumerate(map(str.strip, cells)):
            if j == layout.label_column:
                texts.append(cell)
            elif cell.lower() in _MISSING or (_is_number(cell) and not math.isfinite(float(cell))):
                n_missing += 1
                first_missing = first_missing or f"{where}, {layout.column(j)}: {_shown(cell)}"
            elif _is_number(cell):
                row[j] = float(cell)
            else:
                hint = "correct it, or remove the column, or choose the column as labels"
                if re.fullmatch(_DECIMAL_COMMA, cell):
                    hint = "write decimals with a point"
                elif not layout.names and not rows:
                    hint += "; a line with a number in it is not taken for a header"
                raise DataFileError(f"{where}, {layout.column(j)}: {_shown(cell)} is not a number; {hint}")
        rows.append(row)
    if n_missing:
        cells_are = "1 cell is" if n_missing == 1 else f"{n_missing} cells are"
        raise DataFileError(f"{first_missing}: {cells_are} empty or not finite, this is the first; fill or remove them")
    return np.array(rows)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _as_labels(texts: list[str]) -> np.ndarray:
    for number, dtype in ((int, np.int64), (float, np.float64)):
        with contextlib.suppress(ValueError, OverflowError):
            return np.array([number(text) for text in texts], dtype)
    return np.array(texts)
