"""Fill in what is missing in a table, by a model of mixed tables; whatever else the table holds stays as it was.

python -m fastvae.impute runs/table table.csv --out filled.csv          the best single values
python -m fastvae.impute runs/table table.csv --out filled.csv --draws 20     filled-1.csv, ...: complete draws
"""

import argparse
import pathlib
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastvae.command_line import Parser, one_of, run, say
from fastvae.data import loading
from fastvae.data.arrays import instead
from fastvae.data.columns import Column
from fastvae.data.condition import Labels
from fastvae.data.dataset import DataSet
from fastvae.data.filling import Cells, write_filled_parquet, write_filled_text
from fastvae.data.frame import YES
from fastvae.data.layout import place_of
from fastvae.data.loading import load_table
from fastvae.data.mixed_tables import load_mixed
from fastvae.data.preparation import with_condition
from fastvae.data.tables import HEADERS
from fastvae.errors import counted
from fastvae.evaluation.imputing import Imputation
from fastvae.model_files import load_model
from fastvae.models.settings import check_integer
from fastvae.models.table_vae import TableVAE
from fastvae.sample import check_output, model_path
from fastvae.table_file import PARQUET, check_ending

FINE = 1000  # parts of a column's deviation to which numbers that are filled in are rounded
SHOWN = 10  # rows that are named


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run("impute", lambda: _impute(arguments), arguments.traceback)


def parser() -> Parser:
    """The options."""
    p = Parser("impute", "Fill in the missing values of a table, by a model that was trained on mixed tables.")
    p.add_argument("model", help="a model.npz, or the folder of a run")
    p.add_argument("table", help="a file with gaps: .csv (also packed), .parquet")
    p.add_argument("--out", default="filled.csv", help="the same table without the gaps: .csv, .csv.gz, .tsv, .parquet")
    p.add_argument("--draws", type=int, metavar="M", help="M tables, NAME-1.csv, ..., each filled with a draw from "
                   "p(missing | what is there); default: one, with the best single values")  # fmt: skip
    p.add_argument("--samples", type=int, default=1000, help="of z, for each row that lacks a value")
    p.add_argument("--condition", nargs="+", metavar="NAME", help="of a conditional model; default: as in its training")
    p.add_argument("--header", default="auto", type=one_of(HEADERS), help="whether the .csv's first line names columns")
    p.add_argument("--seed", type=int, default=0, help="of the draws")
    p.add_argument("--device", default="auto", help="auto (the CPU), cpu, or cuda")
    return p


@dataclass(frozen=True)
class Source:
    """The rows of a file for a model, and which column of the file each of the model's is."""

    path: pathlib.Path
    header: str
    data: DataSet
    places: list[int]

    def spelling(self, column: Column, place: int) -> dict[Any, str]:
        """How the file writes yes and no, where it writes them otherwise than the model's training did."""
        if not all(str(level).lower() in YES for level in column.levels) or self.path.suffix.lower() == PARQUET:
            return {}
        table = load_table(self.path, self.header, columns=[place + 1], text=[place + 1])
        words = dict.fromkeys(word for values in table.values() for word in values if word is not None)
        found = {YES[word.lower()]: word for word in reversed(words) if word.lower() in YES}
        return {level: found[YES[str(level).lower()]] for level in column.levels if YES[str(level).lower()] in found}

    def write(self, out: pathlib.Path, cells: Cells) -> None:
        """Write the file with these cells."""
        if self.path.suffix.lower() == PARQUET:
            write_filled_parquet(self.path, out, cells)
        else:
            write_filled_text(self.path, self.header, out, cells)


def _impute(arguments: argparse.Namespace) -> int:
    out, file = pathlib.Path(arguments.out), model_path(arguments.model)
    check_ending("--out", out)
    check_integer("--samples", arguments.samples, 2)
    outputs = [out] if arguments.draws is None else _numbered(out, check_integer("--draws", arguments.draws, 1))
    for path in outputs:
        check_output(path, arguments.table, file)
    model = load_model(file, device=arguments.device)
    if not isinstance(model, TableVAE):
        raise ValueError(
            f"{file}: a VAE of numbers, which knows nothing of gaps: train one on a table with gaps, or with "
            "--hide 0.2, so that it learns to do without values"
        )
    source = _source(model, arguments, out)
    X = source.data.X
    missing = np.isnan(X)
    _check_gaps(model, missing, arguments.table)
    found = model.impute(
        X,
        arguments.draws,
        arguments.samples,
        condition=source.data.condition,
        random_state=arguments.seed,
        return_result=True,
    )
    for path, values in zip(outputs, [found.values] if arguments.draws is None else found.drawn, strict=True):
        source.write(path, _cells(model, source, missing, values))
    print("\n".join(_lines(model, found, missing, arguments.draws)), flush=True)
    say(f"{', '.join(map(str, outputs[:3]))}{', ...' if len(outputs) > 3 else ''}: {counted(len(X), 'row')}")
    return 0


def _numbered(out: pathlib.Path, count: int) -> list[pathlib.Path]:
    """NAME-1.csv, NAME-2.csv, ..."""
    ending = "".join(out.suffixes[-2:]) if out.suffix == ".gz" else out.suffix
    stem = out.name.removesuffix(ending)
    return [out.with_name(f"{stem}-{i}{ending}") for i in range(1, count + 1)]


