"""Estimate log p(x) of a data set under a trained model, with errors that tell how far to believe it.

python -m fastvae.evaluate runs/mnist/model.npz mnist --method importance --samples 5000
python -m fastvae.evaluate runs/mnist/model.npz --prove
"""

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae import backend
from fastvae.atomic import atomic_file, check_writable
from fastvae.command_line import (
    FAILED,
    INTERRUPTED,
    Parser,
    add_table_options,
    any_seed,
    one_of,
    run,
    say,
    table_options,
)
from fastvae.data.dataset import DataSet
from fastvae.data.loading import load
from fastvae.data.minibatches import Examples
from fastvae.data.preparation import Split
from fastvae.data.tables import HEADERS
from fastvae.evaluation.annealed import N_CHAINS, N_TEMPERATURES, Bracket, bracket
from fastvae.evaluation.diagnosis import Diagnosis, diagnose
from fastvae.evaluation.elbo import Elbo, elbo
from fastvae.evaluation.grid import dequantized, grid_step
from fastvae.evaluation.methods import METHODS, log_likelihood
from fastvae.evaluation.naive import naive
from fastvae.evaluation.observer import ProgressObserver
from fastvae.evaluation.parzen import parzen
from fastvae.evaluation.proof import Trial, claims
from fastvae.evaluation.result import LogLikelihood
from fastvae.evaluation.rivals import rivals_by_row
from fastvae.evaluation.summary import Evaluation
from fastvae.likelihoods.mixed import Mixed
from fastvae.model_data import ModelData, read, split_of_the_run
from fastvae.model_files import load_model
from fastvae.models.settings import check_integer
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae import VAE
from fastvae.run_data import RunData, trained_rows
from fastvae.sample import check_output, model_path

AS_TRAINED, NO_BINARIZATION = "as trained", "none"
FEWEST_DIAGNOSED = 2
LATENT_DIM = 20  # of a certificate without a model
HALVES = "every other example, and scored on those between"
MOST_COMPARED = 100_000_000  # numbers of the rows that were trained on, in which others are looked for
BRACKETED = 50  # examples at most that are drawn from the model for the picture of its bracket


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    action = _prove if arguments.prove else _evaluate
    return run("evaluate", lambda: action(arguments), arguments.traceback)


def parser() -> Parser:
    """The options."""
    p = Parser("evaluate", "Estimate log p(x) under a trained model, with errors that tell how far to believe it.")
    add = p.add_argument
    add("model", nargs="?", help="a model.npz, or the folder of a run")
    add("data", nargs="?", help="digits, mnist, or a file: IDX, .npy, .npz, .csv (also packed), .parquet")
    add(
        "--prove",
        action="store_true",
        help="try the estimators on linear VAEs of the model's latent size (without a "
        f"model, {LATENT_DIM}), where log p(x) is known: within a minute, exit code {FAILED} where a claim fails",
    )
    add(
        "--method",
        default="importance",
        type=one_of(METHODS),
        help="; ".join(
            (
                "importance: z from q(z|x), widened",
                "annealed: annealed importance sampling",
                "naive: z from the prior",
                "elbo",
            )
        ),
    )
    add("--samples", type=int, help="of z, for each example; of annealed, chains. Default: 5000; 100 of elbo; 8 chains")
    add("--temperatures", type=int, help="of annealed: default 200")
    add("--seed", type=any_seed, default=0, help="of the draws, and of the noise of --dequantize")
    add(
        "--part",
        type=one_of(["train", "test"]),
        help="of data that come in two parts, or of those of the training, which held rows out; default: test where "
        "there is one",
    )
    add("--rows", type=int, help="evaluate so many examples, the first ones")
    add("--array", help="which array of an .npz")
    add("--labels", help="labels: an array of the .npz, or a column of the table; default: as in the training")
    add("--condition", nargs="+", metavar="NAME", help="of a conditional model; default: as in its training")
    add("--header", default="auto", type=one_of(HEADERS), help="whether the .csv's first line names columns")
    add_table_options(p, "those of the model; default: by their names")
    add("--binarize", default=AS_TRAINED, help="none, dynamic (drawn once, by the model's seed), or a threshold")
    add(
        "--dequantize",
        action="store_true",
        help="add uniform noise as wide as the step of the grid on which the data lie",
    )
    add(
        "--parzen", type=int, metavar="M", help="beside it, a Gaussian Parzen window over M samples; needs --validation"
    )
    add("--validation", metavar="DATA", help="held-out data, on which the window's width is chosen")
    add("--json", metavar="FILE", help="write all figures there")
    add(
        "--out",
        metavar="DIR",
        help="write figures.json, examples.npz (a value for each) and, with matplotlib, pictures",
    )
    add("--device", default="auto", help="auto (the CPU), cpu, or cuda")
    return p


