"""Tables in text files: numbers in columns with a delimiter, and where in them a fault is."""

import contextlib
import functools
import math
import os
import pathlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fastvae.data.arrays import valid_names
from fastvae.data.dataset import DataSet, side_by_side
from fastvae.data.files import access, regular_file
from fastvae.data.header import DECIMAL_COMMA, MISSING, find_header, is_number
from fastvae.errors import DataFileError, check_name

_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_SAMPLE_LINES = 50
_PIECE_CHARACTERS = 1 << 20  # parsed at a time, so that a fault is named soon
HEADERS = ("auto", "yes", "no")
Line = tuple[int, str]  # its number, from 1, and its text


class _Layout(NamedTuple):
    """How the lines of a table are cut into columns."""

    delimiter: str | None  # None: blanks
    names: tuple[str, ...] | None = None
    width: int = 0
    kept: tuple[int, ...] = ()  # columns that are kept as text: of labels, then of a condition

    def cells(self, line: str) -> list[str]:
        """The cells of a line, without blanks around them; one in double quotes has its quotes doubled within."""
        if self.delimiter is None:
            return line.split()
        line = line.rstrip("\n")
        if '"' not in line:
            return [cell.strip() for cell in line.split(self.delimiter)]
        cells, at = [], 0
        while at <= len(line):  # by hand: `csv` refuses cells beyond a size that is one for the whole process
            quoted = _QUOTED.match(line, at)
            begin = quoted.end() if quoted else at
            end = line.find(self.delimiter, begin)
            end = len(line) if end < 0 else end
            cells.append((quoted[1].replace('""', '"') if quoted else "").strip() + line[begin:end].strip())
            at = end + 1
        return cells

    def column(self, j: int) -> str:
        return f"column {j + 1}" + (f" ({_shown(self.names[j])})" if self.names else "")


def load_text(
    path: str | os.PathLike[str],
    labels: str | int | None = None,
    header: str | bool = "auto",
    condition: Sequence[str | int] = (),
) -> DataSet:
    """Load a table of numbers from text: columns cut by commas, semicolons, tabs or blanks, UTF-8.

    Lines that begin with # and blank lines are skipped. A row is one line.

    Parameters
    ----------
    path : str or PathLike
    labels : str or int, optional
        The column that holds labels, which may be text: its name, or its number from 1 (-1 is the last).
    header : "auto", "yes" or "no", or a bool
        Whether the first line names the columns. "auto": it does where none of its cells is a number, where one is
        `labels`, and where its numbers are clearly of another kind than those below (wavelengths above absorptions).
    condition : sequence of str or int
        Columns of a condition, as `labels` are named; several must be numbers.

    Returns
    -------
    DataSet
        X (N, D) float64 without the columns of labels and of a condition; these as integers, else floats, else text.

    Warns
    -----
    UserWarning
        The first line has numbers that stand out: whether it was taken for a header, and how to decide otherwise.

    Raises
    ------
    FileAccessError
        The file cannot be read.
    DataFileError
        Empty, not text, not UTF-8, lines of different length, text, empty cells, values that are not finite: with
        the line and the column, from 1.
    """
    if isinstance(header, bool | np.bool_):
        header = "yes" if header else "no"
    check_name("header", header, HEADERS)
    path = regular_file(path)
    texts: list[list[str]] = []
    values = bytearray()  # grows in place
    try:
        with access(path), open(path, "rb") as raw:
            _refuse_binary(path, raw.read(4096))
        with access(path), open(path, encoding="utf-8-sig") as file:
            pieces = _pieces(file)
            piece = next(pieces, [])
            layout = _sniff(path, [line for _, line in piece[:_SAMPLE_LINES]], labels, header, condition)
            texts = [[] for _ in layout.kept]
            piece = piece[bool(layout.names) :]
            begun = False
            while piece:
                rows = _parse([line for _, line in piece], layout, texts)
                following = next(pieces, [])
                if rows is None:
                    rows = _parse_slowly(path, piece, layout, texts, first=not begun, last=not following)
                if layout.kept:
                    rows = np.delete(rows, layout.kept, axis=1)
                values += rows.tobytes()
                piece, begun = following, True
        names, width = layout.names, layout.width
        if layout.kept:
            names = names and tuple(name for j, name in enumerate(names) if j not in layout.kept)
            width -= len(layout.kept)
        X = np.frombuffer(values).reshape(-1, width)
        columns = dict(zip(layout.kept, map(_as_labels, texts), strict=True))
        chosen = {str(name): columns[_label_column(path, layout, name)] for name in condition}
        label_column = None if labels is None else columns[_label_column(path, layout, labels)]
        dataset = DataSet.from_arrays(path.name, X, label_column, where=path)
    except UnicodeDecodeError:
        raise DataFileError(_where_not_utf8(path)) from None
    except MemoryError:
        raise DataFileError(f"{path}: the table does not fit into memory; save it as .npy, which is mapped") from None
    beside = side_by_side(list(chosen.values()), list(chosen), path) if chosen else None
    return DataSet(path.name, dataset.X, dataset.labels, column_names=names, condition=beside)


