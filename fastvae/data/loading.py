"""How a name or a path becomes a data set."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.data import parquet
from fastvae.data.arrays import load_npy, load_npz
from fastvae.data.dataset import DataSet, side_by_side
from fastvae.data.digits import load_digits
from fastvae.data.files import access, regular_file
from fastvae.data.frame import Table
from fastvae.data.idx import load_idx
from fastvae.data.layout import Choice, Column, place_of
from fastvae.data.lines import PACKED_START, is_text
from fastvae.data.tables import as_labels, load_text, names_of
from fastvae.data.text_columns import read_text
from fastvae.errors import DataFileError, FileAccessError, closest

NAMES = ("digits", "mnist")
LABELS = "labels"  # the condition that a data set's own labels are
TABLES = ("text", "parquet")
_KIND_OF_SUFFIX = {".npy": "npy", ".npz": "npz", ".parquet": "parquet"}
_KIND_OF_START = {b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"PK\x05\x06": "npz", b"\x1f\x8b": "idx", b"\0\0": "idx"}
_KIND_OF_START |= {parquet.START: "parquet"} | dict.fromkeys(PACKED_START, "text")


def load(
    name_or_path: str | os.PathLike[str],
    array: str | None = None,
    labels: str | int | None = None,
    progress: bool | None = None,
    header: str | bool = "auto",
    condition: Sequence[str | int] | None = None,
    columns: Sequence[Column] | None = None,
    drop: Sequence[Column] = (),
    ids: Column | None = None,
) -> DataSet:
    """Load a data set by name or from a file.

    Parameters
    ----------
    name_or_path : str or PathLike
        "digits" (built in), "mnist" (downloaded once), or the path of a `.npy`, `.npz`, `.csv`, `.tsv`, `.txt` (these
        three also packed: `.csv.gz`, `.bz2`, `.xz`, `.zip`), `.parquet` or IDX file. A file that is called like a data
        set is reached as `./mnist`. What a suffix does not tell, the first bytes do.
    array : str, optional
        The array of an `.npz` that holds the examples.
    labels : str or int, optional
        The array of an `.npz`, or the column of a table, that holds the labels. A column is its name or its
        number, from 1; -1 is the last.
    progress : bool, optional
        False keeps the download of "mnist" quiet.
    header : "auto", "yes" or "no", or a bool
        Whether the first line of a text table names its columns: see `fastvae.data.tables.load_text`.
    condition : sequence of str or int, optional
        What a conditional model is given: ["labels"], those of the data set; or the arrays of an `.npz`, or the columns
        of a table, which are then none of the examples.
    columns, drop : sequence of str or int, optional
        Of a table: the columns that are the examples, in this order, or those that are left out.
    ids : str or int, optional
        Of a table: a column that names the rows, and is none of the examples.

    Returns
    -------
    DataSet

    Raises
    ------
    FileAccessError
        The file is missing or unreadable, or MNIST could not be downloaded.
    DataFileError
        The content is not what it should be.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"a data set is a name or a path, not {type(name_or_path).__name__}")
    names = () if condition is None else tuple(condition)
    text = os.fsdecode(name_or_path)
    if name_or_path in NAMES:
        if names == (LABELS,):
            return _conditioned_by_labels(load(name_or_path, progress=progress))
        if names:
            raise ValueError(f"condition={list(names)} chooses within a file; {text!r} has its labels: {LABELS!r}")
        if array is not None or labels is not None or header != "auto":
            raise ValueError(f"array, labels and header choose within a file; {text!r} comes with its own")
        if columns is not None or drop or ids is not None:
            raise ValueError(f"columns, drop and ids choose within a table; {text!r} is none")
        if text == "digits":
            return load_digits()
        from fastvae.data.mnist import load_mnist  # it alone needs the network, whose modules take long to import

        return load_mnist(progress=progress)
    path = _found(text)
    kind = _kind(path)
    if array is not None and kind != "npz":
        raise DataFileError(f"{path}: array={array!r} chooses within an .npz; this file holds one array")
    if labels is not None and kind not in ("npz", *TABLES):
        raise DataFileError(f"{path}: labels={labels!r} chooses within an .npz or a table; this file is neither")
    chosen = (("columns", columns), ("drop", drop or None), ("ids", ids))
    for option, value in chosen:
        if value is not None and kind not in TABLES:
            raise DataFileError(f"{path}: {option}={value!r} chooses within a table; this file is none")
    choice: dict[str, Any] = {"columns": columns, "drop": drop, "ids": ids}
    if names == (LABELS,) and (kind == "npz" or labels is not None):
        return _conditioned_by_labels(load(path, array, labels, header=header, **choice))
    if names and kind not in ("npz", *TABLES):
        raise DataFileError(f"{path}: a condition is an array of an .npz or a column of a table; it is neither")
    if header != "auto" and kind != "text":
        raise DataFileError(f"{path}: header={header!r} is for text tables; this file is none")
    if kind == "idx":
        return load_idx(path)
    if kind == "npy":
        return load_npy(path)
    if kind == "npz":
        return load_npz(path, array, None if labels is None else str(labels), tuple(map(str, names)))
    if kind == "parquet":
        return _numbers(path, Choice(labels, names, None if columns is None else tuple(columns), tuple(drop), ids))
    return load_text(path, labels, header, names, **choice)


