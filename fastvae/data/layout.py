"""How the lines of a table are cut into columns, and what each column is for."""

import pathlib
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from fastvae.data.arrays import valid_names
from fastvae.data.header import DECIMAL_COMMA, find_header, is_number
from fastvae.errors import DataFileError

_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_GROUPED = r"[-+]?\d{1,3},\d{3}"  # a comma between thousands, or a decimal one
Column = str | int  # its name, or its number from 1; -1 is the last


class Choice(NamedTuple):
    """What the columns of a table are for.

    `labels`, `condition` and `ids` (a column that names rows) are none of the examples; `columns` are those of the
    examples, in this order, or None: all that are not another thing and not in `drop`.
    """

    labels: Column | None = None
    condition: tuple[Column, ...] = ()
    columns: tuple[Column, ...] | None = None
    drop: tuple[Column, ...] = ()
    ids: Column | None = None

    @property
    def beside(self) -> dict[str, Sequence[Column]]:
        """Those that are none of the examples, by what asks for them."""
        one = {"labels": self.labels, "ids": self.ids}
        return {name: [] if column is None else [column] for name, column in one.items()} | {
            "condition": self.condition,
            "drop": self.drop,
        }

    @property
    def names(self) -> list[Column]:
        """All that are named."""
        return [*(column for columns in self.beside.values() for column in columns), *(self.columns or ())]

    def places(self, where: object, names: Sequence[str] | None, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Where the columns are that are kept beside the examples, and those of the examples.

        Raises
        ------
        DataFileError
            There is no such column, one is named for two things, or nothing is left to learn from.
        """

        def found(option: str, columns: Sequence[Column]) -> list[int]:
            return list(dict.fromkeys(place_of(where, names, width, column, option) for column in columns))

        beside = {option: found(option, columns) for option, columns in self.beside.items()}
        taken = {place for places in beside.values() for place in places}
        if self.columns is None:
            used = [j for j in range(width) if j not in taken]
        else:
            used = found("columns", self.columns)
            for option, places in beside.items():
                if both := set(used) & set(places):
                    what = _shown_column(names, min(both))
                    raise DataFileError(f"{where}: columns and {option} both name {what}: leave it out of one")
        if not used:
            what = "its one column is the label column" if self.labels is not None else "no column is left for them"
            if self.labels is None and not self.drop and self.ids is None:
                what = "all its columns are the condition"
            raise DataFileError(f"{where}: {what}; nothing is left to learn from")
        kept = dict.fromkeys(j for option, places in beside.items() if option != "drop" for j in places)
        return tuple(kept), tuple(used)


def is_name(column: Column | None) -> bool:
    """Whether it names a column and does not number it."""
    return column is not None and not re.fullmatch(r"-?\d+", str(column))


def place_of(where: object, names: Sequence[str] | None, width: int, column: Column, option: str) -> int:
    """Where a column is, from 0; `DataFileError`, with the option that asked for it, where there is none."""
    if names and column in names:  # a number given as text is a name first: 2019, 400
        return list(names).index(str(column))
    if not is_name(column):
        number = int(column)
        if 1 <= abs(number) <= width:
            return number - 1 if number > 0 else width + number
        raise DataFileError(f"{where}: {option}={column!r}: columns are 1 to {width}, or -1 for the last")
    short = [name if len(name) <= 40 else name[:37] + "..." for name in names or ()]
    known = valid_names(column, short) if short else "the table has no header; give the column's number"
    raise DataFileError(f"{where}: {option}={shown(str(column))} is no column; {known}")


def _shown_column(names: Sequence[str] | None, j: int) -> str:
    return shown(names[j]) if names else f"column {j + 1}"


class Layout(NamedTuple):
    """How the lines of a table are cut into columns."""

    delimiter: str | None  # None: blanks
    names: tuple[str, ...] | None = None
    width: int = 0
    kept: tuple[int, ...] = ()  # columns that are kept as text: of labels, of rows' names, of a condition
    used: tuple[int, ...] = ()  # columns of the examples, in their order
    decimal_comma: bool = False

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
        """How column j is called in messages."""
        return f"column {j + 1}" + (f" ({shown(self.names[j])})" if self.names else "")

    def check_width(self, where: str, line: str, cells: list[str]) -> None:
        """Raise `DataFileError` where a line has not as many cells as the first."""
        if len(cells) != self.width:
            model = "the header" if self.names else "the first row"
            raise DataFileError(f"{where}: {len(cells)} columns, where {model} has {self.width}{open_hint(line)}")


def sniff(path: pathlib.Path, sample: list[str], header: str, choice: Choice) -> Layout:
    """The layout of a table whose first lines are these.

    Raises
    ------
    DataFileError
        There are no rows; no column has a name that was chosen; nothing is left to learn from.
    """
    layout, rows = _cut(path, sample)
    beside = {option: [c for c in columns if not is_name(c)] for option, columns in choice.beside.items()}
    layout = _with_names(path, layout, rows, sample, header, choice.names, beside)
    kept, used = choice.places(path, layout.names, layout.width)
    return layout._replace(kept=kept, used=used)


def names_in(
    path: pathlib.Path, sample: list[str], header: str, chosen: Sequence[Column] = ()
) -> tuple[list[str], bool]:
    """The names of the columns, "column 1", ... where they have none, and whether there is a header; see `sniff`."""
    layout, rows = _cut(path, sample)
    found = _with_names(path, layout, rows, sample, header, chosen, {}).names
    return list(found or (f"column {j + 1}" for j in range(layout.width))), found is not None


def _cut(path: pathlib.Path, sample: list[str]) -> tuple[Layout, list[list[str]]]:
    """The layout but for its names, and the cells of the lines."""
    if not sample:
        raise DataFileError(f"{path}: holds no rows, only blank lines and comments")
    # What cuts the most lines; where two are even, the comma may be a decimal one, and a blank may follow a comma.
    layouts = [Layout(delimiter) for delimiter in ("\t", ";", ",", None)]
    layout = max(layouts, key=lambda layout: sum(len(layout.cells(line)) > 1 for line in sample))
    rows = [layout.cells(line) for line in sample]
    return layout._replace(width=len(rows[0]), decimal_comma=_has_decimal_comma(rows, layout.delimiter)), rows


def _with_names(
    path: pathlib.Path,
    layout: Layout,
    rows: list[list[str]],
    sample: list[str],
    header: str,
    chosen: Sequence[Column],
    numbered: dict[str, list[Column]],
) -> Layout:
    """The layout with the names of a header, where there is one; `numbered`: columns without part in that question."""
    first = rows[0]
    if header == "auto" and not any(is_name(name) and name in first for name in chosen):
        left_out = {place_of(path, None, len(first), c, option) for option, some in numbered.items() for c in some}
        is_header, remark = find_header(rows, left_out)
        if remark:
            warnings.warn(f"{path}: {remark}", stacklevel=4)
    else:
        is_header = header != "no"
    if is_header and len(sample) == 1:
        raise DataFileError(f"{path}: holds no rows, only the header {shown(sample[0].strip())}")
    return layout._replace(names=tuple(first)) if is_header else layout


def _has_decimal_comma(rows: list[list[str]], delimiter: str | None) -> bool:
    """Whether decimals have a comma, beyond doubt: cells are cut by something else, no number has a point, and not all
    commas could stand between thousands."""
    if delimiter == ",":
        return False
    cells = [cell for row in rows for cell in row]
    with_comma = [cell for cell in cells if re.fullmatch(DECIMAL_COMMA, cell)]
    if not with_comma or any("." in cell and is_number(cell) for cell in cells):
        return False
    return not all(re.fullmatch(_GROUPED, cell) for cell in with_comma)


def is_open(line: str) -> bool:
    """Whether a quote in it is not closed."""
    return line.count('"') % 2 == 1


def open_hint(line: str) -> str:
    """What to add to a message about such a line."""
    return "; a quote in the line is not closed: each row must be one line" if is_open(line) else ""


def shown(text: str) -> str:
    """It in quotes, in a message; shortened."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
