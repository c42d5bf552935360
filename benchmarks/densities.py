"""Held-out log p(x) of what `python -m fastvae.train --data table.csv` makes of a table, beside Gaussians and mixtures.

    python benchmarks/densities.py                              # all tables, five splits: most of an hour
    python benchmarks/densities.py --sets iris wine --splits 2
    python benchmarks/densities.py --sets --anomalies           # the anomalies of breast_cancer alone
    python benchmarks/densities.py --samples --json results.json
    python benchmarks/densities.py --sets iris -- --epochs 500  # what follows "--" goes to the command

Of each table a fifth is kept for testing, another one in each split. The rest goes as a CSV to the command, with its
defaults, in a process of its own, and to the models that it is compared with. log p(x) of the test rows is by
importance sampling, see `importance.py`. Differences are taken row by row; a standard error is that of their mean over
all rows.
"""

import argparse
import json
import math
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks import density_models
from benchmarks.density_data import FOUR, TABLES, MissingDataError, Table, load, split
from benchmarks.density_models import BAR
from benchmarks.importance import log_densities
from fastvae import VAE

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS, TRUTH = "fastvae", "truth"
SLACK = 0.02  # nats a column by which the default may lie below the best of `BAR`, beside two standard errors
MOST_SECONDS = 20.0
SEEDS = range(3)  # of what detects anomalies
RARE = 20  # anomalies among the rows, where they are rare


class CommandError(RuntimeError):
    """The command failed; the message is what it has said."""


@dataclass(frozen=True)
class Trained:
    """What the command has left, in how many seconds, and of how many the processors were busy."""

    vae: VAE
    seconds: float
    processor_seconds: float