def _pieces(file: Iterable[str]) -> Iterator[list[Line]]:
    """The lines of a table but comments (# first) and blank ones, some at a time; at least a sample the first time."""
    piece: list[Line] = []
    characters, least = 0, _SAMPLE_LINES
    for number, line in enumerate(file, 1):
        if line.strip() and not line.startswith("#"):
            piece.append((number, line))
            characters += len(line)
            if characters >= _PIECE_CHARACTERS and len(piece) >= least:
                yield piece
                piece, characters, least = [], 0, 1
    if piece:
        yield piece


def _refuse_binary(path: pathlib.Path, start: bytes) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataFileError(f"{path}: the text is UTF-16; save it as UTF-8")
    if b"\0" in start:
        raise DataFileError(
            f"{path}: neither text nor a known binary file (a zero byte at {start.index(0)}); "
            "readable are .npy, .npz, .csv, .tsv, .txt and IDX files"
        )


def _where_not_utf8(path: pathlib.Path) -> str:
    with access(path), open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            try:
                content = line.encode("utf-8", "surrogateescape")
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{content[error.start]:02x} at position {error.start + 1}"
                return f"{path}, line {number}: {found} is not UTF-8; save it as UTF-8"
    return f"{path}: not UTF-8; save it as UTF-8"


def _sniff(
    path: pathlib.Path, sample: list[str], labels: str | int | None, header: str, condition: Sequence[str | int] = ()
) -> _Layout:
    if not sample:
        raise DataFileError(f"{path}: holds no rows, only blank lines and comments")
    # What cuts the most lines; where two are even, the comma may be a decimal one, and a blank may follow a comma.
    layouts = [_Layout(delimiter) for delimiter in ("\t", ";", ",", None)]
    layout = max(layouts, key=lambda layout: sum(len(layout.cells(line)) > 1 for line in sample))
    rows = [layout.cells(line) for line in sample]
    first = rows[0]
    layout = layout._replace(width=len(first))
    named = tuple(first)
    chosen = [*([] if labels is None else [labels]), *condition]
    if header == "auto" and not any(_is_name(name) and name in first for name in chosen):
        numbered = {_label_column(path, layout, name) for name in chosen if not _is_name(name)}
        is_header, remark = find_header(rows, numbered)
        if remark:
            warnings.warn(f"{path}: {remark}", stacklevel=4)
    else:
        is_header = header != "no"
    if is_header and len(sample) == 1:
        raise DataFileError(f"{path}: holds no rows, only the header {_shown(sample[0].strip())}")
    if is_header:
        layout = layout._replace(names=named)
    kept = tuple(dict.fromkeys(_label_column(path, layout, name) for name in chosen))
    if layout.width == len(kept):
        what = "its one column is the label column" if labels is not None else "all its columns are the condition"
        raise DataFileError(f"{path}: {what}; nothing is left to learn from")
    return layout._replace(kept=kept)


def _is_name(labels: str | int | None) -> bool:
    """Whether labels name a column and do not number it."""
    return labels is not None and not re.fullmatch(r"-?\d+", str(labels))


