"""Tables in text files: numbers in columns with a delimiter, and where in them a fault is."""

import contextlib
import functools
import math
import os
import pathlib
import re
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from fastvae.data.dataset import DataSet, side_by_side
from fastvae.data.files import regular_file
from fastvae.data.header import DECIMAL_COMMA, MISSING, is_number
from fastvae.data.layout import Choice, Column, Layout, is_open, names_in, open_hint, place_of, shown, sniff
from fastvae.data.lines import SAMPLE_LINES, Line, in_its_encoding, opened_text, pieces
from fastvae.errors import DataFileError, check_name

HEADERS = ("auto", "yes", "no")


def checked_header(header: str | bool) -> str:
    """One of `HEADERS`."""
    if isinstance(header, bool | np.bool_):
        header = "yes" if header else "no"
    check_name("header", header, HEADERS)
    return header


def load_text(
    path: str | os.PathLike[str],
    labels: Column | None = None,
    header: str | bool = "auto",
    condition: Sequence[Column] = (),
    columns: Sequence[Column] | None = None,
    drop: Sequence[Column] = (),
    ids: Column | None = None,
) -> DataSet:
    """Load a table of numbers from text: columns cut by commas, semicolons, tabs or blanks, UTF-8 (or Windows-1252),
    plain or packed (.gz, .bz2, .xz, .zip). Numbers have a point, or, where that is beyond doubt, a decimal comma.

    Lines that begin with # and blank lines are skipped. A row is one line.

    Parameters
    ----------
    path : str or PathLike
    labels : str or int, optional
        The column that holds labels, which may be text: its name, or its number from 1 (-1 is the last).
    header : "auto", "yes" or "no", or a bool
        Whether the first line names the columns. "auto": it does where none of its cells is a number, where one is
        a column that is asked for, and where its numbers are clearly of another kind than those below (wavelengths
        above absorptions).
    condition : sequence of str or int
        Columns of a condition, as `labels` are named; several must be numbers.
    columns : sequence of str or int, optional
        Those of the examples, in this order; otherwise all that are not asked for as something else.
    drop : sequence of str or int
        Columns that are left out.
    ids : str or int, optional
        A column that names the rows.

    Returns
    -------
    DataSet
        X (N, D) float64 without the columns of labels, of names and of a condition; these as integers, else floats,
        else text; names of rows as text.

    Warns
    -----
    UserWarning
        The first line has numbers that stand out: whether it was taken for a header, and how to decide otherwise. Or
        the file is not UTF-8.

    Raises
    ------
    FileAccessError
        The file cannot be read.
    DataFileError
        Empty, not text, lines of different length, text, empty cells, values that are not finite: with the line and
        the column, from 1.
    """
    header, path = checked_header(header), regular_file(path)
    choice = Choice(labels, tuple(condition), None if columns is None else tuple(columns), tuple(drop), ids)
    try:
        return in_its_encoding(path, lambda encoding: _read(path, header, choice, encoding))
    except MemoryError:
        raise DataFileError(f"{path}: the table does not fit into memory; save it as .npy, which is mapped") from None


def _read(path: pathlib.Path, header: str, choice: Choice, encoding: str) -> DataSet:
    values = bytearray()  # grows in place
    with opened_text(path, encoding) as file:
        following = pieces(file)
        piece = next(following, [])
        layout = sniff(path, [line for _, line in piece[:SAMPLE_LINES]], header, choice)
        texts: list[list[str]] = [[] for _ in layout.kept]
        piece = piece[bool(layout.names) :]
        begun, whole = False, layout.used == tuple(range(layout.width))
        while piece:
            rows = parse([line for _, line in piece], layout, texts)
            after = next(following, [])
            if rows is None:
                rows = _parse_slowly(path, piece, layout, texts, first=not begun, last=not after)
            values += (rows if whole else rows[:, layout.used]).tobytes()
            piece, begun = after, True
    names = layout.names and tuple(layout.names[j] for j in layout.used)
    X = np.frombuffer(values).reshape(-1, len(layout.used))
    kept = dict(zip(layout.kept, texts, strict=True))

    def place(column: Column) -> int:
        return place_of(path, layout.names, layout.width, column, "labels")

    labels = None if choice.labels is None else as_labels(kept[place(choice.labels)])
    dataset = DataSet.from_arrays(path.name, X, labels, where=path)
    conditions = {str(name): as_labels(kept[place(name)]) for name in choice.condition}
    beside = side_by_side(list(conditions.values()), list(conditions), path) if conditions else None
    ids = None if choice.ids is None else np.array(kept[place(choice.ids)])
    return DataSet(path.name, dataset.X, dataset.labels, column_names=names, condition=beside, ids=ids)


