"""Draw new examples from a trained model; only its decoder is read.

python -m fastvae.sample runs/digits/model.npz -n 64 --out samples.png
python -m fastvae.sample runs/table -n 1000 --out samples.csv
python -m fastvae.sample runs/mnist --condition 3 --condition 8
python -m fastvae.sample runs/mnist --condition all
"""

import argparse
import os
import pathlib
import sys
from typing import Any

import numpy as np

from fastvae.atomic import check_writable, save_array
from fastvae.command_line import Parser, any_seed, run, say
from fastvae.data.condition import Labels
from fastvae.data.layout import Choice
from fastvae.data.table_values import written_columns
from fastvae.errors import DataFileError
from fastvae.memory import check_memory
from fastvae.model_data import read
from fastvae.model_files import load_model, names_of
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae import VAE
from fastvae.run_data import RunData
from fastvae.runs import RunFolder
from fastvae.table_file import ENDINGS, check_ending, is_table, numbered, write_table

MOST_IN_A_PICTURE = 2500
MOST_LISTED = 5  # files of a folder
ALONE, SEVERAL = 64, 8  # samples of one condition, or of each of several
OF_A_TABLE = 2000  # that are shown as distributions
ALL = "all"  # labels


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run("sample", lambda: _sample(arguments), arguments.traceback)


def parser() -> Parser:
    """The options."""
    p = Parser("sample", "Draw new examples from a trained model.")
    p.add_argument("model", help="a model.npz, or the folder of a run")
    p.add_argument("-n", type=int, help="how many, of each condition; default: 64, or 8 where there are several; of a "
                   "picture of a table 2,000, or 500")  # fmt: skip
    p.add_argument("--condition", action="append", metavar="C", help="of a conditional model, may be given again: a "
                   "label, or all; or numbers with commas between them")  # fmt: skip
    p.add_argument("--out", default="samples.png", help=".png for a picture, .npy for the numbers; .csv, .csv.gz, "
                   ".parquet: with the names of the columns, and the condition")  # fmt: skip
    p.add_argument("--columns", nargs="+", metavar="NAME", help="those that are written to a table, by name or number; "
                   "default: all")  # fmt: skip
    p.add_argument("--drop", nargs="+", metavar="NAME", help="columns that are not written to a table")
    p.add_argument("--noise", action="store_true", help="draw x from p(x|z) too, instead of taking its mean; of "
                   "tables the default")  # fmt: skip
    p.add_argument("--means", action="store_true", help="the mean of p(x|z) for each z, which is narrower than the "
                   "data, instead of complete draws; of images, and of numbers in [0, 1], the default")  # fmt: skip
    p.add_argument("--seed", type=any_seed, default=0, help="of the draws")
    p.add_argument("--device", default="auto", help="auto (the CPU), cpu, or cuda")
    return p


def model_path(text: str) -> pathlib.Path:
    """The model file that is meant: `text` itself, or the one in the run folder of that name.

    Raises
    ------
    DataFileError
        A folder without one, of a comparison say.
    """
    path = pathlib.Path(text)
    if not path.is_dir():
        return path
    found = RunFolder(path).model
    if not found.exists():
        others = [str(other) for other in sorted(path.glob("*.npz"))[:MOST_LISTED]]
        advice = (
            f"name one of its files: {', '.join(others)}" if others else "name the folder of a run, or a model file"
        )
        raise DataFileError(f"{text}: this folder holds no {found.name}; {advice}")
    return found


def check_output(out: pathlib.Path, *read: str | pathlib.Path) -> None:
    """Refuse an output that is one of the files that are read, by whatever name, or what a run continues from, or that
    cannot be written."""
    if out.exists():
        if any(out.samefile(path) for path in read if os.path.exists(path)):
            raise ValueError(f"--out {out}: that is what is read; give another name")
        run = RunFolder(out.resolve().parent)
        if run.holds_a_run() and out.resolve() in (run.model.resolve(), run.checkpoint.resolve()):
            raise ValueError(f"--out {out}: that is a file of the run in {run.path}; give another name")
    check_writable(out)


def _is_table(model: VAE) -> bool:
    """Whether rows are read as a table, whose draws are complete by default: no image, nor fractions of 1."""
    return not model.metadata_.get("image_shape") and model.network_.likelihood.SUPPORT != (0, 1)


def _conditions(model: VAE, given: list[str] | None) -> tuple[list[str], Any]:
    """What each condition is called, and all of them as the model takes them: no name and None of a model without."""
    known = model.network_.condition
    if known is None:
        if given:
            raise ValueError(f"--condition {given[0]}: the model has no condition: leave it out")
        return [], None
    if not given:
        hint = "name some, or all" if isinstance(known, Labels) else "give such numbers with commas between them"
        raise ValueError(f"the model has a condition, {known.described}: {hint}, with --condition")
    if given == [ALL] and isinstance(known, Labels) and ALL not in map(str, known.classes):
        return [str(label) for label in known.classes.tolist()], known.classes
    try:
        return given, np.array([known.from_text(text) for text in given])
    except ValueError as error:
        raise ValueError(f"--condition: {error}") from None


