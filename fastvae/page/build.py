"""Writes the page of a model: one HTML file, which asks for nothing, and in which the model itself computes.

    report.html = page.html with style.css, the scripts, the model's parameters, and some rows to begin with

Parameters are in float32 where the page then stays below `LARGEST`; else matrices are in 8 bits, and the page says what
that costs, measured on the rows that it was made from.
"""

import html
import importlib.resources
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file, check_writable
from fastvae.data.condition import Condition, Labels, Vectors
from fastvae.errors import counted
from fastvae.evaluation.drawing import limits_of
from fastvae.export.portable import Portable
from fastvae.layers import Half, Layer
from fastvae.models.table_vae import TableVAE
from fastvae.page.archive import packed
from fastvae.page.described import PortableTable, described
from fastvae.page.network import elbo
from fastvae.page.rounding import Rounded, fitting
from fastvae.page.toy import toy_model
from fastvae.pictures.subject import columns_of, is_ink, spread
from fastvae.version import VERSION

LARGEST = 499_000  # bytes of a page, where that can be
LEAST_BITS = 3.5  # a weight, on the average: a model that would have fewer makes a larger page
SCRIPTS = (
    *("archive", "noise", "network", "estimates", "dom", "charts", "rows", "decode", "encode", "estimate", "curves"),
    *("toy", "main"),
)
STYLES = ("style", "toy")
MARGIN = 1000  # bytes, for what is said of the rounding
MEASURED = 2000  # rows at most on which costs are measured
SHOWN, SHOWN_BYTES = 200, 60_000  # rows that a page holds at most, and what they take
ROUNDING = 1e-6
MOST_COLUMNS = 40  # whose numbers can be changed; of more a line is drawn
MOST_EPOCHS = 200  # points of a curve


@dataclass(frozen=True, eq=False, repr=False)
class Page:
    """A page, and what it is.

    Attributes
    ----------
    text
        HTML.
    model
        What it computes with.
    bits
        Of a weight: 32, or 8.
    elbo, rounded_elbo
        Means over the rows that costs are measured on, nats in the user's units: of the model, and of the page.
    worst
        Largest change of a row's ELBO, nats.
    rows
        How many rows these were.
    """

    text: str
    model: Portable
    bits: int
    elbo: float
    rounded_elbo: float
    worst: float
    rows: int

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.text.encode())

    @property
    def described(self) -> str:
        """What it is, in words."""
        found = f"{self.size:,} bytes, weights in {self.bits} bits"
        if self.bits == 32:
            return found
        costs = f"ELBO {self.rounded_elbo:.3f} instead of {self.elbo:.3f} nats over {counted(self.rows, 'row')}"
        return f"{found}: {costs}, that of no row by more than {self.worst:.2f}"

    def __repr__(self) -> str:
        return f"<Page: {self.described}>"


