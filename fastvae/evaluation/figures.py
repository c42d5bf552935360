"""Pictures of what estimators of log p(x) have found. Need the `plot` extra."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastvae.data.columns import Encoded
from fastvae.data.minibatches import Examples
from fastvae.evaluation.annealed import Bracket
from fastvae.evaluation.diagnosis import Diagnosis
from fastvae.evaluation.drawing import BLUE, COLOURS, GREEN, MARKERS, ORANGE, figure, quiet, save
from fastvae.evaluation.latent_figures import counted_from, named, write_aggregated, write_identity
from fastvae.evaluation.pareto import khat, tail_length, threshold
from fastvae.evaluation.result import INTERVAL, LogLikelihood
from fastvae.evaluation.row_weights import importance_weights_of
from fastvae.evaluation.width import normalised
from fastvae.models.table_vae import TableVAE
from fastvae.pictures.correlations import correlations
from fastvae.pictures.decoded import traversals
from fastvae.pictures.latent import kl_figure
from fastvae.pictures.pairs import pairs
from fastvae.pictures.tables import is_table, marginals

WORST = 4  # rows whose weights are drawn
NAMES = {
    "importance": "importance sampling, z from q(z|x)", "naive": "naive, z from the prior",
    "annealed": "annealed importance sampling",
}  # fmt: skip
STYLES = {"importance": (BLUE, "o"), "naive": (ORANGE, "s")}


def write_convergence(path: Any, results: Sequence[LogLikelihood], exact: float | None = None) -> None:
    """How the mean estimate of log p(x) grows with the number of samples of z, for results with `bounds` on the same
    examples; and how far below the best one they are.

    The best estimate is the last result's of importance sampling, with all its samples. Bands are 95% intervals of the
    mean difference from it, over the examples: what other examples of the same source would change is common to all
    curves and not shown. `exact` is the mean log p(x), where it is known.
    """
    drawn = [result for result in results if result.bounds]
    if not drawn:
        raise ValueError("no result has bounds by the number of samples: pass those of importance or naive sampling")
    best = next((result for result in drawn[::-1] if result.method == "importance"), drawn[-1])
    reference = best.mean if exact is None else exact
    fig = figure(10, 4.2)
    left, right = fig.subplots(1, 2)
    for result in drawn:
        colour, marker = STYLES.get(result.method, (GREEN, "^"))
        counts = np.array(sorted(result.bounds))
        differences = [result.bounds[k] - best.values for k in counts]
        means = np.array([d.mean() for d in differences]) + best.mean
        errors = np.array([INTERVAL * d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else 0.0 for d in differences])
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.5}
        name = NAMES.get(result.method, result.method)
        if result is best and counts[0] == 1 and result.method == "importance":
            name += f"; of one sample {means[0]:.2f}"
        left.plot(counts, means, label=name, **style)
        left.fill_between(counts, means - errors, means + errors, color=colour, alpha=0.2, linewidth=0)
        short = reference - means
        shown = short > 0
        right.plot(counts[shown], short[shown], **style)
        low = np.maximum(short - errors, short / 10)
        right.fill_between(counts[shown], low[shown], (short + errors)[shown], color=colour, alpha=0.2, linewidth=0)
    name = f"best estimate {best.mean:.2f}" if exact is None else f"exact {exact:.2f}"
    left.axhline(reference, color="0.3", linewidth=1, linestyle="--", label=name)
    left.ticklabel_format(axis="y", useOffset=False)
    elbo = best.bounds.get(1)
    if elbo is not None and best.method == "importance":
        left.plot([], [], linestyle="none", label=f"one sample of q {elbo.mean():.2f}")
    left.set_ylabel(f"mean log p(x), nats per example ({len(best)} examples)")
    right.set_ylabel(f"nats below {'the exact value' if exact is not None else 'the best estimate'}")
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("chains per example" if best.method == "annealed" else "samples of z per example")
        quiet(axes)
    left.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))  # above all curves
    save(path, fig)


def write_worst_weights(path: Any, log_weights: np.ndarray, rows: Sequence[int], places: Any = None) -> None:
    """The normalised weights of some examples, largest first: log_weights (R, K) of examples `rows` (R,), which stand
    at `places` (N,) in the data, where it is known."""
    samples = log_weights.shape[1]
    weights, _ = normalised(np.asarray(log_weights, np.float64))
    tail = min(samples, tail_length(samples) + 1)
    shapes = khat(np.partition(log_weights, -tail, axis=1)[:, -tail:])
    fig = figure(7.4, 5.4)
    axes = fig.subplots()
    ranks = np.arange(1, samples + 1)
    for row, own, shape, colour, marker in zip(rows, weights, shapes, COLOURS, MARKERS, strict=False):
        ess = 1 / np.square(own).sum()
        label = f"{named(row, places)}: k-hat {shape:.2f}, effective sample size {ess:,.{0 if ess >= 100 else 1}f}"
        axes.plot(
            ranks, np.sort(own)[::-1], color=colour, marker=marker, markersize=3, markevery=_marks(samples), label=label
        )
    axes.axhline(1 / samples, color="0.3", linestyle="--", linewidth=1, label=f"all alike: 1/{samples:,}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(max(1e-8, weights[weights > 0].min() / 2), 1.5)
    axes.set_xlabel(f"rank of the weight, of {samples:,}")
    axes.set_ylabel("share of the sum of the weights")
    quiet(axes)
    axes.legend(
        fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), title_fontsize=9, alignment="left",
        title=f"the worst of the examples, {counted_from(places)}; k-hat should be below {threshold(samples):.2f}",
    )  # fmt: skip
    save(path, fig)


def _marks(samples: int) -> list[int]:
    """Places for marks that are evenly apart on a logarithmic axis."""
    return sorted({int(i) - 1 for i in np.geomspace(1, samples, 12).round()})


def write_bracket(path: Any, found: Bracket, importance: LogLikelihood | None = None) -> None:
    """Lower and upper bound of log p(x) of each example that was simulated, by the gap between them; and, of the same
    examples, importance sampling. All relative to the middle of the bounds, and their means."""
    from matplotlib.ticker import MaxNLocator

    middle = 0.5 * (found.lower.values + found.upper.values)
    order = np.argsort(found.gaps)
    fig = figure(10, 4.2)
    left, right = fig.subplots(1, 2, width_ratios=(2.4, 1))
    places = np.arange(len(order))
    lower, upper = (found.lower.values - middle)[order], (found.upper.values - middle)[order]
    left.vlines(places, lower, upper, color="0.85", linewidth=2)
    rows: list[tuple[str, np.ndarray, str, str]] = [
        ("upper, reverse chain", found.upper.values, ORANGE, "v"), ("lower, AIS", found.lower.values, BLUE, "^"),
    ]  # fmt: skip
    if importance is not None:
        if len(importance) != len(found.lower):
            raise ValueError(
                f"importance has {len(importance)} examples, the bracket {len(found.lower)}: pass those of the bracket"
            )
        rows.insert(1, ("importance sampling", importance.values, GREEN, "o"))
    for name, values, colour, marker in rows:
        left.plot(places, (values - middle)[order], marker, color=colour, markersize=4, label=name)
    left.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    left.set_xlabel("example drawn from the model, by its gap")
    left.set_ylabel("nats from the middle of the bounds")
    left.legend(fontsize=9, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    for place, (_, values, colour, marker) in enumerate(rows[::-1]):
        apart = values - middle
        error = INTERVAL * apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else 0.0
        right.errorbar(apart.mean(), place, xerr=error, fmt=marker, color=colour, capsize=3)
        right.annotate(
            f"{values.mean():.3f}", (apart.mean(), place), (0, 9), textcoords="offset points", ha="center", fontsize=9
        )
    right.axvline(0, color="0.8", linewidth=1, zorder=0)
    right.set_yticks(range(len(rows)), [name.replace(", ", "\n") for name, *_ in rows[::-1]], fontsize=9)
    right.set_ylim(-0.6, len(rows) - 0.4)
    right.margins(x=0.3)
    right.set_xlabel("nats from the middle, mean and 95%")
    right.set_title(f"gap {found.gap:.3f} nats", fontsize=10)
    for axes in (left, right):
        quiet(axes)
    save(path, fig)


PICTURES = tuple(  # all that `write_all` knows
    f"{name}.png"
    for name in (
        "convergence", "weights", "kl", "bracket", "aggregated", "traversals", "identity", "marginals", "pairs",
        "correlations",
    )
)  # fmt: skip


def write_all(
    folder: Any,
    model: Any,
    examples: Examples | None = None,
    results: Mapping[str, Any] | Sequence[LogLikelihood] = (),
    diagnosis: Diagnosis | None = None,
    bracket: Bracket | None = None,
    seed: Any = 0,
    condition: Any = None,
    places: Any = None,
) -> tuple[list[str], list[str]]:
    """Write what can be drawn of what is there, into a folder that exists; return the names of the files, and a line
    about each that could not be made.

    Parameters
    ----------
    model : VAE
        Fitted, with its encoder.
    examples
        Those that `results` are of: for the weights of the worst rows, q(z), and the identity.
    results
        Of estimators; those of other types are passed over.
    seed
        That of importance sampling, so that the weights are those that it had.
    condition
        Of a conditional model: that of the examples, as `fit` has it; without it there is nothing that is decoded or
        sampled.
    places : (N,), optional
        Where the examples stand in the data, from 0, where these are rows of a file of which others were trained on.
    """
    path = pathlib.Path(folder)
    values = results.values() if isinstance(results, Mapping) else results
    likelihoods = [result for result in values if isinstance(result, LogLikelihood) and len(result)]
    makers: dict[str, Callable[[pathlib.Path], None]] = {}
    bounded = [result for result in likelihoods if result.bounds]
    same = [result for result in bounded if len(result) == len(bounded[-1])]
    if bounded:
        makers["convergence.png"] = lambda p: write_convergence(p, same)
    weighed = next((result for result in likelihoods if result.method == "importance"), None)
    if weighed is not None and examples is not None and np.isfinite(weighed.khat).any():
        worst_rows = np.argsort(-np.nan_to_num(weighed.khat, nan=-np.inf, neginf=-np.inf))[:WORST]

        def worst(p: pathlib.Path) -> None:
            logs = importance_weights_of(model, examples, worst_rows, weighed.n_samples, seed=seed)
            write_worst_weights(p, logs, [int(row) for row in worst_rows], places)

        makers["weights.png"] = worst
    if diagnosis is not None:
        makers["kl.png"] = lambda p: save(p, kl_figure(diagnosis.kl, diagnosis.active))
    if bracket is not None and len(bracket.lower):
        makers["bracket.png"] = lambda p: write_bracket(p, bracket)
    if examples is not None:
        makers["aggregated.png"] = lambda p: write_aggregated(p, *model.encode_examples(examples))
        rows = np.asarray(examples.X).view(Encoded) if isinstance(model, TableVAE) else examples.X
        if examples.condition_rows is None:
            makers["traversals.png"] = lambda p: save(p, traversals(model, rows))
        elif condition is not None:
            makers["traversals.png"] = lambda p: save(p, traversals(model, condition=np.asarray(condition)[0]))
        if "traversals.png" in makers and is_table(model) and examples.binarize is None:
            makers["marginals.png"] = lambda p: save(p, marginals(model, rows, condition=condition))
            if model.n_features_in_ > 1:
                makers["pairs.png"] = lambda p: save(p, pairs(model, rows, condition=condition))
                makers["correlations.png"] = lambda p: save(p, correlations(model, rows, condition=condition))
        if model.network_.inputs["z"] <= 2:
            makers["identity.png"] = lambda p: write_identity(p, model, examples, places=places)
    written, failures = [], []
    for name, write in makers.items():
        try:
            write(path / name)
            written.append(name)
        except Exception as error:  # whatever a plotting library raises: the figures are worth more than a picture
            failures.append(f"no {name}: {type(error).__name__}: {' '.join(str(error).split())}")
    return written, failures
