"""How a training went: its losses, epoch by epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.evaluation.curve_limits import limits_of_curves
from fastvae.evaluation.drawing import BLUE, COLOURS, GREY, ORANGE, figure, finished, quiet
from fastvae.pictures.subject import check_model
from fastvae.training import spoken

MARKED = 40  # epochs, at most, that have a mark each
MANY = 200  # epochs, from which on the axis is logarithmic
NATS = "nats per example"
OF_HELDOUT = "heldout_elbo", "heldout_bound", "heldout_log_prob"  # whose negative is a loss
WORDS = {
    "loss": "training loss", "nll": "nll, $-\\log p(x|z)$", "kl": "KL$[q(z|x)\\,\\|\\,p(z)]$",
    "discriminator_loss": "discriminator", "generator_loss": "generator",
    "accuracy_real": "of real rows", "accuracy_generated": "of generated rows",
}  # fmt: skip

Line = tuple[str, np.ndarray, str, str]  # label, values (E,), colour, style


def learning_curves(model: Any, path: Any = None) -> Any:
    """The loss of a training beside what was held out, and the parts of the loss, by epoch.

    First epochs that are so far from the later ones that these would be flat lie out of sight; an arrow has their
    value. From 200 epochs on the axis of epochs is logarithmic. A dotted line marks the epoch whose parameters were
    kept.

    Parameters
    ----------
    model
        A fitted estimator, of any kind.
    path
        A PNG to write it to as well.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There is no whole epoch in `history_`.
    """
    check_model(model, "learning_curves")
    history = model.history_
    if not len(history["epoch"]):
        raise ValueError("learning_curves: the model has finished no epoch, so that history_ is empty: fit it first")
    panels = _panels(model, history)
    fig = figure(4.1 * len(panels) + 0.3, 3.4)
    for axes, (unit, lines) in zip(np.atleast_1d(fig.subplots(1, len(panels))), panels, strict=True):
        _panel(axes, history["epoch"], lines, model)
        axes.set_ylabel(unit)
    return finished(fig, path)


def _panels(model: Any, history: dict[str, np.ndarray]) -> list[tuple[str, list[Line]]]:
    """The unit and the lines of each panel."""
    heldout, name = history[model.heldout_name], model.heldout_name
    there = bool(np.isfinite(heldout).any())
    first: list[Line] = [("training loss", history["loss"], BLUE, "-")]
    panels: list[tuple[str, list[Line]]] = [(NATS, first)]
    own = (f"{spoken(name)}", heldout, ORANGE, "-")
    is_loss = name in OF_HELDOUT or (name == "heldout_score" and "nll" in _likelihood_losses(model))
    if there and is_loss:
        first.append((f"$-${spoken(name)}", -heldout, ORANGE, "-"))
    others = [key for key in model.LOSSES if key != "loss"]
    shares = [key for key in others if key.startswith("accuracy")]
    apart = [key for key in others if key not in shares]
    if "kl" in apart or "penalty" in apart:  # of quite another size than the nll
        panels += [(NATS, [(WORDS.get(key, key), history[key], BLUE, "-")]) for key in apart]
    elif apart:
        panels.append((NATS, _coloured(apart, history)))
    if shares:
        lines = _coloured(shares, history)
        panels.append(("accuracy of the discriminator", [*lines, own] if there and not is_loss else lines))
    elif there and not is_loss:
        panels.append((NATS, [own]))
    return panels


def _likelihood_losses(model: Any) -> tuple[str, ...]:
    """ "nll" where a held-out score is the negative of the loss, that of a row under its own reconstruction."""
    return ("nll",) if model.ABILITIES.reconstructs and model.ABILITIES.density == "none" else ()


def _coloured(keys: Sequence[str], history: dict[str, np.ndarray]) -> list[Line]:
    styles = ("-", "--", ":")
    return [(WORDS.get(k, k.replace("_", " ")), history[k], COLOURS[i], styles[i % 3]) for i, k in enumerate(keys)]


def _panel(axes: Any, epochs: np.ndarray, lines: Sequence[Line], model: Any) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    marks: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(epochs) <= MARKED else {}
    for label, values, colour, style in lines:
        axes.plot(epochs, values, style, color=colour, label=label, linewidth=1.4, **marks)
    axes.ticklabel_format(axis="y", useOffset=False)
    limits = limits_of_curves(epochs, [values for _, values, *_ in lines])
    if len(epochs) >= MANY:
        axes.set_xscale("log")
        first, last = _first_seen(epochs, lines, limits), epochs[-1] * 1.05
        axes.set_xlim(first, last)
        axes.xaxis.set_major_locator(LogLocator(10, _marked(last / first), numticks=9))
        axes.xaxis.set_major_formatter(lambda epoch, _: f"{epoch:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("epoch (logarithmic)")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if len(epochs) == 1:
            axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        axes.set_xlabel("epoch")
    axes.yaxis.get_major_formatter().set_useOffset(False)
    _kept(axes, lines, model)
    if limits is not None:
        axes.set_ylim(*limits)
        _say_beyond(axes, epochs, lines, limits)
    quiet(axes)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8.5, ncols=1)  # above all curves


def _marked(ratio: float) -> tuple[float, ...]:
    """Which numbers of each decade are named on an axis whose ends have this ratio, so that they lie apart."""
    return (1.0, 2.0, 5.0) if ratio < 500 else (1.0, 3.0) if ratio < 4000 else (1.0,)


def _first_seen(epochs: np.ndarray, lines: Sequence[Line], limits: tuple[float, float] | None) -> float:
    """Where a logarithmic axis of epochs begins: before them only values lie that are out of sight."""
    if limits is None:
        return float(epochs[0])
    seen = [np.flatnonzero((values >= limits[0]) & (values <= limits[1])) for _, values, *_ in lines]
    first = min([int(places[0]) for places in seen if len(places)], default=0)
    return float(max(epochs[0], epochs[first] / 1.5))


def _kept(axes: Any, lines: Sequence[Line], model: Any) -> None:
    """Mark the parameters that were kept: those after an epoch, or of the start."""
    if model.best_epoch_:
        axes.axvline(
            model.best_epoch_, color="0.35", linewidth=1.1, linestyle=":", label=f"kept: epoch {model.best_epoch_}"
        )
    elif model._state.best_elbo is not None:
        label = "kept: the start, before epoch 1"
        if any(colour == ORANGE and name.startswith("$-$") for name, _, colour, _ in lines):
            axes.axhline(-model._state.best_elbo, color="0.35", linewidth=1.1, linestyle=":", label=label)
        else:
            axes.plot([], [], color=GREY, linestyle="none", label=label)


def _say_beyond(axes: Any, epochs: np.ndarray, lines: Sequence[Line], limits: tuple[float, float]) -> None:
    """The first value of each curve that begins out of sight, with an arrow to that side."""
    for above in (True, False):
        said = []
        for _, values, colour, _ in lines:
            there = np.flatnonzero(np.isfinite(values))
            first = there[0] if len(there) else 0
            if len(there) and (values[first] > limits[1] if above else values[first] < limits[0]):
                said.append((f"{'↑' if above else '↓'} epoch {epochs[first]:g}: {values[first]:.4g}", colour))
        for i, (text, colour) in enumerate(said):
            place = (0.97, 0.97 - 0.085 * i) if above else (0.97, 0.03 + 0.085 * (len(said) - 1 - i))
            axes.annotate(
                text, place, xycoords="axes fraction", ha="right", va="top" if above else "bottom", fontsize=8.5,
                color=colour, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            )  # fmt: skip
