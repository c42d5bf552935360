"""Rank the rows of a table by how odd they are under a trained model, say what made each so, and flag some.

python -m fastvae.score table.csv --model runs/table --out ranked.csv
python -m fastvae.score new.csv --model runs/table --id name --false-alarms 0.05
"""

import argparse
import json
import pathlib
import sys
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file
from fastvae.command_line import INTERRUPTED, Parser, add_table_options, one_of, run, say, table_options
from fastvae.data.tables import HEADERS
from fastvae.errors import counted
from fastvae.evaluation.contributions import METHODS, N_SAMPLES, Contributions, contributions
from fastvae.evaluation.observer import ProgressObserver
from fastvae.evaluation.oddity import FOREST, MAHALANOBIS, forest, known_anomalies, mahalanobis
from fastvae.evaluation.scores import HELD_OUT, NEW, TRAINED, Scores
from fastvae.likelihoods.mixed import Mixed
from fastvae.model_data import ModelData, read, split_of_the_run
from fastvae.model_files import load_model, names_of
from fastvae.models.settings import check_integer
from fastvae.models.vae import VAE
from fastvae.run_data import RunData, trained_rows
from fastvae.sample import check_output, model_path
from fastvae.table_file import check_ending, numbered, write_table

PICTURE = "scores.png"
FITTED = 20_000  # rows that rivals are fitted to, at most
SHOWN_COLUMNS = 5  # with other units
FAR = 1e9  # in the model's units: a network's float32 has no room for much more
ROW_ARRAYS = ("values", "mcse", "ess", "khat", "columns", "code", "missing")


def parser() -> Parser:
    """The options."""
    p = Parser("score", "Rank rows by how odd they are: log p(x), what made each row odd, and a threshold.")
    add = p.add_argument
    add("table", help="the rows: a file, .csv (also packed), .parquet, .npy, .npz or IDX, or digits, mnist")
    add("--model", required=True, help="a model.npz, or the folder of a run")
    add("--out", default="ranked.csv", help="the rows, the oddest first, by their numbers from 1: .csv, "
        f".csv.gz, .parquet; a picture, {PICTURE}, comes beside it")  # fmt: skip
    add("--method", default="importance", type=one_of(METHODS), help="importance: importance sampling; elbo: the lower "
        "bound, which is quick")  # fmt: skip
    add("--samples", type=int, default=N_SAMPLES, help="of z, for each row, of importance sampling")
    add("--false-alarms", type=float, default=0.01, metavar="RATE", help="share of ordinary rows that may be flagged")
    add("--heldout", metavar="TABLE", help="rows that the model was not trained on, which say what is ordinary; "
        "default: those that the training held out")  # fmt: skip
    add("--labels", help="a column of known anomalies: 0, false, no or the most frequent label are none")
    add("--array", help="which array of an .npz")
    add("--condition", nargs="+", metavar="NAME", help="of a conditional model; default: as in its training")
    add("--header", default="auto", type=one_of(HEADERS), help="whether the .csv's first line names columns")
    add_table_options(p, "those of the model; default: by their names")
    add("--seed", type=int, default=0, help="of the draws")
    add("--json", metavar="FILE", help="write the figures there")
    add("--device", default="auto", help="auto (the CPU), cpu, or cuda")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run("score", lambda: _score(arguments), arguments.traceback)


@dataclass
class Reference:
    """What is known of rows that a model was trained on, and of rows that it was not.

    Attributes
    ----------
    trained : (M, D) or None
    heldout : (n, D) or None
        With its `condition`.
    places
        Where those that were held out are among the rows that are scored, if they all are.
    remarks
        Lines about them.
    """

    trained: np.ndarray | None = None
    heldout: np.ndarray | None = None
    condition: np.ndarray | None = None
    places: Any = None
    remarks: tuple[str, ...] = ()


