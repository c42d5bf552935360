"""What a run's folder knows of its data: how they were read, and which of their rows were held out."""

import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data import loading
from fastvae.data.dataset import DataSet
from fastvae.data.preparation import Split, split
from fastvae.errors import DataFileError
from fastvae.models.settings import seed_from
from fastvae.runs import RunFolder, fingerprint
from fastvae.standard_error import say

NEVER = "none"  # of --early-stopping


@dataclass(frozen=True)
class RunData:
    """The options of the training that wrote a model."""

    options: dict[str, Any]

    @classmethod
    def beside(cls, model: pathlib.Path) -> "RunData | None":
        """That of the folder that the model lies in; None where it lies elsewhere."""
        folder = RunFolder(model.parent)
        if model.name not in (folder.model.name, folder.checkpoint.name):
            return None
        try:
            config = folder.read_config()
        except DataFileError as error:
            say(f"note: {error}")
            return None
        options = None if config is None else config["options"]
        return cls(options) if isinstance(options, dict) else None

    def __getitem__(self, option: str) -> Any:
        """An option; None where the run has none of the name."""
        return self.options.get(option)

    @property
    def chose_the_epoch(self) -> bool:
        """Whether the rows that were held out said when to end."""
        return self["early_stopping"] not in (None, NEVER)

    def is_source(self, source: str) -> bool:
        """Whether it is what the training read, by its name."""
        own = self["data"]
        if source in loading.NAMES or own in loading.NAMES or not isinstance(own, str):
            return source == own
        try:
            return pathlib.Path(source).samefile(own)
        except OSError:
            return False

    def split(self, data: DataSet, known: Any, condition: Any) -> Split | None:
        """The rows that were trained on and those that were held out, where `data` are those of the training: by the
        digest that the model has of its rows, wherever the file is now.

        Parameters
        ----------
        data
            Read for the model.
        known
            The digest, `metadata_["fingerprint"]`.
        condition
            What makes a condition what a network reads, or None.
        """
        seed, fraction = self["seed"], self["heldout"]
        if known is None or not isinstance(fraction, int | float | None):
            return None
        try:
            found = split(data, fraction, seed_from(seed))
        except (ValueError, TypeError):  # too few rows, or a config that somebody has changed
            return None
        rows = None if found.condition is None else condition(found.condition)
        return found if fingerprint(found.X, rows) == known else None


def trained_rows(rows: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Which rows of X (N, D) are among `rows` (M, D), by their values: (N,) bool."""
    known = {row.tobytes() for row in np.asarray(rows, np.float64) + 0.0}  # -0 as 0
    return np.array([row.tobytes() in known for row in np.asarray(X, np.float64) + 0.0], bool)