# ---- the certificate --------------------------------------------------------------------------------------------


def _prove(arguments: argparse.Namespace) -> int:
    if arguments.data is not None:
        raise ValueError("--prove needs no data: it draws its own")
    if arguments.json is not None:
        check_output(pathlib.Path(arguments.json))
    latent_dim = LATENT_DIM
    backend.select(arguments.device)  # one that is not there is an error, and not a claim that fails
    if arguments.model is not None:
        path = model_path(arguments.model)
        latent_dim = load_model(path, decoder_only=True, device=arguments.device).network_.architecture.latent_dim
    started, found = time.perf_counter(), []
    print(f"linear VAEs with {latent_dim} latent dimensions, whose log p(x) is known exactly", flush=True)
    try:
        for claim in claims(Trial(latent_dim, device=arguments.device)):
            found.append(claim)
            mark = "pass" if claim.passed else "FAIL"
            print(f"{mark}  {claim.name:<31} {claim.claimed:<60} {claim.found}", flush=True)
    except KeyboardInterrupt:
        say(f"interrupted after {len(found)} claims: that is no certificate")
        return INTERRUPTED
    failed, seconds = [claim.name for claim in found if not claim.passed], time.perf_counter() - started
    print(f"{len(found) - len(failed)} of {len(found)} claims hold ({seconds:.0f} s)")
    if arguments.json is not None:
        report = {"latent_dim": latent_dim, "seconds": seconds, "claims": [vars(claim) for claim in found]}
        _write_text(arguments.json, json.dumps(report, indent=2) + "\n")
    if failed:
        say(f"failed: {', '.join(failed)}")
    return FAILED if failed else 0


# ---- an evaluation ----------------------------------------------------------------------------------------------


