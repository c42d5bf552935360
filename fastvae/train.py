"""Train a VAE on a data set and leave a folder: the model, its figures, and pictures to look at.

python -m fastvae.train                        the embedded digits, in seconds
python -m fastvae.train --data mnist --binarize dynamic
python -m fastvae.train --data mnist --condition labels
python -m fastvae.train --data table.csv --likelihood gaussian --latent-dim 2 --hidden 64 64
python -m fastvae.train --data mixed.csv --column-types eggs=count     words and gaps too
python -m fastvae.train --resume --out runs/NAME
"""

import argparse
import json
import math
import pathlib
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.command_line import INTERRUPTED, Parser, add_table_options, any_seed, called, one_of, run, say
from fastvae.data import loading
from fastvae.data.columns import WORDS
from fastvae.data.condition import learned_condition
from fastvae.data.dataset import DataSet
from fastvae.data.minibatches import Examples
from fastvae.data.preparation import KINDS_OF_CONDITION, Split, check_whole, split, with_condition
from fastvae.data.tables import HEADERS
from fastvae.errors import DivergenceError, check_name, closest
from fastvae.final_figures import RIVALS, final_figures
from fastvae.kernels.cpu.workers import processors
from fastvae.kernels.formulas import ACTIVATIONS
from fastvae.likelihoods import LIKELIHOODS, Gaussian
from fastvae.models.duration import AUTO
from fastvae.models.objectives import ELBO, OBJECTIVES
from fastvae.models.settings import plain, seed_from
from fastvae.models.vae import VAE
from fastvae.models.vae_network import INITS
from fastvae.optimizers import OPTIMIZERS, SCHEDULES
from fastvae.page.of_a_run import write_run_page
from fastvae.resuming import (
    CHANGEABLE,
    NOT_PART_OF_THE_RUN,
    continued,
    data_may_have_moved,
    options_of_the_run,
    progress_of,
)
from fastvae.runs import RunFolder, RunObserver, finite_or_none
from fastvae.starting import NEVER, dark, read, started, summary
from fastvae.version import VERSION

SCALES = ("auto", "none", "standard", "minmax")