def train(X: np.ndarray, words: list[str]) -> Trained:
    """Run the command on these rows, in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        table, out = pathlib.Path(folder, "table.csv"), pathlib.Path(folder, "run")
        names = ",".join(f"x{j}" for j in range(1, X.shape[1] + 1))
        np.savetxt(table, X, "%.17g", ",", header=names, comments="")
        command = [sys.executable, "-m", "fastvae.train", "--data", str(table), "--quiet", "--out", str(out), *words]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise CommandError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        busy = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Trained(VAE.load(out / "model.npz"), seconds, busy)


def warm_up() -> None:
    """Have the kernels compiled, so that no time is that of compiling."""
    train(np.random.default_rng(0).normal(size=(200, 3)), ["--epochs", "1"])


# ---- one table --------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What was found of one table: log p(x) of all test rows by model, and the rest by split."""

    table: Table
    log_p: dict[str, list[np.ndarray]] = field(default_factory=dict)
    effective: list[np.ndarray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    marginals: list[dict[str, float]] = field(default_factory=list)

    def mean(self, name: str) -> tuple[float, float]:
        """Mean log p(x) of a model in nats, and its standard error over rows."""
        return mean_and_error(np.concatenate(self.log_p[name]))

    def difference(self, name: str) -> tuple[float, float]:
        """Mean of ours - that of a model, row by row, and its standard error."""
        return mean_and_error(np.concatenate(self.log_p[OURS]) - np.concatenate(self.log_p[name]))

    def by_split(self, name: str) -> list[float]:
        """That mean in each split."""
        return [float(np.mean(a - b)) for a, b in zip(self.log_p[OURS], self.log_p[name], strict=True)]

    @property
    def best(self) -> str:
        """Who has the largest mean of those that the default must not be below."""
        return max(BAR, key=lambda name: self.mean(name)[0])

    @property
    def gaussian(self) -> bool:
        """Whether the table is: known, or else unless the mixture is above the best of `BAR` by two standard errors."""
        if self.table.gaussian is not None:
            return self.table.gaussian
        difference, error = mean_and_error(
            np.concatenate(self.log_p["mixture"]) - np.concatenate(self.log_p[self.best])
        )
        return difference <= 2 * error

    def failures(self) -> list[str]:
        """What the default should do and does not."""
        (difference, error), found = self.difference(self.best), []
        if difference < -(SLACK * self.table.X.shape[1] + 2 * error):
            found.append(f"below {self.best}")
        if not self.gaussian and difference <= 0:
            found.append("not above it")
        if max(self.seconds) > MOST_SECONDS:
            found.append("too slow")
        return found

    def summary(self) -> dict:
        """All figures, for JSON."""
        effective = np.concatenate(self.effective)
        models = {
            name: {"mean": self.mean(name), "ours_minus_it": self.difference(name), "by_split": self.by_split(name)}
            for name in self.log_p
        }
        return {
            "rows": len(self.table.X),
            "columns": self.table.X.shape[1],
            "models": models,
            "best": self.best,
            "gaussian": self.gaussian,
            "failures": self.failures(),
            "effective_sample_size": {"median": float(np.median(effective)), "least": float(effective.min())},
            "too_low_by": float(np.mean(0.5 / effective)),
            "seconds": self.seconds,
            "processor_seconds": self.processor_seconds,
            "marginals": self.marginals,
        }


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean, and its standard error over the rows."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def measure(table: Table, chosen: argparse.Namespace) -> Result:
    """All splits of a table."""
    result = Result(table)
    for number in range(chosen.splits):
        train_rows, test_rows = split(len(table.X), number)
        A = table.X[train_rows]
        B = table.X[np.random.default_rng(number).permutation(test_rows)[: chosen.rows]]
        trained = train(A, chosen.words)
        found, effective = log_densities(trained.vae, B, chosen.importance, chosen.widen)
        result.log_p.setdefault(OURS, []).append(found)
        result.effective.append(effective)
        result.seconds.append(trained.seconds)
        result.processor_seconds.append(trained.processor_seconds)
        for name in density_models.MODELS:
            result.log_p.setdefault(name, []).append(density_models.fit(name, A)(B))
        if table.log_density:
            result.log_p.setdefault(TRUTH, []).append(table.log_density(B))
        if chosen.samples:
            drawn = np.asarray(trained.vae.sample(len(A), random_state=number, noise=True), np.float64)
            result.marginals.append(compare_marginals(drawn, A, table.X[test_rows]))
    return result


def compare_marginals(drawn: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """How far samples lie from test rows, and beside it how far as many training rows do.

    Kolmogorov-Smirnov distances, mean and largest of the columns; the largest difference of correlations.
    """
    from scipy.stats import ks_2samp

    figures = {}
    for name, X in (("drawn", drawn), ("real", train)):
        distances = [float(ks_2samp(a, b).statistic) for a, b in zip(X.T, test.T, strict=True)]
        correlations = np.corrcoef(X.T) - np.corrcoef(test.T)
        figures |= {
            f"{name}_ks_mean": float(np.mean(distances)),
            f"{name}_ks_largest": max(distances),
            f"{name}_correlation": float(np.abs(correlations).max()),
        }
    return figures


# ---- what is printed --------------------------------------------------------------------------------------------


def table_lines(result: Result) -> list[str]:
    """The table of one data set."""
    X, effective = result.table.X, np.concatenate(result.effective)
    lines = [
        "",
        f"{result.table.name}: {len(X):,} x {X.shape[1]}, {len(result.seconds)} splits, {len(effective):,} test rows; "
        f"effective sample size: median {np.median(effective):.0f}, 5% below {np.quantile(effective, 0.05):.0f}; "
        f"ours is too low by about {np.mean(0.5 / effective):.3f}",
        f"{'':17}{'log p(x)':>12}{'s.e.':>8}{'ours - it':>12}{'s.e.':>8}   by split",
    ]
    for name in result.log_p:
        mean, error = result.mean(name)
        line = f"{name:17}{mean:12.3f}{error:8.3f}"
        if name != OURS:
            difference, error = result.difference(name)
            splits = " ".join(f"{d:+.2f}" for d in result.by_split(name))
            line += f"{difference:+12.3f}{error:8.3f}   {splits}"
        lines.append(line)
    return lines


def verdict_lines(results: list[Result]) -> list[str]:
    """One line a table, and what all of them come to."""
    if not results:
        return []
    lines = [
        "",
        "VERDICT: the default - the best of " + ", ".join(BAR),
        f"{'':15}{'rows':>7}{'D':>4}{'ours':>10}  {'best':16}{'ours - it':>10}{'s.e.':>7}{'allowed':>9}"
        f"{'- mixture':>11}{'s.e.':>7}{'- truth':>9}{'s':>6}{'cpu s':>7}  ",
    ]
    for r in results:
        difference, error = r.difference(r.best)
        beside, its_error = r.difference("mixture")
        truth = f"{r.difference(TRUTH)[0]:+9.2f}" if TRUTH in r.log_p else " " * 9
        columns = r.table.X.shape[1]
        words = ", ".join(r.failures()) or "ok"
        lines.append(
            f"{r.table.name:15}{len(r.table.X):7}{columns:4}{r.mean(OURS)[0]:10.2f}  {r.best:16}{difference:+10.3f}"
            f"{error:7.3f}{-(SLACK * columns + 2 * error):+9.3f}{beside:+11.3f}{its_error:7.3f}{truth}"
            f"{max(r.seconds):6.1f}{max(r.processor_seconds):7.1f}  {words}{'; Gaussian' if r.gaussian else ''}"
        )
    above = [r.table.name for r in results if r.difference("mixture")[0] > 0]
    four = [name for name in above if name in FOUR]
    lines += [
        f"the mixture's variances: + {density_models.MIXTURE_VARIANCE:g} in columns of deviation 1",
        f"allowed: -({SLACK:g} D + 2 s.e.); s: the slowest split, {MOST_SECONDS:g} wanted; Gaussian: need not be above",
        f"{sum(not r.failures() for r in results)} of {len(results)} are as they should be",
        f"above the mixture: {', '.join(above) or 'none'}; of {', '.join(FOUR)}: {len(four)}",
    ]
    return lines


def marginal_lines(results: list[Result]) -> list[str]:
    """Samples beside real rows, means over the splits."""
    results = [r for r in results if r.marginals]
    if not results:
        return []
    lines = [
        "",
        "SAMPLES with noise against test rows (drawn), and training rows against them (real); means over splits",
        f"{'':15}{'KS, mean of columns':>24}{'KS, largest':>20}{'largest difference of correlations':>38}",
        f"{'':15}{'drawn':>14}{'real':>10}{'drawn':>10}{'real':>10}{'drawn':>24}{'real':>10}",
    ]
    for r in results:
        mean = {name: float(np.mean([m[name] for m in r.marginals])) for name in r.marginals[0]}
        lines.append(
            f"{r.table.name:15}{mean['drawn_ks_mean']:14.3f}{mean['real_ks_mean']:10.3f}{mean['drawn_ks_largest']:10.3f}"
            f"{mean['real_ks_largest']:10.3f}{mean['drawn_correlation']:24.3f}{mean['real_correlation']:10.3f}"
        )
    return lines


# ---- anomalies --------------------------------------------------------------------------------------------------


def anomalies(words: list[str]) -> dict[str, dict[str, list[float]]]:
    """Areas under the ROC curve on breast_cancer, where malignant is the anomaly: by protocol and detector, by seed.

    Unsupervised: trained on all rows, which are then judged. Rare: the same with all benign rows and few malignant.
    Semi-supervised: trained on four fifths of the benign rows, judged on the others and the malignant.
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    X, odd = data.data, data.target == 0
    found: dict[str, dict[str, list[float]]] = {}
    benign = np.flatnonzero(~odd)
    for seed in SEEDS:
        rng, everything = np.random.default_rng(seed), np.arange(len(X))
        kept = rng.permutation(benign)[: len(benign) * 4 // 5]
        rare = np.concatenate([benign, rng.permutation(np.flatnonzero(odd))[:RARE]])
        for protocol, train_rows, rows in (
            ("unsupervised", everything, everything),
            ("rare", rare, rare),
            ("semi-supervised", kept, np.setdiff1d(everything, kept)),
        ):
            by_detector = found.setdefault(protocol, {})
            for name, auc in detect(X[train_rows], X[rows], odd[rows], seed, words).items():
                by_detector.setdefault(name, []).append(auc)
    return found


def detect(A: np.ndarray, B: np.ndarray, odd: np.ndarray, seed: int, words: list[str]) -> dict[str, float]:
    """Train each detector on `A`, and judge `B`."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest
    from sklearn.metrics import roc_auc_score

    vae = train(A, ["--seed", str(seed), *words]).vae
    mean, deviation = A.mean(0), A.std(0)
    a, b = (A - mean) / deviation, (B - mean) / deviation
    pca = PCA(0.9, svd_solver="full").fit(a)
    residual = b - pca.inverse_transform(pca.transform(b))
    scores = {
        "fastvae, score_samples": -vae.score_samples(B),
        "fastvae, log p(x)": -log_densities(vae, B)[0],
        "IsolationForest": -IsolationForest(random_state=seed).fit(a).score_samples(b),
        "PCA, reconstruction": (residual**2).sum(1),
        "PPCA, likelihood": -density_models.fit("PPCA", A)(B),
        "Ledoit-Wolf": -density_models.fit("Ledoit-Wolf", A)(B),
    }
    return {name: float(roc_auc_score(odd, score)) for name, score in scores.items()}


def anomaly_lines(found: dict[str, dict[str, list[float]]]) -> list[str]:
    """A line a protocol and detector."""
    lines = ["", f"ANOMALIES: breast_cancer, malignant; area under the ROC curve, mean and range of {len(SEEDS)} seeds"]
    for protocol, by_detector in found.items():
        for name, values in by_detector.items():
            lines.append(f"{protocol:17}{name:25}{np.mean(values):7.3f}   {min(values):.3f}..{max(values):.3f}")
    return lines


# ---- the command ------------------------------------------------------------------------------------------------


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; what follows "--" becomes `words`."""
    words = sys.argv[1:] if words is None else words
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--sets", nargs="*", default=list(TABLES), choices=TABLES, metavar="SET", help=f"{list(TABLES)}"
    )
    parser.add_argument("--splits", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--rows", type=int, default=1000, help="test rows a split, at most; default: %(default)s")
    parser.add_argument("--importance", type=int, default=2000, metavar="K", help="draws of z a row; default: 2000")
    parser.add_argument("--widen", type=float, default=1.2, help="of q's deviations, a factor; default: %(default)s")
    variance, its_help = (
        density_models.MIXTURE_VARIANCE,
        "added to those of the mixture's components; default: %(default)s",
    )
    parser.add_argument("--mixture-variance", type=float, default=variance, metavar="V", help=its_help)
    parser.add_argument("--samples", action="store_true", help="compare samples with test rows too")
    parser.add_argument("--anomalies", action="store_true", help="detect anomalies in breast_cancer too")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures there")
    chosen = parser.parse_args(words[:at])
    if min(chosen.splits, chosen.rows, chosen.importance) < 1 or min(chosen.widen, chosen.mixture_variance) <= 0:
        parser.error("--splits, --rows and --importance must be at least 1, the others above 0")
    chosen.words = words[at + 1 :]
    return chosen


def main(words: list[str] | None = None) -> None:
    chosen = arguments(words)
    results, figures = [], {}
    density_models.MIXTURE_VARIANCE = chosen.mixture_variance
    warm_up()
    for name in chosen.sets:
        try:
            result = measure(load(name), chosen)
        except MissingDataError as error:
            print(f"\n{name}: left out, {error}", flush=True)
            continue
        results.append(result)
        figures[name] = result.summary()
        print(*table_lines(result), sep="\n", flush=True)
    for line in [*verdict_lines(results), *marginal_lines(results)]:
        print(line, flush=True)
    if chosen.anomalies:
        figures["anomalies"] = anomalies(chosen.words)
        print(*anomaly_lines(figures["anomalies"]), sep="\n", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
