"""Whether the first line of a table names its columns, also where the names are numbers: wavelengths, years, 0, 1."""

import math
import re
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

DECIMAL_COMMA = r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?"
MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
COMPARED_ROWS = 20
FEW, MANY = 3, 6  # columns: below the first no order of numbers tells anything, from the second on it is no accident
ROWS_WITH_A_RANGE = 5  # so many values of a column give an idea of its range


class Header(NamedTuple):
    """Whether there is one, and what the user should be told of how that was found."""

    is_there: bool
    remark: str | None = None


def is_number(cell: str) -> bool:
    """Whether Python reads it as a number, but for digits grouped by underscores, which no table means."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def find_header(rows: list[list[str]], left_out: Collection[int] = ()) -> Header:
    """Look at the first row beside some that follow, without the columns `left_out`, which hold labels.

    Where none of its cells is a number it is a header. Where all are numbers that differ, it is one if they stand out
    from what follows: they alone rise or fall from cell to cell, are whole numbers above fractions, lie far outside of
    the range below. One such sign alone, or few columns, leave it data, with a remark.
    """
    first = rows[0]
    if not any(is_number(cell) or re.fullmatch(DECIMAL_COMMA, cell) for cell in first):
        return Header(any(cell.lower() not in MISSING for cell in first))
    below = [row for row in rows[1:] if len(row) == len(first)][:COMPARED_ROWS]
    columns = [
        j
        for j, cell in enumerate(first)
        if j not in left_out and _is_finite(cell) and any(_is_finite(row[j]) for row in below)
    ]
    cells = [first[j] for j in columns]
    if not columns or len({float(cell) for cell in cells}) < len(cells):
        return Header(False)
    names = np.array([float(cell) for cell in cells])
    values = np.array([[float(row[j]) if _is_finite(row[j]) else math.nan for j in columns] for row in below])
    few, many, ranged = (len(cells) >= FEW, len(cells) >= MANY, len(below) >= ROWS_WITH_A_RANGE)
    alike = sum(map(_is_ordered, values)) if few and _is_ordered(names) else len(values)
    ordered, alone = alike <= len(values) / 2, alike == 0
    fractions = [any(_is_finite(row[j]) and not _is_whole(row[j]) for row in below) for j in columns]
    whole = all(map(_is_whole, cells)) and sum(fractions) > len(cells) / 2
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    with np.errstate(over="ignore"):
        width = high - low
        outside = ranged and bool(((names < low - width) | (names > high + width)).all())
        even = whole and len(set(np.diff(names))) <= 1
    text = [j for j in range(len(first)) if j not in left_out and first[j] and not is_number(first[j])]
    above_numbers = any(is_number(row[j]) for row in below for j in text)  # as data they would be refused
    counted = above_numbers and cells in ([str(i + start) for i in range(len(cells))] for start in (0, 1))
    by_order = ordered and (outside or (whole and (even or many)) or (alone and many))
    if counted or by_order or (few and whole and outside):
        shown = ", ".join(cells[:3]) + (", ..." if len(cells) > 3 else "")
        return Header(
            True,
            f"the first line is taken for a header: its numbers ({shown}) are of another kind than those below; "
            "header='no' (--header no) takes it as data, 'yes' says that it is one",
        )
    if (alone and ranged) or whole or outside:
        return Header(
            False,
            "the first line is taken as data, though its numbers stand out from those below: header='yes' "
            "(--header yes) takes it for a header, 'no' says that it is data",
        )
    return Header(False)


def _is_finite(cell: str) -> bool:
    return is_number(cell) and math.isfinite(float(cell))


def _is_whole(cell: str) -> bool:
    return re.fullmatch(r"[-+]?\d+", cell) is not None


def _is_ordered(row: np.ndarray) -> bool:
    """Strictly rising or falling."""
    return bool((row[1:] > row[:-1]).all() or (row[1:] < row[:-1]).all())
