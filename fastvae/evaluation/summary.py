"""An evaluation in words and in JSON: the table that `python -m fastvae.evaluate` prints."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastvae.errors import counted
from fastvae.evaluation.elbo import Elbo
from fastvae.evaluation.grid import bits_per_dimension
from fastvae.evaluation.result import LogLikelihood

GOOD, BAD, VERY_BAD = "good", "bad", "very bad"
SHOWN_BOUNDS = 8  # of k samples, at most
NAMES = {
    "importance": "importance sampling", "naive": "naive estimator, z from the prior",
    "annealed": "annealed importance sampling", "elbo": "ELBO", "parzen": "Parzen window",
}  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What was found, with what it belongs to.

    Attributes
    ----------
    result
        Of the method that was asked for.
    elbo
        Of the same examples; None where the model has no encoder.
    rivals
        Name to log p(x) (N,) of the same examples under the dumbest models.
    conventions
        What the numbers depend on, a line each.
    columns, step
        D, and that of the grid of dequantised data; None without.
    seed
        Of the draws.
    parzen
        A Parzen window beside it, or None.
    remarks
        Lines of a diagnosis.
    """

    result: LogLikelihood
    elbo: Elbo | None
    rivals: dict[str, np.ndarray]
    conventions: list[str]
    columns: int
    seed: int
    step: float | None = None
    parzen: LogLikelihood | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def bits(self) -> float:
        """Bits per dimension: of a step of the grid, where the data were dequantised, else of the user's unit."""
        return bits_per_dimension(self.result.mean, self.columns, self.step or 1.0)

    # ---- in words -----------------------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """The table."""
        r = self.result
        drawn = "chains" if r.method == "annealed" else "samples of z"
        about = f"{r.n_samples:,} {drawn} for each of {len(r):,} examples, seed {self.seed}"
        lines = [f"{NAMES[r.method]}: {about}, {r.seconds:.1f} s"]
        if not r.complete:
            lines.append(f"stopped early: these are the first {len(r):,} examples")
        lines += [
            "",
            _row("log p(x)" + _of_kind(r), r.mean, "nats"),
            _row("", self.bits, "bits per dimension", digits=4),
            *self._errors(),
        ]
        if self.elbo is not None and r.method != "elbo":
            lines.append(_row("ELBO", self.elbo.mean, f"+-{self.elbo.mean_mcse:.3f} (Monte Carlo)"))
        if self.elbo is not None:
            kl = self.elbo.kl.mean(axis=0)
            lines.append(_row("  reconstruction", float(self.elbo.reconstruction.mean()), "E_q[log p(x|z)]"))
            shown = ", ".join(f"{value:.2f}" for value in np.sort(kl)[::-1][:8])
            more = ", ..." if len(kl) > 8 else ""
            lines.append(_row("  KL", float(kl.sum()), f"of {len(kl)} dimensions, the largest first: {shown}{more}"))
        if r.bounds:
            lines += ["", "bound of k samples  " + "  ".join(f"{k}: {m:.3f}" for k, m in self._shown_bounds())]
        if np.isfinite(r.khat).any() or (r.khat == -math.inf).any():
            lines += ["", *self._khat_lines()]
        if self.rivals or self.parzen is not None:
            lines += ["", "beside it"]
            lines += [self._rival_line(name) for name in self.rivals]
        if self.parzen is not None:
            h = self.parzen.details["bandwidth"]
            about = (
                f"of {self.parzen.n_samples:,} samples, h = {h:.4g}: no likelihood of this model; it misranks models"
            )
            lines.append(_row("  Parzen window", self.parzen.mean, about))
        return [*lines, "", *self.conventions, *([""] if self.remarks else []), *self.remarks]

    def differences(self) -> dict[str, tuple[float, float]]:
        """Of each rival its log p(x) less the estimate, in the mean, and the error of that over the examples: smaller
        than those of both, as the same examples are hard for both."""
        found = {}
        for name, values in self.rivals.items():
            less = values - self.result.values
            error = float(less.std(ddof=1)) / math.sqrt(len(less)) if len(less) > 1 else math.nan
            found[name] = float(less.mean()), error
        return found

    def _rival_line(self, name: str) -> str:
        less, error = self.differences()[name]
        apart = "" if math.isnan(less) or math.isnan(error) else f", {less:+.4f} +-{error:.4f} to log p(x), row by row"
        return _row(f"  {name}", float(self.rivals[name].mean()), f"nats{apart}")

    def _errors(self) -> list[str]:
        r, lines = self.result, []
        if math.isnan(r.mean_mcse):
            unknown = np.isnan(r.mcse)
            refused = counted(int(unknown.sum()), "example")
            lines.append(f"  Monte Carlo error: none can be told for {refused}, and so for the mean")
            if not unknown.all():
                known = ~unknown
                error = math.sqrt(float(np.square(r.mcse[known]).sum())) / known.sum()
                mean = float(r.values[known].mean())
                lines.append(f"  of the other {known.sum():,} examples: {mean:.4f} +-{error:.4f} (Monte Carlo)")
        else:
            lines.append(f"  +-{r.mean_mcse:.4f} (Monte Carlo: of a repetition with other draws)")
        if "interval" in r.details and not np.isnan(r.mcse).all():
            lines.append(f"  an interval of 95% of one example {r.details['interval']}")
        if len(r) > 1:
            lines.append(f"  +-{r.mean_sampling_error:.4f} (of other examples from the same source)")
        return lines

    def _shown_bounds(self) -> list[tuple[int, float]]:
        means = [(k, float(bound.mean())) for k, bound in self.result.bounds.items()]
        places = np.linspace(0, len(means) - 1, min(len(means), SHOWN_BOUNDS)).round().astype(int)
        return [means[place] for place in places]

    def _khat_lines(self) -> list[str]:
        lines = [f"{'Pareto k-hat':<16}{'':<10}{'examples':>9}{'share':>9}{'least ESS':>11}"]
        for row in self.khat_table():
            ess = "" if row["least_ess"] is None else f"{row['least_ess']:,.0f}"
            lines.append(f"{row['range']:<16}{row['name']:<10}{row['count']:>9,}{row['share']:>9.1%}{ess:>11}".rstrip())
        worst = np.flatnonzero(self.result.unreliable)
        if len(worst):
            order = worst[np.argsort(-self.result.khat[worst])][:5]
            named = ", ".join(f"{i} ({self.result.khat[i]:.2f})" for i in order)
            lines.append(f"unreliable, without an error: row {named}{', ...' if len(worst) > 5 else ''}")
            lines.append("more samples may help; annealed importance sampling has another proposal: --method annealed")
        return lines

    def khat_table(self) -> list[dict[str, Any]]:
        """How many examples have a k-hat in each range, and their least effective sample size."""
        k, most = self.result.khat, self.result.threshold
        ranges = [
            (f"(-Inf, {most:.2g}]", GOOD, k <= most),
            (f"({most:.2g}, 1]", BAD, (k > most) & (k <= 1.0)),
            ("(1, Inf)", VERY_BAD, k > max(1.0, most)),
        ]
        return [
            {
                "range": name,
                "name": word,
                "count": int(inside.sum()),
                "share": float(inside.mean()),
                "least_ess": float(self.result.ess[inside].min()) if inside.any() else None,
            }
            for name, word, inside in ranges
        ]

    # ---- in JSON ------------------------------------------------------------------------------------------------

    def plain(self) -> dict[str, Any]:
        """All of it as JSON holds it; what is no number is null."""
        r = self.result
        found: dict[str, Any] = {
            "method": r.method, "kind": r.kind, "examples": len(r), "complete": r.complete, "n_samples": r.n_samples,
            "seed": self.seed, "seconds": r.seconds, "log_p": r.mean, "bits_per_dimension": self.bits,
            "monte_carlo_error": r.mean_mcse, "sampling_error": r.mean_sampling_error,
            "unreliable": int(r.unreliable.sum()), "khat_threshold": r.threshold, "khat": self.khat_table(),
            "bounds": {str(k): float(bound.mean()) for k, bound in r.bounds.items()},
            "details": r.details, "rivals": {name: float(values.mean()) for name, values in self.rivals.items()},
            "rivals_less_log_p": {
                name: {"mean": less, "sampling_error": error} for name, (less, error) in self.differences().items()
            },
            "conventions": self.conventions, "remarks": self.remarks,
        }  # fmt: skip
        if self.elbo is not None:
            kl = self.elbo.kl.mean(axis=0)
            found["elbo"] = {
                "mean": self.elbo.mean, "monte_carlo_error": self.elbo.mean_mcse, "n_samples": self.elbo.n_samples,
                "reconstruction": float(self.elbo.reconstruction.mean()), "kl": float(kl.sum()),
                "kl_per_dimension": kl.tolist(),
            }  # fmt: skip
        if self.parzen is not None:
            p = self.parzen
            found["parzen"] = {"mean": p.mean, "monte_carlo_error": p.mean_mcse, "n_samples": p.n_samples} | p.details
        return finite_or_null(found)

    def json(self) -> str:
        """`plain` as text."""
        return json.dumps(self.plain(), indent=2, ensure_ascii=False) + "\n"


def finite_or_null(value: Any) -> Any:
    """The same with None in the place of what is not finite, at any depth."""
    if isinstance(value, dict):
        return {key: finite_or_null(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _row(name: str, value: float, about: str, digits: int = 4) -> str:
    return f"{name:<22}{value:>13,.{digits}f}  {about}".rstrip()


def _of_kind(result: LogLikelihood) -> str:
    return "" if result.kind == "estimate" else f", {result.kind}"