def _evaluate(arguments: argparse.Namespace) -> int:
    if arguments.model is None or arguments.data is None:
        raise ValueError("a model and data are needed, or --prove")
    for path in (arguments.json,):
        if path is not None:
            check_output(pathlib.Path(path), arguments.data, model_path(arguments.model))
    if arguments.out is not None:
        folder = pathlib.Path(arguments.out)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ValueError(f"--out {folder}: cannot be made a folder ({why}); give another name") from None
        check_writable(folder / "figures.json")
    if arguments.samples is not None:
        check_integer("--samples", arguments.samples, 1)
    if arguments.parzen is not None and arguments.validation is None:
        raise ValueError("--parzen needs held-out data to choose its width on: --validation DATA")
    if arguments.temperatures is not None and arguments.method != "annealed":
        raise ValueError("--temperatures belongs to --method annealed")
    model = load_model(model_path(arguments.model), device=arguments.device)
    how = {"array": arguments.array, "labels": arguments.labels, "header": arguments.header}
    known = RunData.beside(model_path(arguments.model))
    source = read(
        model, arguments.data, **how, condition=arguments.condition, **table_options(arguments), run=known
    ).divided()
    part = arguments.part or source.default_part
    X, _, condition = source.part(part)
    if arguments.rows is not None:
        check_integer("--rows", arguments.rows, 1)
        X, condition = X[: arguments.rows], None if condition is None else condition[: arguments.rows]
    binarize = _binarization(arguments.binarize, model)
    step = None
    if arguments.dequantize:
        X, step = _dequantized(X, model, arguments.seed)
    examples = model.examples(X, binarize=binarize, condition=condition)
    trained = split_of_the_run(model, known)[0] if known is not None and source.split is None else None
    learned: DataSet | Split | None = source.data if part == "test" else trained
    training = None
    if learned is not None:  # what the dumbest models learn from, too
        other = dequantized(learned.X, step, arguments.seed + 1) if step else learned.X
        training = model.examples(other, "the train part", binarize=binarize, condition=learned.condition)
    held = _held_out(arguments, model)
    options = {"seed": arguments.seed}
    if arguments.temperatures is not None:
        options["n_temperatures"] = arguments.temperatures
    with ProgressObserver() as observer:
        observer.begin(arguments.method)
        result = log_likelihood(
            model,
            examples,
            arguments.method,
            arguments.samples,
            observer=observer,
            **options,
        )
        found = _beside(arguments, model, examples, training, held, result, observer)
    of = "the train part" if part == "test" else "the rows that were trained on" if trained is not None else HALVES
    beside = of if found["rivals"] else None
    evaluation = Evaluation(
        result,
        found["elbo"],
        found["rivals"],
        _conventions(model, result, arguments, binarize, step, part, source, beside, _seen(trained, X)),
        examples.X.shape[1],
        arguments.seed,
        step,
        found["parzen"],
        [*([] if found["diagnosis"] is None else found["diagnosis"].lines()), *found["remarks"]],
    )
    print("\n".join(evaluation.lines()), flush=True)
    if arguments.json is not None:
        _write_text(arguments.json, evaluation.json())
    whole = result.complete and not found["stopped"]
    if arguments.out is not None:
        places = _places(source, part, len(examples))
        whole = _write_folder(arguments, model, examples, condition, evaluation, found["diagnosis"], whole, places)
    return 0 if whole else INTERRUPTED


def _places(source: ModelData, part: str, count: int) -> np.ndarray | None:
    """Where the first so many examples of a part stand in the data of the training, from 0; None of other data."""
    if source.split is None or source.split.places_held_out is None:
        return None
    return np.asarray(source.split.places_held_out if part == "test" else source.split.places)[:count]


def _held_out(arguments: argparse.Namespace, model: VAE) -> Any:
    """The rows on which a Parzen window's width is chosen; None without one. Before the estimate: a wrong argument must
    not cost it."""
    if arguments.parzen is None:
        return None
    check_integer("--parzen", arguments.parzen, 2)
    if model.network_.condition is not None:
        raise ValueError("--parzen: the model has a condition, and a window knows none")
    if isinstance(model, TableVAE):
        raise ValueError("--parzen: the model is of a mixed table, whose columns have no common distance")
    return load(arguments.validation, arguments.array, header=arguments.header).X


