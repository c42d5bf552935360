"""Train a VAE on a data set and leave a folder: the model, its figures, and pictures to look at.

python -m fastvae.train                        the embedded digits, in seconds
python -m fastvae.train --data mnist --binarize dynamic
python -m fastvae.train --data table.csv --likelihood gaussian --latent-dim 2 --hidden 64 64
python -m fastvae.train --resume --out runs/NAME
"""

import argparse
import json
import pathlib
import platform
import sys
from typing import Any

import numpy as np

from fastvae.command_line import INTERRUPTED, Parser, one_of, run, say
from fastvae.data import datasets
from fastvae.data.datasets import DataSet
from fastvae.data.minibatches import Examples
from fastvae.data.validation import check_values
from fastvae.errors import DivergenceError, closest
from fastvae.kernels.formulas import ACTIVATIONS
from fastvae.likelihoods import Gaussian
from fastvae.models.settings import seed_from
from fastvae.models.vae import VAE
from fastvae.runs import RunFolder, RunObserver, fingerprint, finite_or_none
from fastvae.version import VERSION

EPOCHS = {"digits": 100, "mnist": 10}  # where --epochs is not given; other data: 50
COPIED_BYTES = 1 << 28  # a larger memory map is split without copying it
NOT_PART_OF_THE_RUN = ("out", "resume", "json", "quiet", "traceback")


def parser() -> Parser:
    """The command's options."""
    p = Parser("train", "Train a variational autoencoder; writes a run folder with the model, metrics and pictures.")
    p.add_argument("--data", default="digits", help="digits, mnist, or a file: IDX, .npy, .npz, .csv")
    p.add_argument("--array", help="which array of an .npz")
    p.add_argument("--labels", help="labels for the pictures: an array of the .npz, or a column of the .csv")
    p.add_argument("--likelihood", type=one_of(["bernoulli", "gaussian"]), help="of p(x|z); default: by the data")
    p.add_argument(
        "--sigma",
        default="optimal",
        type=_sigma,
        help="gaussian: a number in model units, learned, or optimal (the best of each batch)",
    )
    p.add_argument("--latent-dim", type=int, default=20, help="dimension of the latent code")
    p.add_argument("--hidden", type=int, nargs="*", default=[400], help="widths of the encoder's hidden layers")
    p.add_argument("--decoder-hidden", type=int, nargs="*", help="widths of the decoder's; default: mirrored")
    p.add_argument("--activation", type=one_of(ACTIVATIONS), default="relu", help="of the hidden layers")
    p.add_argument("--beta", type=float, default=1.0, help="weight of the KL in the loss")
    p.add_argument("--kl-warmup-epochs", type=float, default=0, help="epochs over which that weight grows from 0")
    p.add_argument("--epochs", type=int, help="default: 100 for digits, 10 for mnist, else 50")
    p.add_argument("--batch-size", type=int, help="default: 128, or all the data where they are fewer")
    p.add_argument("--learning-rate", type=float, default=1e-3, help="of Adam")
    p.add_argument("--clip-norm", type=float, help="largest norm of the gradient")
    p.add_argument(
        "--scale", default="auto", type=one_of(["auto", "none", "standard", "minmax"]), help="of the data, before all"
    )
    p.add_argument("--binarize", default="none", type=_binarize, help="none, dynamic, or a threshold in model units")
    p.add_argument(
        "--heldout",
        type=_fraction,
        help="fraction kept for the held-out ELBO; default: the data's own test part, else 0.1",
    )
    p.add_argument(
        "--early-stopping",
        type=int,
        metavar="EPOCHS",
        help="stop after so many without a better held-out ELBO, and keep the best",
    )
    p.add_argument("--seed", type=int, default=0, help="of all that is random")
    p.add_argument("--device", default="auto", help="auto or cpu")
    p.add_argument("--out", help="the run's folder; default: runs/NAME of the data, numbered where it is taken")
    p.add_argument("--resume", action="store_true", help="continue the run in --out; starts it if there is none")
    p.add_argument("--checkpoint-seconds", type=float, default=5.0, help="time between checkpoints")
    p.add_argument("--json", action="store_true", help="print the final figures as one line of JSON")
    p.add_argument("--quiet", action="store_true", help="no progress")
    return p


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
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not known: valid: 'none', 'dynamic', or a number") from None


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} must lie in [0, 1): 0 keeps nothing back")
    return value


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    arguments = parser().parse_args(words)
    return run("train", lambda: _train(arguments, words), arguments.traceback)


