"""A table whose columns may be of different kinds: numbers, words, some of them missing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastvae.data.arrays import valid_names
from fastvae.errors import DataFileError, counted

NUMBER, YES_NO, TEXT = "number", "yes/no", "text"
YES = {"true": True, "false": False, "yes": True, "no": False}
PAIRS = ({"true", "false"}, {"yes", "no"})


class Table(Mapping[str, np.ndarray]):
    """Columns by name, each (N,): float64 with NaN where a number is missing, or text, objects, with None.

    As a mapping it is as long as it has columns; `rows` says how many rows there are.

    Parameters
    ----------
    columns
        Name to values, all equally many.
    name
        What messages call it: that of the file.
    ids : (N,) array of str, optional
        Names of the rows, from a column `id_name`, which is none of the columns.
    named
        Whether the names are those of a header; otherwise they are "column 1", ...
    remarks
        What should be known of how it was read, lines for the user.

    Raises
    ------
    ValueError
        The columns differ in length.
    """

    def __init__(
        self,
        columns: Mapping[str, Any],
        *,
        name: str = "table",
        ids: np.ndarray | None = None,
        id_name: str | None = None,
        named: bool = True,
        remarks: Sequence[str] = (),
    ):
        self._columns = {key: as_column(values) for key, values in columns.items()}
        lengths = {key: len(values) for key, values in self._columns.items()}
        if len(set(lengths.values())) > 1:
            short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
            raise ValueError(
                f"{name}: the columns differ in length: {long!r} has {lengths[long]} rows, {short!r} {lengths[short]}"
            )
        self.name, self.named, self.remarks = name, named, tuple(remarks)
        self.ids = None if ids is None else np.asarray(ids)
        self.id_name = id_name
        self.rows = next(iter(lengths.values()), 0 if self.ids is None else len(self.ids))
        if self.ids is not None and self.ids.shape != (self.rows,):
            raise ValueError(f"{name}: {counted(len(self.ids), 'name')} of rows for {counted(self.rows, 'row')}")

    def __getitem__(self, column: str) -> np.ndarray:
        try:
            return self._columns[column]
        except KeyError:
            raise KeyError(f"{self.name} has no column {column!r}; {valid_names(column, self._columns)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"<Table {self.name!r}: {counted(self.rows, 'row')}, {', '.join(map(repr, self._columns))}>"

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self._columns)

    def kind(self, column: str) -> str:
        """What a column holds: "number", "yes/no" (true and false, or yes and no, in any case) or "text"."""
        values = self[column]
        if values.dtype.kind != "O":
            return NUMBER
        words = {str(value).lower() for value in set(values.tolist()) if value is not None}
        return YES_NO if words and any(words <= pair for pair in PAIRS) else TEXT

    def missing(self, column: str) -> np.ndarray:
        """Where a value is missing (N,) bool."""
        values = self[column]
        return np.isnan(values) if values.dtype.kind == "f" else np.array([value is None for value in values], bool)

    def select(self, columns: Iterable[str]) -> "Table":
        """These columns, in this order."""
        return self._with({column: self._found(column, "columns") for column in columns})

    def drop(self, columns: Iterable[str]) -> "Table":
        """All columns but these."""
        gone = set(columns)
        for column in gone:
            self._found(column, "drop")
        return self._with({column: values for column, values in self.items() if column not in gone})

    def take(self, rows: Any) -> "Table":
        """Some rows: their places, a mask, or a slice."""
        ids = None if self.ids is None else self.ids[rows]
        return self._with({column: values[rows] for column, values in self.items()}, ids)

    def numbers(self) -> np.ndarray:
        """All columns side by side, (N, D) float64.

        Raises
        ------
        DataFileError
            A column is no number, or a number is missing: which.
        """
        for column in self:
            if self[column].dtype.kind == "O":
                example = next((value for value in self[column] if value is not None), "nothing but missing values")
                raise DataFileError(f"{self.name}: the column {column!r} holds text (first: {example!r}); leave it out "
                                    "(--drop), or choose it as labels")  # fmt: skip
        X = np.empty((self.rows, len(self)))
        for j, values in enumerate(self.values()):
            X[:, j] = values
        gone = np.isnan(X)
        if gone.any():
            row, j = (int(i) for i in np.argwhere(gone)[0])
            raise DataFileError(f"{self.name}: {counted(int(gone.sum()), 'number')} missing (first: row {row + 1}, "
                                f"column {self.columns[j]!r}); fill or remove them")  # fmt: skip
        return X

    def _found(self, column: str, option: str) -> np.ndarray:
        if column not in self._columns:
            raise DataFileError(f"{self.name}: {option}={column!r} is no column; {valid_names(column, self._columns)}")
        return self._columns[column]

    def _with(self, columns: Mapping[str, np.ndarray], ids: np.ndarray | None = None) -> "Table":
        return Table(
            columns,
            name=self.name,
            ids=self.ids if ids is None else ids,
            id_name=self.id_name,
            named=self.named,
            remarks=self.remarks,
        )


def as_column(values: Any) -> np.ndarray:
    """Values (N,) as a column of a table: float64, or text as objects, with None."""
    array = values if isinstance(values, np.ndarray) else np.asarray(values, object)
    if array.ndim != 1:
        raise ValueError(f"a column is 1-D, not of shape {array.shape}")
    if array.dtype.kind in "uif":
        return array.astype(np.float64, copy=False)
    if array.dtype.kind == "b":
        return np.array(["true" if value else "false" for value in array], object)
    out = np.empty(len(array), object)
    out[:] = [None if value is None else str(value) for value in array]
    return out