def _source(model: TableVAE, arguments: argparse.Namespace, out: pathlib.Path) -> Source:
    """The rows of the table, its columns taken by name, or, of a model that has none, by place."""
    known, columns = model.network_.condition, model.columns_
    condition = arguments.condition or (None if known is None else model.metadata_.get("condition"))
    if known is None and condition is not None:
        raise ValueError(f"--condition {' '.join(condition)}: the model has no condition: leave it out")
    if known is not None and condition is None:
        raise ValueError(f"the model has a condition, {known.described}: name it with --condition")
    if not loading.is_table(arguments.table):
        raise ValueError(f"{arguments.table} is no table; tables are text (.csv, packed or not) or .parquet")
    path, by_place = pathlib.Path(arguments.table), columns.container == "array"
    is_parquet = path.suffix.lower() == PARQUET
    if is_parquet != (out.suffix.lower() == PARQUET):
        kind = PARQUET if is_parquet else ".csv"
        raise ValueError(f"--out {out}: what is written is a file as {path} is: name a {kind}")
    names, named = loading.all_names(path, arguments.header, [*(condition or ()), *([] if by_place else columns.names)])
    names = [name or f"column {j + 1}" for j, name in enumerate(names)]
    beside = [place_of(path, names if named else None, len(names), c, "condition") for c in condition or ()]
    used = [j for j in range(len(names)) if j not in beside] if by_place else None
    header = "yes" if named else "no"
    chosen = None if used is None else [j + 1 for j in used]
    if used is None:
        if missing := [name for name in columns.names if name not in names]:
            others = [name for name in names if name not in columns.names]
            raise ValueError(
                f"{path} has no column {missing[0]!r}, which the model was trained on; "
                f"{instead(missing[0], others, path)}"
            )
        chosen = [names.index(name) + 1 for name in columns.names]
    data = load_mixed(path, header=header, condition=condition, columns=chosen, known=columns)
    if known is not None:
        data = with_condition(data, "labels" if isinstance(known, Labels) else "numbers")
    places = [names.index(name) for name in columns.names] if used is None else used
    return Source(path, header, data, places)


def _check_gaps(model: TableVAE, missing: np.ndarray, table: str) -> None:
    """Refuse gaps where the model has not learned to do without values; say it where it has not of some columns."""
    architecture = model.network_.architecture
    new = missing.any(axis=0) & ~np.array(architecture.gaps or (False,) * len(model.columns_), bool)
    if not new.any():
        return
    names = ", ".join(repr(name) for name, wrong in zip(model.columns_.names, new, strict=True) if wrong)
    if not architecture.kinds:
        raise ValueError(
            f"{table} lacks values of {names}, of which the training had all: train with --hide 0.2, so that the model "
            "learns to do without values"
        )
    say(
        f"note: the training had all values of {names}: the model has not learned to do without them; a training with "
        "--hide 0.2 would"
    )


def _cells(model: TableVAE, source: Source, missing: np.ndarray, values: np.ndarray) -> Cells:
    """What is filled in, as a file has it."""
    columns, cells = model.columns_, dict[int, tuple[np.ndarray, list[Any]]]()
    made = replace(columns, container="mapping").decode(values)
    for j, column in enumerate(columns.columns):
        rows = np.flatnonzero(missing[:, j])
        if not len(rows):
            continue
        found = made[column.name][rows].tolist()
        if column.whole:
            found = [int(value) for value in found]
        elif not column.levels:
            digits = max(0, int(np.ceil(np.log10(FINE / model.network_.units.scale[j]))))
            found = [round(float(value), digits) for value in found]
        else:
            words = source.spelling(column, source.places[j])
            found = [words.get(v, str(v).lower() if isinstance(v, bool) else v) for v in found]
        cells[source.places[j]] = rows, found
    return cells


def _lines(model: TableVAE, found: Imputation, missing: np.ndarray, draws: int | None) -> list[str]:
    """How much was filled in, and how far the weights can be relied on."""
    if not len(found.rows):
        return ["no value is missing: there is nothing to fill in"]
    how = "by the best single value of each" if draws is None else f"by {counted(draws, 'draw')} from p(missing | rest)"
    lines = [
        f"{counted(int(missing.sum()), 'value')} filled in, in {len(found.rows):,} of {counted(len(missing), 'row')}, "
        f"{how}"
    ]
    width = max(len(column.name) for column in model.columns_.columns)
    for j, column in enumerate(model.columns_.columns):
        if count := int(missing[:, j].sum()):
            lines.append(f"  {column.name:<{width}}  {count:>8,}  {column.described}")
    odd = found.rows[found.unreliable]
    named = ", ".join(str(row + 1) for row in odd[:SHOWN]) + (", ..." if len(odd) > SHOWN else "")
    lines.append(
        f"unreliable: {len(odd):,} of {counted(len(found.rows), 'row')} (Pareto k-hat above {found.threshold:.2f}), of "
        f"which few samples of z decide{f': row {named}; more --samples may help' if len(odd) else ''}"
    )
    return lines


if __name__ == "__main__":
    sys.exit(main())
