"""A table's file written anew with some cells filled in; whatever else it holds stays as it was."""

import importlib
import importlib.util
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file
from fastvae.data.layout import Choice, Layout, sniff
from fastvae.data.lines import SAMPLE_LINES, in_its_encoding, opened_text, pieces
from fastvae.errors import MissingLibraryError
from fastvae.table_file import packed_text

Cells = Mapping[int, tuple[np.ndarray, Sequence[Any]]]  # column to rows (n,) and their values


def write_filled_text(source: pathlib.Path, header: str, out: pathlib.Path, cells: Cells) -> None:
    """Write a text table with these cells: numbers as the table writes them, text quoted where it has to be. Lines
    without such a cell, and the delimiter, are those of `source`; comments and blank lines are left out.

    Raises
    ------
    ValueError
        The name of `out` says that it has another delimiter.
    """
    of_row: dict[int, dict[int, Any]] = {}
    for column, (rows, values) in cells.items():
        for row, value in zip(rows.tolist(), values, strict=True):
            of_row.setdefault(row, {})[column] = value

    def write(encoding: str) -> None:
        with opened_text(source, encoding) as file, atomic_file(out) as raw, packed_text(raw, out.name) as text:
            row, layout = 0, None
            for piece in pieces(file):
                lines = [line.rstrip("\r\n") for _, line in piece]
                if layout is None:
                    layout = sniff(source, [line for _, line in piece[:SAMPLE_LINES]], header, Choice())
                    _check_delimiter(out, layout)
                    if layout.names:
                        text.write(lines.pop(0) + "\n")
                for line in lines:
                    text.write((_filled(layout, line, of_row[row]) if row in of_row else line) + "\n")
                    row += 1

    with warnings.catch_warnings():  # whoever has read the table has said it
        warnings.simplefilter("ignore")
        in_its_encoding(source, write)


def _check_delimiter(out: pathlib.Path, layout: Layout) -> None:
    if (".tsv" in out.suffixes) != (layout.delimiter == "\t") and (".tsv" in out.suffixes or layout.delimiter == "\t"):
        found = "tabs" if layout.delimiter == "\t" else repr(layout.delimiter or " ")
        raise ValueError(f"--out {out}: the table is cut by {found}; name a {'.tsv' if found == 'tabs' else '.csv'}")


def _filled(layout: Layout, line: str, values: Mapping[int, Any]) -> str:
    cells = layout.cells(line)
    for j, value in values.items():
        cells[j] = str(value).replace(".", ",") if layout.decimal_comma and isinstance(value, float) else str(value)
        if layout.delimiter is None and cells[j].split() != [cells[j]]:
            raise ValueError(f"the table is cut by blanks, and {cells[j]!r} would be no cell of it: save it as .csv")
    return (layout.delimiter or " ").join(_quoted(layout.delimiter, cell) for cell in cells)


def _quoted(delimiter: str | None, cell: str) -> str:
    plain = cell == cell.strip() and '"' not in cell and not cell.startswith("#")
    if delimiter is None or (plain and delimiter not in cell):
        return cell
    return '"' + cell.replace('"', '""') + '"'


def write_filled_parquet(source: pathlib.Path, out: pathlib.Path, cells: Cells) -> None:
    """Write a Parquet file with these cells, its columns of the types that they have in `source`.

    Raises
    ------
    MissingLibraryError
        Neither pyarrow nor polars is there.
    """
    if importlib.util.find_spec("pyarrow"):
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
        table = parquet.read_table(source)
        for j, (rows, values) in cells.items():
            kind, name = table.schema.field(j).type, table.schema.names[j]
            made = _with(table.column(j).to_pylist(), rows, values, arrow.types.is_boolean(kind))
            whole = not arrow.types.is_integer(kind) or all(type(value) is int for value in values)
            array = arrow.array(made, kind) if whole else arrow.array(made, arrow.float64())
            table = table.set_column(j, name, array)
        with atomic_file(out) as file:
            parquet.write_table(table, file)
        return
    if not importlib.util.find_spec("polars"):
        raise MissingLibraryError("writing Parquet needs pyarrow or polars: pip install 'fastvae-engine[parquet]'")
    polars = importlib.import_module("polars")
    frame = polars.read_parquet(source)
    for j, (rows, values) in cells.items():
        series = frame.to_series(j)
        made = _with(series.to_list(), rows, values, series.dtype == polars.Boolean)
        whole = not series.dtype.is_integer() or all(type(value) is int for value in values)
        frame = frame.with_columns(polars.Series(series.name, made, series.dtype if whole else polars.Float64))
    with atomic_file(out) as file:
        frame.write_parquet(file)


def _with(column: list[Any], rows: np.ndarray, values: Sequence[Any], boolean: bool) -> list[Any]:
    for row, value in zip(rows.tolist(), values, strict=True):
        column[row] = str(value).lower() in ("true", "yes", "1") if boolean else value
    return column
