"""What users pass becomes an array; where it cannot, what to do instead. Frames are those of pandas and polars, which
are looked for among the modules that are there already, and never imported.
"""

import decimal
import itertools
import numbers
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from fastvae.errors import UnusableTypeError, counted

SHOWN = 5  # names in a message
EXAMINED = 1000  # objects of an array, to say what they are


class Encoded(np.ndarray):
    """Rows (N, D) as a model of mixed tables reads them: numbers, whatever the columns hold, NaN where a value is
    missing. Made by `fastvae.data.columns`, which has looked at all values."""


def is_of(X: object, module: str, *names: str) -> bool:
    """Whether X is of one of these classes of a module, which is not imported for it."""
    found = sys.modules.get(module)
    return any(isinstance(X, getattr(found, name, ())) for name in names)


def is_frame(X: object) -> bool:
    """Whether X is a table of pandas or polars."""
    if isinstance(X, np.ndarray):
        return False
    return is_of(X, "pandas", "DataFrame") or is_of(X, "polars", "DataFrame")


def column_names(X: Any) -> np.ndarray | None:
    """The names of a frame's columns (D,), objects; None where they are not text, or X has none.

    Raises
    ------
    TypeError
        Some are text and some are not.
    """
    if not is_frame(X):
        return None
    names = list(X.columns)
    text = [isinstance(name, str) for name in names]
    if any(text) and not all(text):
        other = next(name for name in names if not isinstance(name, str))
        raise TypeError(
            f"some names of the columns are text and some are not (first: {other!r}, {type(other).__name__}): "
            "name all by text, X.columns = X.columns.astype(str)"
        )
    return np.array(names, dtype=object) if names and all(text) else None


def check_names(found: Any, expected: Any, name: str = "X", attribute: str = "feature_names_in_") -> None:
    """Raise `ValueError` that says which columns are unexpected, missing or moved, unless both are the same, or one is
    not known; `attribute` of a model has the expected ones."""
    if found is None or expected is None or list(found) == list(expected):
        return
    here, there = set(found), set(expected)
    unexpected = [n for n in found if n not in there]
    missing = [n for n in expected if n not in here]
    parts = [f"{w}: {listed(n)}" for w, n in (("unexpected", unexpected), ("missing", missing)) if n]
    if parts:
        raise ValueError(f"{name} has other columns than those the model was fitted on; {'; '.join(parts)}")
    if len(found) != len(expected):
        twice = [n for i, n in enumerate(found) if n in list(found)[:i]]
        raise ValueError(
            f"{name} has {len(found)} columns, the model was fitted on {len(expected)}; {listed(twice)} twice"
        )
    place = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
    raise ValueError(
        f"{name} has its columns in another order than the model was fitted on: column {place} is {found[place]!r}, "
        f"was {expected[place]!r}; pass {name}[list(model.{attribute})]"
    )


def listed(names: Sequence[object]) -> str:
    """Names for a message, the first few of many."""
    shown = ", ".join(repr(n) for n in names[:SHOWN])
    return shown + (f", ... ({len(names)} in all)" if len(names) > SHOWN else "")


def as_array(X: Any, name: str = "X") -> np.ndarray:
    """Return `X` as an array of booleans, integers or real numbers, without a copy where it is one.

    Raises
    ------
    TypeError, ValueError
        It is none: what it is, and what to do.
    """
    if type(X) in (np.ndarray, Encoded) and X.dtype.kind in "buif":
        return X
    if getattr(X, "requires_grad", False):
        raise TypeError(f"{name} is a tensor that requires gradients: pass {name}.detach()")
    if hasattr(X, "toarray"):
        raise TypeError(
            f"{name} is a sparse {type(X).__name__}: pass {name}.toarray(), or, where memory does not hold "
            "that, some rows at a time to partial_fit"
        )
    if is_of(X, "polars", "LazyFrame"):
        raise TypeError(f"{name} is a query that is not done yet: pass {name}.collect()")
    if is_frame(X):
        return _frame_array(X, name)
    try:
        array = np.asarray(X)
    except ValueError:
        raise ValueError(f"{name} is not an array: its rows differ in {_ragged(X) or 'length or depth'}") from None
    except Exception as error:  # of another library's conversion
        reason = " ".join(str(error).split())[:200]
        raise TypeError(f"{name} ({type(X).__name__}) cannot be read as an array: {reason}") from None
    if array.dtype.kind not in "buif":
        return _numbers(array) if _holds_numbers(array) else _refuse(array, X, name)
    return array


