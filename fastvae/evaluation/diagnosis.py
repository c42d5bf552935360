"""What may be wrong with a VAE that was trained: a diagnosis, with figures, and with what to try."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastvae import reference
from fastvae.data.minibatches import Examples
from fastvae.evaluation.aggregated import AggregatedPosterior, aggregated_posterior
from fastvae.evaluation.densities import Joint
from fastvae.evaluation.width import PosteriorWidth, posterior_width
from fastvae.models.settings import check_integer
from fastvae.models.vae import COLLAPSED
from fastvae.notebook import block

ACTIVE = 0.01  # variance over x of the mean of q(z|x), of an active unit (Burda, Grosse and Salakhutdinov 2016)
NARROW, WIDE = 4.0, 1 / 3  # variance of p(z|x) over that of q(z|x)
FAR_GAIN, FAR_SHARE = 1.0, 0.1  # nats, and share of the KL, that a Gaussian with the moments of q(z) gains as the prior
FAR_DISTANCE, FAR_DIMENSION = 0.3, 0.15  # see `AggregatedPosterior`: `distance`, and the largest `kolmogorov`
SIGNIFICANT = 0.01  # a p-value that is not above it; N(0, I) itself comes to it once in a hundred times

COLLAPSE, INACTIVE = "collapse", "inactive dimensions"
NARROW_POSTERIOR, WIDE_POSTERIOR = "narrow posterior", "wide posterior"
FAR = "aggregated posterior"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    name
        "collapse", "inactive dimensions", "narrow posterior", "wide posterior" or "aggregated posterior".
    serious
        False for what is good to know and does no harm.
    what
        In words, with the figures.
    figures
        Name to number.
    tries
        What to try.
    """

    name: str
    serious: bool
    what: str
    figures: dict[str, float]
    tries: str

    def __str__(self) -> str:
        return f"{self.what}: {self.tries}"


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes
    ----------
    kl : (Z,) float64
        KL[q(z_j|x) || N(0, 1)] of each dimension, the mean over the examples, in nats; their sum is the ELBO's KL.
    mean_variance : (Z,) float64
        Variance over the examples of the mean of q(z_j|x).
    width : PosteriorWidth
        q(z|x) against p(z|x).
    aggregated : AggregatedPosterior
        q(z) against N(0, I).
    n_examples
        How many examples `kl`, `mean_variance` and the moments in `aggregated` are of.
    findings : list of Finding
        The serious ones first.
    """

    kl: np.ndarray
    mean_variance: np.ndarray
    width: PosteriorWidth
    aggregated: AggregatedPosterior
    n_examples: int
    findings: list[Finding] = field(default_factory=list)

    @property
    def active(self) -> np.ndarray:
        """(Z,) bool: the active units, whose `mean_variance` is above 0.01 (Burda et al. 2016)."""
        return self.mean_variance > ACTIVE

    @property
    def named(self) -> list[str]:
        """Names of the serious findings: empty for a model that is well."""
        return [finding.name for finding in self.findings if finding.serious]

    def summary(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "n_examples": self.n_examples,
            "active_units": int(self.active.sum()),
            "latent_dim": len(self.kl),
            "kl": float(self.kl.sum()),
            "kl_per_dimension": self.kl.tolist(),
            "mean_variance": self.mean_variance.tolist(),
            "width": self.width.summary(),
            "aggregated": self.aggregated.summary(),
            "findings": [vars(finding) for finding in self.findings],
        }

    def _repr_html_(self) -> str:
        named = ", ".join(self.named) or "none"
        rows = {f"{i + 1}": line for i, line in enumerate(self.lines())}
        return block(f"Diagnosis of {self.n_examples:,} examples; serious findings: {named}", rows)

    def lines(self) -> list[str]:
        """It in words."""
        a, w = self.aggregated, self.width
        ratio = overall_ratio(w.ratio, self.active)
        return [
            f"{self.active.sum()} of {len(self.kl)} latent dimensions are active; KL {self.kl.sum():.2f} nats",
            f"posterior: variance {ratio:.2f} times that of q(z|x); KL[q || p(z|x)] about {w.gap:.2f} nats "
            f"(+-{w.gap_error:.2f})",
            f"aggregated posterior: variances {a.variance.min():.2f} to {a.variance.max():.2f}, means up to "
            f"{np.abs(a.mean).max():.2f} from 0, largest correlation {a.largest_correlation:.2f}; distance from "
            f"N(0, I) {a.distance:.2f}, p = {a.p_value:.3g}; a Gaussian with its moments as prior gains {a.gain:.2f} "
            f"nats (+-{a.gain_error:.2f})",
            *(str(finding) for finding in self.findings),
        ]


def diagnose(
    model: Any, X: Any, *, n_samples: int = 256, n_examples: int = 64, seed: int = 0, condition: Any = None
) -> Diagnosis:
    """Look for what may be wrong with a VAE: collapse, a q that does not fit, a q(z) far from the prior.

    Parameters
    ----------
    model : VAE
        Fitted, with its encoder.
    X : (N, D) or Examples
        Rows like those that the model was trained on, at least 2, better 500; or what `model.examples(X)` returns, for
        data that are binarised.
    n_samples, n_examples
        Draws of z an example, and examples, spread evenly over X, for the comparison of q(z|x) with p(z|x).
    seed
        Of the draws.
    condition
        Of the rows, as `fit` has it, for a model that was fitted with one; examples have theirs.

    Raises
    ------
    ValueError, TypeError
        A number that is none; data that the model cannot take; a single example.
    """
    check_integer("n_samples", n_samples, 2)
    check_integer("n_examples", n_examples, 1)
    examples = X if isinstance(X, Examples) else model.examples(X, condition=condition)
    joint = Joint(model, examples)
    if len(joint) < 2:
        raise ValueError("X has 1 example: how codes are spread over examples needs at least 2, better 500")
    rng = np.random.default_rng(seed)
    mu, logvar = (values.astype(np.float64) for values in model.encode_examples(examples))
    kl = reference.kl_terms(mu, logvar).mean(axis=0)
    indices = np.unique(np.linspace(0, len(joint) - 1, min(n_examples, len(joint))).astype(np.int64))
    width, aggregated = posterior_width(joint, indices, n_samples, rng), aggregated_posterior(mu, logvar, rng)
    found = Diagnosis(kl, mu.var(axis=0, ddof=1), width, aggregated, len(joint))
    found.findings.extend(sorted(_findings(model, found), key=lambda finding: not finding.serious))
    return found


def active_units(model: Any, examples: Examples, most: int = 2000) -> int:
    """How many latent dimensions have a mean of q(z|x) whose variance over x is above 0.01 (Burda et al. 2016), from so
    many examples at most, spread evenly."""
    joint = Joint(model, examples)
    indices = np.unique(np.linspace(0, len(joint) - 1, min(most, len(joint))).astype(np.int64))
    mu, _ = joint.encode(joint.rows(indices))
    return int((mu.var(axis=0) > ACTIVE).sum())


def overall_ratio(ratio: np.ndarray, active: np.ndarray) -> float:
    """The geometric mean of ratios (Z,) of variances over the active dimensions; over all where none is."""
    return float(np.exp(np.log(ratio[active] if active.any() else ratio).mean()))


def _findings(model: Any, found: Diagnosis) -> list[Finding]:
    looks = (_collapse, _width, _aggregated)
    return [finding for look in looks for finding in [look(model, found)] if finding is not None]


def _collapse(model: Any, found: Diagnosis) -> Finding | None:
    total, active, dimensions = float(found.kl.sum()), int(found.active.sum()), len(found.kl)
    figures = {"active_units": float(active), "kl": total}
    if total < COLLAPSED or active == 0:
        what = (
            f"the posterior has collapsed ({active} of {dimensions} latent dimensions are active, the KL is "
            f"{total:.2g} nats), so that the codes say nothing of the data"
        )
        return Finding(COLLAPSE, True, what, figures, f"try {model.collapse_tries()}")
    if active < dimensions:
        what = f"{dimensions - active} of {dimensions} latent dimensions are inactive: q(z_j|x) is the same for all x"
        tries = f"that does no harm; latent_dim={active} would do as well, and kl_warmup_epochs may make more active"
        return Finding(INACTIVE, False, what, figures, tries)
    return None


def _width(model: Any, found: Diagnosis) -> Finding | None:
    w = found.width
    ratio = overall_ratio(w.ratio, found.active)
    figures = {
        "variance_ratio": ratio,
        "gap": w.gap,
        "gap_error": w.gap_error,
        "ess": w.ess,
        "unreliable": w.unreliable,
    }
    beside = (
        f"p(z|x) has {ratio:.2g} times its variance, and the ELBO is about {w.gap:.2g} nats below log p(x); effective "
        f"sample size {w.ess:.3g} of {w.n_samples}, k-hat too large for {w.unreliable:.0%} of the examples"
    )
    if ratio > NARROW:
        tries = ["beta=1"] if model.beta < 1 else []
        tries += ["importance sampling with a widened q (widen='auto')", "train longer", "more hidden units"]
        what = f"q(z|x) is too narrow: {beside}"
        return Finding(NARROW_POSTERIOR, True, what, figures, f"try {', '.join(tries)}")
    if ratio < WIDE:
        tries = ["beta=1"] if model.beta > 1 else []
        tries += ["train longer", "more hidden units"]
        what = f"q(z|x) is too wide: {beside}"
        return Finding(WIDE_POSTERIOR, True, what, figures, f"try {', '.join(tries)}")
    return None


def _aggregated(model: Any, found: Diagnosis) -> Finding | None:
    a, total = found.aggregated, float(found.kl.sum())
    gains = a.gain - 2 * a.gain_error > FAR_GAIN and a.gain > FAR_SHARE * total
    if not (a.p_value <= SIGNIFICANT and (gains or a.distance > FAR_DISTANCE or a.kolmogorov.max() > FAR_DIMENSION)):
        return None
    figures = {"gain": a.gain, "gain_error": a.gain_error, "distance": a.distance, "p_value": a.p_value}
    worst = int(np.argmax(a.kolmogorov))
    what = (
        f"the codes of the data are not spread like the prior N(0, I) (dimension {worst}: mean {a.mean[worst]:.2f}, "
        f"variance {a.variance[worst]:.2f}, its distribution function up to {a.kolmogorov[worst]:.2f} off; distance "
        f"{a.distance:.2f}, p = {a.p_value:.3g}; {a.gain:.2g} nats are lost), so that draws from the prior decode to "
        "what the data are not"
    )
    tries = ["beta=1"] if model.beta < 1 else []
    tries += ["train longer", "a larger learning_rate", "sampling by an ex-post prior (fastvae.evaluation.prior)"]
    return Finding(FAR, True, what, figures, f"try {', '.join(tries)}")