def _beside(
    arguments: argparse.Namespace,
    model: VAE,
    examples: Examples,
    training: Examples | None,
    held: Any,
    result: LogLikelihood,
    observer: ProgressObserver,
) -> dict[str, Any]:
    """What stands beside the estimate: "elbo", "rivals", "diagnosis", "parzen"; "remarks", lines on what is missing;
    and whether it was "stopped". After Ctrl-C only what is whole is there: means over other examples than those of the
    estimate would not belong beside it."""
    found: dict[str, Any] = {"elbo": None, "rivals": {}, "parzen": None, "diagnosis": None, "remarks": []}
    seed = arguments.seed

    def window() -> LogLikelihood:
        samples = model.sample(arguments.parzen, random_state=seed, noise=model.network_.likelihood.DENSITY)
        return parzen(samples, examples.X, held, observer=observer)

    parts: dict[str, Callable[[], Any]] = {}
    if isinstance(result, Elbo):
        found["elbo"] = result
    else:
        parts["elbo"] = lambda: elbo(model, examples, seed=seed, observer=observer)
    parts["rivals"] = lambda: rivals_by_row(model, examples, training)
    if len(examples) >= FEWEST_DIAGNOSED:
        parts["diagnosis"] = lambda: diagnose(model, examples, seed=seed)
    if held is not None:
        parts["parzen"] = window
    left = list(parts)
    try:
        while left and result.complete and not observer.stop_requested():
            observer.begin(left[0])
            part = parts[left[0]]()
            if not getattr(part, "complete", True):
                break
            found[left.pop(0)] = part
    except KeyboardInterrupt:
        pass  # the estimate is done, and stays
    found["stopped"] = bool(left) or observer.stop_requested()
    if left and result.complete:
        found["remarks"].append(f"interrupted: the estimate is whole, beside it there is no {', no '.join(left)}")
    return found


def _binarization(asked: str, model: VAE) -> str | float | None:
    if asked == AS_TRAINED:
        return model.metadata_.get("binarize")
    if isinstance(model, TableVAE):
        raise ValueError(f"--binarize {asked}: the model is of a mixed table, which is taken as it is: leave it out")
    if asked in (NO_BINARIZATION, "dynamic"):
        return None if asked == NO_BINARIZATION else asked
    try:
        return float(asked)
    except ValueError:
        raise ValueError(f"--binarize {asked!r} is not known: none, dynamic, or a threshold such as 0.5") from None


def _dequantized(X: Any, model: VAE, seed: int) -> tuple[np.ndarray, float]:
    if not model.network_.likelihood.DENSITY:
        raise ValueError(f"--dequantize: likelihood={model.likelihood!r} is no density, and needs none")
    step = grid_step(X)
    if step is None:
        raise ValueError("--dequantize: the data lie on no grid of 8 bits; leave it out")
    return dequantized(X, step, seed), step


def _seen(trained: Split | None, X: np.ndarray) -> int | None:
    """How many of these rows are among those that were trained on; None where nobody knows."""
    if trained is None or trained.X.size > MOST_COMPARED:
        return None
    return int(trained_rows(trained.X, X).sum())


def _conventions(
    model: VAE,
    result: LogLikelihood,
    arguments: argparse.Namespace,
    binarize: str | float | None,
    step: float | None,
    part: str,
    source: ModelData,
    fitted: str | None,
    seen: int | None,
) -> list[str]:
    """What the numbers depend on. `fitted`: to what the rivals were, if there are any; `seen`: how many of these rows
    the training of another file had, where that is known."""
    density = model.network_.likelihood.DENSITY
    conditional = model.network_.condition is not None
    mixed = isinstance(model.network_.likelihood, Mixed)
    what = "density in the units of the data" if density else "probability"
    if mixed:
        what = (
            "density of numbers, in their units, a probability of what is counted or chosen, of values that are there"
        )
    lines = [f"log p(x{'|c' if conditional else ''}) with all constants: a {what}, likelihood {model.likelihood!r}"]
    if binarize == "dynamic":
        lines.append(f"binarised once: each value is the probability of a 1, drawn by the model's seed {model.seed_}")
    elif binarize is not None:
        lines.append(f"binarised: 1 above {binarize:g}, else 0")
    elif not density and not mixed:
        lines.append("not binarised")
    if step is not None:
        lines.append(f"dequantised: uniform noise in [0, {step:.4g}) by seed {arguments.seed}; bits are of its steps")
    elif density:
        lines.append("not dequantised; bits are those of the data's unit")
    own = source.split is not None and source.split.places_held_out is not None
    which = (
        ("" if source.data.X_heldout is None else f"{part} part of ")
        if not own
        else "rows that the training held out of "
        if part == "test"
        else "rows trained on of "
    )
    lines.append(f"{which}{arguments.data}: {len(result):,} examples")
    if seen is not None:
        many = f"{seen:,} of them were trained on: these score higher than rows that the model has not seen"
        lines.append(many if seen else "none of them was trained on")
    elif part == "train" and source.split is not None:
        lines.append("the model was trained on these rows: it scores higher here than on rows that it has not seen")
    elif part == "train":
        lines.append("a model that was trained on these rows scores higher here than on rows that it has not seen")
    if own and part == "test" and source.chose_the_epoch:
        lines.append(
            "these rows chose the epoch that was kept: log p(x) of rows that played no part may be a little lower"
        )
    if fitted is not None:
        without = ", without the condition" if conditional else ""
        lines.append(f"what stands beside it was fitted to {fitted}{without}")
    return lines