def write_page(
    path: str | os.PathLike[str],
    model: Any,
    X: Any,
    labels: Any = None,
    condition: Any = None,
    places: Any = None,
    beside: dict[str, float] | None = None,
) -> Page:
    """Write the page of a fitted VAE, to be opened in any browser of 2023 or later, without a network.

    Parameters
    ----------
    path
        NAME.html. What stood there is replaced, as a whole.
    model
        A fitted `VAE` of dense layers whose likelihood is Bernoulli, Gaussian or Poisson; or a `TableVAE`.
    X : (N, D)
        Rows in the user's units, best those held out: some of them can be chosen in the page, and what rounded weights
        cost is measured on up to 2,000.
    labels : (N,)
        Of the rows, for the plane of codes.
    condition
        Of the rows, of a conditional model.
    places : (N,) of int
        What the rows are called; by default their numbers from 0.
    beside
        Rivals' log p(x) by name, nats a row, said beside the ELBO.

    Returns
    -------
    Page

    Raises
    ------
    TypeError
        Another model, or one with parts that the page does not know.
    ValueError
        Rows that the model refuses.
    FileAccessError
        It cannot be written.
    """
    m = described(model)
    check_writable(path)
    if isinstance(X, np.ndarray) and condition is None:
        model.examples(
            X[spread(len(X), MEASURED)]
        )  # refuses what the model refuses, and leaves most of a mapped file unread
    else:
        model.examples(X, condition=condition)
    X = np.asarray(model.columns_.encode(X) if isinstance(model, TableVAE) and not isinstance(X, np.ndarray) else X)
    some = spread(len(X), MEASURED)
    c = None if m.condition is None else m.condition.rows(condition, len(X))
    measured, c_measured = X[some], None if c is None else c[some]
    shown = spread(len(X), max(1, min(SHOWN, SHOWN_BYTES // (X.shape[1] * _small(measured, m).itemsize))))
    spec = _spec(model, m, X[shown], shown if places is None else np.asarray(places)[shown], labels, shown)
    rows = {"x": _small(X[shown], m)} | ({} if c is None else {"c": c[shown]})
    rows |= {"offset": m.units.offset, "scale": m.units.scale, "sigma": np.atleast_1d(np.asarray(m.sigma, np.float64))}
    if isinstance(m, PortableTable):
        rows |= {name: getattr(m, name) for name in ("theta", "centre", "inverse", "log_scale")}
    exact = elbo(m, measured, c_measured)
    words = _words(model, m, spec, exact, beside or {}) | {"ROWS": packed(rows)}
    found, bits, said = exact, 32, "Its weights are the model's own, in float32."
    page = _filled(words | {"WEIGHTS": packed(_plain(m)), "PRECISION": said})
    if len(page.encode()) > LARGEST:
        used = len(_filled(words | {"WEIGHTS": "", "PRECISION": ""}).encode())
        count = sum(array.size for name, array in _plain(m).items() if not name.endswith(".bias"))
        room = max(LARGEST - used - MARGIN, int(LEAST_BITS * count / 8 * 5 / 4))  # base 85: 5 bytes for 4
        whole = m
        m, matrices = fitting(m, measured, c_measured, lambda found: len(_rounded(whole, found)), room)
        found, bits = elbo(m, measured, c_measured), 8
        said = (
            f"Its weights are rounded to 8 bits: over {counted(len(found), 'row')} the ELBO is {found.mean():.3f} nats "
            f"instead of {exact.mean():.3f}, and that of no row changes by more than {np.abs(found - exact).max():.2f}."
        )
        page = _filled(words | {"WEIGHTS": _rounded(m, matrices), "PRECISION": said})
    with atomic_file(path, "w") as file:
        file.write(page)
    worst = float(np.abs(found - exact).max())
    return Page(page, m, bits, float(exact.mean()), float(found.mean()), worst, len(found))


def _small(X: np.ndarray, m: Portable) -> np.ndarray:
    """Rows in the smallest type that holds them, to `ROUNDING` of the model's units."""
    if X.dtype.kind in "biu" and X.min() >= 0 and X.max() <= 255:
        return X.astype(np.uint8)
    moved = np.abs(X.astype(np.float32).astype(np.float64) - X) / m.units.scale  # NaN where a value is missing
    return X.astype(np.float64 if (moved > ROUNDING).any() else np.float32)


def _plain(m: Portable) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for layer in m.layers:
        found |= {f"{layer.name}.weight": layer.weight, f"{layer.name}.bias": layer.bias}
        if layer.beside is not None:
            found[f"{layer.name}.beside"] = layer.beside
    return found


def _rounded(m: Portable, matrices: dict[str, Rounded]) -> str:
    """The text of rounded matrices, and of the biases of a model."""
    found: dict[str, np.ndarray] = {}
    for name, matrix in matrices.items():
        found |= {f"{name}.codes": matrix.sorted_codes, f"{name}.rows": matrix.rows, f"{name}.columns": matrix.columns}
    return packed(found | {f"{layer.name}.bias": layer.bias for layer in m.layers}, repeats=False)


# ---- what the scripts are told ------------------------------------------------------------------------------------


def _half(half: Half) -> dict[str, Any]:
    def layer(each: Layer) -> dict[str, Any]:
        return {"name": each.name, "activation": each.activation, "beside": each.beside is not None}

    return {"layers": [layer(each) for each in half.layers], "heads": [layer(each) for each in half.heads.values()]}


def _condition(condition: Condition | None, known: Sequence[Any] = ()) -> dict[str, Any] | None:
    """What a page knows of a condition, with the names that the columns of numbers have, or are `known` by."""
    if isinstance(condition, Labels):
        classes = [str(label) for label in condition.classes.tolist()]
        return {"kind": "labels", "columns": condition.columns, "classes": classes}
    if isinstance(condition, Vectors):
        known = known if len(known) == condition.columns else range(condition.columns)
        names = [str(name) for name in condition.names or known]
        numbers = {"offset": condition.offset.tolist(), "scale": condition.scale.tolist()}
        return {"kind": "vectors", "columns": condition.columns, "names": names, **numbers}
    return None


def _spec(model: Any, m: Portable, X: np.ndarray, places: np.ndarray, labels: Any, shown: np.ndarray) -> dict[str, Any]:
    assert m.encoder is not None
    shape = model.metadata_.get("image_shape")
    low, high = (
        np.nan_to_num(end(X.astype(np.float64), axis=0, initial=start, where=~np.isnan(X)))
        for end, start in ((np.min, np.inf), (np.max, -np.inf))
    )
    if shape:
        whole = m.units.offset.min(), (m.units.offset + m.units.scale).max()
        ends = whole if m.unit_range else limits_of(X)
        low, high = np.array([ends[0]]), np.array([ends[1]])
    given = None if labels is None else [str(label) for label in np.asarray(labels)[shown].tolist()]
    return {
        "columns": m.columns,
        "codes": m.codes,
        "likelihood": m.likelihood,
        "seen": m.seen,
        "mean": m.mean,
        "unitRange": m.unit_range,
        "whole": m.whole,
        "logJacobian": m.log_jacobian,
        "condition": _condition(m.condition, model.metadata_.get("condition") or ()),
        "encoder": _half(m.encoder),
        "decoder": _half(m.decoder),
        "imageShape": None if not shape else [int(n) for n in shape],
        "ink": is_ink(model, X),
        "names": [column.name for column in columns_of(model)],
        "labels": given,
        "classes": None if given is None else sorted(set(given)),
        "low": low.tolist(),
        "high": high.tolist(),
        "rows": len(X),
        "places": [int(place) for place in places],
        "seed": 0,
        "history": _history(model),
        "heldoutName": model.heldout_name.removeprefix("heldout_").replace("_", " ").replace("elbo", "ELBO"),
        "toy": toy_model(),
        "table": _table(m),
    }


def _table(m: Portable) -> dict[str, Any] | None:
    if not isinstance(m, PortableTable):
        return None
    return {
        "kinds": m.kinds,
        "levels": [[str(level) for level in column.levels] for column in m.table.columns],
        "outputs": [column.outputs for column in m.table.columns],
        "gaps": [bool(gap) for gap in m.gaps],
    }


def _history(model: Any) -> dict[str, Any]:
    history = model.history_
    epochs = np.asarray(history["epoch"])
    rows = np.unique(np.geomspace(1, len(epochs), MOST_EPOCHS).astype(int)) - 1 if len(epochs) else np.empty(0, int)
    found: dict[str, Any] = {"epoch": [int(epochs[i]) for i in rows]}
    for name, own in (("loss", "loss"), ("nll", "nll"), ("kl", "kl"), ("heldout", model.heldout_name)):
        values = np.asarray(history[own], np.float64)[rows]
        found[name] = [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]
    return found | {"best": int(model.best_epoch_ or 0)}


# ---- the text -----------------------------------------------------------------------------------------------------


def _words(
    model: Any, m: Portable, spec: dict[str, Any], exact: np.ndarray, beside: dict[str, float]
) -> dict[str, str]:
    """What stands for the words in capitals of page.html, but for ROWS, WEIGHTS and PRECISION."""
    name = str(model.metadata_.get("data") or "data")
    error = exact.std(ddof=1) / np.sqrt(len(exact)) if len(exact) > 1 else float("nan")
    assert m.encoder is not None
    sizes = "-".join(str(w) for w in [m.columns, *(layer.weight.shape[1] for layer in m.encoder.layers), m.codes])
    facts = {
        "network": f"{sizes}, {sum(v.size for v in _plain(m).values()):,} parameters",
        "p(x|z)": "a kind for each column" if isinstance(m, PortableTable) else str(m.likelihood).capitalize(),
        "trained": counted(int(model.n_epochs_), "epoch"),
        f"ELBO of {counted(len(exact), 'row')}": f"{exact.mean():.2f} ± {error:.2f} nats a row".replace("-", "−"),
    }
    facts |= {f"log p(x), {key}": f"{value:.2f}".replace("-", "−") for key, value in beside.items()}
    pairs = "\n".join(f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in facts.items())
    shape = spec["imageShape"]
    drawable = shape and (shape + [1])[2] == 1
    edit = "Draw into x, or take a row." if drawable else "Change a value, or take another row."
    if (shape and not drawable) or (not shape and m.columns > MOST_COLUMNS):
        edit = "Take a row."
    units = "" if m.units.same else " All is in the units of the data."
    if m.unit_range:
        units = " Values between 0 and 1 count as probabilities."
    drag = "Move the slider."
    if m.codes > 1:
        marks = "the marks are the means of q(z|x) of some rows" + (", with their labels" if spec["labels"] else "")
        drag = (
            "Drag the point, or move the sliders; the rings lie at one, two and three deviations of the prior, and "
            f"{marks}. Dimensions are sorted by how much they say."
        )
    return {
        "TITLE": html.escape(f"A VAE of {name}"),
        "FACTS": f'<dl class="facts">\n{pairs}\n</dl>',
        "DRAG": drag,
        "EDIT": edit,
        "UNITS": units,
        "FOOTER": f"Made by fastvae {VERSION}; all is computed in this page, which asks for nothing from anywhere.",
        "STYLE": _joined(STYLES, ".css"),
        "SCRIPT": _joined(SCRIPTS, ".js"),
        "SPEC": json.dumps(spec, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }


def _filled(words: dict[str, str]) -> str:
    return re.sub(r"\b(" + "|".join(words) + r")\b", lambda found: words[found[0]], _part("page.html"))


def _part(name: str) -> str:
    return importlib.resources.files("fastvae.page").joinpath(name).read_text(encoding="utf-8")


def _joined(names: tuple[str, ...], ending: str) -> str:
    """Parts in order, without indentation and lines that are comments alone."""
    lines = [line.strip() for name in names for line in _part(name + ending).splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("//"))
