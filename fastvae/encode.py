"""Encode a data set with a trained model: the mean of q(z|x) of each example.

python -m fastvae.encode runs/digits/model.npz digits --out codes.npy
python -m fastvae.encode runs/table table.csv --id name --out codes.csv
"""

import argparse
import pathlib
import sys
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file, save_array
from fastvae.command_line import Parser, add_table_options, one_of, run, say, table_options
from fastvae.data.tables import HEADERS
from fastvae.model_data import read, rows_named
from fastvae.model_files import load_model
from fastvae.run_data import RunData
from fastvae.sample import check_output, model_path
from fastvae.table_file import check_ending, is_table, write_table


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run("encode", lambda: _encode(arguments), arguments.traceback)


def parser() -> Parser:
    """The options."""
    p = Parser("encode", "Encode a data set: latent codes, and on request their variances and the ELBO.")
    p.add_argument("model", help="a model.npz, or the folder of a run")
    p.add_argument("data", help="digits, mnist, or a file: IDX, .npy, .npz, .csv (also packed), .parquet")
    p.add_argument("--out", default="codes.npy", help=".npy: mu (N, Z); .npz: mu, logvar, elbo, and labels if known; "
                   ".csv, .csv.gz, .parquet: mu, by names, after those of the rows")  # fmt: skip
    p.add_argument("--array", help="which array of an .npz")
    p.add_argument("--labels", help="labels: an array of the .npz, or a column of the .csv")
    p.add_argument("--condition", nargs="+", metavar="NAME", help="of a conditional model, as in the training, "
                   "whose names are the default")  # fmt: skip
    p.add_argument("--header", default="auto", type=one_of(HEADERS), help="whether the .csv's first line names columns")
    add_table_options(p, "those of the model; default: by their names")
    p.add_argument("--part", default="train", type=one_of(["train", "test"]), help="of data that come in two parts")
    p.add_argument("--device", default="auto", help="auto (the CPU), cpu, or cuda")
    return p


def _encode(arguments: argparse.Namespace) -> int:
    out = pathlib.Path(arguments.out)
    check_ending("--out", out, (".npy", ".npz"))
    check_output(out, arguments.data, model_path(arguments.model))
    model = load_model(model_path(arguments.model), device=arguments.device)
    how = {"array": arguments.array, "labels": arguments.labels, "header": arguments.header}
    found = read(
        model,
        arguments.data,
        **how,
        condition=arguments.condition,
        **table_options(arguments),
        run=RunData.beside(model_path(arguments.model)),
    )
    X, labels, condition = found.part(arguments.part)
    binarize = model.metadata_.get("binarize")
    examples = model.examples(X, binarize=binarize, condition=condition)
    mu, logvar = model.encode_examples(examples)
    if out.suffix == ".npy":
        save_array(out, mu)
    elif is_table(out):
        write_table(
            out, rows_named(found, arguments.part) | dict(zip(model.get_feature_names_out(), mu.T, strict=True))
        )
    else:
        codes: dict[str, Any] = {"mu": mu, "logvar": logvar, "elbo": model.elbo_examples(examples)}
        with atomic_file(out) as file:
            np.savez(file, **codes if labels is None else codes | {"labels": labels})
    if binarize is not None:
        say(f"the data were binarised ({binarize}), as in the model's training")
    say(f"{out}: codes of {len(mu)} examples in {mu.shape[1]} dimensions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
