"""Write the page of a trained model: one HTML file to play with, in any browser, without a network.

python -m fastvae.report runs/digits                       of a run: runs/digits/report.html, with the rows held out
python -m fastvae.report model.npz table.csv --out page.html

z by hand and what the decoder makes of it; a row drawn or typed, q(z|x), the ELBO and log p(x) with its error; from
naive Monte Carlo to q; a training step with every number. `fastvae.train` writes it too.
"""

import argparse
import pathlib
import sys

import numpy as np

from fastvae.command_line import Parser, add_table_options, one_of, run, say, table_options
from fastvae.data.tables import HEADERS
from fastvae.evaluation import rivals
from fastvae.model_data import read
from fastvae.model_files import load_model
from fastvae.models.table_vae import TableVAE
from fastvae.page.build import write_page
from fastvae.page.of_a_run import NAME
from fastvae.run_data import RunData
from fastvae.sample import check_output, model_path


def parser() -> Parser:
    """The options."""
    p = Parser("report", "Write the page of a trained model: one HTML file to play with in a browser.")
    add = p.add_argument
    add("model", help="a model.npz, or the folder of a run")
    add("data", nargs="?", help="digits, mnist, or a file: IDX, .npy, .npz, .csv (also packed), .parquet; default: "
        "those of the run")  # fmt: skip
    add("--out", help=f"NAME.html; default: {NAME} beside the model")
    add("--array", help="which array of an .npz")
    add("--labels", help="labels: an array of the .npz, or a column of the .csv")
    add("--condition", nargs="+", metavar="NAME", help="of a conditional model, as in the training, whose names are "
        "the default")  # fmt: skip
    add("--header", default="auto", type=one_of(HEADERS), help="whether the .csv's first line names columns")
    add_table_options(p, "those of the model; default: by their names")
    add("--part", type=one_of(["train", "test"]), help="of data that come in two parts, or of those of the training, "
        "which held rows out; default: test where there is one")  # fmt: skip
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run("report", lambda: _report(arguments), arguments.traceback)


def _report(arguments: argparse.Namespace) -> int:
    source = model_path(arguments.model)
    known = RunData.beside(source)
    name = arguments.data or (None if known is None else known["data"])
    if name is None:
        raise ValueError(f"{source} is of no run that says what it was trained on: name data for the page")
    out = pathlib.Path(arguments.out) if arguments.out else source.parent / NAME
    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"--out {out}: a page is .html")
    check_output(out, name, source)
    model = load_model(source, device="cpu")
    how = {"array": arguments.array, "labels": arguments.labels, "header": arguments.header}
    found = read(model, name, **how, condition=arguments.condition, **table_options(arguments), run=known).divided()
    part = arguments.part or found.default_part
    X, labels, condition = found.part(part)
    places = np.arange(len(X))
    if found.split is not None and found.split.places_held_out is not None:
        places = np.asarray(found.split.places_held_out if part == "test" else found.split.places)
    beside: dict[str, float] = {}
    known_density = model.network_.likelihood.DENSITY or isinstance(model, TableVAE)
    if part == "test" and known_density and not model.metadata_.get("image_shape"):
        training = model.examples(found.data.X, "the rows of the training", condition=found.data.condition)
        beside = rivals.rivals(model, model.examples(X, condition=condition), training)
    say(f"{out}: {write_page(out, model, X, labels, condition, places, beside).described}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
