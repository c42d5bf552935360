"""Tables that commands write: .csv or .tsv, also packed (.gz), and .parquet; each whole or not at all."""

import contextlib
import gzip
import io
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file
from fastvae.data.parquet import check_parquet, write_parquet

PARQUET = ".parquet"
ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", PARQUET)
_ROWS = 4096  # written at a time
_QUOTE = re.compile(r'[",;\t\r\n]|^\s|\s$|^#')


def is_table(path: pathlib.Path) -> bool:
    """Whether a file of that name is to be a table."""
    return path.name.lower().endswith(ENDINGS)


def check_ending(option: str, path: pathlib.Path, others: Sequence[str] = ()) -> None:
    """Raise `ValueError` where the name has neither an ending of a table nor one of some others, or a library is
    missing that the table needs."""
    if not is_table(path) and path.suffix not in others:
        valid = ", ".join((*others, *ENDINGS))
        raise ValueError(f"{option} {path}: the ending {path.suffix!r} is not known; valid: {valid}")
    if path.name.lower().endswith(PARQUET):
        check_parquet()


def write_table(path: pathlib.Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns of one length, by name.

    Numbers are written as the shortest text that reads back as the same number of their dtype (text), or in their
    dtype (Parquet); what is missing, NaN or None, is an empty cell, or null among text in Parquet.
    """
    name = path.name.lower()
    with atomic_file(path) as file:
        if name.endswith(PARQUET):
            write_parquet(file, columns)
        else:
            with packed_text(file, name) as text:
                _write_text(text, name.removesuffix(".gz"), columns)


@contextlib.contextmanager
def packed_text(file: Any, name: str) -> Iterator[io.TextIOWrapper]:
    """Text that goes into an open file, packed where the name of that ends in .gz."""
    with contextlib.ExitStack() as stack:
        if name.lower().endswith(".gz"):
            file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()


def _write_text(text: Any, name: str, columns: Mapping[str, np.ndarray]) -> None:
    delimiter = "\t" if name.endswith(".tsv") else ","
    text.write(delimiter.join(map(_cell, columns)) + "\n")
    rows = len(next(iter(columns.values())))
    for start in range(0, rows, _ROWS):
        cells = (_cells(values[start : start + _ROWS]) for values in columns.values())
        text.writelines(delimiter.join(row) + "\n" for row in zip(*cells, strict=True))


def _cells(values: np.ndarray) -> Iterator[str]:
    if values.dtype.kind == "f":
        # of float64 Python's own numbers have the same text, sooner
        numbers = values.tolist() if values.dtype == np.float64 else values
        return ("" if value != value else str(value) for value in numbers)
    if values.dtype.kind in "biu":
        return map(str, values.tolist())
    return ("" if value is None or value != value else _cell(str(value)) for value in values.tolist())


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTE.search(text) else text


def numbered(stem: str, count: int) -> list[str]:
    """Names of columns that have none: stem0, stem1, ..."""
    return [f"{stem}{i}" for i in range(count)]