def _train(arguments: argparse.Namespace, words: list[str]) -> int:
    folder = _folder(arguments)
    config = folder.read_config() if arguments.resume else None
    options = _options(arguments, words, config)
    data = datasets.load(options.data, options.array, options.labels)
    X, labels, heldout, _ = split(data, options.heldout, options.seed)

    if options.early_stopping is not None and heldout is None:
        raise ValueError("--early-stopping needs held-out data: give --heldout")
    if config and folder.checkpoint.exists():
        model, examples = _continued(folder, options, X)
        summary = f"continuing {folder.path} after {model.n_steps_} steps, in epoch {model.n_epochs_ + 1}"
    else:
        model, examples = _started(options, data, X)
        summary = _summary(model, data, X)
    folder.create()
    say(summary)
    chosen = model.get_params()
    kept = {k: v for k, v in vars(options).items() if k not in NOT_PART_OF_THE_RUN}
    folder.write_config(
        {
            "options": kept,
            "chosen": chosen,
            "fastvae": VERSION,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
    )
    held = None
    if heldout is not None:
        held = model.examples(heldout, "the held-out data", options.binarize)
    return _run(folder, options, model, examples, held, labels)


def _folder(arguments: argparse.Namespace) -> RunFolder:
    if arguments.out is None:
        if arguments.resume:
            raise ValueError("--resume needs --out: the folder of the run to continue")
        return RunFolder.free(pathlib.Path(arguments.data).stem or "run")
    folder = RunFolder(arguments.out)
    if folder.holds_a_run() and not arguments.resume:
        raise ValueError(f"--out {folder.path}: holds a run already; add --resume to continue it, or name another")
    return folder


def _options(arguments: argparse.Namespace, words: list[str], config: dict[str, Any] | None) -> argparse.Namespace:
    """The options of this run; those of the run that it continues, where only the epochs may be changed."""
    if config is None:
        options = argparse.Namespace(**vars(arguments))
        if pathlib.Path(options.data).exists():
            options.data = str(pathlib.Path(options.data).resolve())
        return options
    given = {a.dest for a in parser()._actions for s in a.option_strings if any(_is_option(w, s) for w in words)}
    stored = dict(config["options"])
    for name in given - {*NOT_PART_OF_THE_RUN, "epochs", "checkpoint_seconds"}:
        value = getattr(arguments, name)
        if name == "data" and pathlib.Path(value).exists():
            value = str(pathlib.Path(value).resolve())
        if value != stored.get(name):
            option = "--" + name.replace("_", "-")
            raise ValueError(
                f"{option} {value!r} is not what the run was started with ({stored.get(name)!r}): leave "
                "it out to continue, or start anew in another folder"
            )
    merged = vars(arguments) | stored
    merged |= {name: getattr(arguments, name) for name in given & {"epochs", "checkpoint_seconds"}}
    return argparse.Namespace(**merged)


def _is_option(word: str, option: str) -> bool:
    return word == option or word.startswith(option + "=")


def split(
    data: DataSet, fraction: float | None, seed: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return (training rows, their labels, held-out rows, their labels).

    Without a fraction, the data's own test part, or a tenth. The rows held out are drawn by the seed; of a memory map
    of more than 256 MB, which is not copied, they are the last ones.
    """
    if fraction is None and data.X_heldout is not None:
        return data.X, data.labels, data.X_heldout, data.labels_heldout
    count = round(len(data.X) * (0.1 if fraction is None else fraction))
    if count == 0:
        return data.X, data.labels, None, None
    if isinstance(data.X, np.memmap) and data.X.nbytes > COPIED_BYTES:
        say(f"held out: the last {count} rows of the file (drawn rows would need a copy in memory)")
        kept, held = slice(0, len(data.X) - count), slice(len(data.X) - count, None)
        labels = (None, None) if data.labels is None else (data.labels[kept], data.labels[held])
        return data.X[kept], labels[0], data.X[held], labels[1]
    from fastvae.kernels import cpu

    order = np.empty(len(data.X), np.int64)
    cpu.shuffled_indices(seed_from(seed), 2**32 - 1, len(order), 0, order)  # an epoch that no training reaches
    rows, held_rows = np.sort(order[count:]), np.sort(order[:count])
    labels = (None, None) if data.labels is None else (data.labels[rows], data.labels[held_rows])
    return data.X[rows], labels[0], data.X[held_rows], labels[1]


def _started(options: argparse.Namespace, data: DataSet, X: np.ndarray) -> tuple[VAE, Examples]:
    """A model with drawn weights, with what was not asked for chosen by the data, and said."""
    likelihood = options.likelihood or ("bernoulli" if data.image_shape else "gaussian")
    scale = _scale(options.scale, likelihood, data, X)
    batch_size = options.batch_size if options.batch_size is not None else min(128, len(X))
    if batch_size > len(X):
        raise ValueError(f"--batch-size {batch_size} is larger than the data ({len(X)} examples): use at most {len(X)}")
    model = VAE(
        latent_dim=options.latent_dim,
        hidden=tuple(options.hidden),
        decoder_hidden=None if options.decoder_hidden is None else tuple(options.decoder_hidden),
        activation=options.activation,
        likelihood=likelihood,
        sigma=options.sigma,
        beta=options.beta,
        kl_warmup_epochs=options.kl_warmup_epochs,
        epochs=options.epochs if options.epochs is not None else EPOCHS.get(data.name, 50),
        batch_size=batch_size,
        learning_rate=options.learning_rate,
        clip_norm=options.clip_norm,
        scale=scale,
        device=options.device,
        random_state=options.seed,
    )
    if likelihood == "gaussian" and options.binarize is not None:
        raise ValueError(f"--binarize {options.binarize} goes with --likelihood bernoulli; this run is gaussian")
    examples = model.initialize(X, options.binarize)
    model.metadata_ = {
        "data": data.name,
        "image_shape": data.image_shape,
        "binarize": options.binarize,
        "fingerprint": fingerprint(X),
    }
    return model, examples


def _summary(model: VAE, data: DataSet, X: np.ndarray) -> str:
    how = {None: "as they are", "standard": "each column to mean 0, deviation 1", "minmax": "each column to [0, 1]"}
    scale = model.scale
    scaled = f"{scale[0]:g} ... {scale[1]:g} to [0, 1]" if isinstance(scale, tuple) else how[scale]
    sizes = f"{len(X):,} examples of {X.shape[1]} values"
    return f"{data.name}: {sizes}; scaling: {scaled}; likelihood: {model.likelihood}; seed {model.random_state}"


def _scale(asked: str, likelihood: str, data: DataSet, X: np.ndarray) -> Any:
    if asked != "auto":
        return None if asked == "none" else asked
    if data.value_range is not None:
        return None if data.value_range == (0.0, 1.0) else data.value_range
    if not data.image_shape and likelihood == "gaussian":
        return "standard"
    smallest, largest = (float(v) for v in _range(X))
    if likelihood == "bernoulli" and smallest >= 0 and largest <= 1:
        return None
    return (smallest, largest) if data.image_shape and smallest < largest else "minmax"


def _range(X: np.ndarray) -> tuple[Any, Any]:
    smallest, largest = check_values(X)
    return smallest.min(), largest.max()


def _continued(folder: RunFolder, options: argparse.Namespace, X: np.ndarray) -> tuple[VAE, Examples]:
    model = VAE.load_checkpoint(folder.checkpoint, options.device)
    if model.metadata_.get("fingerprint") != fingerprint(X):
        raise ValueError(f"--resume: the data are not those that the run in {folder.path} was started with")
    if options.epochs is not None:
        model.epochs = options.epochs
    examples = Examples(X, model.offset_, model.scale_, model.seed_, model.network_.kernels, options.binarize)
    return model, examples


def _run(
    folder: RunFolder,
    options: argparse.Namespace,
    model: VAE,
    examples: Examples,
    held: Examples | None,
    labels: np.ndarray | None,
) -> int:
    from fastvae.kernels.cpu import compiler, latent_forward

    if not compiler.is_cached(latent_forward):
        say("the first run compiles the kernels, which takes some seconds; later runs find them in a cache")
    observer = RunObserver(folder, model, options.checkpoint_seconds)
    observer.quiet = options.quiet
    try:
        model.fit_examples(examples, model.epochs, model.batch_size, held, options.early_stopping, observer)
    except DivergenceError as error:
        raise DivergenceError(f"{error}. The last good state is in {folder.checkpoint}") from None
    observer.save()
    model.keep_best()
    model.save(folder.model)
    if observer.stop_requested():
        say(
            f"interrupted in epoch {model.n_epochs_ + 1}, after {model.n_steps_} steps; saved. Continue with: "
            f"python -m fastvae.train --resume --out {folder.path}"
        )
        return INTERRUPTED if observer.interrupted == 2 else 128 + int(observer.interrupted or 0)
    _pictures(folder, model, examples, labels, held if held is not None else examples)
    _report(folder, options, model)
    return 0


def _pictures(folder: RunFolder, model: VAE, examples: Examples, labels: np.ndarray | None, unseen: Examples) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        say("no pictures: they need matplotlib; install it with pip install 'fastvae-engine[plot]'")
        return
    from fastvae import report

    report.write_pictures(folder.path, model, examples.X, labels, unseen.X)


def _report(folder: RunFolder, options: argparse.Namespace, model: VAE) -> None:
    history = model.history_
    best = int(np.argmax(history["heldout_elbo"])) if options.early_stopping is not None else -1
    figures = {name: float(values[best]) for name, values in history.items()}
    figures |= {
        "epoch": int(figures["epoch"]),
        "seconds": float(history["seconds"].sum()),
        "images_per_second": float(np.median(history["images_per_second"])),
    }
    if model.network_.architecture.likelihood == "gaussian":
        figures["sigma"] = model.network_.likelihood.sigma
    say(f"{folder.path}: {', '.join(sorted(p.name for p in folder.path.iterdir()))}")
    if options.json:
        print(json.dumps(finite_or_none(figures) | {"out": str(folder.path)}, allow_nan=False), flush=True)


if __name__ == "__main__":
    sys.exit(main())