def _write_folder(
    arguments: argparse.Namespace,
    model: VAE,
    examples: Examples,
    condition: Any,
    evaluation: Evaluation,
    diagnosis: Diagnosis | None,
    whole: bool,
    places: np.ndarray | None,
) -> bool:
    """Write the folder; returns whether all of it is there. Figures and values come first: no picture is worth them.
    `condition` is that of the examples; not `whole`, there are only pictures of what is there; `places`
    are those of the examples in the data, where others were trained on."""
    folder, result = pathlib.Path(arguments.out), evaluation.result
    _write_text(folder / "figures.json", evaluation.json())
    arrays = {name: getattr(result, name) for name in ("values", "mcse", "ess", "khat")}
    if evaluation.elbo is not None:
        arrays |= {"reconstruction": evaluation.elbo.reconstruction, "kl": evaluation.elbo.kl}
    if places is not None:
        arrays["rows"] = places
    with atomic_file(folder / "examples.npz") as file:
        np.savez(file, **arrays)
    written = ["figures.json", "examples.npz"]
    try:
        from fastvae.evaluation.figures import PICTURES, write_all
    except ImportError as error:
        say(f"no pictures ({error}): pip install matplotlib")
    else:
        for name in PICTURES:
            (folder / name).unlink(missing_ok=True)  # of an evaluation before this one
        try:
            others, found = _for_pictures(arguments, model, examples, condition, result) if whole else ([], None)
            results = [*others, result]
            names, failures = write_all(
                folder, model, examples, results, diagnosis, found, seed=arguments.seed, condition=condition,
                places=places,
            )  # fmt: skip
            written += names
            for line in failures:
                say(line)
        except KeyboardInterrupt:
            whole = False
            say("interrupted: pictures are missing")
    say(f"{folder}: {', '.join(written)}")
    return whole


def _for_pictures(
    arguments: argparse.Namespace, model: VAE, examples: Examples, condition: Any, result: LogLikelihood
) -> tuple[list[LogLikelihood], Bracket | None]:
    """What is computed for pictures alone: the naive estimator beside importance sampling, annealed importance sampling
    between its bounds. Raises `KeyboardInterrupt` where it was stopped."""
    others, found = [], None
    shown = None if condition is None else condition[:BRACKETED]
    with ProgressObserver() as observer:
        if result.method == "importance":
            observer.begin("naive, for convergence.png")
            others.append(naive(model, examples, result.n_samples, seed=arguments.seed, observer=observer))
        elif result.method == "annealed":
            observer.begin("bracket, for bracket.png")
            found = bracket(
                model,
                min(BRACKETED, len(examples)),
                n_temperatures=arguments.temperatures or N_TEMPERATURES,
                n_chains=arguments.samples or N_CHAINS,
                seed=arguments.seed,
                condition=shown,
                observer=observer,
            )
        if observer.stop_requested():
            raise KeyboardInterrupt
    return others, found


def _write_text(path: Any, text: str) -> None:
    with atomic_file(pathlib.Path(path)) as file:
        file.write(text.encode())


if __name__ == "__main__":
    sys.exit(main())