def parser() -> Parser:
    """The command's options."""
    p = Parser("train", "Train a variational autoencoder; writes a run folder with the model, metrics and pictures.")
    add = p.add_argument
    add("--data", default="digits", help="digits, mnist, or a file: IDX, .npy, .npz, .csv (also packed), .parquet")
    add("--array", help="which array of an .npz")
    add(
        "--labels",
        help="labels for the pictures: an array of the .npz; a column of the .csv, its name or number from 1",
    )
    add("--condition", nargs="+", metavar="NAME", help="a conditional model: labels, those of the data; an array of "
        "the .npz; or columns of the .csv, as --labels names them. Whole numbers and text are labels, several columns "
        "and numbers with a point real numbers")  # fmt: skip
    add("--condition-as", default=AUTO, type=one_of(KINDS_OF_CONDITION), help="auto, or labels or numbers, whatever "
        "they look like")  # fmt: skip
    add("--header", default="auto", type=one_of(HEADERS), help="whether the .csv's first line names its columns: "
        "auto, yes or no")  # fmt: skip
    add_table_options(p)
    add("--column-types", nargs="+", metavar="NAME=TYPE", help="of a table, where words, missing values and dtypes do "
        f"not tell it: {', '.join(WORDS)}, or a likelihood; makes it a mixed table")  # fmt: skip
    add("--hide", type=_fraction_of_values, metavar="SHARE", help="of a mixed table: share of the values that each "
        "step leaves out, for gaps that come later; default: 0")  # fmt: skip
    add("--image-shape", type=int, nargs="+", metavar="N", help="of a table whose rows are images: HEIGHT WIDTH, and 3 "
        "of colours, for each pixel together")  # fmt: skip
    add("--likelihood", type=one_of(LIKELIHOODS), help=f"{', '.join(LIKELIHOODS)}; default: bernoulli for images, else "
        "gaussian")  # fmt: skip
    add("--sigma", type=_sigma, help="gaussian: a number in model units, learned (the default), or optimal")
    switch: dict[str, Any] = {"default": AUTO, "type": one_of([AUTO, "yes", "no"])}
    add("--sigma-per-column", **switch, help="gaussian: whether each column has its own; auto: of a table")
    add(
        "--linear", **switch, help="gaussian: a linear path beside the network, started at probabilistic PCA; auto: yes"
    )
    add(
        "--latent-dim",
        type=int,
        help="of the latent code; default: 3 for digits, else 20, of a table at most its columns",
    )
    add("--hidden", type=int, nargs="*", help="widths of the encoder's hidden layers; default: 400, of a mixed table "
        "64 64")  # fmt: skip
    add("--decoder-hidden", type=int, nargs="*", help="widths of the decoder's; default: mirrored")
    add("--activation", type=one_of(ACTIVATIONS), help=f"one of {', '.join(ACTIVATIONS)}; default: silu for a "
        "gaussian table, else relu")  # fmt: skip
    add("--init", type=one_of(INITS), default=INITS[0], help=f"of the weights: {' or '.join(INITS)}")
    add("--beta", type=float, default=1.0, help="weight of the KL in the loss")
    add("--kl-warmup-epochs", type=float, default=0, help="epochs over which that weight grows from 0")
    add("--objective", default=ELBO.NAME, type=one_of(OBJECTIVES), help=f"{', '.join(OBJECTIVES)}: what is trained for")
    add(
        "--n-samples", type=_at_least(1, int), default=1, help="of z for an example in a step; iwae and dreg weigh them"
    )
    add("--free-bits", type=_at_least(0, float), default=0.0, help="elbo: nats of KL that each latent dimension may "
        "have before they count")  # fmt: skip
    add("--epochs", type=int, help="default: 300 for digits, 10 for mnist, 50 for other images; for tables as many as "
        "make 20,000 steps, 20 at least")  # fmt: skip
    add("--batch-size", type=int, help="default: 128, of few data 64, or all of them")
    add("--learning-rate", type=float, default=1e-3, help="of the optimizer")
    add("--optimizer", default="adam", type=one_of(OPTIMIZERS), help=" or ".join(OPTIMIZERS))
    add("--weight-decay", type=float, default=0.0, help="decoupled from the gradient, as AdamW has it")
    add("--schedule", default="constant", type=one_of(SCHEDULES), help=f"of the learning rate: {', '.join(SCHEDULES)}")
    add("--warmup-steps", type=_at_least(0, int), default=0, help="steps over which the learning rate grows from 0")
    add("--average", type=float, default=0.0, help="share of the steps, the last, whose parameters are averaged")
    add("--clip-norm", type=float, help="largest norm of the gradient")
    scales = f"of the data: {', '.join(SCALES)}, or two numbers LOW HIGH that become 0 and 1"
    add("--scale", nargs="+", default=["auto"], metavar="HOW", help=scales)
    add("--binarize", default="none", type=_binarize, help="none, dynamic, or a threshold for data scaled to [0, 1]")
    add("--heldout", type=_fraction, help="fraction to keep for the held-out ELBO; default: the data's own test part, "
        "else 0.1")  # fmt: skip
    add("--early-stopping", type=_patience, metavar="EPOCHS", help="stop after so many without a better held-out ELBO, "
        "and keep the best; none: never. Default: for tables as many as make 3,000 steps, at least 10")  # fmt: skip
    add("--seed", type=any_seed, default=0, help="of all that is random")
    add(
        "--precision", default="float32", help="of the matrix products: float32, or bfloat16 where the processor has it"
    )
    add("--device", default="auto", help="auto (the CPU), cpu, or cuda")
    add("--out", help="the run's folder; default: runs/NAME of the data, numbered where it is taken")
    add("--resume", action="store_true", help="continue the run in --out; starts it if there is none")
    add("--checkpoint-seconds", type=_at_least(0, float), default=5.0, help="time between checkpoints")
    add("--json", action="store_true", help="print the final figures as one line of JSON")
    add("--quiet", action="store_true", help="no progress")
    return p


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _sigma(text: str) -> float | str:
    if text in Gaussian.CHOICES:
        return text
    try:
        return float(text)
    except ValueError:
        valid = closest(text, Gaussian.CHOICES)
        raise argparse.ArgumentTypeError(f"{text!r} is not known: {valid}, or a number") from None


