"""The models that commands read."""

import pathlib
from typing import Any

from fastvae.errors import ModelFileError
from fastvae.models.registry import load
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae import VAE


def load_model(path: str | pathlib.Path, **how: Any) -> VAE:
    """A VAE, or a `TableVAE`, from its file; `how` as `VAE.load` has it.

    Raises
    ------
    FileAccessError
        The file is missing or unreadable.
    ModelFileError
        It is no model, or one of another kind.
    """
    model = load(path, **how)
    if not isinstance(model, VAE):
        raise ModelFileError(
            f"{path}: a model of the kind {model.NAME}, where a VAE or a TableVAE is needed; from Python: "
            f"fastvae.models.registry.load({str(path)!r})"
        )
    return model


def names_of(model: VAE) -> list[str] | None:
    """The names of the columns that it was trained on, if they had some."""
    if isinstance(model, TableVAE) and model.columns_.container != "array":
        return model.columns_.names
    found = getattr(model, "feature_names_in_", None)
    return None if found is None else [str(name) for name in found]
