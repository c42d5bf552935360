"""The columns of whatever is a table: a frame of pandas or polars, a mapping of names to columns, an array."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastvae.data.conversion import column_array, is_frame, is_missing, is_of
from fastvae.errors import UnusableTypeError

EXACT = 2.0**53  # below which float64 has every whole number
Values = tuple[np.ndarray, np.ndarray, str]  # of a column: values, which are missing, and the name of its dtype


def columns_of(X: Any, name: str) -> tuple[str, list[tuple[str, Values]]]:
    """What a table is, "pandas", "polars", "mapping" or "array", and its columns by name.

    Raises
    ------
    ValueError, TypeError
        It is no table: what it is, and what to do.
    """
    if hasattr(X, "toarray"):  # some are mappings, too
        raise TypeError(f"{name} is a sparse {type(X).__name__}: pass {name}.toarray()")
    if is_of(X, "polars", "DataFrame"):
        found = [(column.name, _values(column, str(column.dtype))) for column in X.get_columns()]
        return _checked("polars", found, name)
    if is_frame(X):
        found = [(str(label), _values(X.iloc[:, j], str(X.dtypes.iloc[j]))) for j, label in enumerate(X.columns)]
        return _checked("pandas", found, name, len(X))
    if isinstance(X, Mapping):
        found = [(str(label), _array_values(label, values)) for label, values in X.items()]
        return _checked("mapping", found, name)
    array = X if isinstance(X, np.ndarray) else _as_matrix(X, name)
    if array.ndim != 2:
        raise ValueError(
            f"{name} has shape {array.shape}, {array.ndim}-D; expected 2-D (examples, columns): a frame, a dict of "
            "columns, or an array. Reshape your data: one example with .reshape(1, -1)"
        )
    if array.dtype.kind == "c":
        raise UnusableTypeError(
            f"{name} has dtype {array.dtype}, complex numbers (Complex data not supported): pass its parts as columns"
        )
    if array.dtype.kind not in "buifOUS":
        raise UnusableTypeError(f"{name} has dtype {array.dtype}; expected numbers, or objects of a table's columns")
    found = [(str(j), _array_values(j, array[:, j])) for j in range(array.shape[1])]
    return _checked("array", found, name, len(array))


def as_declared(X: Any, container: str, j: int) -> dict[str, Any]:
    """What a frame says of column j beside its values: "categories", all of them in order, and whether they are
    "ordered", where it has such that can be kept in a file; a "label" that is a whole number."""
    said: dict[str, Any] = {}
    if container == "polars":
        dtype = X.dtypes[j]
        if str(dtype).startswith("Enum"):
            said["categories"] = tuple(dtype.categories.to_list())
    elif container == "pandas":
        label, dtype = X.columns[j], X.dtypes.iloc[j]
        if isinstance(label, int | np.integer) and not isinstance(label, bool) and 0 <= label <= EXACT:
            said["label"] = int(label)
        if str(dtype) == "category":
            categories = tuple(dtype.categories.tolist())
            if all(isinstance(value, str | int | float | bool) for value in categories):
                said |= {"categories": categories, "ordered": bool(dtype.ordered)}
    return said


def written_columns(X: Any) -> list[np.ndarray]:
    """The columns of a table as a file has them: whole numbers as such, true and false as words, None or NaN where a
    value is missing."""
    return [_written(values, missing) for _, (values, missing, _) in columns_of(X, "X")[1]]


def _written(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    present = values[~missing]
    out = np.full(len(values), None, object)
    if all(isinstance(value, bool | np.bool_) for value in present.tolist()):
        out[~missing] = ["true" if value else "false" for value in present]
        return out
    if values.dtype.kind == "f" and (present == np.rint(present)).all() and (np.abs(present) < EXACT).all():
        if not missing.any():
            return values.astype(np.int64)
        out[~missing] = [int(value) for value in present]
        return out
    if values.dtype.kind in "OUST" or (missing.any() and values.dtype.kind in "iu"):
        out[~missing] = present
        return out
    return np.where(missing, np.nan, values) if values.dtype.kind == "f" and missing.any() else values


def _as_matrix(X: Any, name: str) -> np.ndarray:
    if isinstance(X, str | bytes) or X is None or isinstance(X, numbers.Number):
        raise TypeError(f"{name} is {X!r}: pass a frame, a dict of columns, or an array")
    try:
        array = np.asarray(X)
        return array if array.dtype.kind in "buif" else np.asarray(X, dtype=object)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise TypeError(f"{name} ({type(X).__name__}) cannot be read as a table: {reason}") from None


def _checked(
    container: str, found: list[tuple[str, Values]], name: str, rows_if_empty: int = 0
) -> tuple[str, list[tuple[str, Values]]]:
    labels = [label for label, _ in found]
    if not found:
        raise ValueError(
            f"{name} is empty: 0 feature(s) (shape=({rows_if_empty}, 0)) while a minimum of 1 is required."
        )
    twice = [label for i, label in enumerate(labels) if label in labels[:i]]
    if twice:
        raise ValueError(f"{name} has two columns of the name {twice[0]!r}: rename one")
    rows = {label: len(values[0]) for label, values in found}
    if len(set(rows.values())) > 1:
        other = next(label for label in labels if rows[label] != rows[labels[0]])
        raise ValueError(
            f"{name} has columns of different lengths: {labels[0]!r} has {rows[labels[0]]} rows, {other!r} has "
            f"{rows[other]}"
        )
    if rows[labels[0]] == 0:
        raise ValueError(f"{name} is empty: 0 sample(s) (shape=(0, {len(found)})) while a minimum of 1 is required.")
    return container, found


def _values(series: Any, dtype: str) -> Values:
    values, gone = column_array(series)
    if dtype == "object" and values.dtype.kind == "f" and gone is not None:
        own = series.to_numpy()
        if all(isinstance(value, int | np.integer) and abs(int(value)) <= EXACT for value in own[~gone]):
            values = np.where(gone, 0, own).astype(np.int64)
    return _with_missing(values, gone, dtype)


def _array_values(label: Any, values: Any) -> Values:
    array = np.asarray(values) if not isinstance(values, np.ndarray) else values
    made = not isinstance(values, np.ndarray) and isinstance(values, Sequence)
    if array.dtype.kind not in "buifOUSMm" or (made and array.dtype.kind in "US"):  # NumPy makes NaN a text
        array = np.asarray(values, dtype=object)
    if array.ndim != 1:
        raise ValueError(f"column {label!r} has shape {array.shape}; expected 1-D, one value a row")
    return _with_missing(array, None, str(array.dtype))


def _with_missing(values: np.ndarray, gone: np.ndarray | None, dtype: str) -> Values:
    missing = np.zeros(len(values), bool) if gone is None else np.asarray(gone, bool).copy()
    if values.dtype.kind == "f":
        missing |= np.isnan(values)
    elif values.dtype.kind in "OT":
        missing |= np.array([is_missing(value) for value in values], bool)
    return values, missing, dtype