def _binarize(text: str) -> str | float | None:
    if text in ("none", "dynamic"):
        return None if text == "none" else text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not known: valid: 'none', 'dynamic', or a number")
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} must lie in [0, 1): data are scaled to [0, 1] before; try 0.5")
    return value


def _patience(text: str) -> int | str:
    return text if text == NEVER else _at_least(1, int)(text)


def _fraction(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} must lie in [0, 1): 0 keeps nothing back")
    return value


def _fraction_of_values(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} must lie in [0, 1)")
    return value


def _at_least(lowest: float, kind: type) -> Callable[[str], Any]:
    """An argparse type: a finite number of that kind, not below `lowest`."""

    def convert(text: str) -> Any:
        value = _number(text)
        if not (math.isfinite(value) and value >= lowest and value == kind(value)):
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text} must be a {what}, at least {lowest:g}")
        return kind(value)

    return convert


def _scale(words: Any) -> Any:
    """What --scale says: a name, or (low, high)."""
    if isinstance(words, str) or not isinstance(words[0], str):
        return words  # read already
    if len(words) == 1:
        check_name("--scale", words[0], SCALES)
        return words[0]
    try:
        low, high = (float(word) for word in words)
    except ValueError:
        raise ValueError(f"--scale {' '.join(words)}: expected {', '.join(SCALES)}, or two numbers LOW HIGH") from None
    return low, high


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    arguments = parser().parse_args(words)
    return run("train", lambda: _train(arguments, words), arguments.traceback)


def _train(arguments: argparse.Namespace, words: list[str]) -> int:
    if arguments.json:
        _check_standard_output()
    if arguments.out is None:
        if arguments.resume:
            raise ValueError("--resume needs --out: the folder of the run to continue")
        with RunFolder.claimed_new(pathlib.Path(arguments.data).stem or "run") as folder:
            return _train_in(folder, arguments, words)
    if not arguments.out.strip():
        raise ValueError("--out is empty: name a folder")
    folder = RunFolder(arguments.out)
    with folder.claimed():
        if arguments.resume:
            folder.check_complete()
            if not folder.holds_a_run() and not _describes_a_run(words):
                raise ValueError(
                    f"--resume --out {folder.path}: there is no run there to continue: name the folder of one, or, to "
                    "start one there, what it is to learn from: --data"
                )
        elif folder.holds_a_run():
            raise ValueError(f"--out {folder.path}: holds a run already; add --resume to continue it, or name another")
        return _train_in(folder, arguments, words)


