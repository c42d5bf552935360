"""Columns of a mixed table as a user has them again: of the dtype, categories and labels that they came with."""

import re
from typing import Any

import numpy as np

INTEGER = re.compile(r"(?P<sign>u?)int(?P<bits>8|16|32|64)$", re.IGNORECASE)


def within(dtype: str, values: np.ndarray) -> np.ndarray:
    """The nearest values (N,) that an integer dtype has, where it is one."""
    found = INTEGER.match(dtype)
    if found is None:
        return values
    ends = np.iinfo(dtype.lower())
    low, high = float(ends.min), float(ends.max)
    return np.clip(values, low, high if int(high) <= ends.max else np.nextafter(high, 0.0))


def given_back(column: Any, values: np.ndarray) -> np.ndarray:
    """Values (N,) of the model of a `fastvae.data.columns.Column` as the user's: an array of numbers, or of objects;
    NaN and None are missing."""
    if not column.levels:
        return np.rint(values) if column.whole else values
    out, missing = np.empty(len(values), object), np.isnan(values)
    levels = np.empty(len(column.levels), object)
    levels[:] = column.levels
    out[~missing] = levels[values[~missing].astype(int)]
    out[missing] = None
    if not missing.any() and all(isinstance(level, int | float | bool) for level in column.levels):
        return np.array(out.tolist())
    return out


def pandas_series(pandas: Any, column: Any, values: np.ndarray, index: Any) -> Any:
    """A series of what `given_back` has made."""
    dtype: str = column.dtype
    if dtype.startswith("category"):
        categories = list(column.categories or column.levels)
        made = pandas.Categorical(values, categories=categories, ordered=column.ordered)
        return pandas.Series(made, index=index)
    gone = np.array([value is None for value in values]) if values.dtype.kind == "O" else np.isnan(values * 1.0)
    if gone.any() and dtype.startswith(("int", "uint")):
        dtype = dtype.replace("int", "Int").replace("uInt", "UInt")
    elif gone.any() and dtype == "bool":
        dtype = "boolean"
    known = values[~gone]
    if column.whole and dtype == "object":
        values = np.array([None if empty else int(value) for value, empty in zip(values, gone, strict=True)], object)
    elif column.whole and not np.array_equal(within(dtype, known), known):  # a table that has larger values than ever
        dtype = "Int64" if gone.any() else "int64"
    try:
        return pandas.Series(values, index=index).astype(dtype)
    except (TypeError, ValueError):  # a dtype of this frame alone
        return pandas.Series(values, index=index)


def polars_series(polars: Any, column: Any, values: np.ndarray) -> Any:
    """A series of what `given_back` has made."""
    kinds = {"Boolean": polars.Boolean, "String": polars.String, "Categorical": polars.Categorical}
    dtype = kinds.get(column.dtype.split("(")[0])
    if column.dtype.startswith("Enum"):
        dtype = polars.Enum(list(column.categories or column.levels))
    if dtype is None:
        dtype = getattr(polars, column.dtype, None)
    listed = [None if value is None or value != value else value for value in values.tolist()]
    return polars.Series(column.name, listed, strict=False).cast(dtype) if dtype else polars.Series(column.name, listed)