def _score(arguments: argparse.Namespace) -> int:
    out, file = pathlib.Path(arguments.out), model_path(arguments.model)
    check_ending("--out", out)
    if not 0 < arguments.false_alarms < 1:
        raise ValueError(f"--false-alarms {arguments.false_alarms:g} must lie between 0 and 1")
    check_integer("--samples", arguments.samples, 1)
    read_too = [path for path in (arguments.table, arguments.heldout, file) if path is not None]
    for path in (out, out.with_name(PICTURE), arguments.json):
        if path is not None:
            check_output(pathlib.Path(path), *read_too)
    model = load_model(file, device=arguments.device)
    known = RunData.beside(file)
    how = {"header": arguments.header, "condition": arguments.condition, **table_options(arguments)}
    source = read(
        model, arguments.table, array=arguments.array, labels=arguments.labels, **how, run=known, mark_unknown=True
    )
    part = "train" if source.data.X_heldout is None else "test"
    X, labels, condition = source.part(part)
    anomalies, meant = (None, "") if arguments.labels is None else _anomalies(labels, arguments.labels)
    reference = _reference(arguments, model, known, source, part)
    roles = _roles(reference, X)
    with ProgressObserver() as observer:
        found, heldout = _contributions(arguments, model, X, condition, source.data.unknown, reference, observer)
        if found is None or not found.complete or (heldout is not None and not heldout.complete):
            say("interrupted: not all rows are scored, and nothing is written")
            return INTERRUPTED
    beside, fitted = _rivals(model, reference, X, arguments.seed)
    names = names_of(model) or numbered("x", X.shape[1])
    _say_other_units(names, X, reference)
    scores = Scores(
        found,
        tuple(names if len(names) == found.columns.shape[1] else numbered("x", found.columns.shape[1])),
        roles,
        heldout,
        arguments.false_alarms,
        source.data.ids if part == "train" else None,
        source.id_name,
        beside,
        anomalies,
        (
            *reference.remarks,
            *_remarks(found, heldout, roles, reference.places is not None),
            *fitted,
            *([meant] if meant else []),
        ),
    )
    try:
        _write(arguments, scores, out)
    finally:  # whatever keeps the files from being written
        print("\n".join(scores.lines()), flush=True)
    return 0


def _write(arguments: argparse.Namespace, scores: Scores, out: pathlib.Path) -> None:
    write_table(out, scores.columns())
    if arguments.json is not None:
        with atomic_file(pathlib.Path(arguments.json)) as json_file:
            json_file.write((json.dumps(scores.figures(), indent=2, allow_nan=False) + "\n").encode())
    written, picture = [str(out)], out.with_name(PICTURE)
    try:
        from fastvae.evaluation.score_figure import write_scores

        write_scores(picture, scores, pathlib.Path(arguments.table).name)
        written.append(str(picture))
    except ImportError as error:
        say(f"no picture ({error})")
    say(f"{', '.join(written)}: {counted(len(scores.found), 'row')}, the oddest first")


def _anomalies(labels: np.ndarray | None, name: str) -> tuple[np.ndarray, str]:
    if labels is None:
        raise ValueError(f"--labels {name}: these rows have none")
    odd, how = known_anomalies(labels)
    return odd, f"known anomalies: {odd.sum():,} of {counted(len(odd), 'row')}, by {name!r}: {how}"


