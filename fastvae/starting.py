"""How `fastvae.train` begins a run: its data, and the model that suits them, with drawn weights."""

import argparse
from typing import Any

import numpy as np

from fastvae.command_line import table_options
from fastvae.data import loading
from fastvae.data.condition import Condition
from fastvae.data.dataset import DataSet
from fastvae.data.minibatches import Examples
from fastvae.data.mixed_tables import is_plain, load_mixed
from fastvae.data.preparation import Split, suitable_scale
from fastvae.data.validation import as_examples
from fastvae.errors import DataFileError, counted
from fastvae.likelihoods import LIKELIHOODS, Bernoulli, Gaussian
from fastvae.models.duration import AUTO
from fastvae.models.given import Given
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae import VAE
from fastvae.runs import fingerprint, is_ink

EPOCHS = {"digits": 300, "mnist": 10}  # where --epochs is not given; other data: 50
LATENT_DIM = {"digits": 3}  # where --latent-dim is not given
HIDDEN, TABLE_HIDDEN = [400], [64, 64]  # where --hidden is not given
DARK = 0.5  # of the range of their type: images that have no more may be in other units
NEVER = "none"
MOST_SHOWN = 40  # columns whose kinds are said
OF_ONE_KIND = {"likelihood": None, "sigma": None, "sigma_per_column": AUTO, "scale": "auto", "binarize": None}


def read(options: argparse.Namespace) -> DataSet:
    """The data of a run: with `table`, where they are a table of several kinds of columns, or with gaps, or somebody
    says of which types they are."""
    data = _read(options)
    return data if options.image_shape is None else data.as_images(options.image_shape)


def _read(options: argparse.Namespace) -> DataSet:
    chosen = {"header": options.header, "condition": options.condition, **table_options(options)}
    types = tuple(options.column_types or ())
    if types or options.hide is not None:
        name = "--column-types" if types else "--hide"
        if not loading.is_table(options.data):
            raise ValueError(f"{name}: {options.data} is no table; tables are text (.csv, packed or not) or .parquet")
        return load_mixed(options.data, options.labels, types=types, **chosen)
    try:
        return loading.load(options.data, options.array, options.labels, **chosen)
    except DataFileError:
        if options.array is not None or not loading.is_table(options.data):
            raise
        found = load_mixed(options.data, options.labels, **chosen)
        if is_plain(found):
            raise
        return found


def started(
    options: argparse.Namespace, data: DataSet, rows: Split, known: Condition | None, smallest: Any, largest: Any
) -> tuple[VAE, Examples]:
    """A model with drawn weights; what was not asked for is in `options` then. `smallest` and `largest` are the values
    of each column, where all are numbers."""
    X = rows.X
    if options.batch_size is not None and options.batch_size > len(X):
        found = f"the data ({len(X)} examples)"
        raise ValueError(f"--batch-size {options.batch_size} is larger than {found}: use at most {len(X)}")
    if data.table is None:
        likelihood = options.likelihood or (Bernoulli if data.image_shape else Gaussian).NAME
        scale = suitable_scale(options.scale, likelihood, data, smallest, largest)
        model, table = _of_numbers(options, data, X, likelihood, scale)
    else:
        scale, table = None, True
        model = _of_a_table(options, data)
    given = Given(as_examples(X), None if known is None else known.rows(rows.condition, len(X), "--condition"))
    examples = model._initialize(given, options.binarize, known=known)
    model.epochs, model.batch_size, patience = model.plan(len(X))
    if options.early_stopping is None:
        options.early_stopping = patience if table and options.heldout != 0 else NEVER
    model.metadata_ |= {
        "data": data.name,
        "image_shape": data.image_shape,
        "ink": data.table is None and is_ink(X),
        "column_names": data.column_names,
        "binarize": options.binarize,
        "condition": options.condition,
        "fingerprint": fingerprint(X, examples.condition_rows),
        "learned_range": options.scale in ("auto", "minmax") and data.value_range is None and scale is not None,
    }
    return model, examples


