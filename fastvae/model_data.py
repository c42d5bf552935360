"""The data that a command gives a trained model: as they were in its training."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastvae.data.condition import Labels
from fastvae.data.dataset import DataSet
from fastvae.data.loading import load
from fastvae.data.preparation import with_condition
from fastvae.models.vae import VAE
from fastvae.standard_error import say


@dataclass(frozen=True, eq=False)
class ModelData:
    """A data set with its columns in the order of the model's training, and its condition as the model knows it."""

    data: DataSet

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


def read(
    model: VAE,
    source: str,
    *,
    array: str | None = None,
    labels: str | None = None,
    header: str = "auto",
    condition: Any = None,
) -> ModelData:
    """Load a data set for a model; `condition` names that of a conditional model, by default as in its training."""
    known = model.network_.condition
    if known is None and condition is not None:
        raise ValueError(f"--condition {' '.join(condition)}: the model has no condition: leave it out")
    if known is not None and condition is None:
        condition = model.metadata_.get("condition")
        if condition is None:
            raise ValueError(f"the model has a condition, {known.described}: name it with --condition")
    data = load(source, array, labels, header=header, condition=condition)
    if known is not None:
        data = with_condition(data, "labels" if isinstance(known, Labels) else "numbers")
    order = _order_in_training(data.column_names, getattr(model, "feature_names_in_", None), source)
    if order is not None:
        heldout = None if data.X_heldout is None else data.X_heldout[:, order]
        data = replace(data, X=data.X[:, order], X_heldout=heldout)
    return ModelData(data)


def _order_in_training(names: Any, expected: Any, source: str) -> list[int] | None:
    """Where each column that the model knows stands in a table; None where they stand so; refuse others."""
    if names is None or expected is None or list(names) == list(expected):
        return None
    if sorted(names) != sorted(expected) or len(set(names)) < len(names):
        found, wanted = (
            ", ".join(map(repr, some[:10])) + (", ..." if len(some) > 10 else "") for some in (names, expected)
        )
        raise ValueError(f"{source} has the columns {found}; the model was trained on {wanted}: give it these")
    say(f"the columns of {source} are taken in the order of the model's training")
    return [list(names).index(name) for name in expected]