def _label_column(path: pathlib.Path, layout: _Layout, labels: str | int) -> int:
    if layout.names and labels in layout.names:  # a number given as text is a name first: 2019, 400
        return layout.names.index(str(labels))
    if not _is_name(labels):
        number = int(labels)
        if 1 <= abs(number) <= layout.width:
            return number - 1 if number > 0 else layout.width + number
        raise DataFileError(f"{path}: labels={labels!r}: columns are 1 to {layout.width}, or -1 for the last")
    short = [name if len(name) <= 40 else name[:37] + "..." for name in layout.names or ()]
    known = valid_names(labels, short) if short else "the table has no header; give the column's number"
    raise DataFileError(f"{path}: labels={_shown(str(labels))} is no column; {known}")


def _parse(lines: list[str], layout: _Layout, texts: list[list[str]]) -> np.ndarray | None:
    """Let NumPy parse the rows, (N, width); None where it cannot or not all are finite: the slow way says why."""
    before = len(texts[0]) if texts else 0

    def keep(cell: str, column: list[str]) -> float:
        column.append(cell.strip())
        return 0.0

    converters: dict[int | str, Callable[[str], float]] | None
    converters = {j: functools.partial(keep, column=texts[i]) for i, j in enumerate(layout.kept)} or None
    with contextlib.suppress(ValueError, IndexError, OverflowError):  # AxisError is both of the first
        if not any(_is_open(line) for line in lines):  # NumPy would join such lines
            rows = np.loadtxt(
                lines,
                dtype=np.float64,
                comments=None,
                delimiter=layout.delimiter,
                converters=converters,
                ndmin=2,
                encoding=None,
                quotechar='"' if layout.delimiter else None,
            )
            if rows.shape == (len(lines), layout.width) and np.isfinite(rows).all():
                return rows
    for column in texts:
        del column[before:]
    return None


def _is_open(line: str) -> bool:
    """Whether a quote in it is not closed."""
    return line.count('"') % 2 == 1


def _parse_slowly(
    path: pathlib.Path, lines: list[Line], layout: _Layout, texts: list[list[str]], first: bool, last: bool
) -> np.ndarray:
    """Name the first fault with its place; or parse what only Python can. `first` and `last`: of the table."""
    rows = np.zeros((len(lines), layout.width))
    n_missing, first_missing = 0, ""
    for i, (number, line) in enumerate(lines):
        where, cells = f"{path}, line {number}", layout.cells(line)
        hint = "; a quote in the line is not closed: each row must be one line" if _is_open(line) else ""
        if len(cells) != layout.width:
            if n_missing:
                last = False  # of what was counted
                break
            model = "the header" if layout.names else "the first row"
            raise DataFileError(f"{where}: {len(cells)} columns, where {model} has {layout.width}{hint}")
        for j, cell in enumerate(cells):
            if j in layout.kept:
                texts[layout.kept.index(j)].append(cell)
            elif cell.lower() in MISSING or (is_number(cell) and not math.isfinite(float(cell))):
                n_missing += 1
                first_missing = first_missing or f"{where}, {layout.column(j)}: {_shown(cell)}"
            elif is_number(cell):
                rows[i, j] = float(cell)
            elif not n_missing:
                hint = hint or "; correct it, or remove the column, or choose the column as labels"
                if re.fullmatch(DECIMAL_COMMA, cell):
                    hint = "; write decimals with a point"
                elif first and i == 0 and not layout.names:
                    hint += "; if the line names the columns, say header='yes' (--header yes)"
                raise DataFileError(f"{where}, {layout.column(j)}: {_shown(cell)} is not a number{hint}")
    if n_missing:
        cells_are = "1 cell is" if n_missing == 1 else f"{n_missing} cells are"
        counted = cells_are if last else f"at least {cells_are}"
        raise DataFileError(f"{first_missing}: {counted} empty or not finite, this is the first; fill or remove them")
    return rows


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _as_labels(texts: list[str]) -> np.ndarray:
    if all(map(is_number, texts)):
        for number, dtype in ((int, np.int64), (float, np.float64)):
            with contextlib.suppress(ValueError, OverflowError):
                return np.array([number(text) for text in texts], dtype)
    return np.array(texts)