def load_table(
    path: str | os.PathLike[str],
    header: str | bool = "auto",
    columns: Sequence[Column] | None = None,
    drop: Sequence[Column] = (),
    ids: Column | None = None,
    text: Sequence[Column] = (),
) -> Table:
    """Load a table whose columns may be numbers, words, or missing here and there, from a text table (packed or not) or
    a Parquet file; the arguments as `load` has them. `text`: columns of a text table that stay text, whatever they
    hold.

    Raises
    ------
    FileAccessError
        The file is missing or unreadable.
    DataFileError
        The content is not what it should be.
    """
    path = _found(os.fsdecode(path))
    kind = _kind(path)
    if kind == "text":
        return read_text(path, header, columns, drop, ids, text)
    if kind != "parquet":
        raise DataFileError(f"{path}: no table, but {kind.upper()}; tables are text (.csv, packed or not) or .parquet")
    return parquet.read_parquet(path, columns, drop, ids)


def is_table(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether it is a file whose columns `load_table` would read."""
    return name_or_path not in NAMES and _kind(_found(os.fsdecode(name_or_path))) in TABLES


def column_names(
    name_or_path: str | os.PathLike[str], header: str | bool = "auto", chosen: Sequence[Column] = ()
) -> list[str] | None:
    """The names of a table's columns, without reading the table; None where it is none, or has no header. `chosen`:
    columns that are asked for. Raises as `load` does."""
    if not is_table(name_or_path):
        return None
    names, named = all_names(name_or_path, header, chosen)
    return names if named else None


def all_names(
    path: str | os.PathLike[str], header: str | bool = "auto", chosen: Sequence[Column] = ()
) -> tuple[list[str], bool]:
    """The names of the columns of a file that is a table, "column 1", ... where they have none, and whether it says
    names itself; as `column_names`."""
    path = _found(os.fsdecode(path))
    return (parquet.names_of(path), True) if _kind(path) == "parquet" else names_of(path, header, chosen)


def _found(text: str) -> pathlib.Path:
    """The file of that name."""
    is_bare = not pathlib.Path(text).suffix and not any(c in text for c in "/\\\0")
    if is_bare and not os.path.lexists(text):
        raise FileAccessError(f"{text!r} is neither a data set nor a file: {closest(text, NAMES)}, or a path")
    return regular_file(text)


def _numbers(path: pathlib.Path, choice: Choice) -> DataSet:
    """A Parquet file whose columns are numbers, but for labels and a condition."""
    names = parquet.names_of(path)

    def name(column: Column, option: str) -> str:
        return names[place_of(path, names, len(names), column, option)]

    kept, used = choice.places(path, names, len(names))
    ids = None if choice.ids is None else name(choice.ids, "ids")
    wanted = [names[j] for j in (*used, *kept) if names[j] != ids]
    table = parquet.read_parquet(path, columns=wanted, ids=ids)

    labels = None if choice.labels is None else labels_of(table[name(choice.labels, "labels")])
    conditions = {str(c): labels_of(table[name(c, "condition")]) for c in choice.condition}
    beside = side_by_side(list(conditions.values()), list(conditions), path) if conditions else None
    examples = table.select(names[j] for j in used)
    dataset = DataSet.from_arrays(path.name, examples.numbers(), labels, where=path)
    return dataclasses.replace(dataset, column_names=examples.columns, condition=beside, ids=table.ids)


def labels_of(column: np.ndarray) -> np.ndarray:
    """A column of a `Table` as labels, or as a condition: whole numbers, else others, else text; "" where one is
    missing, a number too as text then."""
    if column.dtype.kind != "f":
        return as_labels(["" if value is None else value for value in column])
    missing = np.isnan(column)
    whole = (column[~missing] == np.rint(column[~missing])).all()
    if missing.any():
        return np.array(["" if value != value else str(int(value) if whole else value) for value in column.tolist()])
    return column.astype(np.int64) if whole else column


def _conditioned_by_labels(data: DataSet) -> DataSet:
    if data.labels is None:
        raise DataFileError(f"{data.name}: it has no labels that could be the condition; name them, labels= (--labels)")
    return dataclasses.replace(data, condition=data.labels, condition_heldout=data.labels_heldout)


def _kind(path: pathlib.Path) -> str:
    if is_text(path):
        return "text"
    if path.suffix.lower() in _KIND_OF_SUFFIX:
        return _KIND_OF_SUFFIX[path.suffix.lower()]
    with access(path), open(path, "rb") as file:
        start = file.read(8)
    for magic, kind in _KIND_OF_START.items():
        if start.startswith(magic):
            return kind
    # A damaged IDX file should be told so, not be taken for a table.
    return "idx" if any(word in path.name.lower() for word in ("idx", "ubyte", ".gz")) else "text"