def _describes_a_run(words: list[str]) -> bool:
    """Whether more is asked for than to continue what is there."""
    given = {word.split("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    return bool(given - {*NOT_PART_OF_THE_RUN, *CHANGEABLE - {"data"}})


def _train_in(folder: RunFolder, arguments: argparse.Namespace, words: list[str]) -> int:
    config = folder.read_config() if arguments.resume else None
    options = argparse.Namespace(**vars(arguments) | {"scale": _scale(arguments.scale)})
    if config is not None:
        options = options_of_the_run(folder, parser(), options, words, config, _scale)
    if options.data not in loading.NAMES and pathlib.Path(options.data).exists():
        options.data = str(pathlib.Path(options.data).resolve())
    with data_may_have_moved(config is not None):
        data = read(options)
    smallest, largest = check_whole(data) if data.table is None else (None, None)
    known = None
    if data.condition is not None:
        data = with_condition(data, options.condition_as)
        known = learned_condition(data.condition, len(data.X), "--condition")[0]
    rows = split(data, options.heldout, seed_from(options.seed))
    if isinstance(options.early_stopping, int) and rows.held_out is None:
        raise ValueError("--early-stopping needs held-out data: give --heldout")
    if config and folder.checkpoint.exists():
        model, examples = continued(folder, options, rows.X, config, rows.condition, data.table)
        said = progress_of(folder, model)
    else:
        model, examples = started(options, data, rows, known, smallest, largest)
        said = ("no run there yet: starting one. " if arguments.resume else "") + summary(model, data, rows.X)
    held = None
    if rows.held_out is not None:
        held = model.examples(rows.held_out, "the held-out data", options.binarize, rows.condition_held_out)
    folder.check_room(model.network_.parameters.values.size, options.early_stopping != NEVER)
    for line in (*data.remarks, said, *dark(options, data, largest)):
        say(line)
    plotter = _plotter()
    if not rows.drawn and rows.held_out is not None:
        say(f"held out: the last {len(rows.held_out)} rows of the file (drawn rows would need a copy in memory)")
    folder.write_config(
        {
            "options": plain({k: v for k, v in vars(options).items() if k not in NOT_PART_OF_THE_RUN}),
            "chosen": plain(model.get_params()),
            "threads": processors(),
            "fastvae": VERSION,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
    )
    return _run(folder, options, model, examples, held, data, rows, plotter)


def _run(
    folder: RunFolder,
    options: argparse.Namespace,
    model: VAE,
    examples: Examples,
    held: Examples | None,
    data: DataSet,
    rows: Split,
    plotter: Any,
) -> int:
    from fastvae.kernels.cpu import compiler, products

    if not compiler.is_cached(products.multiply):
        say("the first run compiles the kernels, which takes some seconds; later runs find them in a cache")
    observer = RunObserver(folder, model, options.checkpoint_seconds)
    observer.quiet = options.quiet
    epochs, batch_size = int(model.epochs), int(model.batch_size)
    try:
        patience = None if options.early_stopping == NEVER or held is None else options.early_stopping
        if patience is None and model._state.best_elbo is not None:
            patience = epochs + 1  # a run that stops early no more still keeps its best
        model.fit_examples(examples, epochs, batch_size, held, patience, observer)
    except DivergenceError as error:
        raise DivergenceError(f"{error}. The last good state is in {folder.checkpoint}") from None
    observer.save()
    model.keep_best()
    model.save(folder.model)
    if observer.stop_requested():
        say(
            f"interrupted in epoch {model.n_epochs_ + 1}, after {model.n_steps_} steps; saved. Continue with: "
            f"{called('train')} --resume --out {folder.path}"
        )
        return INTERRUPTED if observer.interrupted == 2 else 128 + int(observer.interrupted or 0)
    if model.stopped_early_:
        best = f"epoch {model.best_epoch_}" if model.best_epoch_ else "the start, before any step,"
        say(f"stopped early after epoch {model.n_epochs_}; {best} was the best, and is kept")
    for line in model.remarks():
        say(line)
    figures = final_figures(model, examples, held)
    if plotter:
        unseen, beside = (rows.X, rows.condition) if rows.held_out is None else (rows.held_out, rows.condition_held_out)
        conditions = rows.condition, beside
        for failure in plotter.write_pictures(folder.path, model, rows.X, rows.labels, unseen, *conditions):
            say(failure)
    apart = {name: figures[key] for name, key in RIVALS.items() if key in figures}
    for failure in write_run_page(folder.path, model, data, rows, apart):
        say(failure)
    say(f"{folder.path}: {', '.join(folder.names())}")
    if options.json:
        print(json.dumps(finite_or_none(figures) | {"out": str(folder.path)}, allow_nan=False), flush=True)
    return 0


def _plotter() -> Any:
    """The module that makes pictures, or None, which is said."""
    try:
        from matplotlib import figure  # noqa: F401

        from fastvae import pictures
    except ImportError:
        say("there will be no pictures: they need matplotlib; pip install matplotlib")
        return None
    except Exception as error:  # one that is broken
        say(f"there will be no pictures: matplotlib fails with {type(error).__name__}: {' '.join(str(error).split())}")
        return None
    return pictures


def _check_standard_output() -> None:
    """Refuse to train for figures that nobody will get."""
    try:
        print(end="", flush=True)  # where a program has none at all, nobody waits for it
    except (ValueError, OSError) as error:
        raise ValueError(f"--json: standard output cannot be written to: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
