"""The estimators by name, each imported when it is first used."""

import importlib
from typing import Any

from fastvae.models.names import ESTIMATORS as ESTIMATORS


def estimator(name: str) -> Any:
    """The class of that name."""
    return getattr(importlib.import_module(ESTIMATORS[name]), name)


def load(path: Any, **how: Any) -> Any:
    """Read a model that `save` or `export.to_safetensors` wrote, of whichever estimator; `how` as its `load` has it.

    Raises
    ------
    ModelFileError, FileAccessError
        As its `load` raises them.
    """
    from fastvae.models.saving import read_file

    header, _ = read_file(path, {"model", "checkpoint"}, lambda name: False)
    name = header.get("model")
    return estimator(name if name in ESTIMATORS else "VAE").load(path, **how)  # which refuses what it does not know