def _reference(
    arguments: argparse.Namespace, model: VAE, known: RunData | None, source: ModelData, part: str
) -> Reference:
    """The rows that say what is ordinary, and those that were trained on, as far as anybody knows."""
    split, own, remarks = source.split, source.split is not None, list[str]()
    if split is None and known is not None:
        split, why = split_of_the_run(model, known)
        remarks += [] if split is not None or arguments.heldout is not None else [why]
    trained = None if split is None else split.X
    if arguments.heldout is not None:
        how = {"array": arguments.array, "header": arguments.header, "condition": arguments.condition}
        table = read(model, arguments.heldout, **how, drop=arguments.drop or (), ids=None, run=known)
        X, _, condition = table.part(table.default_part if table.split is None else "train")
        seen = 0 if trained is None else int(trained_rows(trained, X).sum())
        remarks.append(f"ordinary are the {counted(len(X), 'row')} of {arguments.heldout}")
        if seen:
            remarks.append(
                f"{counted(seen, 'row')} of them were trained on: the false alarms will be more than asked for"
            )
        return Reference(trained, X, condition, None, tuple(remarks))
    if split is None or split.held_out is None:
        if split is not None:
            remarks.append("the training held no rows out")
        remarks.append("name rows that the model was not trained on, for p-values and a threshold: --heldout TABLE")
        return Reference(trained, remarks=tuple(remarks))
    data = arguments.table if own else known["data"] if known else ""
    remarks.append(f"ordinary are the {counted(len(split.held_out), 'row')} that the training held out of {data}")
    if known is not None and known.chose_the_epoch:
        remarks.append(
            "these rows chose the epoch that was kept, so that false alarms may be a little more than asked for: rows "
            "that played no part are named by --heldout TABLE"
        )
    places = None
    if own:
        places = slice(None) if part == "test" else split.places_held_out
    return Reference(trained, split.held_out, split.condition_held_out, places, tuple(remarks))


def _roles(reference: Reference, X: np.ndarray) -> np.ndarray:
    """Of each row whether it is new, was held out or trained on; what is both counts as trained on."""
    role = np.full(len(X), NEW, dtype=object)
    if reference.places is not None:
        role[:] = TRAINED
        role[reference.places] = HELD_OUT
        return role.astype(str)
    for rows, name in ((reference.heldout, HELD_OUT), (reference.trained, TRAINED)):
        if rows is not None:
            role[trained_rows(rows, X)] = name
    return role.astype(str)


def _contributions(
    arguments: argparse.Namespace,
    model: VAE,
    X: np.ndarray,
    condition: np.ndarray | None,
    unknown: np.ndarray | None,
    reference: Reference,
    observer: ProgressObserver,
) -> tuple[Contributions | None, Contributions | None]:
    """Those of the rows, and of the rows that say what is ordinary; None where it was stopped before any was done."""
    binarize = model.metadata_.get("binarize")

    def of(
        rows: np.ndarray, beside: np.ndarray | None, name: str, seed: int, unknown: np.ndarray | None = None
    ) -> Contributions:
        observer.begin(name)
        beyond = _beyond(model, model.check(rows, name))
        beyond = beyond if unknown is None else beyond | unknown
        near = np.asarray(~beyond.any(axis=1))
        if not near.any():
            raise ValueError(f"{name}: all rows lie so far out that float32 overflows: check their units")
        some = (rows, beside) if near.all() else (rows[near], None if beside is None else beside[near])
        examples = model.examples(some[0], name, binarize=binarize, condition=some[1])
        found = contributions(model, examples, arguments.method, arguments.samples, seed=seed, observer=observer)
        return found if near.all() or not found.complete else _with_beyond(found, beyond)

    try:
        heldout = None
        if reference.heldout is not None and reference.places is None:
            heldout = of(reference.heldout, reference.condition, "held-out rows", arguments.seed + 1)
            if not heldout.complete:
                return None, heldout
        found = of(X, condition, pathlib.Path(arguments.table).name, arguments.seed, unknown)
    except KeyboardInterrupt:
        return None, None
    if reference.places is not None and found.complete:
        heldout = _some(found, reference.places)
    return found, heldout


def _beyond(model: VAE, X: np.ndarray) -> np.ndarray:
    """Values (N, D) so far out that float32 does not hold what a network makes of them."""
    units = model.network_.units
    with np.errstate(over="ignore", invalid="ignore"):  # NaN is missing, and not far
        return np.abs((np.asarray(X, np.float64) - units.offset) / units.scale) > FAR


