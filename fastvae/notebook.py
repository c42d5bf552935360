"""What a notebook shows of models and results: tables and curves in HTML, without matplotlib. All text is escaped."""

import html
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastvae.evaluation.curve_limits import limits_of_curves

BLUE, ORANGE = "#0072B2", "#D55E00"  # as in figures
WIDE, HIGH, SIDE, FOOT = 340.0, 120.0, 54.0, 30.0  # of the curves, and of what stands beside and below them
LONGEST = 80  # letters of a value
STYLE = "text-align:left;vertical-align:top;padding:1px 12px 1px 0;border:0"

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = LONGEST


def shown(value: object) -> str:
    """A value as Python writes it, not too long."""
    text = " ".join(_short.repr(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def block(title: str, rows: Mapping[str, str], *more: str) -> str:
    """A title, a table of names and values, which are text, and `more` HTML below."""
    e = html.escape
    cells = "".join(
        f'<tr><th scope="row" style="{STYLE};font-weight:normal;opacity:.7">{e(name)}</th>'
        f'<td style="{STYLE};font-family:monospace">{e(value)}</td></tr>'
        for name, value in rows.items()
    )
    table = f'<table style="border:0;border-collapse:collapse;margin:2px 0">{cells}</table>' if cells else ""
    return f'<div class="fastvae" style="font-size:90%"><strong>{e(title)}</strong>{table}{"".join(more)}</div>'


def curves(epochs: np.ndarray, lines: Mapping[str, np.ndarray], unit: str, kept: int = 0) -> str:
    """An SVG of at most two curves (E,) over epochs, with names and ends; NaN are gaps; the epoch `kept` is marked."""
    some = {name: np.asarray(values, np.float64) for name, values in lines.items() if np.isfinite(values).any()}
    if not some or len(epochs) < 2:
        return ""
    every = np.concatenate(list(some.values()))
    low, high = limits_of_curves(epochs, list(some.values())) or (
        float(np.nanmin(every[np.isfinite(every)])), float(np.nanmax(every[np.isfinite(every)])),
    )  # fmt: skip
    span, first, last = (high - low) or 1.0, float(epochs[0]), float(epochs[-1])

    def x(epoch: float) -> float:
        return SIDE + 6 + (epoch - first) / (last - first) * WIDE

    def y(value: float) -> float:
        return 6 + (1 - min(max((value - low) / span, 0.0), 1.0)) * HIGH

    largest = max(abs(low), abs(high)) or 1.0
    digits = int(np.clip(2 + np.ceil(np.log10(largest / span)), 4, 8))  # so many that the ends differ
    style = 'font-family="sans-serif" font-size="11" fill="currentColor"'
    parts = []
    if kept:
        parts.append(f'<line x1="{x(kept):.1f}" x2="{x(kept):.1f}" y1="6" y2="{6 + HIGH:.0f}" stroke="currentColor" '
                     'stroke-dasharray="2 3" opacity=".6"/>')  # fmt: skip
    for colour, values in zip((BLUE, ORANGE), some.values(), strict=False):
        for points in _runs(epochs, values):
            if len(points) > 1:
                path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
                parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            else:
                a, b = points[0]
                parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="2" fill="{colour}"/>')
    parts += [
        f'<text x="{SIDE}" y="14" text-anchor="end" {style}>{high:.{digits}g}</text>',
        f'<text x="{SIDE}" y="{6 + HIGH:.0f}" text-anchor="end" {style}>{low:.{digits}g}</text>',
        f'<text x="{SIDE + 6}" y="{HIGH + 22:.0f}" {style}>epoch {first:g}</text>',
        f'<text x="{SIDE + 6 + WIDE}" y="{HIGH + 22:.0f}" text-anchor="end" {style}>{last:g}</text>',
    ]
    names = ", ".join(
        f'<span style="color:{colour}">{html.escape(name)}</span>'
        for colour, name in zip((BLUE, ORANGE), some, strict=False)
    )
    size = f'width="{SIDE + WIDE + 12:.0f}" height="{HIGH + FOOT:.0f}"'
    box = f'viewBox="0 0 {SIDE + WIDE + 12:.0f} {HIGH + FOOT:.0f}"'
    said = html.escape(f"{', '.join(some)}, {unit}, by epoch", quote=True)
    svg = f'<svg {size} {box} role="img" aria-label="{said}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    return f"<div>{names}, {html.escape(unit)}</div>{svg}"


def _runs(epochs: np.ndarray, values: np.ndarray) -> list[list[tuple[float, float]]]:
    """Points of a curve that follow each other without a gap, thinned where they are many."""
    every = max(1, len(epochs) // 500)
    runs: list[list[tuple[float, float]]] = [[]]
    for epoch, value in zip(epochs[::-1][::every][::-1], values[::-1][::every][::-1], strict=True):
        if np.isfinite(value):
            runs[-1].append((float(epoch), float(value)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def listed(items: Sequence[str], most: int = 12) -> str:
    """Some names, and how many more there are."""
    more = f", ... ({len(items)} in all)" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def number(value: Any, digits: int = 6) -> str:
    """A figure to so many digits, or "?" of one that is not known."""
    return f"{float(value):.{digits}g}" if np.isfinite(value) else "?"
