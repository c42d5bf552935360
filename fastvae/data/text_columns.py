"""Columns of different kinds from text files: what holds numbers is read as numbers, what does not, as text.

A column is taken for numbers until a cell is none. Then the file is read once more, with that column as text from its
beginning on: no number that was read becomes text again, so that "007" stays what it was.
"""

import collections
import contextlib
import math
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from fastvae.data.files import regular_file
from fastvae.data.frame import PAIRS, YES, Table
from fastvae.data.header import DECIMAL_COMMA, MISSING
from fastvae.data.layout import Choice, Column, Layout, is_open, open_hint, place_of, shown, sniff
from fastvae.data.lines import SAMPLE_LINES, Line, in_its_encoding, opened_text, pieces
from fastvae.data.tables import checked_header, parse, with_comma
from fastvae.errors import DataFileError, counted

_SHARED = 10_000  # words of a column that are kept once each: of more, it names things rather than kinds
_NAMED = 5  # columns in a remark
_WITH_COMMAS = r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?|" + DECIMAL_COMMA
_WITH_POINTS = r"[-+]?\d{1,3}(\.\d{3})+(,\d+)?|[-+]?\d*\.\d+"  # where decimals have a comma


class _OtherKindError(Exception):
    """Some columns that were taken for numbers are text."""

    def __init__(self, columns: set[int]):
        super().__init__()
        self.columns = columns


def read_text(
    path: str | os.PathLike[str],
    header: str | bool = "auto",
    columns: Sequence[Column] | None = None,
    drop: Sequence[Column] = (),
    ids: Column | None = None,
    text: Sequence[Column] = (),
) -> Table:
    """Read a table from text, whose columns may be numbers, yes and no, or words; see `fastvae.data.tables.load_text`
    for what text may be, and for the arguments; columns of `text` stay text, whatever they hold.

    A cell is missing where it is empty, NA, N/A, NaN, null, None or ? in any case: NaN among numbers, else None.

    Raises
    ------
    FileAccessError
        The file cannot be read.
    DataFileError
        Empty, not text, lines of different length, numbers that are not finite, two columns of one name, a comma that
        may be a decimal one or stand between thousands: with the line and the column, from 1.
    """
    header, path = checked_header(header), regular_file(path)
    choice = Choice(None, (), None if columns is None else tuple(columns), tuple(drop), ids)
    try:
        return in_its_encoding(path, lambda encoding: _read(path, header, choice, encoding, text))
    except MemoryError:
        raise DataFileError(f"{path}: the table does not fit into memory: choose some columns (--columns)") from None


def _read(path: pathlib.Path, header: str, choice: Choice, encoding: str, text: Sequence[Column]) -> Table:
    as_text: set[int] = set()
    while True:
        try:
            with opened_text(path, encoding) as file:
                return _Reading(path, as_text).whole(pieces(file), header, choice, text)
        except _OtherKindError as other:
            as_text |= other.columns


