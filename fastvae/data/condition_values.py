"""What users pass as a condition, as an array: labels of one kind, or real numbers; what is refused, and why."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.data.conversion import as_array, column_array, column_names, is_frame, is_of, missing_values
from fastvae.data.device_rows import adopt, is_on_device, on_host
from fastvae.errors import counted


def as_values(condition: Any, name: str) -> tuple[np.ndarray, Any]:
    """A condition as an array of booleans, whole numbers, text or floats, of any dimensions; and the names of its
    columns, where it is a frame."""
    if isinstance(condition, np.ma.MaskedArray) and np.ma.is_masked(condition):
        raise ValueError(f"{name} has {np.ma.count_masked(condition)} masked entries: fill or remove them")
    if is_on_device(condition):
        condition = on_host(adopt(condition, name))
    if is_frame(condition):
        return _of_frame(condition, name)
    if is_of(condition, "pandas", "Series") or is_of(condition, "polars", "Series"):
        array, gone = column_array(condition)
        _refuse_missing(gone, name)
    elif isinstance(condition, np.ndarray | str | bytes | bool | numbers.Number):
        array = np.asarray(condition)
    elif isinstance(condition, Sequence) and all(isinstance(v, str | bytes) or np.ndim(v) == 0 for v in condition):
        array = np.empty(len(condition), object)
        array[:] = condition
    elif _is_text(condition):
        array = np.asarray(condition, object)
    else:
        array = as_array(condition, name)
    return _of_array(array, name), None


def _is_text(condition: Any) -> bool:
    """Whether it becomes an array of text or objects, as a categorical of pandas does."""
    try:
        return np.asarray(condition).dtype.kind in "OUT"
    except (TypeError, ValueError):
        return False


def _of_frame(frame: Any, name: str) -> tuple[np.ndarray, Any]:
    names = column_names(frame)
    label = frame.columns[0] if len(frame.columns) == 1 else None
    try:
        array = as_array(frame, name)
    except TypeError as error:
        if label is None:
            raise
        raise TypeError(f"{name} is a table; labels are one column: pass {name}[{label!r}]") from error
    if label is not None and array.dtype.kind != "f":
        raise TypeError(f"{name} is a table; labels are one column: pass {name}[{label!r}]")
    return _of_array(array, name), names


def _of_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim > 2:
        raise ValueError(f"{name} has shape {array.shape}; labels (N,), or vectors (N, C) of floats, needed")
    if array.size == 0:
        raise ValueError(f"{name} is empty: its shape is {array.shape}")
    kind = array.dtype.kind
    if kind == "O":
        array = _of_objects(array, name)
        kind = array.dtype.kind
    if kind == "T":
        array = array.astype(str)
    elif kind in "iu":
        if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{name} has the label {array.max()}, beyond int64: pass such labels as text")
        array = array.astype(np.int64)
    elif kind == "f":
        array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    elif kind not in "bU":
        hint = f": decode it, {name}.astype(str)" if kind == "S" else ""
        found = f"{name} has dtype {array.dtype}"
        raise TypeError(f"{found}; whole numbers, booleans or text as labels, or floats, needed{hint}")
    return array


def _of_objects(array: np.ndarray, name: str) -> np.ndarray:
    """Python objects, which are all of one kind, as an array of that."""
    flat = array.reshape(-1)
    gone = [v is None or type(v).__name__ in ("NAType", "NaTType") or (isinstance(v, numbers.Real) and v != v)
            for v in flat]  # fmt: skip
    kinds = [_kind(value) for value in flat]
    if not all(kind == "f" for kind in kinds):  # NaN among numbers is found with its column
        _refuse_missing(np.array(gone), name)
    found = set(kinds)
    if found == {"f", "i"}:
        found = {"f"}
    if len(found) > 1 or None in found:
        first = next((i for i, kind in enumerate(kinds) if kind is None), None)
        if first is None:
            other = next(i for i, kind in enumerate(kinds) if kind != kinds[0])
            what = f"{type(flat[0]).__name__} {flat[0]!r} at row 0, {type(flat[other]).__name__} {flat[other]!r} at "
            raise TypeError(f"{name} mixes kinds ({what}row {other}): make them all of one kind, such as text")
        raise TypeError(
            f"{name} has a {type(flat[first]).__name__} at row {first}; whole numbers, booleans or text as labels, or "
            "floats, needed"
        )
    try:
        return array.astype({"b": bool, "i": np.int64, "U": str, "f": np.float64}[str(found.pop())])
    except OverflowError:
        raise ValueError(f"{name} has whole numbers beyond int64: pass such labels as text") from None


def _kind(value: Any) -> str | None:
    for types, kind in (((bool, np.bool_), "b"), (str, "U"), (numbers.Integral, "i"), (numbers.Real, "f")):
        if isinstance(value, types):
            return kind
    return None


def _refuse_missing(gone: np.ndarray | None, name: str) -> None:
    if gone is not None and gone.any():
        first = int(np.argmax(gone))
        raise ValueError(f"{name} has {missing_values(int(gone.sum()))} (first: row {first}): fill or remove them")


def check_count(values: np.ndarray, count: int | None, name: str) -> None:
    """Raise `ValueError` unless there are so many rows; None for any number."""
    if count is not None and len(values) != count:
        raise ValueError(
            f"{name} has {counted(len(values), 'row')} (shape {values.shape}); {count} needed, one for each"
        )


def flattened(values: np.ndarray, name: str, begin: str = ": pass ") -> str:
    """What to do about a single column that came as a table: the end of a message; "" where it is none."""
    return f"{begin}{name}.ravel()" if values.ndim > 1 and 1 in values.shape else ""


def for_all(rows: np.ndarray, count: int | None) -> np.ndarray:
    """One row (1, C) as that of each of so many."""
    return np.repeat(rows, 1 if count is None else count, axis=0)
