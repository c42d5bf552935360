"""What an estimator does with rows of data: checks, scaling, and passes over them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.data.minibatches import Conditions, Examples
from fastvae.data.ranges import clipping, warn_of_other_units
from fastvae.data.validation import as_examples, check_values
from fastvae.memory import check_samples
from fastvae.models.frames import Frames, framed
from fastvae.models.given import Given
from fastvae.models.learned import Learned
from fastvae.models.settings import check_integer


class Rows(Frames, Learned):
    """The part of an estimator that takes rows and gives rows."""

    __slots__ = ()
    scale: Any

    # ---- what an estimator may bring: see `hooks` -------------------------------------------------------------------

    def _codes(self) -> int:
        """Columns of what `transform` gives."""
        return self._check_fitted().inputs["z"]

    def _fills_unit_range(self, network: Any) -> bool:
        """Whether the network's data lie in [0, 1] and nowhere else."""
        return False

    def _looks_at_all(self, network: Any) -> bool:
        """Whether values must be looked at that lie in the range, as no kernel does."""
        return False

    def _check_range(self, network: Any, X: Any, found: Any, scaled: Any, name: str = "X") -> None:
        """Raise where the network cannot take data whose columns have these smallest and largest values, under this
        offset and scale."""

    # ---- rows -------------------------------------------------------------------------------------------------------

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that `transform` gives: "vae0", "vae1", ..., by the name of the class."""
        self._check_fitted()
        name = type(self).__name__.lower()
        return np.array([f"{name}{i}" for i in range(self._codes())], dtype=object)

    def check(self, X: Any, name: str = "X") -> Any:
        """Return `X` as an array that this fitted model can use: features, finite values, range."""
        network = self._check_fitted()
        self._check_names(X, name)
        return self._checked(network, X, name)

    def _as_rows(self, network: Any, X: Any, name: str = "X") -> Any:
        """X as an array with the model's columns, its values not looked at."""
        columns, on_device = network.architecture.inputs, not network.kernels.ON_HOST
        return as_examples(X, name, columns, in_place=on_device, of=type(self).__name__)

    def _checked(self, network: Any, X: Any, name: str = "X") -> Any:
        X = self._as_rows(network, X, name)
        clip = self._clipping(network, X, name)
        return X if clip is None else clip(X)

    def _clipping(self, network: Any, X: Any, name: str = "X") -> Callable[[Any], np.ndarray] | None:
        """Look at the values of X, an array; return how rows are brought into a range that was learned, where some are
        beyond it."""
        found, scaled = check_values(X, name), (network.units.offset, network.units.scale)
        learned = isinstance(self.scale, str) and self.scale == "minmax"
        if self._fills_unit_range(network) and (learned or self.metadata_.get("learned_range") is True):
            return clipping(X, *found, *scaled, name)
        self._check_range(network, X, found, scaled, name)
        return None

    def _warn_of_other_units(self, network: Any, X: Any, name: str = "X") -> None:
        known = self.metadata_.get("data_range")
        refused = self._fills_unit_range(network)  # or clipped, with a word: what is beyond
        if known is not None and not (refused and known[1] <= 1):
            warn_of_other_units(X, tuple(known), name)

    @staticmethod
    def _accepted(network: Any, examples: Any, name: str = "examples") -> Examples:
        """Examples that this network can use: of its model, or of one with the same columns, scaling and device."""
        if not isinstance(examples, Examples):
            raise TypeError(
                f"{name} is a {type(examples).__name__}: pass what initialize(X) or examples(X) has returned"
            )
        examples.check()
        if (examples.condition is None) != (network.condition is None):
            wanted = "has no condition, as its model has" if network.condition else "has a condition, its model none"
            raise ValueError(f"{name} {wanted}: take this model's own, examples(X, condition=...)")
        if examples.condition is not None and examples.condition.known != network.condition:
            raise ValueError(f"{name} has the condition of another model: take this model's own, examples(X, ...)")
        if examples.kernels is not network.kernels:
            raise ValueError(f"{name} is of a model on another device: take this model's own, examples(X)")
        columns, wanted = examples.X.shape[1], network.architecture.inputs
        if columns != wanted:
            raise ValueError(
                f"{name} has {columns} features; the model has {wanted}: take this model's own, examples(X)"
            )
        pairs = zip((examples.offset, examples.scale), network.units.pair(examples.X.dtype), strict=True)
        if not all(own.shape == wanted.shape and (own == wanted).all() for own, wanted in pairs):
            raise ValueError(f"{name} is scaled as another model's: take this model's own, examples(X)")
        return examples

    def examples(
        self, X: Any, name: str = "X", binarize: str | float | None = None, condition: Any = None,
        sample_weight: Any = None,
    ) -> Examples:  # fmt: skip
        """`X`, checked, in the model's units; `condition` and `sample_weight` as `fit` has them, the former of a model
        that was fitted with one. Rows of weight 0 are left out."""
        network = self._check_fitted()  # a decoder alone is enough to score what z from the prior makes likely
        self._check_names(X, name)
        X = self._checked(network, X, name)
        beside = "condition" if name == "X" else f"the condition of {name}"
        rows = self._condition_rows(network, condition, len(X), beside)
        given = Given.of(X, rows, sample_weight)
        return self._examples(network, given.X, name, binarize, given.condition, given.weights)

    def _examples(
        self, network: Any, X: Any, name: str, binarize: str | float | None, rows: np.ndarray | None,
        weights: np.ndarray | None = None,
    ) -> Examples:  # fmt: skip
        """`X`, which is checked, with its condition as the network reads it, and the weights of its rows."""
        self._warn_of_other_units(network, X, name)
        condition, units = None if rows is None else Conditions(network.condition, rows, network.kernels), network.units
        known = units.offset, units.scale, network.seed, network.kernels
        return Examples(X, *known, binarize, condition, weights)

    def _condition_rows(
        self, network: Any, condition: Any, count: int | None, name: str = "condition"
    ) -> np.ndarray | None:
        """A condition as the network reads it, (count, C); None where it has none. Raise where one is missing, or not
        wanted."""
        if (condition is None) == (network.condition is None):
            return None if condition is None else network.condition.rows(condition, count, name)
        model = f"this {type(self).__name__}"
        if condition is None:
            found = f"{model} was fitted with a condition, {network.condition.described}"
            raise ValueError(f"{found}: pass {name} too, one for each row or one for all")
        raise ValueError(f"{name} was given, but {model} was fitted without one: leave it out, or fit with condition=")

    def _data(self, X: Any, condition: Any = None) -> tuple[Any, Any, dict[str, Any]]:
        """The network, `X` as an array for a pass that begins with the encoder, its values not looked at, and what such
        a pass is given beside it."""
        network = self._check_complete()
        self._check_names(X)
        X = self._as_rows(network, X)
        self._warn_of_other_units(network, X)
        if self._looks_at_all(network):  # which no kernel looks at
            self._clipping(network, X)
        rows = self._condition_rows(network, condition, len(X))
        return network, X, {"check": lambda: self._clipping(network, X), "condition": rows}

    def _results(
        self, network: Any, X: Any, how: dict[str, Any], key: str, write: Callable[..., Any], columns: int
    ) -> np.ndarray:
        """What a pass makes of each row of X, (N, columns) float32."""
        out = np.empty((len(X), columns), np.float32)

        def keep(start: int, stop: int, found: np.ndarray) -> None:
            out[start:stop] = found.reshape(-1, columns)

        network.over(X, key, write, keep, **how)
        return finite(out, X)

    @framed
    def transform(self, X: Any, condition: Any = None) -> np.ndarray:
        """Return the codes of rows (N, Z), of a VAE the mean of q(z|x): an array, or as `set_output` says.

        They are computed in float32; of X in float64 they are returned in float64, else in float32.

        `condition`, of a model that was fitted with one: as `fit` has it, or one for all rows.
        """
        network, X, how = self._data(X, condition)
        return like(self._transformed(network, X, how), X)

    def _transformed(self, network: Any, X: Any, how: dict[str, Any]) -> np.ndarray:
        return self._results(network, X, how, "codes", network.codes, network.inputs["z"])

    def reconstruct(self, X: Any, condition: Any = None) -> np.ndarray:
        """Return decode(transform(X)): (N, D), in the user's units; `condition` and the dtype as `transform` has it."""
        network, X, how = self._data(X, condition)
        return like(self._decode(network, self._transformed(network, X, how), how["condition"]), X)

    def decode(self, Z: Any, condition: Any = None) -> np.ndarray:
        """Return what a model makes of the codes `Z` (N, Z), of a VAE the mean of p(x|z): (N, D), in the user's units.

        `condition` and the dtype as `transform` has it; float64 too where a column lies so far from 0 that float32
        would not hold its differences.
        """
        network = self._check_fitted()
        Z = as_examples(Z, "Z", network.inputs["z"], in_place=not network.kernels.ON_HOST)
        return like(self._decode(network, Z, self._condition_rows(network, condition, len(Z))), Z)

    @staticmethod
    def _check_samples(network: Any, n: Any, beside: int = 0) -> int:
        """How many samples to draw, n: a whole number of which memory holds as many, with so many float32 numbers
        `beside` each while they are drawn."""
        columns = network.inputs["x"]
        check_samples(check_integer("n", n, 1), columns, columns * np.dtype(network.units.dtype).itemsize + 4 * beside)
        return int(n)

    def _decode(self, network: Any, Z: Any, rows: np.ndarray | None = None) -> np.ndarray:
        """See `decode`; the condition as the network reads it."""
        units = network.units
        out = np.empty((len(Z), network.inputs["x"]), units.dtype)

        def keep(start: int, stop: int, mean: np.ndarray) -> None:
            units.to_user(mean, out[start:stop])

        def check() -> None:
            check_values(Z, "Z")

        network.over(Z, "decode", network.decode, keep, check, name="z", units=network.code_units, condition=rows)
        return finite(out, Z)

    inverse_transform = decode


def like(found: np.ndarray, X: Any) -> np.ndarray:
    """What was found of X, in float64 where X is."""
    return found.astype(np.float64) if X.dtype == np.float64 else found


def finite(found: np.ndarray, X: Any) -> np.ndarray:
    """What was found of each row, unless a row lies so far out that float32 does not hold it."""
    if not math.isfinite(float(found.sum())):  # a quick look: the sum of finite numbers may still overflow
        wrong = np.flatnonzero(~np.isfinite(found.reshape(len(found), -1)).all(axis=1))
        if len(wrong):
            first = int(wrong[0])
            largest = np.abs(np.asarray(X[first : first + 1], np.float64)).max()
            raise ValueError(
                f"{len(wrong)} of {len(found)} rows lie so far from the data of the training that float32 overflows "
                f"(first: row {first}, largest value {largest:.6g}): check their units, or leave them out"
            )
    return found