def names_of(path: str | os.PathLike[str], header: str | bool, chosen: Sequence[Column] = ()) -> tuple[list[str], bool]:
    """The names of a text table's columns, from its first lines, "column 1", ... where they have none, and whether it
    has a header; `chosen`: some that are asked for, which say that there is one. Raises as `load_text` does."""
    header, path = checked_header(header), regular_file(path)

    def first_lines(encoding: str) -> tuple[list[str], bool]:
        with opened_text(path, encoding) as file:
            sample = [line for _, line in next(pieces(file), [])[:SAMPLE_LINES]]
        return names_in(path, sample, header, chosen)

    with warnings.catch_warnings():  # whoever reads the table says it
        warnings.simplefilter("ignore")
        return in_its_encoding(path, first_lines)


def parse(lines: list[str], layout: Layout, texts: list[list[str]]) -> np.ndarray | None:
    """Let NumPy parse the rows, (N, width), 0 where a column is none of the examples; `texts` grow by the columns that
    are kept. None where it cannot or not all are finite: a slower way says why."""
    before = len(texts[0]) if texts else 0

    def keep(cell: str, column: list[str]) -> float:
        column.append(cell.strip())
        return 0.0

    converters: dict[int | str, Callable[[str], float]] = {}
    if len(layout.used) < layout.width or layout.decimal_comma:
        converters = dict.fromkeys(range(layout.width), lambda _: 0.0)
        converters |= {j: functools.partial(keep, column=texts[i]) for i, j in enumerate(layout.kept)}
        for j in layout.used:
            converters.pop(j)
            if layout.decimal_comma:
                converters[j] = with_comma
    with contextlib.suppress(ValueError, IndexError, OverflowError):  # AxisError is both of the first
        if not any(is_open(line) for line in lines):  # NumPy would join such lines
            rows = np.loadtxt(
                lines,
                dtype=np.float64,
                comments=None,
                delimiter=layout.delimiter,
                converters=converters or None,
                ndmin=2,
                encoding=None,
                quotechar='"' if layout.delimiter else None,
            )
            if rows.shape == (len(lines), layout.width) and np.isfinite(rows).all():
                return rows
    for column in texts:
        del column[before:]
    return None


def with_comma(cell: str) -> float:
    """The number in a cell of a table whose decimals have a comma; `ValueError` where it has a point."""
    if "." in cell or "_" in cell:
        raise ValueError(cell)
    return float(cell.replace(",", "."))


def _parse_slowly(
    path: pathlib.Path, lines: list[Line], layout: Layout, texts: list[list[str]], first: bool, last: bool
) -> np.ndarray:
    """Name the first fault with its place; or parse what only Python can. `first` and `last`: of the table."""
    rows = np.zeros((len(lines), layout.width))
    n_missing, first_missing, used = 0, "", set(layout.used)
    for i, (number, line) in enumerate(lines):
        where, cells = f"{path}, line {number}", layout.cells(line)
        if len(cells) != layout.width and n_missing:
            last = False  # of what was counted
            break
        layout.check_width(where, line, cells)
        for j, text in enumerate(cells):
            if j in layout.kept:
                texts[layout.kept.index(j)].append(text)
            if j not in used:
                continue
            cell = text.replace(",", ".") if layout.decimal_comma and "." not in text else text
            if cell.lower() in MISSING or (is_number(cell) and not math.isfinite(float(cell))):
                n_missing += 1
                first_missing = first_missing or f"{where}, {layout.column(j)}: {shown(cell)}"
            elif is_number(cell) and not (layout.decimal_comma and "." in text):
                rows[i, j] = float(cell)
            elif not n_missing:
                hint = open_hint(line) or "; correct it, leave the column out (--drop), or choose it as labels"
                if re.fullmatch(DECIMAL_COMMA, cell):
                    hint = "; write decimals with a point, and no comma between thousands"
                elif layout.decimal_comma and is_number(text):
                    hint = "; other decimals of the table have a comma: write all alike"
                elif first and i == 0 and not layout.names:
                    hint += "; if the line names the columns, say header='yes' (--header yes)"
                raise DataFileError(f"{where}, {layout.column(j)}: {shown(text)} is not a number{hint}")
    if n_missing:
        cells_are = "1 cell is" if n_missing == 1 else f"{n_missing} cells are"
        counted = cells_are if last else f"at least {cells_are}"
        raise DataFileError(f"{first_missing}: {counted} empty or not finite, this is the first; fill or remove them")
    return rows


def as_labels(texts: list[str]) -> np.ndarray:
    """Labels as integers, else floats, else text."""
    if all(map(is_number, texts)):
        for number, dtype in ((int, np.int64), (float, np.float64)):
            with contextlib.suppress(ValueError, OverflowError):
                return np.array([number(text) for text in texts], dtype)
    return np.array(texts)
