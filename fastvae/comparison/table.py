"""The tables of a comparison, as cells that the terminal and the page take: one for each question."""

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

MISSING, REAL = "-", "real rows"
SIGNIFICANT = 0.01  # of a p-value, below which a cell is marked


@dataclass(frozen=True)
class Table:
    """Cells: a heading, and a row for each model, its name first; of a model without figures two, with the reason."""

    title: str
    heading: list[str]
    rows: list[list[str]]
    note: str


def with_error(value: float | None, error: float | None = None) -> str:
    """A number and, in brackets, two digits of its error."""
    if value is None:
        return MISSING
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    places = min(max(0, 1 - math.floor(math.log10(error))), 4)
    return f"{value:.{places}f} ({error:.{places}f})"


def _log_likelihood(f: dict[str, Any]) -> str:
    value = f.get("log_likelihood")
    if value is None:
        return MISSING
    errors = [f.get("monte_carlo_error"), f.get("sampling_error")]
    details = f.get("log_likelihood_details") or {}
    if details.get("mean_by_reverse") is not None:
        lower, upper = sorted((details.get("mean_by_annealing", value), details["mean_by_reverse"]))
        value_text = f"{lower:.2f} ... {upper:.2f}"
    else:
        value_text = f"{value:.2f}"
    shown = ", ".join("?" if e is None else "0" if e == 0 else f"{e:.2g}" for e in errors)
    return f"{value_text} ({shown})"


def _kind(f: dict[str, Any]) -> str:
    return (f.get("log_likelihood_kind") or MISSING).replace(" of log p(x|label)", ", given label")


def _gain(f: dict[str, Any]) -> str:
    if f.get("denoising_gain") is None:
        return MISSING
    return f"{f['corrupted_l2']:#.3g} to {f['denoised_l2']:#.3g}"


def _count(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda f: f"{f[name]:,}" if f.get(name) else MISSING


Cell = Callable[[dict[str, Any]], str]
OF_MODELS: list[tuple[str, list[tuple[str, Cell]], str]] = [
    (
        "what it takes",
        [
            ("parameters", _count("parameters")),
            ("training s", lambda f: with_error(f.get("training_seconds"))),
            ("epochs", _count("epochs")),
            ("s / 1,000 samples", lambda f: with_error(f.get("seconds_per_1000_samples"))),
            ("passes a sample", lambda f: str(f["passes"]) if f.get("passes") else f.get("samples", MISSING)),
            ("code", lambda f: MISSING if f.get("codes") is None else "yes" if f["codes"] else "no"),
            ("density", lambda f: f.get("density", MISSING)),
        ],
        "chain: samples are states of a Markov chain, which depend on each other",
    ),
    (
        "held-out rows",
        [
            ("L2 error", lambda f: with_error(f.get("reconstruction_l2"), f.get("reconstruction_l2_error"))),
            ("denoising", _gain),
            ("log p(x), nats", _log_likelihood),
            ("kind", _kind),
            ("rows", _count("log_likelihood_rows")),
            ("Parzen", lambda f: with_error(f.get("parzen"), f.get("parzen_error"))),
        ],
        "L2 error: squared error of a row given back; denoising: of a corrupted row, before and after. log p(x): in "
        "brackets its Monte Carlo error (?: its weights are too heavy for one) and that of other test rows; rows: the "
        "first test rows, as many as there was time for. Parzen: a window over samples, no likelihood",
    ),
]  # fmt: skip
OF_SAMPLES = [
    ("samples beside real rows: distances", ("kernel MMD^2", "classifier", "sliced Wasserstein", "Frechet distance")),
    ("samples beside real rows: quality and variety", ("precision", "recall", "density", "coverage")),
    ("copies of training rows", ("nearer to training rows", "copies by distance", "copies by ratio")),
]
NOTE = (
    "real rows: other held-out rows in the place of samples. In brackets standard errors; p: of a difference from real "
    f"rows as large as this by chance, * where below {SIGNIFICANT:g}"
)
NOTES = {
    OF_SAMPLES[0][0]: "MMD, Wasserstein, Frechet: 0 is best; classifier: 0.5 is best, the accuracy in telling the two "
    "apart",
    OF_SAMPLES[1][0]: "precision, density: samples among real rows; recall, coverage: real rows among samples",
    OF_SAMPLES[2][0]: "shares of samples",
}


def tables(rows: dict[str, dict[str, Any]]) -> list[Table]:
    """What is shown of all rows of a comparison: a table is left out where no model has a figure for it."""
    done = [row for row in rows.values() if row.get("status") == "done"]
    ended = [[row["title"], f"{row.get('status')}: {row.get('reason', '')}"] for row in rows.values()
             if row.get("status") != "done"]  # fmt: skip
    found: list[Table] = []
    for title, columns, note in OF_MODELS:
        lines = [[row["title"], *(cell(row) for _, cell in columns)] for row in done]
        lines = [line for line in lines if set(line[1:]) != {MISSING}]
        found.append(Table(title, [name for name, _ in columns], lines + ([] if found else ended), note))
    for title, names in OF_SAMPLES:
        measured = [(row["title"], {m["name"]: m for m in row.get("quality") or []}) for row in done]
        known = [name for name in names if any(name in of for _, of in measured)]
        lines = [[words, *(_measured(of.get(name)) for name in known)] for words, of in measured if of]
        if known and lines:
            real = [_real([of[name] for _, of in measured if name in of]) for name in known]
            found.append(Table(title, known, [[REAL, *real], *lines], NOTES[title]))
    if len(found) > len(OF_MODELS):
        found[-1] = replace(found[-1], note=f"{found[-1].note}. In all tables of samples, {NOTE}")
    return [table for table in found if table.rows]


def _measured(m: dict[str, Any] | None) -> str:
    if m is None:
        return MISSING
    p = m["p_value"]
    return with_error(m["value"], m["error"]) + ("" if p is None else f" p {p:.2g}{'*' if p < SIGNIFICANT else ''}")


def _real(measures: list[dict[str, Any]]) -> str:
    """The figure of real rows beside them: one, where all models were measured with as many samples."""
    texts = list(dict.fromkeys(with_error(m["real"], m["real_error"]) for m in measures))
    return texts[0] if len(texts) == 1 else f"{texts[0]} ..." if texts else MISSING


def lines(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The tables as text."""
    text: list[str] = []
    for table in tables(rows):
        width = max(len(row[0]) for row in table.rows)
        cells = [table.heading, *(row[1:] for row in table.rows if len(row) == 1 + len(table.heading))]
        widths = [max(len(row[i]) for row in cells) for i in range(len(table.heading))]

        def line(first: str, others: list[str], width: int = width, widths: list[int] = widths) -> str:
            return "  ".join([f"{first:<{width}}", *(f"{c:>{w}}" for c, w in zip(others, widths, strict=True))])

        text += [table.title, line("", table.heading)]
        for row in table.rows:
            text.append(line(row[0], row[1:]) if len(row) > 2 else f"{row[0]:<{width}}  {row[1]}")
        text += [*_wrapped(table.note), ""]
    return [*text, *remarks(rows)]


def remarks(rows: dict[str, dict[str, Any]]) -> list[str]:
    """What is to be said of single models: a training that was ended early, a measure that could not be taken."""
    return [f"{row['title']}: {remark}" for row in rows.values()
            for remark in (row.get("remarks") or []) + (row.get("measuring_remarks") or [])]  # fmt: skip


def _wrapped(text: str, width: int = 110) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")
