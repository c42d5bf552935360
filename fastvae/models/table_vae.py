"""The variational autoencoder of mixed tables as an estimator."""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np

from fastvae.data.columns import Column, Columns
from fastvae.data.conversion import Encoded, is_of
from fastvae.data.scaling import Units
from fastvae.data.validation import Statistics, as_examples, check_values
from fastvae.declared import declared, entry
from fastvae.evaluation.imputing import Imputation, impute
from fastvae.layers import Width
from fastvae.likelihoods import Gaussian
from fastvae.likelihoods.kinds import KINDS
from fastvae.likelihoods.mixed import Mixed
from fastvae.models.duration import AUTO
from fastvae.models.rows import finite
from fastvae.models.settings import check_number
from fastvae.models.table_network import TableArchitecture, TableNetwork
from fastvae.models.vae import VAE

MOST_LATENT = 20  # dimensions of the code by default
MOST_START_ROWS = 20_000  # from which the linear start is made
COPIES = 16  # of a row of the mean weight there, where rows are few


class TableVAE(VAE):
    """Variational autoencoder of tables whose columns are numbers, counts, yes or no, and categories, with gaps.

    Each column has the likelihood of its kind, and all are one loss: log p(x|z) = sum over the columns whose value is
    there of log p(x_j|z), in the user's units; of what is missing nothing is said, and the encoder is told which it is
    (Nazabal, Olmos, Ghahramani and Valera 2020; Mattei and Frellsen 2019). Rows come as frames of pandas or polars, as
    dicts of columns, or as arrays; NaN, None and a frame's missing values are missing values. Rows that are given back,
    `sample`, `reconstruct`, `decode` and `impute`, are such a table again, of the same dtypes and categories.

    A table of numbers alone, none missing, is fitted exactly as by `VAE(likelihood="gaussian")`.

    Parameters
    ----------
    column_types
        Name of a column to its type, or a list with one for each, where it is not to be told by the dtype: "number",
        "count", "binary", "category", "fraction" (in [0, 1]), or a likelihood: "gaussian", with a sigma for each
        column; "negative_binomial", a count with a dispersion for each column; "poisson"; "bernoulli"; "categorical";
        "continuous_bernoulli". By dtype: floats are numbers; booleans, and whole numbers 0 and 1, are yes or no; whole
        numbers of which 0 is the least, with a variance of more than half their mean, are counts, others numbers that
        are given back as whole ones; text and categories are categories. `column_types_` says what was chosen.
    latent_dim
        Z. "auto": as many as there are columns, 20 at most.
    hide
        Share of the values that each step of the training leaves out, others each time, so that the model learns to do
        without them: for gaps that come later, in columns that had none in the training.
    hidden, activation, beta, kl_warmup_epochs, epochs, batch_size, learning_rate, clip_norm, decoder_hidden
        As `VAE` has them, as have all others.

    Attributes
    ----------
    column_types_ : dict
        Name of each column to its likelihood.
    feature_names_in_
        Names of the columns, where there were some.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> size = rng.normal(size=300)
    >>> table = {"length": size + 0.1 * rng.normal(size=300), "kind": np.where(size > 0, "large", "small")}
    >>> table["length"][::10] = np.nan  # missing
    >>> model = TableVAE(epochs=5, random_state=0).fit(table)
    >>> model.column_types_
    {'length': 'gaussian', 'kind': 'categorical'}
    >>> sorted(model.sample(3))
    ['kind', 'length']
    >>> bool(np.isnan(model.impute(table)["length"]).any())
    False
    """

    NAME, NETWORK = "TableVAE", TableNetwork
    OLDER: ClassVar[dict[str, Any]] = {}
    likelihood, sigma, scale, sigma_per_column = Gaussian.NAME, "learned", AUTO, True  # of a table of numbers alone
    column_types: Any
    hide: float
    _columns: Columns
    _gaps: tuple[bool, ...]

    def __init__(
        self,
        latent_dim: int | str = AUTO,
        hidden: tuple[Width, ...] = (64, 64),
        activation: str = "silu",
        column_types: Any = None,
        hide: float = 0.0,
        beta: float = 1.0,
        kl_warmup_epochs: float = 0,
        epochs: int | str = AUTO,
        batch_size: int | str = AUTO,
        learning_rate: float = 1e-3,
        clip_norm: float | None = None,
        decoder_hidden: tuple[Width, ...] | None = None,
        precision: str = "float32",
        device: str = "auto",
        random_state: Any = None,
        verbose: bool | int = 0,
        linear: bool | str = AUTO,
        init: str = "small",
        early_stopping: bool | str = AUTO,
        validation_fraction: float = 0.1,
        optimizer: str = "adam",
        weight_decay: float = 0.0,
        schedule: str = "constant",
        warmup_steps: int = 0,
        average: float = 0.0,
        objective: str = "elbo",
        n_samples: int = 1,
        free_bits: float = 0.0,
        warm_start: bool = False,
    ):
        self._store(locals())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = True
        return tags

    # ---- what `hooks` asks for ----------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        super()._check_settings()
        if not 0 <= check_number("hide", self.hide, 0) < 1:
            raise ValueError(f"hide={self.hide!r} must be from 0 to below 1: a share of the values")

    def _latent_dim(self, columns: int) -> int:
        automatic = isinstance(self.latent_dim, str) and self.latent_dim == AUTO
        return min(MOST_LATENT, columns) if automatic else super()._latent_dim(columns)

    def _architecture(self, columns: int) -> TableArchitecture:
        """Of the table that is being learned; while there is none, of numbers alone."""
        found, known = dataclasses.asdict(super()._architecture(columns)), vars(self).get("_columns")
        if known is not None and not (known.plain and not any(self._gaps) and not self.hide):
            found |= {"likelihood": Mixed.NAME, "gaps": (True,) * len(known) if self.hide else self._gaps}
            found |= {"kinds": tuple(c.kind for c in known.columns), "levels": tuple(c.outputs for c in known.columns)}
        return TableArchitecture(**found, hide=float(self.hide))

    def take_columns(self, columns: Columns, rows: np.ndarray) -> None:
        """Before `_initialize`: the columns that it is a model of, and all rows of the data, which say where there are
        gaps."""
        self._columns = columns
        self._gaps = tuple(bool(gap) for gap in np.isnan(np.asarray(rows)).any(axis=0).tolist())

    @property
    def columns_(self) -> Columns:
        """What is known of the columns."""
        self._check_fitted()
        return self._columns

    def _learned_rows(self, X: Any) -> tuple[Any, Any]:
        columns = Columns.learn(X, self.column_types)
        rows = columns.encode(X)
        self.take_columns(columns, rows)
        return rows, None if self._columns.container == "array" else np.array(self._columns.names, dtype=object)

    def _heldout_rows(self, heldout: Any) -> Encoded:
        return self._columns.encode(heldout, "heldout")

    def _as_rows(self, network: Any, X: Any, name: str = "X") -> Encoded:
        columns = self._columns
        rows = columns.encode(X, name)
        if not network.architecture.kinds and np.isnan(rows).any():
            row, column = (int(i) for i in np.argwhere(np.isnan(rows))[0])
            raise ValueError(
                f"{name} has missing values (first: row {row}, column {columns.names[column]!r}), which the training "
                "had not: fit with hide=0.2, say, so that the model learns to do without values"
            )
        return rows

    def _check_names(self, X: Any, name: str = "X") -> None:
        """Nothing: `_as_rows` compares names, and takes columns in any order."""

    def _check_values(self, X: Any, name: str = "X") -> None:
        """Nothing: `Columns.encode` has."""

    def _clipping(self, network: Any, X: Any, name: str = "X") -> None:
        return None

    def _check_range(self, network: Any, X: Any, found: Any, scaled: Any, name: str = "X") -> None:
        """Nothing: `Columns.encode` has."""

    def _warn_of_other_units(self, network: Any, X: Any, name: str = "X") -> None:
        """Nothing: columns of several units have no common range."""

    def _statistics(self, X: Any, weights: np.ndarray | None) -> Statistics:
        rows, missing = np.asarray(X), np.isnan(X)
        if not missing.any():
            return super()._statistics(rows, weights)
        found = np.zeros((4, rows.shape[1]))  # a column that lacks all of its values here: a constant of 0
        for j, gone in enumerate(missing.T):
            if not gone.all():
                own = super()._statistics(rows[~gone, j, None], None if weights is None else weights[~gone])
                found[:, j] = own.smallest[0], own.largest[0], own.mean[0], own.deviation[0]
        return Statistics(found[0], found[1], found[2], found[3], weights)

    def _scaling(self, facts: Statistics) -> tuple[np.ndarray, np.ndarray]:
        offset, scale = super()._scaling(facts)
        scaled = np.array([KINDS[column.kind].DEVIATION for column in self._columns.columns])
        return np.where(scaled, offset, 0.0), np.where(scaled, scale, 1.0)

    def _begin(
        self, network: Any, X: Any, units: Units, facts: Statistics, seed: np.uint64, *condition: np.ndarray
    ) -> None:
        if not network.architecture.kinds:
            return super()._begin(network, X, units, facts, seed, *condition)
        rows = np.asarray(X)
        if facts.weights is not None or len(rows) > MOST_START_ROWS:
            drawn = _start_rows(len(rows), facts.weights, seed)
            rows, condition = rows[drawn], tuple(c[drawn] for c in condition)
        x = (rows - units.offset) / units.scale
        network.likelihood.learn(x, units.scale)
        network.initialise(seed, facts.mean, facts.deviation, self.init)
        if network.architecture.linear:
            beside = condition[0] if condition else np.zeros((len(x), 0), np.float32)
            network.start_mixed(x, seed, beside)

    def decode(self, Z: Any, condition: Any = None) -> Any:
        """The table of what a model makes of the codes `Z` (N, Z): means of numbers and counts, and most probable
        categories; as `sample` gives it."""
        network = self._check_fitted()
        Z = as_examples(Z, "Z", network.inputs["z"], in_place=not network.kernels.ON_HOST)
        return self._table(network, self._outputs(network, Z, self._condition_rows(network, condition, len(Z))))

    inverse_transform = decode

    def _outputs(self, network: Any, Z: Any, rows: np.ndarray | None = None) -> np.ndarray:
        """What the decoder gives for codes Z (N, Z): (N, A), in the model's units."""
        out = np.empty((len(Z), network.likelihood.outputs), np.float32)

        def keep(start: int, stop: int, found: np.ndarray) -> None:
            out[start:stop] = found

        def check() -> None:
            check_values(Z, "Z")

        network.over(Z, "decode", network.decode, keep, check, name="z", units=network.code_units, condition=rows)
        return finite(out, Z)

    def _table(self, network: Any, outputs: np.ndarray, index: Any = None) -> Any:
        """The table of the best single values at these outputs."""
        likelihood = network.likelihood
        values = likelihood.guess(outputs) if isinstance(likelihood, Mixed) else outputs.astype(np.float64)
        return self._in_user_units(network, values, index)

    def _in_user_units(self, network: Any, values: np.ndarray, index: Any = None) -> Any:
        made = values * network.units.scale + network.units.offset
        return self._columns.decode(self._columns.limited(made), index)

    # ---- files --------------------------------------------------------------------------------------------------

    def _header(self) -> dict[str, Any]:
        return super()._header() | {"table": self._columns.to_json()}

    def _stored_architecture(self, stored: dict[str, Any], condition: Any = None) -> Any:
        inputs = entry("architecture", stored, "inputs", int)
        kinds = declared("architecture.kinds", stored.get("kinds"), tuple[str, ...])
        levels = declared("architecture.levels", stored.get("levels"), tuple[int, ...])
        gaps = declared("architecture.gaps", stored.get("gaps"), tuple[bool, ...])
        if len({len(kinds), len(levels), len(gaps)}) > 1 or len(kinds) not in (0, inputs):
            raise ValueError(f"architecture has {len(kinds)} kinds, {len(levels)} levels and {len(gaps)} gaps")
        made = [
            Column(str(j), kind, "", tuple(range(n))) for j, (kind, n) in enumerate(zip(kinds, levels, strict=True))
        ] or [Column(str(j), Gaussian.NAME, "") for j in range(inputs)]
        self._columns, self._gaps = Columns(tuple(made), "array"), gaps
        return super()._stored_architecture(stored, condition)

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray], device: str, decoder_only: bool) -> Self:
        model = super()._restored(header, arrays, device, decoder_only)
        columns = Columns.from_json(header.get("table"))
        architecture = model.network_.architecture
        found = [(c.kind, c.outputs) for c in columns.columns]
        wanted = list(zip(architecture.kinds, architecture.levels, strict=True))
        if found != (wanted or [(Gaussian.NAME, 1)] * architecture.inputs):
            raise ValueError("table.columns are of other kinds than the model has")
        model._columns, model._gaps = columns, architecture.gaps
        return model

    # ---- use ----------------------------------------------------------------------------------------------------

    @property
    def column_types_(self) -> dict[str, str]:
        """Name of each column to its likelihood."""
        self._check_fitted()
        return {column.name: column.kind for column in self._columns.columns}

    def sample(self, n: int | None = None, random_state: Any = None, noise: bool = True, condition: Any = None) -> Any:
        """Draw rows: a table as that of the training, a frame of the same dtypes say.

        Parameters
        ----------
        n, random_state, condition
            As `VAE.sample` has them.
        noise
            True: complete draws from the model. False: z is drawn, and the best single values for it are given, means
            and most probable categories: they vary less than the data.
        """
        network, z, rows, (seed, call) = self._from_prior(n, random_state, condition)
        outputs = self._outputs(network, z, rows)
        if not noise:
            return self._table(network, outputs)
        network.parameters.bring_back()
        drawn = network.likelihood.draw(outputs, network.kernels, seed, call)
        return self._in_user_units(network, drawn.astype(np.float64))

    def reconstruct(self, X: Any, condition: Any = None) -> Any:
        """The table of decode(transform(X)): means, and most probable categories; of missing values too."""
        network, rows, how = self._data(X, condition)
        outputs = self._outputs(network, self._transformed(network, rows, how), how["condition"])
        return self._table(network, outputs, X.index if is_of(X, "pandas", "DataFrame") else None)

    def impute(
        self,
        X: Any,
        n_draws: int | None = None,
        n_samples: int = 1000,
        *,
        condition: Any = None,
        random_state: Any = None,
        return_result: bool = False,
    ) -> Any:
        """Fill in missing values, by p(missing | what is there), with z weighed by importance. All else is kept; whole
        numbers beyond 2^53 come back as float64 has them.

        Parameters
        ----------
        X
            A table with gaps, of the columns of the training.
        n_draws
            None: the best single values, means of numbers and counts, most probable categories. M: a list of M tables,
            each a complete draw: so what is estimated from them can be given an error (multiple imputation, Rubin
            1987).
        n_samples
            Of z for each row that lacks a value.
        condition, random_state
            As `evaluate` has them.
        return_result
            True: an `Imputation` instead, which has the table, the draws, intervals, and how reliable the weights of
            each row are (its k-hat and effective sample size).
        """
        network = self._check_complete()
        rows = self._as_rows(network, X)
        beside = self._condition_rows(network, condition, len(rows))
        found: Imputation = impute(self, network, rows, beside, n_draws, n_samples, random_state)
        full = [np.where(found.missing, self._columns.limited(v), rows) for v in (found.values, *found.drawn)]
        found = dataclasses.replace(
            found,
            values=full[0],
            drawn=full[1:],
            decode=lambda values: self._columns.decode(values, X.index if is_of(X, "pandas", "DataFrame") else None),
        )
        if return_result:
            return found
        return found.table if n_draws is None else found.draws


def _start_rows(rows: int, weights: np.ndarray | None, seed: np.uint64) -> np.ndarray:
    """Which of so many rows a linear start is made from, in order; of rows with weights (N,) each as often as its
    weight says, to a sixteenth of their mean or one in 20,000."""
    if weights is None:
        return np.sort(np.random.default_rng(int(seed)).choice(rows, MOST_START_ROWS, replace=False))
    ends, count = np.cumsum(weights), min(MOST_START_ROWS, COPIES * rows)
    return np.searchsorted(ends, (np.arange(count) + 0.5) / count * ends[-1])