def _named(model: VAE, names: list[str]) -> list[str]:
    """What conditions are called in a picture: numbers with the names that they had in the training."""
    known = list(model.metadata_.get("condition") or ())
    if isinstance(model.network_.condition, Labels):
        return names
    values = [name.split(",") for name in names]
    if not known or any(len(own) != len(known) for own in values):
        return names
    return [", ".join(f"{k} {v.strip()}" for k, v in zip(known, own, strict=True)) for own in values]


def _chosen(model: VAE, columns: list[str] | None, drop: list[str] | None) -> dict[str, int]:
    """Names of the columns that are written, and where they stand."""
    width = model.network_.architecture.inputs
    names = names_of(model) or numbered("x", width)
    choice = Choice(columns=None if columns is None else tuple(columns), drop=tuple(drop or ()))
    return {names[j]: j for j in choice.places("the model", names, width)[1]}


def _condition_columns(model: VAE, condition: np.ndarray) -> dict[str, np.ndarray]:
    """The condition of each sample as columns, by the names that it had in the training."""
    values = condition.reshape(len(condition), -1)
    names: list[str] = list(model.metadata_.get("condition") or ())
    names = names if len(names) == values.shape[1] else numbered("condition", values.shape[1])
    return dict(zip(names, values.T, strict=True))


def _data_beside(model: VAE, path: pathlib.Path) -> Any:
    """The rows that a model of a table was trained on, for a picture of its samples, where they are still there; of
    images, or under a condition, None."""
    known = RunData.beside(path)
    if known is None or model.metadata_.get("image_shape") or model.network_.condition is not None:
        return None
    try:
        split = read(model, str(known["data"]), run=known).split
    except (ValueError, OSError):
        return None
    return None if split is None else split.X


def _sample(arguments: argparse.Namespace) -> int:
    out = pathlib.Path(arguments.out)
    check_ending("--out", out, (".png", ".npy"))
    if (arguments.columns or arguments.drop) and not is_table(out):
        raise ValueError(f"--out {out}: --columns and --drop choose columns of a table; name a {', '.join(ENDINGS)}")
    if arguments.n is not None and arguments.n < 1:
        raise ValueError(f"-n {arguments.n}: must be at least 1")
    check_output(out, model_path(arguments.model))
    model = load_model(model_path(arguments.model), decoder_only=True, device=arguments.device)
    if arguments.means and arguments.noise:
        raise ValueError("--means and --noise exclude each other: leave one out")
    mixed = isinstance(model, TableVAE)
    if mixed and out.suffix == ".npy":
        raise ValueError(f"--out {out}: the model is of a mixed table; name a {', '.join(ENDINGS)}, or a .png")
    noise = arguments.noise or (_is_table(model) and not arguments.means)
    names, conditions = _conditions(model, arguments.condition)
    n = arguments.n or (SEVERAL if len(names) > 1 else ALONE)
    if out.suffix == ".png" and not arguments.n and not model.metadata_.get("image_shape"):  # distributions need many
        n = min(OF_A_TABLE // 4, MOST_IN_A_PICTURE // len(names)) if len(names) > 1 else OF_A_TABLE
    count = n * max(1, len(names))
    if out.suffix == ".png" and count > MOST_IN_A_PICTURE:
        found = f"-n {n}" + (f", of {len(names)} conditions" if len(names) > 1 else "")
        raise ValueError(f"{found}: a picture shows at most {MOST_IN_A_PICTURE}; write them to a .npy")
    columns = model.network_.architecture.inputs + model.network_.architecture.latent_dim
    what = f"-n {count}: so many samples of {columns} values"
    check_memory(4 * count * columns, what, "draw fewer at a time, each time with another --seed", "take")
    condition = None if conditions is None else np.repeat(conditions, n, axis=0)
    chosen = _chosen(model, arguments.columns, arguments.drop) if is_table(out) else {}
    samples = model.sample(count, random_state=arguments.seed, noise=noise, condition=condition)
    given = "p(x|z, c)" if names else "p(x|z)"
    what = f"draws from {given}" if noise else f"means of {given}"
    if out.suffix == ".png":
        try:
            from fastvae import pictures
        except ImportError:
            raise ValueError(
                f"--out {arguments.out}: a picture needs matplotlib: pip install matplotlib; "
                "--out samples.npy works without"
            ) from None
        pictures.write_samples(
            out, model, samples, what, _named(model, names), _data_beside(model, model_path(arguments.model))
        )
    elif is_table(out):
        beside = {} if condition is None else _condition_columns(model, condition)
        written = written_columns(samples) if mixed else samples.T
        write_table(out, beside | {name: written[j] for name, j in chosen.items()})
    else:
        save_array(out, samples)
    say(f"{out}: {count} samples of {len(chosen) or model.network_.architecture.inputs} values, {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