def _of_numbers(
    options: argparse.Namespace, data: DataSet, X: np.ndarray, likelihood: str, scale: Any
) -> tuple[VAE, bool]:
    """A model of columns that are numbers all, and whether they are a table of real ones."""
    kind = LIKELIHOODS[likelihood]
    table = not data.image_shape and kind.SUPPORT != (0, 1)
    if not kind.HAS_SIGMA and options.sigma is not None:
        raise ValueError(f"--sigma {options.sigma} goes with --likelihood gaussian; this run is {likelihood}")
    if kind.SUPPORT != (0, 1) and options.binarize is not None:
        raise ValueError(f"--binarize {options.binarize} goes with --likelihood bernoulli; this run is {likelihood}")
    options.hidden = HIDDEN if options.hidden is None else options.hidden
    epochs = AUTO if table else EPOCHS.get(data.name, 50)
    latent_dim = min(20, X.shape[1]) if table else LATENT_DIM.get(data.name, 20)
    model = VAE(
        latent_dim=latent_dim if options.latent_dim is None else options.latent_dim,
        activation=options.activation or ("silu" if table else "relu"),
        likelihood=likelihood,
        sigma="learned" if options.sigma is None else options.sigma,
        sigma_per_column=table if options.sigma_per_column == AUTO else options.sigma_per_column == "yes",
        epochs=epochs if options.epochs is None else options.epochs,
        scale=scale,
        **_shared(options),
    )
    return model, table


def _of_a_table(options: argparse.Namespace, data: DataSet) -> TableVAE:
    """A model of columns of several kinds."""
    assert data.table is not None
    for name, unasked in OF_ONE_KIND.items():
        value = getattr(options, name)
        if value != unasked:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"{option} {value if isinstance(value, str | float) else ' '.join(map(str, value))}: {data.name} is a "
                "mixed table (words, missing values, --column-types or --hide), where each column has what suits its "
                "kind: leave it out"
            )
    options.hidden = TABLE_HIDDEN if options.hidden is None else options.hidden
    types = [word.rpartition("=") for word in options.column_types or ()]
    model = TableVAE(
        latent_dim=min(20, len(data.table)) if options.latent_dim is None else options.latent_dim,
        activation=options.activation or "silu",
        column_types={name: kind for name, _, kind in types} or None,
        hide=0.0 if options.hide is None else options.hide,
        epochs=AUTO if options.epochs is None else options.epochs,
        **_shared(options),
    )
    model.take_columns(data.table, data.X)
    return model


def _shared(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments that both kinds of models have."""
    names = ("init", "optimizer", "weight_decay", "schedule", "warmup_steps", "average", "beta", "kl_warmup_epochs",
             "objective", "n_samples", "free_bits", "learning_rate", "clip_norm", "precision", "device")  # fmt: skip
    return {name: getattr(options, name) for name in names} | {
        "hidden": tuple(options.hidden),
        "decoder_hidden": None if options.decoder_hidden is None else tuple(options.decoder_hidden),
        "linear": AUTO if options.linear == AUTO else options.linear == "yes",
        "batch_size": AUTO if options.batch_size is None else options.batch_size,
        "random_state": options.seed,
    }


def dark(options: argparse.Namespace, data: DataSet, largest: np.ndarray | None) -> list[str]:
    """A line where images fill little of the range that their type has, which was taken as no other was asked for."""
    if largest is None or data.value_range is None or options.scale != AUTO:
        return []
    most, allowed = float(largest.max()), data.value_range[1]
    if not 1 < most <= DARK * allowed:  # of data in [0, 1] a warning says that they seem to have other units
        return []
    return [
        f"note: no value is above {most:g}, of {allowed:g} that 8 bits hold: if {most:g} is full ink or white, add "
        f"--scale 0 {most:g}"
    ]


def summary(model: VAE, data: DataSet, X: np.ndarray) -> str:
    """What is trained on what, and what was chosen for it."""
    sizes = f"{len(X):,} examples of {counted(X.shape[1], 'value')}"
    if data.table is not None:
        missing = float(np.isnan(data.X).mean())
        sizes += f", {missing:.1%} of them missing" if missing else ", none missing"
    if model.network_.condition is not None:
        sizes += f"; condition: {model.network_.condition.described}"
    if data.table is not None:
        kinds = [f"{column.name} {column.described}" for column in data.table.columns[:MOST_SHOWN]]
        more = ", ..." if len(data.table) > MOST_SHOWN else ""
        return f"{data.name}: {sizes}; a mixed table: {', '.join(kinds)}{more}; seed {model.random_state}"
    scale = model.scale
    if isinstance(scale, tuple):
        scaled = "each column to [0, 1]" if isinstance(scale[0], list) else f"{scale[0]:g} ... {scale[1]:g} to [0, 1]"
    else:
        standard = "each column to mean 0, deviation 1"
        scaled = {None: "as they are", "standard": standard, "auto": standard}[scale]
    return f"{data.name}: {sizes}; scaling: {scaled}; likelihood: {model.likelihood}; seed {model.random_state}"
