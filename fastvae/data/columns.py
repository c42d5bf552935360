"""Tables whose columns are of several kinds: what is known of each column, and how its values become numbers.

A column is a number, a count, yes or no, a category, or a fraction of 1; NaN, None and whatever a frame calls missing
are missing values. In the model a category is the number of its level, and what is missing is NaN.
"""

import difflib
import importlib
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fastvae.data.conversion import Encoded, listed
from fastvae.data.table_output import given_back, pandas_series, polars_series, within
from fastvae.data.table_values import Values, as_declared, columns_of
from fastvae.data.validation import LARGEST
from fastvae.declared import declared
from fastvae.errors import closest
from fastvae.likelihoods.kinds import KINDS

WORDS = {kind.WORD: name for name, kind in KINDS.items() if kind.WORD}  # what a user may call a kind of column
NAMES = (*WORDS, *sorted(KINDS))
MOST_LEVELS, SHARE = 100, 0.2  # of a category that nobody asked for: more levels than both are said
UNDISPERSED = 0.5  # variance over mean of whole numbers from 0: below, they are no counts
Level = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """What is known of a column.

    Attributes
    ----------
    name
        Its name, or its place as text.
    kind
        Of its likelihood, see `fastvae.kernels.mixed.KINDS`.
    dtype
        Of the frame or array that it came in: how it is given back.
    levels
        Of "categorical" and "bernoulli": the values that 0, 1, ... stand for.
    whole
        Whether a number has always been a whole one, and is given back as such.
    categories, ordered
        Of a frame's categories: all of them, in the frame's order, those too that no row has; and whether they rise.
    label
        The name in the frame where that is a whole number.
    """

    name: str
    kind: str
    dtype: str
    levels: tuple[Level, ...] = ()
    whole: bool = False
    categories: tuple[Level, ...] = ()
    ordered: bool = False
    label: int | None = None

    @property
    def outputs(self) -> int:
        """How many outputs of a decoder it has."""
        return len(self.levels) if KINDS[self.kind].OUTPUT_PER_LEVEL else 1

    @property
    def described(self) -> str:
        """Its kind, as a user calls it: "number", "category of 3"."""
        kind = KINDS[self.kind]
        return (kind.WORD or self.kind) + (f" of {len(self.levels)}" if kind.OUTPUT_PER_LEVEL else "")


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes
    ----------
    columns
        In order.
    container
        What the table was: "pandas", "polars", "mapping" or "array". Rows are given back so.
    """

    columns: tuple[Column, ...]
    container: str

    # ---- learning ------------------------------------------------------------------------------------------------

    @classmethod
    def learn(cls, X: Any, types: Any = None, name: str = "X") -> "Columns":
        """What a table says of its columns, by its dtypes; `types` says otherwise, name to type, or one each.

        Raises
        ------
        ValueError, TypeError
            It is no table, or a column cannot be used: which, what was found, and what to do.
        """
        container, found = columns_of(X, name)
        wanted = _asked_types(types, [label for label, _ in found])
        made = [_learned(label, values, wanted.get(label), name) for label, values in found]
        return cls(tuple(replace(c, **as_declared(X, container, j)) for j, c in enumerate(made)), container)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return [column.name for column in self.columns]

    @property
    def plain(self) -> bool:
        """Whether all columns are numbers."""
        return all(KINDS[column.kind].DEVIATION for column in self.columns)

    # ---- rows in -------------------------------------------------------------------------------------------------

    def encode(self, X: Any, name: str = "X") -> Encoded:
        """The rows of a table as numbers (N, D): NaN where a value is missing; float32 where all columns are. Columns
        with names may come in any order.

        Raises
        ------
        ValueError, TypeError
            Other columns, or values that a column cannot have: which, where, and what is valid.
        """
        if isinstance(X, Encoded):
            return X
        container, found = columns_of(X, name)
        given = dict(found)
        if container == "array" or self.container == "array":
            if len(found) != len(self):
                raise ValueError(
                    f"{name} has {len(found)} features, but TableVAE is expecting {len(self)} features as input"
                )
            given = dict(zip(self.names, given.values(), strict=True))
        else:
            self._check_names([label for label, _ in found], name)
        rows = len(next(iter(given.values()))[0])
        narrow = all(values[2].lower() == "float32" for values in given.values())
        out = np.empty((rows, len(self)), np.float32 if narrow else np.float64).view(Encoded)
        for j, column in enumerate(self.columns):
            out[:, j] = _encoded(column, *given[column.name], name)
        return out

    def _check_names(self, found: list[str], name: str) -> None:
        missing = [label for label in self.names if label not in found]
        if missing:
            near = difflib.get_close_matches(missing[0], [label for label in found if label not in self.names], 1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise ValueError(f"{name} lacks the column {listed(missing)}, which the model was fitted on{hint}")
        unexpected = [label for label in found if label not in self.names]
        if unexpected:
            raise ValueError(
                f"{name} has the column {listed(unexpected)}, which the model was not fitted on: "
                f"pass {name}[list(model.feature_names_in_)]"
            )

    # ---- rows out ------------------------------------------------------------------------------------------------

    def limited(self, values: np.ndarray) -> np.ndarray:
        """Rows (N, D) that a model has made, each value of an integer dtype the nearest that this has."""
        made = [within(c.dtype, np.rint(v)) if c.whole else v for c, v in zip(self.columns, values.T, strict=True)]
        return np.column_stack(made)

    def decode(self, values: np.ndarray, index: Any = None) -> Any:
        """Rows (N, D) of the model as the table that it was fitted on has them: a frame of the same dtypes, with
        `index` in pandas; a dict of arrays; or an array, of objects where a column is no number."""
        made = {column.name: given_back(column, values[:, j]) for j, column in enumerate(self.columns)}
        if self.container == "pandas":
            pandas = importlib.import_module("pandas")
            labels = {c.name: c.name if c.label is None else c.label for c in self.columns}
            series = {labels[c.name]: pandas_series(pandas, c, made[c.name], index) for c in self.columns}
            return pandas.DataFrame(series, index=index)
        if self.container == "polars":
            polars = importlib.import_module("polars")
            return polars.DataFrame([polars_series(polars, c, made[c.name]) for c in self.columns])
        if self.container == "mapping":
            return made
        if all(array.dtype.kind in "iuf" for array in made.values()):
            return np.column_stack([array.astype(np.float64) for array in made.values()])
        out = np.empty(values.shape, object)
        for j, array in enumerate(made.values()):
            out[:, j] = array
        return out

    # ---- files ---------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """As a file has it."""
        return {"container": self.container, "columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_json(cls, stored: Any) -> "Columns":
        """From a file, each entry checked."""
        found = declared("table", stored, dict[str, Any])
        container = declared("table.container", found.get("container"), str)
        columns = []
        for i, entry in enumerate(declared("table.columns", found.get("columns"), list[dict[str, Any]])):
            place = f"table.columns[{i}]"
            text = {key: declared(f"{place}.{key}", entry.get(key), str) for key in ("name", "kind", "dtype")}
            levels = declared(f"{place}.levels", entry.get("levels"), list[Any])
            if not all(isinstance(level, str | int | float | bool) for level in levels):
                raise ValueError(f"{place}.levels are {levels!r}; expected text, numbers, true or false")
            if text["kind"] not in KINDS or bool(levels) != KINDS[text["kind"]].LEVELS:
                raise ValueError(f"{place} has kind {text['kind']!r} and {len(levels)} levels")
            whole, ordered = (declared(f"{place}.{key}", entry.get(key, False), bool) for key in ("whole", "ordered"))
            categories = tuple(declared(f"{place}.categories", entry.get("categories", []), list[Any]))
            if categories and not set(levels) <= set(categories):
                raise ValueError(f"{place}.categories lack some of the levels: {categories!r}, {levels!r}")
            label = declared(f"{place}.label", entry.get("label"), int | None)
            columns.append(Column(**text, levels=tuple(levels), whole=whole, categories=categories, ordered=ordered,
                                  label=label))  # fmt: skip
        if container not in ("pandas", "polars", "mapping", "array") or not columns:
            raise ValueError(f"table.container is {container!r}, with {len(columns)} columns")
        return cls(tuple(columns), container)


def _asked_types(types: Any, labels: list[str]) -> dict[str, str]:
    """Name of a column to the kind that was asked for."""
    if types is None:
        return {}
    if isinstance(types, str):
        given = dict.fromkeys(labels, types)
    elif isinstance(types, Mapping):
        given = {str(label): kind for label, kind in types.items()}
    elif isinstance(types, Sequence):
        if len(types) != len(labels):
            raise ValueError(f"column_types has {len(types)} entries; X has {len(labels)} columns")
        given = dict(zip(labels, types, strict=True))
    else:
        raise TypeError(f"column_types={types!r} must be a dict of a column's name to its type, or a list of types")
    for label, kind in given.items():
        if label not in labels:
            raise ValueError(f"column_types names the column {label!r}, which X has not: {closest(label, labels)}")
        if kind not in NAMES:
            raise ValueError(f"column_types[{label!r}]={kind!r} is not known: {closest(kind, NAMES)}")
    return {label: WORDS.get(kind, kind) for label, kind in given.items()}


# ---- one column --------------------------------------------------------------------------------------------------


def _learned(label: str, values: Values, asked: str | None, name: str) -> Column:
    """What is known of a column by its values; `asked`: of which kind it is to be."""
    array, missing, dtype = values
    where, present = f"{name} has a column {label!r}", array[~missing]
    if not len(present):
        raise ValueError(f"{where} whose values are all missing: leave it out")
    if array.dtype.kind in "Mm":
        raise TypeError(
            f"{where} of dates or durations ({dtype}): make numbers of them, such as days since the first, "
            f"({name}[{label!r}] - {name}[{label!r}].min()) / numpy.timedelta64(1, 'D')"
        )
    numeric = _numeric(present)
    if numeric is None and asked is not None and not KINDS[asked].LEVELS:
        raise ValueError(
            f"{where} that column_types says is {asked!r}; its values are no numbers (first: {present[0]!r})"
        )
    kind = asked or _kind_of(present, numeric, dtype)
    if KINDS[kind].LEVELS:
        return _with_levels(label, kind, present, dtype, asked is None, where)
    assert numeric is not None
    _check_range(numeric, kind, where)
    whole = KINDS[kind].WHOLE or (KINDS[kind].DEVIATION and _is_whole(present))
    return Column(label, kind, dtype, (), whole)


def _numeric(present: np.ndarray) -> np.ndarray | None:
    """The values as float64, or None where they are no numbers."""
    if present.dtype.kind in "buif":
        return present.astype(np.float64)
    if present.dtype.kind == "O" and all(isinstance(value, numbers.Real) for value in present):
        return np.array([float(value) for value in present])
    return None


def _is_whole(present: np.ndarray) -> bool:
    return present.dtype.kind in "iu" or (present.dtype.kind == "O" and all(isinstance(v, int) for v in present))


def _kind_of(present: np.ndarray, numeric: np.ndarray | None, dtype: str) -> str:
    if numeric is None or dtype.lower().startswith(("category", "categorical", "enum")):
        return "categorical"
    if present.dtype.kind == "b" or all(isinstance(value, bool | np.bool_) for value in present[:1000]):
        return "bernoulli"
    if _is_whole(present):
        least, most = numeric.min(), numeric.max()
        if least == 0 and most == 1:
            return "bernoulli"
        if least == 0 and numeric.var() >= UNDISPERSED * numeric.mean():
            return "negative_binomial"
    return "gaussian"


def _with_levels(label: str, kind: str, present: np.ndarray, dtype: str, found: bool, where: str) -> Column:
    levels = _distinct(present, where)
    if not KINDS[kind].OUTPUT_PER_LEVEL:
        if len(levels) > 2:
            shown = ", ".join(repr(level) for level in levels[:4])
            raise ValueError(f"{where} that is to be yes or no, and has {len(levels)} values ({shown}, ...)")
        if len(levels) == 1:
            levels = sorted((levels[0], _other(levels[0])), key=lambda level: (str(type(level)), level))
        return Column(label, kind, dtype, tuple(levels))
    if found and len(levels) > max(MOST_LEVELS, SHARE * len(present)):
        raise ValueError(
            f"{where} of {len(levels)} different values in {len(present)} rows (first: {levels[0]!r}), as names of "
            f"rows have: leave it out, or insist on it by column_types={{{label!r}: 'category'}}"
        )
    return Column(label, kind, dtype, tuple(levels))


def _other(level: Level) -> Level:
    """The other of yes and no."""
    if isinstance(level, bool):
        return not level
    if not isinstance(level, str):
        return int(level == 0) if level in (0, 1) else ""
    word = {"yes": "no", "no": "yes", "true": "false", "false": "true"}.get(level.lower(), "")
    return word.upper() if level.isupper() else word.capitalize() if level[:1].isupper() else word


def _distinct(present: np.ndarray, where: str) -> list[Level]:
    """The distinct values in order, as Python has them."""
    values = [value.item() if isinstance(value, np.generic) else value for value in present.tolist()]
    wrong = next((value for value in values if not isinstance(value, str | int | float | bool)), None)
    if wrong is not None:
        raise TypeError(
            f"{where} with a value of type {type(wrong).__name__} ({wrong!r:.60}): a value of a table's column (an "
            "argument must be a string or a real number) is text, a number, true or false"
        )
    return sorted(set(values), key=lambda level: (isinstance(level, str), level))


def _check_range(numeric: np.ndarray, kind: str, where: str) -> None:
    if not (np.abs(numeric) <= LARGEST).all():
        value = numeric[~(np.abs(numeric) <= LARGEST)][0]
        raise ValueError(f"{where} with a value that is no finite float32 ({value:.6g}): remove or replace it")
    (least, most), whole = KINDS[kind].SUPPORT, KINDS[kind].WHOLE
    fits = (numeric >= least) & (numeric <= most) & ((numeric == np.floor(numeric)) | (not whole))
    if not fits.all():
        value = numeric[~fits][0]
        if whole:
            hint = f"of counts with a value {value:.6g}: counts are whole numbers from 0; is it a 'number'?"
        else:
            hint = f"of fractions with a value {value:.6g}: they lie in [0, 1]; divide by their range"
        raise ValueError(f"{where} {hint}")


def _encoded(column: Column, array: np.ndarray, missing: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """The values of a column as numbers, NaN where they are missing."""
    out, where = np.full(len(array), np.nan), f"{name} has a column {column.name!r}"
    present = array[~missing]
    if column.levels:
        code = {level: i for i, level in enumerate(column.levels)}
        values = [value.item() if isinstance(value, np.generic) else value for value in present.tolist()]
        try:
            out[~missing] = [code[value] for value in values]
        except (KeyError, TypeError):
            unknown = next(value for value in values if not _is_known(value, code))
            row = int(np.flatnonzero(~missing)[values.index(unknown)])
            shown = ", ".join(repr(level) for level in column.levels[:8]) + (", ..." if len(column.levels) > 8 else "")
            raise ValueError(
                f"{where} with a value {unknown!r} at row {row}, which the training did not have: valid: {shown}; or "
                "None, a missing value"
            ) from None
        return out
    numeric = _numeric(present)
    if numeric is None:
        raise TypeError(f"{where} with values that are no numbers (first: {present[0]!r}); it was fitted on numbers")
    if len(numeric):
        _check_range(numeric, column.kind, where)
    out[~missing] = numeric
    return out


def _is_known(value: Any, code: dict[Level, int]) -> bool:
    try:
        return value in code
    except TypeError:
        return False
