"""Parquet files, by whichever of pyarrow, polars and pandas is there (extra `parquet`)."""

import importlib
import importlib.util
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastvae.data.conversion import column_array
from fastvae.data.files import access, regular_file
from fastvae.data.frame import Table
from fastvae.data.layout import Choice, Column
from fastvae.errors import DataFileError, MissingLibraryError

START = b"PAR1"
_NEEDED = "needs pyarrow, polars or pandas: pip install 'fastvae-engine[parquet]'"
_MOST_WHOLE = 1 << 53  # beyond which float64 does not hold every whole number


def read_parquet(
    path: str | os.PathLike[str],
    columns: Sequence[Column] | None = None,
    drop: Sequence[Column] = (),
    ids: Column | None = None,
) -> Table:
    """Read a table from a Parquet file, only the columns that are wanted; the arguments as `fastvae.data.tables`
    `.load_text` has them.

    Numbers become float64, booleans the words true and false; text and categories are text; null is missing.

    Raises
    ------
    MissingLibraryError
        None of the libraries is there that can read it.
    FileAccessError
        The file cannot be read.
    DataFileError
        It is no Parquet file, or damaged; a column holds dates, lists or structures, or whole numbers that float64
        does not hold.
    """
    path = regular_file(path)
    names, read = _reader(path)
    choice = Choice(None, (), None if columns is None else tuple(columns), tuple(drop), ids)
    kept, used = choice.places(path, names, len(names))
    wanted = [names[j] for j in dict.fromkeys((*used, *kept))]
    found = read(wanted)
    values = {names[j]: _column(path, names[j], found[names[j]]) for j in used}
    if not len(found[wanted[0]]):
        raise DataFileError(f"{path}: holds no rows, only the columns {', '.join(map(repr, names[:10]))}")
    name_of_rows = None if ids is None else names[kept[0]]
    rows = None if name_of_rows is None else np.array([str(value) for value in found[name_of_rows].to_list()])
    return Table(values, name=path.name, ids=rows, id_name=name_of_rows)


def names_of(path: pathlib.Path) -> list[str]:
    """The names of the columns of a Parquet file; raises as `read_parquet` does."""
    return _reader(path)[0]


def _reader(path: pathlib.Path) -> tuple[list[str], Callable[[list[str]], Mapping[str, Any]]]:
    """The names of the columns, and what reads some of them: series of polars or pandas, or of pyarrow."""
    with access(path), open(path, "rb") as file:
        if file.read(len(START)) != START:
            raise DataFileError(f"{path}: no Parquet file; save or fetch it again")
    for module, opener in (("polars", _by_polars), ("pyarrow.parquet", _by_pyarrow), ("pandas", _by_pandas)):
        if not importlib.util.find_spec(module.split(".")[0]):
            continue
        try:
            return opener(importlib.import_module(module), path)
        except ImportError:  # pandas reads Parquet by another library, which may not be there
            continue
        except (OSError, DataFileError):
            raise
        except Exception as error:  # of the library, each its own
            reason = " ".join(str(error).split())[:160]
            raise DataFileError(f"{path}: not a readable Parquet file ({reason}); save or fetch it again") from None
    raise MissingLibraryError(f"{path}: a Parquet file {_NEEDED}; or save it as .csv")


def _by_polars(polars: Any, path: pathlib.Path) -> tuple[list[str], Callable[[list[str]], Mapping[str, Any]]]:
    names = list(polars.read_parquet_schema(path))
    return names, lambda wanted: polars.read_parquet(path, columns=wanted)


def _by_pyarrow(parquet: Any, path: pathlib.Path) -> tuple[list[str], Callable[[list[str]], Mapping[str, Any]]]:
    names = list(parquet.read_schema(path).names)
    return names, lambda wanted: {
        name: _Arrow(column) for name, column in zip(wanted, parquet.read_table(path, columns=wanted), strict=True)
    }


def _by_pandas(pandas: Any, path: pathlib.Path) -> tuple[list[str], Callable[[list[str]], Mapping[str, Any]]]:
    whole = pandas.read_parquet(path)
    return [str(name) for name in whole.columns], lambda wanted: {
        str(name): whole.iloc[:, j] for j, name in enumerate(whole.columns) if str(name) in wanted
    }


class _Arrow:
    """A column of pyarrow, as the series of polars and pandas are used here."""

    def __init__(self, column: Any):
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def to_list(self) -> list[Any]:
        return self.column.to_pylist()

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        types = importlib.import_module("pyarrow").types
        kind = self.column.type
        gone = self.column.is_null().to_numpy()
        if types.is_decimal(kind):
            return self.column.cast("float64").to_numpy(), gone
        if types.is_integer(kind) and gone.any():
            return self.column.fill_null(0).to_numpy(), gone
        if types.is_primitive(kind) and not types.is_boolean(kind):
            return self.column.to_numpy(), gone
        values = np.empty(len(self.column), object)
        values[:] = self.to_list()
        if types.is_boolean(kind):
            values[gone] = False
            return values.astype(bool), gone
        return values, gone


def _column(path: pathlib.Path, name: str, column: Any) -> np.ndarray:
    """A column as a table has it: see `read_parquet`."""
    values, gone = column.values() if isinstance(column, _Arrow) else column_array(column)
    if gone is None:
        gone = np.zeros(len(values), bool)
    where = f"{path}: the column {name!r}"
    if values.dtype.kind in "iu" and len(values) and max(-int(values.min()), int(values.max())) > _MOST_WHOLE:
        raise DataFileError(
            f"{where} holds whole numbers beyond 2^53, which float64 does not hold: if they name the rows, say so "
            "(--id), or leave the column out (--drop)"
        )
    if values.dtype.kind in "iuf":
        out = values.astype(np.float64)
        out[gone] = np.nan
        if np.isinf(out).any():
            row = int(np.flatnonzero(np.isinf(out))[0])
            raise DataFileError(f"{where}, row {row + 1}: {out[row]} is not finite; correct or remove it")
        return out
    words = np.empty(len(values), object)
    if values.dtype.kind == "b":
        words[:] = ["true" if value else "false" for value in values]
    else:
        present = values[~gone]
        if values.dtype.kind not in "OUT" or not all(isinstance(value, str | int | float) for value in present):
            kind = "dates or times" if values.dtype.kind in "mM" else type(present[0]).__name__ if len(present) else "?"
            raise DataFileError(
                f"{where} holds neither numbers nor text ({kind}); make numbers of it, such as seconds, or leave it "
                "out (--drop)"
            )
        words[:] = [str(value) for value in values]
    words[gone] = None
    return words


def write_parquet(file: Any, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns into an open file: numbers in their dtype, text with None as null.

    Raises
    ------
    MissingLibraryError
        None of the libraries is there that can write it.
    """
    check_parquet()
    if importlib.util.find_spec("polars"):
        polars = importlib.import_module("polars")
        polars.DataFrame({k: polars.Series(k, _plain(v), strict=True) for k, v in columns.items()}).write_parquet(file)
        return
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    parquet.write_table(arrow.table({k: arrow.array(_plain(v)) for k, v in columns.items()}), file)


def _plain(values: np.ndarray) -> Any:
    return values if values.dtype.kind in "buif" else values.tolist()


def check_parquet() -> None:
    """Raise `MissingLibraryError` where no Parquet file can be written."""
    if not any(importlib.util.find_spec(name) for name in ("polars", "pyarrow")):
        raise MissingLibraryError("writing Parquet needs pyarrow or polars: pip install 'fastvae-engine[parquet]'")
