"""The table of a comparison, in text and as cells that a page takes too."""

import math
from collections.abc import Callable
from typing import Any

MISSING = "-"


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
    if "mean_by_reverse" in details:
        value, other = sorted((value, details["mean_by_reverse"]))
        value_text = f"{value:.2f} ... {other:.2f}"
    else:
        value_text = f"{value:.2f}"
    shown = ", ".join("?" if e is None else "0" if e == 0 else f"{e:.2g}" for e in errors)
    return f"{value_text} ({shown})"


def _gain(f: dict[str, Any]) -> str:
    if f.get("denoising_gain") is None:
        return MISSING
    return f"{f['corrupted_l2']:.3g} to {f['denoised_l2']:.3g}"


def _quality(index: int) -> Callable[[dict[str, Any]], str]:
    def cell(f: dict[str, Any]) -> str:
        measures = f.get("quality") or []
        if index >= len(measures):
            return MISSING
        m = measures[index]
        p = "" if m["p_value"] is None else f", p {m['p_value']:.2g}"
        return f"{with_error(m['value'], m['error'])}{p}; real {with_error(m['real'], m['real_error'])}"

    return cell


COLUMNS: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
    ("parameters", lambda f: f"{f['parameters']:,}" if f.get("parameters") is not None else MISSING),
    ("training s", lambda f: with_error(f.get("training_seconds"))),
    ("epochs", lambda f: f"{f['epochs']:,}" if f.get("epochs") else MISSING),
    ("s / 1,000 samples", lambda f: with_error(f.get("seconds_per_1000_samples"))),
    ("passes", lambda f: str(f["passes"]) if f.get("passes") else f.get("samples", MISSING)),
    ("L2 error", lambda f: with_error(f.get("reconstruction_l2"), f.get("reconstruction_l2_error"))),
    ("denoising", _gain),
    ("log p(x) (MC, rows)", _log_likelihood),
    ("kind", lambda f: f.get("log_likelihood_kind") or f.get("density", MISSING)),
    ("rows", lambda f: f"{f['log_likelihood_rows']:,}" if f.get("log_likelihood_rows") else MISSING),
    ("Parzen", lambda f: with_error(f.get("parzen"), f.get("parzen_error"))),
    ("code", lambda f: MISSING if f.get("codes") is None else "yes" if f["codes"] else "no"),
]  # fmt: skip


def columns(rows: dict[str, dict[str, Any]]) -> list[tuple[str, Callable[[dict[str, Any]], str]]]:
    """What stands in the table: `COLUMNS`, and a column for each measure of samples that was taken."""
    longest: list[dict[str, Any]] = max((row.get("quality") or [] for row in rows.values()), key=len, default=[])
    return COLUMNS + [(m["name"], _quality(i)) for i, m in enumerate(longest)]


def cells(rows: dict[str, dict[str, Any]]) -> list[list[str]]:
    """A list of words for each row, the heading first; of a model without figures, why."""
    chosen = columns(rows)
    found = [["", *(name for name, _ in chosen)]]
    for row in rows.values():
        if row.get("status") == "done":
            found.append([row["title"], *(cell(row) for _, cell in chosen)])
        else:
            found.append([row["title"], f"{row.get('status')}: {row.get('reason', '')}"])
    return found


def lines(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The table as text: the samples' measures, which are wide, in a second one."""
    found, split = cells(rows), 1 + len(COLUMNS)
    tables = [[row[:split] if len(row) > 2 else row for row in found]]
    if len(found[0]) > split:
        tables.append([[row[0], *row[split:]] for row in found if len(row) > 2])
    text: list[str] = []
    for table in tables:
        widths = [max(len(row[i]) for row in table if len(row) == len(table[0])) for i in range(len(table[0]))]
        widths[0] = max(len(row[0]) for row in table)
        for row in table:
            if len(row) < len(table[0]):
                text.append(f"{row[0]:<{widths[0]}}  {row[1]}")
            else:
                text.append(
                    "  ".join(
                        [f"{row[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))]
                    )
                )
        text.append("")
    return text
