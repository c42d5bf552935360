"""Files of tables as rows for a model of mixed columns: words, yes and no, counts, numbers, missing here and there."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastvae.data.arrays import instead, valid_names
from fastvae.data.columns import MOST_LEVELS, NAMES, SHARE, WORDS, Columns
from fastvae.data.columns import Column as Known
from fastvae.data.dataset import DataSet, side_by_side
from fastvae.data.frame import NUMBER, PAIRS, TEXT, YES, YES_NO, Table
from fastvae.data.header import is_number
from fastvae.data.layout import Choice, Column, place_of
from fastvae.data.loading import all_names, labels_of, load_table
from fastvae.errors import DataFileError, closest, counted

CATEGORY, BINARY = WORDS["category"], WORDS["binary"]
FEW_NAMES = 4  # rows whose words all differ: as names do
SHOWN = 8  # levels in a message
_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([ T]\d.*)?")


def load_mixed(
    path: str | os.PathLike[str],
    labels: Column | None = None,
    header: str | bool = "auto",
    condition: Sequence[Column] | None = None,
    columns: Sequence[Column] | None = None,
    drop: Sequence[Column] = (),
    ids: Column | None = None,
    types: Sequence[str] = (),
    known: Columns | None = None,
    mark_unknown: bool = False,
) -> DataSet:
    """Load a table whose columns may be of several kinds, with what is known of them; but for these, as
    `fastvae.data.loading.load`.

    Parameters
    ----------
    types
        "NAME=TYPE", for columns whose type their values do not tell: see `fastvae.models.table_vae.TableVAE`.
    known
        The columns of a model, which are those of the rows then.
    mark_unknown
        Whether values that the model does not know are marked, and missing in X, instead of refused.

    Returns
    -------
    DataSet
        X is an `Encoded`, `table` its columns.

    Raises
    ------
    FileAccessError
        The file is missing or unreadable.
    DataFileError, ValueError, TypeError
        It is no table; a column is of no use, or has a value that the model does not know: which, and what to do.
    """
    path, beside = os.fsdecode(path), tuple(condition or ())
    choice = Choice(labels, beside, None if columns is None else tuple(columns), tuple(drop), ids)
    names, named = all_names(path, header, choice.names)
    names, given = [name or f"column {j + 1}" for j, name in enumerate(names)], names if named else None
    kept, used = choice.places(path, given, len(names))
    asked = _asked(path, types, given, names, used)

    def place(column: Column, option: str) -> int:
        return place_of(path, given, len(names), column, option)

    of_rows = None if ids is None else place(ids, "ids")
    wanted = list(dict.fromkeys(j for j in (*used, *kept) if j != of_rows))
    text = [names.index(name) for name in _text_of(asked, known) if name in names]
    table = load_table(
        path,
        "yes" if named else "no",
        [j + 1 for j in wanted],
        ids=None if of_rows is None else of_rows + 1,
        text=[j + 1 for j in text],
    ) if len(wanted) == len({names[j] for j in wanted}) else _refuse_twice(path, names, wanted)  # fmt: skip
    found = None if labels is None else labels_of(table[names[place(labels, "labels")]])
    conditions = {str(c): labels_of(table[names[place(c, "condition")]]) for c in beside}
    rows = table.select(names[j] for j in used)
    unknown = None
    if known is None:
        known, values = learned(path, rows, asked)
    else:
        values, marks = {}, {}
        for name, column in _matched(known, rows):
            values[name], marks[column.name] = _as_known(path, column, rows[name], mark_unknown)
        unknown = np.column_stack([marks[name] for name in known.names])
    return DataSet(
        table.name,
        known.encode(values, path),
        found,
        column_names=tuple(known.names),
        condition=side_by_side(list(conditions.values()), list(conditions), path) if conditions else None,
        ids=table.ids,
        table=known,
        remarks=table.remarks,
        unknown=unknown if mark_unknown else None,
    )


def is_plain(data: DataSet) -> bool:
    """Whether a table has nothing but numbers, none missing."""
    assert data.table is not None
    words = any(isinstance(level, str) for column in data.table.columns for level in column.levels)
    return not words and not np.isnan(data.X).any()


def _refuse_twice(path: str, names: list[str], wanted: list[int]) -> Table:
    twice = next(names[j] for i, j in enumerate(wanted) if names[j] in [names[k] for k in wanted[:i]])
    raise DataFileError(f"{path}: two columns are called {twice!r}: rename one, or leave both out by their numbers")


# ---- of a training -----------------------------------------------------------------------------------------------


def _asked(
    path: str, types: Sequence[str], given: Sequence[str] | None, names: list[str], used: Sequence[int]
) -> dict[str, str]:
    """Name of a column to the kind that was asked for, "NAME=TYPE" each."""
    asked = {}
    for word in types:
        name, equals, kind = word.rpartition("=")
        if not equals or not name:
            raise ValueError(
                f"--column-types {word}: expected NAME=TYPE, such as eggs=count; types: {', '.join(NAMES)}"
            )
        if kind not in NAMES:
            raise ValueError(f"--column-types {word}: {kind!r} is no type: {closest(kind, NAMES)}")
        j = place_of(path, given, len(names), name, "--column-types")
        if j not in used:
            raise ValueError(
                f"--column-types {word}: the column is not learned from; {valid_names(name, [names[i] for i in used])}"
            )
        asked[names[j]] = WORDS.get(kind, kind)
    return asked


def _text_of(asked: Mapping[str, str], known: Columns | None) -> list[str]:
    """Columns whose words stay what they are, also where they are numbers."""
    if known is None:
        return [name for name, kind in asked.items() if kind == CATEGORY]
    return [column.name for column in known.columns if column.levels and isinstance(column.levels[-1], str)]


def learned(path: str, table: Table, asked: Mapping[str, str]) -> tuple[Columns, dict[str, np.ndarray]]:
    """What the columns of a table are, and their values, whole numbers as such."""
    kinds = dict(asked)
    for name in table:
        if table.missing(name).all():
            raise DataFileError(
                f"{path}: the values of the column {name!r} are all missing: leave it out ({_drop(name)})"
            )
        kind = table.kind(name)
        if kind == YES_NO:
            kinds.setdefault(name, BINARY)
        if kind == TEXT and name not in asked:
            _check_words(path, name, table[name])
    values = {name: _whole(table[name]) if table.kind(name) == NUMBER else table[name] for name in table}
    return Columns.learn(values, kinds, path), values


def _drop(name: str) -> str:
    return f"--drop {shlex.quote(name)}"


def _check_words(path: str, name: str, words: np.ndarray) -> None:
    """Refuse text that is no category, unless somebody says that it is."""
    where, present = f"{path}: the column {name!r}", [word for word in words if word is not None]
    insist = f"--column-types {shlex.quote(name + '=category')}"
    levels = set(present)
    strange = [i for i, word in enumerate(words) if word is not None and not is_number(word)]
    if len(strange) <= len(present) / 2:
        raise DataFileError(
            f"{where} holds numbers but in {counted(len(strange), 'cell')} (first: {words[strange[0]]!r:.60}, row "
            f"{strange[0] + 1}): correct them, leave the column out ({_drop(name)}), or say that it is one of words "
            f"({insist})"
        )
    if all(_DATE.fullmatch(word) for word in levels):
        raise DataFileError(
            f"{where} holds dates (first: {present[0]!r}): make numbers of them, such as days since the first, leave "
            f"the column out ({_drop(name)}), or take each for a category ({insist})"
        )
    names = len(levels) == len(present) >= FEW_NAMES
    if names or len(levels) > max(MOST_LEVELS, SHARE * len(present)):
        raise DataFileError(
            f"{where} has {len(levels):,} different words in {counted(len(present), 'row')} (first: "
            f"{present[0]!r:.60}), as names of rows have: say so (--id {shlex.quote(name)}), leave it out "
            f"({_drop(name)}), or take it for a category ({insist})"
        )


def _whole(values: np.ndarray) -> np.ndarray:
    """Numbers (N,) as whole ones where all are, None where they are missing."""
    missing = np.isnan(values)
    present = values[~missing]
    if not len(present) or not (np.abs(present) < 2.0**53).all() or (present != np.rint(present)).any():
        return values
    if not missing.any():
        return values.astype(np.int64)
    out = np.full(len(values), None, object)
    out[~missing] = [int(value) for value in present]
    return out


# ---- for a model -------------------------------------------------------------------------------------------------


def _matched(known: Columns, table: Table) -> list[tuple[str, Known]]:
    """Each column of the table beside what a model knows of it: by name, or where it has none by place."""
    if known.container == "array" and len(known) == len(table):
        return list(zip(table, known.columns, strict=True))
    by_name = {column.name: column for column in known.columns}
    missing = [name for name in by_name if name not in table]
    if missing:
        raise ValueError(
            f"{table.name} has no column {missing[0]!r}, which the model was trained on; "
            f"{instead(missing[0], [name for name in table if name not in by_name], table.name)}"
        )
    return [(name, by_name[name]) for name in table if name in by_name]


def _as_known(path: str, column: Known, values: np.ndarray, mark: bool) -> tuple[np.ndarray, np.ndarray]:
    """The values of a column as those of a model's, words as it spells them; and which it does not know (N,) bool: they
    are refused, unless they are to be marked, and missing then."""
    unknown = np.zeros(len(values), bool)
    if not column.levels:
        return values, unknown
    if values.dtype.kind == "f" and isinstance(column.levels[-1], str):
        whole = (values[~np.isnan(values)] % 1 == 0).all()
        words = [None if value != value else str(int(value) if whole else value) for value in values.tolist()]
        values = np.array(words, object)
    elif values.dtype.kind == "O":
        values = _spelled(column, values)
    valid = {None, *column.levels}
    unknown[:] = [value == value and value not in valid for value in values.tolist()]
    if not unknown.any():
        return values, unknown
    if not mark:
        row = int(unknown.argmax())
        value = values.tolist()[row]
        shown = ", ".join(map(repr, column.levels[:SHOWN])) + (", ..." if len(column.levels) > SHOWN else "")
        found = repr(int(value) if isinstance(value, float) and value.is_integer() else value)
        raise ValueError(
            f"{path}: the column {column.name!r} has {found} in row {row + 1}, which the training did not have; "
            f"valid: {shown}, or nothing, a missing value"
        )
    values = values.copy()
    values[unknown] = np.nan if values.dtype.kind == "f" else None
    return values, unknown


def _spelled(column: Known, words: np.ndarray) -> np.ndarray:
    """Words for yes and no, or true and false, as a model has them."""
    levels: dict[bool, Any] = {}
    for level in column.levels:
        if isinstance(level, bool):
            levels[level] = level
        elif isinstance(level, str) and level.lower() in YES:
            levels[YES[level.lower()]] = level
    spelled = {str(level).lower() for level in column.levels}
    if len(levels) != len(column.levels) or not any(spelled <= pair for pair in PAIRS):
        return words
    out = words.copy()
    for i, word in enumerate(words):
        if isinstance(word, str) and word.lower() in YES:
            out[i] = levels[YES[word.lower()]]
    return out
