"""The estimators by name: where each is, imported when it is first used."""

import importlib
from typing import Any

ESTIMATORS = {
    "SparseAutoencoder": "fastvae.models.sparse",
    "VAE": "fastvae.models.vae",
    "Autoencoder": "fastvae.models.autoencoder",
    "DBM": "fastvae.models.dbm",
    "DenoisingAutoencoder": "fastvae.models.denoising",
    "GAN": "fastvae.models.gan",
    "GSN": "fastvae.models.gsn",
    "MADE": "fastvae.models.made",
    "NADE": "fastvae.models.nade",
    "TableVAE": "fastvae.models.table_vae",
    "RBM": "fastvae.models.rbm",
}


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