def _with_beyond(found: Contributions, beyond: np.ndarray) -> Contributions:
    """The same with rows of which only that is known: log p(x) is as low as can be, by some of their values (N, D)."""
    far = np.asarray(beyond.any(axis=1))
    lie = "row has values" if far.sum() == 1 else "rows have values"
    say(
        f"note: {far.sum():,} {lie} that the model holds for impossible, beyond {FAR:g} times what is usual or "
        "categories that it does not know: log p(x) is -inf"
    )
    arrays: dict[str, Any] = {}
    for name in ROW_ARRAYS:
        known = getattr(found, name)
        filled = {"values": -np.inf, "missing": False}.get(name, np.nan)
        arrays[name] = np.full((len(far), *known.shape[1:]), filled, known.dtype)
        arrays[name][~far] = known
    arrays["columns"][beyond] = -np.inf
    return replace(found, bounds={}, **arrays)


def _some(found: Contributions, places: Any) -> Contributions:
    """Those of some rows."""
    return replace(found, bounds={}, **{name: getattr(found, name)[places] for name in ROW_ARRAYS})


def _rivals(model: VAE, reference: Reference, X: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Scores of the dumbest rivals by name, fitted to what was trained on, and a line about that."""
    choices = (
        (reference.trained, "the rows that were trained on"),
        (reference.heldout, "the rows that are ordinary"),
        (X, "the rows that are scored, as no others are known"),
    )
    known, what = next((rows, what) for rows, what in choices if rows is not None)
    if len(known) < 2:
        return {}, []
    some, rows = (_as_numbers(model, given) for given in (known[:: -(-len(known) // FITTED)], X))
    found = {MAHALANOBIS: mahalanobis(some, rows)}
    trees = forest(some, rows, seed)
    if trees is not None:
        found[FOREST] = trees
    return found, [f"what stands beside it was fitted to {what}"]


def _as_numbers(model: VAE, X: np.ndarray) -> np.ndarray:
    """Rows as numbers that are all there: of a mixed table what the encoder sees, a 1 for a category's level."""
    network, rows = model.network_, np.asarray(X, np.float64)
    if not isinstance(network.likelihood, Mixed):
        return rows
    return network.likelihood.shown((rows - network.units.offset) / network.units.scale)


def _say_other_units(names: list[str], X: np.ndarray, reference: Reference) -> None:
    """Say it where most rows of a column lie beyond all that were known: a sign of other units."""
    known = reference.trained if reference.trained is not None else reference.heldout
    if known is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns without any value
        middle, low, high = np.nanmedian(X, axis=0), np.nanmin(known, axis=0), np.nanmax(known, axis=0)
    for j in np.flatnonzero((middle < low) | (middle > high))[:SHOWN_COLUMNS]:
        say(
            f"note: the column {names[j]!r} has a median of {middle[j]:.6g}, where what the model knows lies in "
            f"[{low[j]:.6g}, {high[j]:.6g}]: the units seem to be others"
        )


def _remarks(found: Contributions, heldout: Contributions | None, role: np.ndarray, own: bool) -> list[str]:
    usual, known = ("these rows", found) if heldout is None else ("held-out rows", heldout)
    mean = known.values[np.isfinite(known.values)].mean()
    sums = f"with {mean:.4g}, the mean there, they add up to log p(x)"
    if found.missing.any() or known.missing.any():
        sums = (
            "their sum is log p(x) less what is usual for the values that are there, by which rows are ranked, as log "
            "p(x) is of other columns where some are missing; the rate of false alarms is about that asked for then"
        )
    lines = [
        "nats from a column: the mean of log p(x_j|z) over p(z|x), from the code: -KL[p(z|x) || p(z)], each less its "
        f"mean over {usual}; {sums}"
    ]
    trained = int((role == TRAINED).sum())
    if trained:
        how = "were" if own else "have the values of rows that were"
        lines.append(
            f"{counted(trained, 'row')} {how} trained on: their p-values promise nothing, and are rather too large"
        )
    unreliable = int(found.unreliable.sum())
    if unreliable:
        lines.append(
            f"of {counted(unreliable, 'row')} the weights vary too much for an error (Pareto k-hat above "
            f"{found.threshold:.2f}): log p(x) may be too low"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
