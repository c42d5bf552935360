"""What a notebook shows of an estimator."""

import inspect
from typing import Any

import numpy as np

from fastvae import notebook
from fastvae.training import spoken

NATS = "nats per example"
LOSSES = "heldout_elbo", "heldout_bound", "heldout_log_prob"  # whose negative is a loss


def estimator_html(model: Any) -> str:
    """HTML of an estimator: its arguments that differ from the defaults, what it has learned, and its training."""
    defaults = inspect.signature(type(model).__init__).parameters
    changed = {n: notebook.shown(v) for n, v in model.get_params().items() if repr(v) != repr(defaults[n].default)}
    title = type(model).__name__
    if not model.__sklearn_is_fitted__():
        return notebook.block(f"{title}, not fitted", changed or {"arguments": "the defaults"})
    history = model.history_
    kept = model.best_epoch_
    return notebook.block(
        f"{title}, fitted",
        {**changed, **_learned(model), **_training(model, history)},
        notebook.curves(history["epoch"], _lines(model, history), NATS, kept),
    )


def _learned(model: Any) -> dict[str, str]:
    network = model.network_
    names = getattr(model, "feature_names_in_", None)
    types = getattr(model, "column_types_", None)
    rows = {"columns": str(model.n_features_in_)}
    if types is not None:
        rows["columns"] += ": " + notebook.listed([f"{name} {kind}" for name, kind in types.items()])
    elif names is not None:
        rows["columns"] += ": " + notebook.listed([str(name) for name in names])
    if "z" in network.inputs:
        rows["latent dimensions"] = str(network.inputs["z"])
    if getattr(network, "condition", None) is not None:
        rows["condition"] = network.condition.described
    rows["parameters"] = f"{network.parameters.values.size:,}" + ("" if network.complete else ", decoder only")
    return rows


def _training(model: Any, history: dict[str, np.ndarray]) -> dict[str, str]:
    count = len(history["epoch"])
    if not count:
        return {"training": "no whole epoch"}
    heldout, kept = history[model.heldout_name], model.best_epoch_
    at = kept - 1 if kept else count - 1
    rows = {"training": f"{count:,} epochs, {model.n_steps_:,} steps, {history['seconds'].sum():.3g} s"}
    best = model._state.best_elbo
    if best is not None and not kept:
        rows["kept"] = "the start, before epoch 1"
    elif kept:
        rows["kept"] = f"epoch {kept}"
    if best is not None:
        rows[spoken(model.heldout_name)] = f"{best:.6g}"
    elif 0 <= at < count and np.isfinite(heldout[at]):
        rows[spoken(model.heldout_name)] = f"{heldout[at]:.6g}"
    return rows


def _lines(model: Any, history: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    lines = {"training loss": history["loss"]}
    if model.heldout_name in LOSSES:
        lines[f"-{spoken(model.heldout_name)}"] = -history[model.heldout_name]
    return lines
