"""Tables in text files: numbers in columns with a delimiter, and where in them a fault is."""

import contextlib
import csv
import itertools
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from fastvae.data.arrays import valid_names
from fastvae.data.datasets import DataSet, access, regular_file
from fastvae.errors import DataFileError

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
_DECIMAL_COMMA = r"[-+]?\d+,\d+"
_SAMPLE_LINES = 50


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
    known = valid_names(labels, layout.names) if layout.names else "the table has no header; give the column's number"
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