class _Reading:
    """One pass over the file."""

    def __init__(self, path: pathlib.Path, as_text: set[int]):
        self.path, self.as_text = path, as_text
        self.missing: dict[int, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    def whole(
        self, following: Iterator[list[Line]], header: str, choice: Choice, words_only: Sequence[Column]
    ) -> Table:
        piece = next(following, [])
        layout = sniff(self.path, [line for _, line in piece[:SAMPLE_LINES]], header, choice)
        self._check_names(layout)
        ids = None if choice.ids is None else layout.kept[0]
        asked = {place_of(self.path, layout.names, layout.width, column, "text") for column in words_only}
        text = (self.as_text | asked) & set(layout.used)
        self.layout = layout._replace(
            kept=tuple(sorted({*layout.kept, *text})), used=tuple(j for j in layout.used if j not in text)
        )
        numbers = bytearray()
        words: list[list[str | None]] = [[] for _ in self.layout.kept]
        shared: list[dict[str, str]] = [{} for _ in self.layout.kept]
        piece = piece[bool(layout.names) :]
        while piece:
            texts: list[list[str]] = [[] for _ in self.layout.kept]
            rows = parse([line for _, line in piece], self.layout, texts)
            rows = self._by_cells(piece, texts) if rows is None else rows[:, self.layout.used]
            numbers += np.ascontiguousarray(rows).tobytes()
            for i, (j, column) in enumerate(zip(self.layout.kept, texts, strict=True)):
                words[i] += column if j == ids else self._words(j, column, shared[i])
            piece = next(following, [])
        X = np.frombuffer(numbers).reshape(-1 if numbers else 0, len(self.layout.used))
        found = dict(zip(self.layout.kept, words, strict=True))
        columns = {
            self._name(j): _objects(found[j]) if j in text else X[:, self.layout.used.index(j)] for j in layout.used
        }
        names = None if ids is None else np.array(found[ids])
        return Table(
            columns,
            name=self.path.name,
            ids=names,
            id_name=None if ids is None else self._name(ids),
            named=layout.names is not None,
            remarks=self._remarks(),
        )

    def _name(self, j: int) -> str:
        names = self.layout.names
        return names[j] if names and names[j] else f"column {j + 1}"

    def _check_names(self, layout: Layout) -> None:
        used = [layout.names[j] for j in layout.used if layout.names[j]] if layout.names else []
        twice = [name for name, count in collections.Counter(used).items() if count > 1]
        if twice:
            raise DataFileError(f"{self.path}: two columns are called {shown(twice[0])}: rename one, or leave both out "
                                "by their numbers")  # fmt: skip

    def _words(self, j: int, cells: list[str], shared: dict[str, str]) -> list[str | None]:
        out: list[str | None] = []
        for cell in cells:
            if cell.lower() in MISSING:
                self.missing[j][cell] += 1
                out.append(None)
            elif len(shared) < _SHARED:
                out.append(shared.setdefault(cell, cell))
            else:
                out.append(shared.get(cell, cell))
        return out

    def _by_cells(self, piece: list[Line], texts: list[list[str]]) -> np.ndarray:
        """The numbers of a piece (n, columns) where some are missing, or need Python to be read."""
        layout, rows = self.layout, []
        for number, line in piece:
            cells = layout.cells(line)
            layout.check_width(f"{self.path}, line {number}", line, cells)
            if is_open(line) and any(cell.startswith('"') for cell in cells):
                raise DataFileError(f"{self.path}, line {number}: {open_hint(line).removeprefix('; ')}")
            rows.append(cells)
        by_column = list(zip(*rows, strict=True))
        for i, j in enumerate(layout.kept):
            texts[i] += by_column[j]
        out, other = np.empty((len(rows), len(layout.used))), set()
        for k, j in enumerate(layout.used):
            values = self._numbers(j, by_column[j])
            if values is None:
                self._check_commas(j, piece, by_column[j])
                other.add(j)
                continue
            out[:, k] = values
            wrong = np.flatnonzero(np.isinf(values))
            if len(wrong):
                where, cell = f"{self.path}, line {piece[wrong[0]][0]}", by_column[j][wrong[0]]
                raise DataFileError(f"{where}, {layout.column(j)}: {shown(cell)} is not finite; correct or remove it")
        if other:
            raise _OtherKindError(other)
        return out

    def _numbers(self, j: int, cells: Sequence[str]) -> np.ndarray | None:
        """The numbers in cells, NaN where one is missing; None where one is neither."""
        if not self.layout.decimal_comma and not any("_" in cell for cell in cells):
            with contextlib.suppress(ValueError):
                values = np.array(cells, np.float64)
                if not np.isnan(values).any():
                    return values
        out, gone = np.empty(len(cells)), collections.Counter[str]()
        for i, cell in enumerate(cells):
            if cell.lower() in MISSING:
                gone[cell] += 1
                out[i] = math.nan
                continue
            try:
                out[i] = self._number(cell)
            except ValueError:
                return None
            if out[i] != out[i]:  # "+nan"
                gone[cell] += 1
        self.missing[j] += gone
        return out

    def _number(self, cell: str) -> float:
        """The number in a cell; `ValueError` where it is none as the table writes them."""
        if self.layout.decimal_comma:
            return with_comma(cell)
        if "_" in cell:
            raise ValueError(cell)
        return float(cell)

    def _check_commas(self, j: int, piece: list[Line], cells: Sequence[str]) -> None:
        """Refuse a column that is numbers but for commas or points, which nothing tells how to read."""
        for_commas = _WITH_POINTS if self.layout.decimal_comma else _WITH_COMMAS
        strange = []
        for i, cell in enumerate(cells):
            if cell.lower() not in MISSING:
                try:
                    self._number(cell)
                except ValueError:
                    strange.append((i, cell))
        if strange and all(re.fullmatch(for_commas, cell) for _, cell in strange):
            i, cell = strange[0]
            raise DataFileError(
                f"{self.path}, line {piece[i][0]}, {self.layout.column(j)}: {shown(cell)} may be meant with a decimal "
                "mark or with one between thousands; write decimals with a point, and no mark between thousands"
            )

    def _remarks(self) -> list[str]:
        """Which words were taken for a missing value, and in which columns."""
        found = {j: gone for j, gone in sorted(self.missing.items()) if gone}
        if not found:
            return []
        words = sum(found.values(), collections.Counter[str]())
        shown_words = ", ".join(repr(word) if word else "empty cells" for word, _ in words.most_common())
        names = [f"{self._name(j)!r} ({sum(gone.values()):,})" for j, gone in found.items()]
        listed = ", ".join(names[:_NAMED]) + (f", ... ({len(names)} columns)" if len(names) > _NAMED else "")
        return [f"{self.path.name}: {counted(sum(words.values()), 'cell')} taken as missing ({shown_words}): {listed}"]


def _objects(words: list[str | None]) -> np.ndarray:
    """A column of text; one of yes and no with one spelling of each, the first."""
    out = np.empty(len(words), object)
    out[:] = words
    spellings = dict.fromkeys(word for word in words if word is not None) if words else {}
    if len(spellings) > 2 and any({word.lower() for word in spellings} <= pair for pair in PAIRS):
        first: dict[bool, str] = {}
        for word in spellings:
            first.setdefault(YES[word.lower()], word)
        out[:] = [None if word is None else first[YES[word.lower()]] for word in words]
    return out
