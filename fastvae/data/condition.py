"""A condition c of p(x|z, c): labels, or vectors of real numbers, as rows of columns that a network reads.

The type decides. Whole numbers, booleans and text are labels: a column each, sqrt(C) where it is the row's and 0
elsewhere, so that the C columns have a mean square of 1, as those of z do: with 1 in that place a network learns late
to heed its condition, and its samples are often of another label. Floats are real numbers: each column is standardised
by what the model was fitted on. So a quantity that is counted, a year say, is passed as floats, and labels that a file
holds as floats as integers.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.arrays import valid_names
from fastvae.data.condition_values import as_values, check_count, flattened, for_all
from fastvae.data.conversion import check_names
from fastvae.data.validation import check_values, statistics
from fastvae.errors import counted

KINDS = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "U": "text", "f": "real numbers"}
NAME = "condition"
SHOWN = 5  # labels in a message
RARE = 3  # rows that a label has at least, in the mean


class Condition:
    """What a model has learned of its condition: base of `Labels` and `Vectors`.

    Attributes
    ----------
    columns
        C, of what the network reads.
    """

    columns: int

    @property
    def described(self) -> str:
        """What it is, in words."""
        raise NotImplementedError

    def rows(self, condition: Any, count: int | None, name: str = NAME) -> np.ndarray:
        """A condition as the network reads it, (count, C) float32: one for each of so many rows, or one for
        all of them. None: as many rows as there are.

        Raises
        ------
        ValueError, TypeError
            Of another kind, label, number of rows or columns than it should be; missing or not finite.
        """
        values, names = as_values(condition, name)
        return self._encoded(values, names, count, name)

    def _encoded(self, values: np.ndarray, names: Any, count: int | None, name: str) -> np.ndarray:
        raise NotImplementedError

    def from_text(self, text: str) -> Any:
        """A condition as a command line has it."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """What a file's header says of it; the arrays are in `arrays`."""
        raise NotImplementedError

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file holds of it beside the header."""
        return {}

    def __eq__(self, other: object) -> bool:
        """Whether both make the same rows of the same condition."""
        if not isinstance(other, Condition) or self.to_json() != other.to_json():
            return False
        pairs = zip(self.arrays().values(), other.arrays().values(), strict=True)
        return all(np.array_equal(one, two) for one, two in pairs)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Labels(Condition):
    """Labels, and a column for each: sqrt(C) where it is the row's, 0 elsewhere.

    Attributes
    ----------
    classes : (C,)
        The distinct ones, sorted: int64, bool or text.
    """

    classes: np.ndarray

    @property
    def columns(self) -> int:  # type: ignore[override]  # noqa: D102
        return len(self.classes)

    @classmethod
    def learned(cls, values: np.ndarray, name: str) -> "Labels":
        """The labels that there are in `values` (N,)."""
        classes = np.unique(values)
        if len(classes) > max(2, len(values) // RARE):
            found = f"{name} has {len(classes)} different labels in {len(values)} rows"
            hint = "use labels that more rows share"
            if values.dtype.kind in "iu":
                how = f"{name}-as numbers" if name.startswith("--") else f"{name}.astype(float)"
                hint = f"whole numbers are labels; pass quantities as floats, {how}"
            raise ValueError(f"{found}, too few rows for each: {hint}")
        return cls(classes)

    @property
    def described(self) -> str:  # noqa: D102
        return f"labels {self._shown}"

    @property
    def _shown(self) -> str:
        shown = ", ".join(repr(label) for label in self.classes[:SHOWN].tolist())
        return shown + (", ..." if len(self.classes) > SHOWN else "")

    def _encoded(self, values: np.ndarray, names: Any, count: int | None, name: str) -> np.ndarray:
        kind, known = KINDS[values.dtype.kind], KINDS[self.classes.dtype.kind]
        if kind != known:
            hint = f": pass {name}.astype(int)" if (kind, known) == ("real numbers", "whole numbers") else ""
            raise TypeError(
                f"{name} holds {kind}; the model was fitted on labels that are {known} ({self._shown}){hint}"
            )
        if values.ndim > 1:
            raise ValueError(
                f"{name} has shape {values.shape}; labels are 1-D, one for each row{flattened(values, name)}"
            )
        if values.ndim == 1:
            check_count(values, count, name)
        found = values.reshape(-1)
        places = np.minimum(np.searchsorted(self.classes, found), self.columns - 1)
        unknown = np.flatnonzero(self.classes[places] != found)
        if len(unknown):
            raise ValueError(self._refusal(found[unknown[0]].item(), int(unknown[0]), len(unknown), values.ndim, name))
        rows = np.zeros((len(found), self.columns), np.float32)
        rows[np.arange(len(found)), places] = math.sqrt(self.columns)
        return for_all(rows, count) if values.ndim == 0 else rows

    def _refusal(self, label: Any, row: int, count: int, dimensions: int, name: str) -> str:
        where = f" (row {row}; {counted(count, 'such row')})" if dimensions else ""
        classes = self.classes.tolist()
        if isinstance(label, str):
            valid = valid_names(label, classes)
        else:
            nearest = min(classes, key=lambda known: abs(int(known) - int(label)))
            valid = f"the nearest is {nearest!r}; valid: {self._shown} ({len(classes)} in all)"
        return f"{name} has the label {label!r}{where}, which the model was not fitted on: {valid}"

    def from_text(self, text: str) -> Any:
        """The label that is written so."""
        for label in self.classes.tolist():
            if text == str(label):
                return label
        raise ValueError(f"the label {text!r} is not known: {valid_names(text, map(str, self.classes.tolist()))}")

    def to_json(self) -> dict[str, Any]:  # noqa: D102
        return {"labels": self.classes.tolist()}


@dataclass(frozen=True, eq=False)
class Vectors(Condition):
    """Vectors of real numbers, of which the network sees (c - offset) / scale.

    Attributes
    ----------
    offset, scale : (C,) float64
        Mean and standard deviation of what the model was fitted on; the scale of a constant column is 1.
    names : tuple of C str or None
        Of its columns, where it was a frame.
    """

    offset: np.ndarray
    scale: np.ndarray
    names: tuple[str, ...] | None = None

    @property
    def columns(self) -> int:  # type: ignore[override]  # noqa: D102
        return len(self.offset)

    @property
    def described(self) -> str:  # noqa: D102
        return f"vectors of {counted(self.columns, 'real number')}"

    @classmethod
    def learned(cls, values: np.ndarray, names: Any, name: str, weights: np.ndarray | None = None) -> "Vectors":
        """The scaling that suits `values` (N, C), of rows that count as often as `weights` (N,) say."""
        facts = statistics(values, name, weights)
        scale = np.where(facts.deviation > 0, facts.deviation, 1.0)
        return cls(facts.mean, scale, None if names is None else tuple(map(str, names)))

    def _encoded(self, values: np.ndarray, names: Any, count: int | None, name: str) -> np.ndarray:
        if values.dtype.kind != "f":
            hint = "" if values.dtype.kind == "U" else f": pass {name}.astype(float)"
            found = f"{name} holds {KINDS[values.dtype.kind]}"
            raise TypeError(f"{found}; the model was fitted on {self.described}{hint}")
        check_names(names, self.names, name, "condition_names_")
        one = values.ndim == 0 or (values.ndim == 1 and (self.columns > 1 or (len(values) == 1 and count != 1)))
        values = values.reshape(1, -1) if one else values.reshape(len(values), -1)
        if values.shape[1] != self.columns:
            found = f"{counted(values.shape[1], 'column')} (shape {values.shape})"
            raise ValueError(f"{name} has {found}; the model was fitted on {self.columns}")
        if not one and not (len(values) == 1 and count is not None):
            check_count(values, count, name)
        check_values(values, name)
        with np.errstate(over="ignore"):
            rows = ((values.astype(np.float64) - self.offset) / self.scale).astype(np.float32)
        check_values(rows, f"{name}, standardised,")
        return for_all(rows, count) if len(rows) == 1 else rows

    def from_text(self, text: str) -> Any:
        """Numbers with commas between them."""
        try:
            found = np.array([float(word) for word in text.split(",")])
        except ValueError:
            found = np.empty(0)
        if len(found) != self.columns:
            wanted = counted(self.columns, "number") + (" with commas between them" if self.columns > 1 else "")
            raise ValueError(f"the condition {text!r} cannot be read: {wanted} needed")
        return found

    def to_json(self) -> dict[str, Any]:  # noqa: D102
        return {"columns": self.columns, "names": None if self.names is None else list(self.names)}

    def arrays(self) -> dict[str, np.ndarray]:  # noqa: D102
        return {"condition.offset": self.offset, "condition.scale": self.scale}


def learned_condition(
    condition: Any, count: int, name: str = NAME, weights: np.ndarray | None = None
) -> tuple[Condition, np.ndarray]:
    """What there is to know of a condition (N,) or (N, C), and its rows as a network reads them; with `weights` (N,) of
    the rows, of those alone whose weight is above 0.

    Raises
    ------
    ValueError, TypeError
        Not one for each of `count` rows; missing or not finite; neither labels nor real numbers; nearly as many labels
        as rows.
    """
    values, names = as_values(condition, name)
    if values.ndim == 0:
        raise ValueError(f"{name}={values.item()!r} is one for all; fitting needs one for each of the {count} rows")
    check_count(values, count, name)
    if weights is not None:
        if values.dtype.kind == "f":
            check_values(values.reshape(len(values), -1), name)
        values, weights = values[weights > 0], weights[weights > 0]
        count = len(values)
    if values.dtype.kind != "f":
        if values.ndim > 1:
            hint = f"pass vectors as floats, {name}.astype(float)" + flattened(values, name, ", or labels as ")
            raise ValueError(f"{name} holds {KINDS[values.dtype.kind]} in shape {values.shape}; labels are 1-D: {hint}")
        found: Condition = Labels.learned(values, name)
    else:
        values = values.reshape(len(values), -1)
        found = Vectors.learned(values, names, name, weights)
    return found, found._encoded(values, names, count, name)


def stored_condition(header: Any, arrays: dict[str, np.ndarray]) -> Condition:
    """The condition that a file describes; a `ValueError` says what is wrong with it."""
    if isinstance(header, dict) and set(header) == {"labels"}:
        labels = header["labels"]
        if isinstance(labels, list) and labels and type(labels[0]) in (bool, int, str):
            alike = all(type(label) is type(labels[0]) and -(2**63) <= (label if type(label) is int else 0) < 2**63
                        for label in labels)  # fmt: skip
            if alike and all(a < b for a, b in itertools.pairwise(labels)):
                return Labels(np.array(labels))
        raise ValueError("condition.labels are no sorted distinct labels of one kind")
    if not isinstance(header, dict) or set(header) != {"columns", "names"}:
        raise ValueError("condition has neither labels nor columns")
    columns, names = header["columns"], header["names"]
    offset, scale = (arrays.get(f"condition.{name}") for name in ("offset", "scale"))
    if offset is None or scale is None or type(columns) is not int or columns < 1:
        raise ValueError("condition has columns, but not how they are scaled")
    for array in (offset, scale):
        if array.shape != (columns,) or array.dtype != np.float64 or not np.isfinite(array).all():
            raise ValueError(f"arrays 'condition.offset' and 'condition.scale' should have {columns} finite numbers")
    if not (scale > 0).all():
        raise ValueError("array 'condition.scale' has values that are not above 0")
    if names is not None:
        if not isinstance(names, list) or len(names) != columns or not all(isinstance(name, str) for name in names):
            raise ValueError(f"condition.names are no {columns} names")
        names = tuple(names)
    return Vectors(offset, scale, names)
