"""The data that a command gives a trained model: as they were in its training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastvae.data import loading
from fastvae.data.arrays import instead
from fastvae.data.condition import Labels
from fastvae.data.dataset import DataSet
from fastvae.data.mixed_tables import load_mixed
from fastvae.data.preparation import Split, with_condition
from fastvae.model_files import names_of
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae import VAE
from fastvae.run_data import RunData
from fastvae.standard_error import say

HEADER = "auto"


@dataclass(frozen=True, eq=False)
class ModelData:
    """A data set with its columns in the order of the model's training, and its condition as the model knows it.

    Attributes
    ----------
    data
    split
        Where they are the data of the training: which rows were trained on, and which held out. None for others.
    """

    data: DataSet
    split: Split | None = None
    id_name: str | None = None  # of the column that names the rows
    chose_the_epoch: bool = False  # what the training held out, as it stopped by that

    @property
    def default_part(self) -> str:
        """What was not trained on, where that is known: "test"; else "train"."""
        held = self.data.X_heldout is not None or (self.split is not None and self.split.held_out is not None)
        return "test" if held else "train"

    def part(self, name: str) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """X, labels and condition of the "train" or the "test" part; `ValueError` where there is no such part."""
        data = self.data
        if name == "train":
            return data.X, data.labels, data.condition
        if data.X_heldout is None:
            raise ValueError(f"--part test: {data.name} has no test part of its own")
        if data.condition is not None and data.condition_heldout is None:
            raise ValueError(f"--part test: the test part of {data.name} has no condition of its own")
        return data.X_heldout, data.labels_heldout, data.condition_heldout

    def divided(self) -> "ModelData":
        """The same with the rows that the training held out as its test part, if it did so."""
        if self.split is None or self.split.places_held_out is None:
            return self
        d, kept, held = self.data, self.split.places, self.split.places_held_out
        labels = (None, None) if d.labels is None else (d.labels[kept], d.labels[held])
        data = replace(
            d,
            X=self.split.X,
            X_heldout=self.split.held_out,
            labels=labels[0],
            labels_heldout=labels[1],
            condition=self.split.condition,
            condition_heldout=self.split.condition_held_out,
            ids=None,
        )
        return replace(self, data=data, id_name=None)


def rows_named(found: ModelData, part: str = "train") -> dict[str, np.ndarray]:
    """The names of the rows as the first column of a table, where they have some."""
    ids = found.data.ids
    return {} if ids is None or part != "train" else {str(found.id_name): ids}


def read(
    model: VAE,
    source: str,
    *,
    array: str | None = None,
    labels: str | None = None,
    header: str = HEADER,
    condition: Any = None,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    ids: str | None = None,
    run: RunData | None = None,
    mark_unknown: bool = False,
) -> ModelData:
    """Load a data set for a model.

    A table's columns are taken by the names that the model knows, whatever stands beside them. `condition` names that
    of a conditional model, by default as in its training. What is not said is as in the training, where `run` knows
    it: of the training's own file all, of another table the columns of labels and of names, where it has such.
    `mark_unknown`: of a mixed table, see `fastvae.data.mixed_tables.load_mixed`.
    """
    known = model.network_.condition
    if known is None and condition is not None:
        raise ValueError(f"--condition {' '.join(condition)}: the model has no condition: leave it out")
    if known is not None and condition is None:
        condition = model.metadata_.get("condition")
        if condition is None:
            raise ValueError(f"the model has a condition, {known.described}: name it with --condition")
    if run is not None and run.is_source(source):
        array, labels, ids = array or run["array"], labels or run["labels"], ids or run["id"]
        columns, drop = columns or run["columns"], drop or run["drop"] or ()
        header = header if header != HEADER else run["header"] or HEADER
    expected = names_of(model)
    named = [name for name in (labels, ids, *drop, *(condition or ()), *(columns or ())) if name is not None]
    names = loading.column_names(source, header, named)
    if names is not None and expected is not None:
        if run is not None:
            labels, ids = (
                given or (run[o] if run[o] in names else None) for given, o in ((labels, "labels"), (ids, "id"))
            )
        if columns is None:
            beside = [name for name in (labels, ids, *(condition or ())) if name is not None]
            columns = _known_columns(names, expected, source, beside, drop)
    if isinstance(model, TableVAE):
        how: dict[str, Any] = {"header": header, "condition": condition, "columns": columns, "drop": drop, "ids": ids}
        data = _of_a_table(model, source, array, labels, mark_unknown, how)
    else:
        data = loading.load(
            source, array, labels, header=header, condition=condition, columns=columns, drop=drop, ids=ids
        )
    if known is not None:
        data = with_condition(data, "labels" if isinstance(known, Labels) else "numbers")
    order = _order_in_training(data.column_names, expected, source)
    if order is not None:
        heldout = None if data.X_heldout is None else data.X_heldout[:, order]
        names_now = None if data.column_names is None else tuple(data.column_names[j] for j in order)
        data = replace(data, X=data.X[:, order], X_heldout=heldout, column_names=names_now)
    if run is None:
        return ModelData(data, None, ids)
    rows = None if known is None else lambda c: known.rows(c, len(c))
    divided = run.split(data, model.metadata_.get("fingerprint"), rows)
    return ModelData(data, divided, ids, run.chose_the_epoch)


def split_of_the_run(model: VAE, known: RunData) -> tuple[Split | None, str]:
    """How the data of the training were divided, if they are still there, or why nobody knows."""
    data = known["data"]
    try:
        split = read(model, str(data), run=known).split
    except (ValueError, OSError) as error:
        return None, f"the data of the training cannot be read ({' '.join(str(error).split())})"
    return split, f"{data} is not what the training read any more"


def _of_a_table(
    model: TableVAE, source: str, array: str | None, labels: str | None, mark_unknown: bool, how: dict[str, Any]
) -> DataSet:
    """A data set as a model of mixed columns reads it."""
    if loading.is_table(source):
        if array is not None:
            raise ValueError(f"--array {array} chooses within an .npz; {source} is a table")
        found = load_mixed(source, labels, **how, known=model.columns_, mark_unknown=mark_unknown)
        for remark in found.remarks:
            say(remark)
        return found
    data = loading.load(source, array, labels, **how)
    return replace(data, X=model.columns_.encode(np.asarray(data.X), source), table=model.columns_)


def _known_columns(
    names: Sequence[str], expected: Sequence[str], source: str, beside: Sequence[str], drop: Sequence[str]
) -> Sequence[str]:
    """The columns that the model knows, in its order; what else a table has is left out, which is said."""
    for name in drop:
        if name in expected:
            raise ValueError(f"--drop {name}: the model was trained on this column")
    missing = [name for name in expected if name not in names]
    if missing or any(list(names).count(name) > 1 for name in expected):
        hint = ""
        if missing:
            hint = (
                f"; {missing[0]!r} is missing: {instead(missing[0], [n for n in names if n not in expected], source)}"
            )
        raise ValueError(
            f"{source} has the columns {_listed(names)}; the model was trained on {_listed(expected)}: give it "
            f"these{hint}"
        )
    if others := [name for name in names if name not in {*expected, *beside, *drop}]:
        say(f"left out of {source}: {_listed(others)}, which the model was not trained on")
    if [name for name in names if name in expected] != list(expected):
        say(f"the columns of {source} are taken in the order of the model's training")
    return list(expected)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")


def _order_in_training(names: Any, expected: Any, source: str) -> list[int] | None:
    """Where each column that the model knows stands in a table; None where they stand so; refuse others."""
    if names is None or expected is None or list(names) == list(expected):
        return None
    if sorted(names) != sorted(expected) or len(set(names)) < len(names):
        raise ValueError(
            f"{source} has the columns {_listed(names)}; the model was trained on {_listed(expected)}: give it these"
        )
    say(f"the columns of {source} are taken in the order of the model's training")
    return [list(names).index(name) for name in expected]
