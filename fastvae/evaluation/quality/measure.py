"""What every measure of the quality of samples returns."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measure:
    """A figure of samples, beside the same figure of real data.

    Attributes
    ----------
    name
        "kernel MMD^2", for one.
    value
        Of the samples.
    error
        Its standard error; each measure says over what. NaN where none can be told.
    p_value
        The probability of a value that speaks as much against the samples, were they drawn as the real data are; None
        where the figure is no test.
    real
        The same figure where held-out rows, other than those that the samples are compared with, are in the place of
        the samples, as many of them; None outside of a panel.
    real_error
        The standard error of `real`.
    sizes : dict
        How many rows: "samples", "real", and "train" where those are used.
    larger
        What a larger value means.
    details : dict
        What belongs to one measure: JSON can hold it.
    """

    name: str
    value: float
    error: float
    p_value: float | None
    sizes: dict[str, int]
    larger: str
    real: float | None = None
    real_error: float = math.nan
    details: dict[str, Any] = field(default_factory=dict)


def table(measures: Iterable[Measure]) -> list[str]:
    """Lines of text, one a measure, with a heading; the errors in brackets."""
    rows = [("", "samples", "real data", "p", "larger means")]
    rows += [
        (
            m.name,
            _with_error(m.value, m.error),
            "" if m.real is None else _with_error(m.real, m.real_error),
            "" if m.p_value is None else f"{m.p_value:.2g}",
            m.larger,
        )
        for m in measures
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {real:>{widths[2]}}  {p:>{widths[3]}}  {larger}".rstrip()
        for name, value, real, p, larger in rows
    ]


def _with_error(value: float, error: float) -> str:
    """Two digits of the error, and as many places of the value: "0.0123 (0.0045)"."""
    if not (math.isfinite(error) and error > 0 and math.isfinite(value)):
        return f"{value:.4g}"
    places = min(max(0, 1 - math.floor(math.log10(error))), 9)
    return f"{value:.{places}f} ({error:.{places}f})"