def _ragged(X: Any) -> str | None:
    """How rows of sequences differ in length; None where it is not that."""
    try:
        lengths = [len(row) for row in X]
    except TypeError:
        return None
    other = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
    if other is None:
        return None
    return f"length: row 0 has {counted(lengths[0], 'value')}, row {other} has {lengths[other]:,}"


def _holds_numbers(array: np.ndarray) -> bool:
    """Whether an array of Python objects has nothing but real numbers in it."""
    return array.dtype.kind == "O" and array.ndim > 0 and array.size > 0 and all(
        isinstance(value, numbers.Real | decimal.Decimal) for value in array.flat
    )  # fmt: skip


def _numbers(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _refuse(array: np.ndarray, X: Any, name: str) -> NoReturn:
    """Raise for an array that does not hold real numbers."""
    what, hint = _advice(array, name if hasattr(X, "astype") else f"numpy.asarray({name})")
    if array.ndim == 0:
        if isinstance(X, str | bytes):
            hint = "to read a file, fastvae.data.loading.load(path).X"
        elif X is None or isinstance(X, numbers.Number):
            hint = "pass a table, one row an example"
        elif isinstance(getattr(X, "X", None), np.ndarray):
            hint = f"pass {name}.X"
        elif hasattr(X, "to_pandas"):
            hint = f"pass {name}.to_pandas()"
        else:
            hint = f"pass an array or a table, not {_an(type(X).__name__)}"
        what = ""
    missing = _first_missing(array)
    if missing is not None:
        count, place = missing
        value, at = array[place], ", ".join(f"{w} {i}" for w, i in zip(("row", "column"), place, strict=False))
        raise ValueError(
            f"{name} has {missing_values(count)} (first: {value} at {at}): fill or remove them, or fit a TableVAE"
        )
    raise UnusableTypeError(f"{name} has dtype {array.dtype}{what and ', ' + what}; expected real numbers: {hint}")


def _an(noun: str) -> str:
    return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun


def missing_values(count: int) -> str:
    """How many there are, in words."""
    return "1 missing value" if count == 1 else f"{count} missing values"


def is_missing(value: object) -> bool:
    """Whether an object is None, NaN, or what pandas has for either."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _first_missing(array: np.ndarray) -> tuple[int, tuple[int, ...]] | None:
    """How many values of an array of numbers as objects are missing, and the place of the first."""
    if array.dtype.kind != "O" or array.ndim == 0:
        return None
    missing = np.array([is_missing(value) for value in array.flat], bool).reshape(array.shape)
    present = (value for value, gone in zip(array.flat, missing.flat, strict=True) if not gone)
    if not missing.any() or not all(isinstance(value, numbers.Real) for value in present):
        return None
    return int(missing.sum()), tuple(int(i) for i in np.argwhere(missing)[0])


def _advice(array: np.ndarray, name: str) -> tuple[str, str]:
    """What an array that holds no real numbers holds, and how to make numbers of it."""
    kind = array.dtype.kind
    if kind in "UST":
        return _advice_for_text(array.flat, name)
    if kind == "c":
        return (
            "complex numbers (Complex data not supported)",
            f"pass its parts side by side, numpy.hstack([{name}.real, {name}.imag]), or numpy.abs({name})",
        )
    if kind in "Mm":
        what = "dates" if kind == "M" else "durations"
        change = f"({name} - {name}.min())" if kind == "M" else name
        return what, f"make numbers of them, such as seconds: {change} / numpy.timedelta64(1, 's')"
    if array.dtype.names:
        return "records with named fields", f"numpy.lib.recfunctions.structured_to_unstructured({name})"
    if kind != "O":
        return "", f"convert with {name}.astype('float32')"
    values = list(itertools.islice((value for value in array.flat if not is_missing(value)), EXAMINED))
    if values and all(isinstance(value, str) for value in values):
        return _advice_for_text(values, name)
    if values and all(isinstance(value, dict) for value in values):
        return "dictionaries", "make a table of them with pandas.DataFrame"
    other = next((value for value in values if not isinstance(value, numbers.Real)), None)
    first = f"first: {_an(type(other).__name__)}, {_short(other)}"
    return f"Python objects ({first}; argument must be a string or a real number)", "make numbers of them"


def _advice_for_text(values: Any, name: str) -> tuple[str, str]:
    some = list(itertools.islice(values, EXAMINED))
    for value in some:
        try:
            float(value)
        except ValueError:
            return (
                f"text (first: {_short(value)})",
                "leave it out, code categories as numbers, one column each, or fit a TableVAE",
            )
    return f"numbers as text (first: {_short(some[0] if some else '')})", f"convert with {name}.astype('float64')"


def _short(value: object) -> str:
    text = " ".join(repr(value if not isinstance(value, np.generic) else value.item()).split())
    return text if len(text) <= 40 else text[:37] + "..."


# ---- frames ------------------------------------------------------------------------------------------------------


def _columns(X: Any) -> Iterator[tuple[object, Any]]:
    if is_of(X, "polars", "DataFrame"):
        return ((column.name, column) for column in X.get_columns())
    return ((label, X.iloc[:, j]) for j, label in enumerate(X.columns))


def _frame_array(X: Any, name: str) -> np.ndarray:
    dtypes = list(X.dtypes)
    if not dtypes or all(isinstance(dtype, np.dtype) and dtype.kind in "buif" for dtype in dtypes):
        return np.asarray(X, np.result_type(*dtypes) if dtypes else None)
    columns, missing, first, refused = [], 0, "", list[tuple[object, str]]()
    for label, column in _columns(X):
        values, gone = column_array(column)
        count = 0 if gone is None else int(gone.sum())
        if gone is not None and count and not first:
            first = f"first: row {int(np.argmax(gone))}, column {label!r}"
        missing += count
        columns.append(values)
        if values.dtype.kind not in "buif":
            refused.append((label, _column_advice(column, values, f"{name}[{label!r}]")))
    if refused:
        label, advice = refused[0]
        others = f" (and {listed([other for other, _ in refused[1:]])})" if len(refused) > 1 else ""
        raise TypeError(f"{name} has a column {label!r} that holds {advice}{others}")
    if missing:
        raise ValueError(f"{name} has {missing_values(missing)} ({first}): fill or remove them, or fit a TableVAE")
    out = np.empty((len(X), len(columns)), np.result_type(*columns))
    for j, values in enumerate(columns):
        out[:, j] = values
    return out


def column_array(column: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The values of one column as NumPy has them, and which are missing, where that is told apart from NaN."""
    if is_of(column, "polars", "Series"):
        if column.dtype.is_decimal():
            column = column.cast(float)
        gone = column.is_null().to_numpy()
        if column.dtype.is_numeric() or str(column.dtype) == "Boolean":
            column = column.fill_null(0 if column.dtype.is_numeric() else False)
        return column.to_numpy(), gone
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind != "O":
            return column.to_numpy(), None
        gone = column.isna().to_numpy()
        present = column[~gone]
        if len(present) and all(isinstance(value, bool | np.bool_) for value in present):
            return np.where(gone, False, column.to_numpy()).astype(bool), gone
        is_number = len(present) and all(isinstance(value, numbers.Real) for value in present)
        return (np.where(gone, 0, column.to_numpy()).astype(float) if is_number else column.to_numpy()), gone
    gone = column.isna().to_numpy()
    if str(dtype) == "category" or getattr(dtype, "kind", "O") not in "buif":
        return np.asarray(column.astype(object), object), gone
    plain = np.dtype(getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", np.float64)))
    return column.to_numpy(dtype=plain, na_value=plain.type(0)), gone


def _column_advice(column: Any, values: np.ndarray, name: str) -> str:
    kind = str(column.dtype).lower()
    if kind.startswith(("category", "categorical", "enum")):
        code = "X.to_dummies([{!r}])" if is_of(column, "polars", "Series") else "pandas.get_dummies(X, columns=[{!r}])"
        return f"categories; fit a TableVAE, or code them as numbers, for example {code.format(column.name)}"
    if kind.startswith(("date", "time", "duration", "period")):
        return f"dates or times ({column.dtype}); make numbers of them, such as seconds since the first"
    what, hint = _advice(values, name)
    return f"{what or column.dtype}; {hint}"
