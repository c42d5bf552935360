"""What every estimator shares: fit, and what it tells of it. Its arguments: `arguments`; what it has learned, and
threads: `learned`; its files: `saving`.

What a model of its own brings is written down in `hooks`: an architecture, a network (see `engine`), and its methods.
Nothing here depends on scikit-learn; `__sklearn_tags__` is called by it alone.
"""

import contextlib
import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from fastvae import backend
from fastvae.data.conversion import column_names
from fastvae.data.minibatches import Examples
from fastvae.data.preparation import held_out
from fastvae.data.ranges import clipping, warn_of_other_units
from fastvae.data.scaling import Units, check_scale, scaling
from fastvae.data.validation import Statistics, as_examples, check_values, statistics
from fastvae.errors import TrainingWarning, check_name
from fastvae.kernels.cpu.workers import processors
from fastvae.models.arguments import Arguments
from fastvae.models.duration import AUTO, Duration
from fastvae.models.frames import Frames, framed
from fastvae.models.learned import Learned
from fastvae.models.settings import check_integer, check_number, seed_from
from fastvae.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, RateSchedule
from fastvae.training import AHEAD, Observer, Schedule, State, train


class Estimator(Arguments, Duration, Frames, Learned):
    """Base of the estimators: the constructor stores, `fit` learns; learned attributes end in an underscore."""

    # set by the constructor of each estimator
    learning_rate: float
    clip_norm: float | None
    scale: Any
    precision: str
    device: str
    random_state: Any
    verbose: bool | int
    optimizer: str
    weight_decay: float
    schedule: str
    warmup_steps: int
    average: float

    LOSSES: ClassVar[tuple[str, ...]] = ("loss",)  # what the network reports of a step
    HELDOUT: ClassVar[str] = "heldout_score"  # what `score_examples` gives, the larger the better

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
            input_tags=InputTags(),
        )

    # ---- what an estimator brings -------------------------------------------------------------------------------

    def _architecture(self, columns: int) -> Any:
        raise NotImplementedError

    def _make_network(self, columns: int) -> Any:
        """Check the constructor's arguments and build the network, not yet initialised."""
        return self.NETWORK(self._architecture(columns), backend.select(self.device, self.precision))

    def score_examples(self, examples: Examples) -> np.ndarray:
        """What is held against the examples that are held out, (N,): the larger the better."""
        return self.score_samples(examples.X)

    def score_samples(self, X: Any) -> np.ndarray:
        """A score of each row (N,), the larger the better."""
        raise NotImplementedError

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`: larger is better."""
        return float(self.score_samples(X).mean())

    def _codes(self) -> int:
        """Columns of what `transform` gives."""
        return self._check_fitted().inputs["z"]

    def _suited_scale(self) -> Any:
        """The scaling that "auto" stands for."""
        return "standard"

    def _fills_unit_range(self, network: Any) -> bool:
        """Whether the network's data lie in [0, 1] and nowhere else."""
        return False

    def _looks_at_all(self, network: Any) -> bool:
        """Whether values must be looked at that lie in the range, as no kernel does."""
        return False

    def _check_range(self, network: Any, X: Any, found: Any, scaled: Any, name: str = "X") -> None:
        """Raise where the network cannot take data whose columns have these smallest and largest values, under this
        offset and scale."""

    # ---- fit ----------------------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        self._check_duration()
        check_number("learning_rate", self.learning_rate, 0, inclusive=False)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0, inclusive=False)
        check_scale(self._scale())
        backend.check_names(self.device, self.precision)
        if not isinstance(self.random_state, np.random.Generator | np.random.RandomState):
            seed_from(self.random_state)
        if not isinstance(self.verbose, bool | np.bool_):
            check_integer("verbose", self.verbose, 0)
        check_name("optimizer", self.optimizer, tuple(OPTIMIZERS))
        check_name("schedule", self.schedule, SCHEDULES)
        check_number("weight_decay", self.weight_decay, 0)
        check_integer("warmup_steps", self.warmup_steps, 0)
        if not 0 <= check_number("average", self.average, 0) <= 1:
            raise ValueError(
                f"average={self.average!r} must be from 0 to 1: the share of the steps that it is taken of"
            )

    def _check_storable(self) -> None:
        """Raise where this model could be trained and not be saved."""

    def initialize(self, X: Any, binarize: str | float | None = None) -> Examples:
        """Everything of `fit` before the first step: checks, scaling, and the drawn initial weights.

        For training loops of one's own, and for comparisons: `parameters()` and `loss_and_gradients` work afterwards.

        Parameters
        ----------
        X : (N, D)
            N >= 2; any real dtype, also a memory map, which is read in pieces.
        binarize
            See `fastvae.data.minibatches.Examples`.

        Returns
        -------
        Examples
            `X` in the model's units.
        """
        return self._exclusion.alone(type(self).__name__, lambda: self._initialize(X, binarize))

    def _initialize(
        self, X: Any, binarize: str | float | None = None, seed: np.uint64 | None = None, names: Any = None
    ) -> Examples:
        self._check_settings()
        backend.select(self.device, self.precision)
        processors()  # a wrong FASTVAE_THREADS is refused before anything is done
        names = column_names(X) if names is None else names
        X = as_examples(X, in_place=self.device == "cuda")
        if len(X) < 2:
            raise ValueError(f"X has 1 example (shape {X.shape}); fitting needs at least 2")
        network = self._make_network(X.shape[1])
        facts = statistics(X)
        offset, scale = scaling(self._scale(), facts, keep_constant=isinstance(self.scale, str) and self.scale == AUTO)
        self._check_range(network, X, (facts.smallest, facts.largest), (offset, scale))
        low, high = float(facts.smallest.min()), float(facts.largest.max())
        if not isinstance(self.scale, str | None):
            given = float(offset.min()), float((offset + scale).max())
            warn_of_other_units(X, given, what="is to scale, by scale=,")
            low, high = min(low, given[0]), max(high, given[1])
        seed = seed_from(self.random_state) if seed is None else seed
        units = Units(offset, scale)
        self._begin(network, X, units, facts, seed)
        self._adopt(network, units, seed, self._fixed(), names, {"data_range": [low, high]})
        return Examples(X, offset, scale, seed, network.kernels, binarize)

    def _begin(self, network: Any, X: Any, units: Units, facts: Statistics, seed: np.uint64) -> None:
        """Set the first parameters of a network, from the data and what is known of their columns."""
        raise NotImplementedError

    def _scale(self) -> Any:
        """The scaling that "auto" stands for."""
        if not (isinstance(self.scale, str) and self.scale == AUTO):
            return self.scale
        return self._suited_scale()

    def _adopt(
        self, network: Any, units: Units, seed: np.uint64, fitted: dict[str, Any], names: Any, metadata: dict[str, Any]
    ) -> None:
        """Set the learned attributes around a network; `fitted`: see `_fixed`; `names`: of columns that have some."""
        network.prepare(seed, units)
        self._set_objective(network)
        learned = {"network_": network, "_state": State(), "_optimizer": None, "_fitted": fitted}
        learned |= {"metadata_": metadata, "_feature_names": names}
        self._put(learned | {"_draws": 0, "_gradients": 0})

    def _warmup(self) -> float:
        """Epochs over which the loss changes."""
        return 0.0

    def _make_optimizer(self) -> Optimizer:
        """The optimizer that the arguments name, over all parameters; how long it goes is said when training begins."""
        network, kind = self.network_, OPTIMIZERS[self.optimizer]
        average_from = 1 if self.average else None
        settings: dict[str, Any] = {"weight_decay": float(self.weight_decay), "average_from": average_from}
        return kind(network.parameters, network.kernels, self.learning_rate, self.clip_norm, **settings)

    def _set_optimizer(self, optimizer: Optimizer, steps: int) -> None:
        """Have an optimizer go by the present arguments, in a training that ends after so many steps in all."""
        optimizer.learning_rate, optimizer.clip_norm = self.learning_rate, self.clip_norm
        optimizer.weight_decay = float(self.weight_decay)
        optimizer.schedule = RateSchedule(self.schedule, int(self.warmup_steps), steps)
        if optimizer.average_from is not None:
            optimizer.average_from = steps - max(1, round(self.average * steps)) + 1

    def fit(self, X: Any, y: Any = None, *, heldout: Any = None, patience: int | None = None) -> Self:
        """Learn from `X` (N, D), forgetting what was learned before.

        Other threads may use the model meanwhile: until this ends they see the one that was there before, or, where
        there was none, the new one as it is just then.

        Parameters
        ----------
        X : (N, D)
            Any real dtype; a memory map is read in pieces. Finite; in [0, 1] after scaling for "bernoulli". An array on
            a GPU (CUDA array interface) is used in place by a model with device="cuda". The file of a map must keep its
            size: that is looked at before each read, but the system ends a process that reads what is cut off (SIGBUS).
        y
            Ignored, as scikit-learn's interface wants it.
        heldout : (M, D), optional
            Its mean ELBO goes into `history_` after each epoch. Without, and with early stopping, it is a part
            `validation_fraction` of X, which is then not trained on.
        patience
            Stop after that many epochs without a better held-out ELBO, and return to the best parameters and to Adam as
            it was then. Default: with early stopping, as many as make 3,000 steps, 10 at least; else no stop.

        Raises
        ------
        ValueError, TypeError
            Wrong arguments or data: the message names which, and what was found.
        DataFileError
            The file of a memory map was cut short.
        DivergenceError
            The loss stopped being finite. As after every error, what was learned before this call is kept.
        TrainingInProgressError
            Another thread, or what observes a training, trains this model already.
        """
        if patience is not None:
            check_integer("patience", patience, 1)
        self._exclusion.alone(type(self).__name__, lambda: self._fit(X, heldout, patience))
        return self

    def _fit(self, X: Any, heldout: Any, patience: int | None) -> None:
        fresh = type(self)(**self.get_params())  # what is refused must not cost the model that is here
        fresh._check_settings()
        seed = seed_from(fresh.random_state)
        names = column_names(X)
        X = as_examples(X, in_place=fresh.device == "cuda")
        stops = patience is not None or fresh._stops_early(len(X))
        if heldout is None and stops and len(X) >= 4:
            check_values(X)  # so that a position in a message is one in the user's array
            X, heldout = held_out(X, fresh.validation_fraction, seed)
        examples = fresh._initialize(X, None, seed, names)
        if not isinstance(fresh.batch_size, str) and fresh.batch_size > len(examples):
            found = f"the data ({len(examples)} examples)"
            raise ValueError(f"batch_size={fresh.batch_size} is larger than {found}: use at most {len(examples)}")
        epochs, batch_size, patient = fresh.plan(len(examples))
        if patience is None and stops and heldout is not None:
            patience = patient
        held = None if heldout is None else fresh.examples(heldout, "heldout")
        fresh._optimizer = fresh._make_optimizer()
        learned = {name: value for name, value in vars(fresh).items() if name not in self._names()}
        refitted = self.__sklearn_is_fitted__()
        if not refitted:
            self._put(learned)  # a long first training can be looked at, and saved
        observer = self._default_observer(fresh.verbose)
        try:
            fresh.fit_examples(examples, epochs, batch_size, held, patience, observer)
            fresh.keep_best()
        except BaseException as error:
            kept = not isinstance(error, Exception) and fresh._state.step > 0  # a second Ctrl-C, or one after a step
            if kept and refitted:
                self._put(learned)
            elif not kept and not refitted:
                self.__dict__ = {name: value for name, value in vars(self).items() if name not in learned}
            raise
        if refitted:
            self._put(learned)
        self._raise_if_interrupted(observer)
        for line in fresh.remarks():
            warnings.warn(line, TrainingWarning, stacklevel=5)

    @staticmethod
    def _raise_if_interrupted(observer: Observer) -> None:
        if observer.stop_requested():
            raise KeyboardInterrupt("training was interrupted; the model keeps what it has learned so far")

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One pass over `X` (N, D), in batches of at most `batch_size`; the first call fixes scaling and weights.

        Adam's moments live on between calls; they are not part of a saved model. Each call counts as an epoch, for
        `kl_warmup_epochs` too. That, `beta`, `learning_rate`, `clip_norm` and `batch_size` may be changed between
        calls; an argument that the first call has fixed is refused.

        Other threads may use the model meanwhile: a pass of theirs sees the weights change while it goes on. `save`,
        copies and `loss_and_gradients` see them as they are between two steps. A second training of the same model
        raises `TrainingInProgressError`.
        """
        self._exclusion.alone(type(self).__name__, lambda: self._partial_fit(X))
        return self

    def _partial_fit(self, X: Any) -> None:
        if self.schedule != SCHEDULES[0] or self.average:
            found = f"schedule={self.schedule!r}" if self.schedule != SCHEDULES[0] else f"average={self.average!r}"
            raise ValueError(f"{found} must know when a training ends, which partial_fit does not: use fit")
        if not self.__sklearn_is_fitted__():
            examples = self._initialize(X)
        else:
            self._check_unchanged()
            examples = self.examples(X)
        self._state.begin_epoch()  # whatever an interrupted or stopped fit has left
        observer = self._default_observer(self.verbose)
        epochs = self._state.epoch + 1
        self._fit_examples(examples, epochs, min(self.plan(len(examples))[1], len(examples)), None, None, observer)
        self._raise_if_interrupted(observer)

    def fit_examples(
        self,
        examples: Examples,
        epochs: int,
        batch_size: int,
        heldout: Examples | None,
        patience: int | None,
        observer: Observer,
    ) -> None:
        """Train the initialised model until `epochs` in all are done, or the observer stops it (a later call goes on).

        The loop behind `fit`, for callers with a source, held-out examples and an observer of their own. The observer
        may use, copy and save the model, but not train it: `TrainingInProgressError`.
        """
        call = epochs, batch_size, heldout, patience, observer
        self._exclusion.alone(type(self).__name__, lambda: self._fit_examples(examples, *call))

    def _fit_examples(self, examples: Examples, *call: Any) -> None:
        network = self._check_complete()
        network.exclusion.alone(type(self).__name__, lambda: self._train(network, examples, *call))

    def _train(
        self,
        network: Any,
        examples: Examples,
        epochs: int,
        batch_size: int,
        heldout: Examples | None,
        patience: int | None,
        observer: Observer,
    ) -> None:
        examples = self._accepted(network, examples)
        batch_size = min(check_integer("batch_size", batch_size, 1), len(examples))
        examples = examples.staged(batch_size, AHEAD)
        if heldout is not None:
            heldout = self._accepted(network, heldout, "heldout")
        self._check_unchanged()
        self._check_storable()
        self._set_objective(network)
        self._optimizer = self._optimizer or self._make_optimizer()
        self._set_optimizer(self._optimizer, epochs * -(-len(examples) // batch_size))
        score = None if heldout is None else lambda: float(self.score_examples(heldout).mean())
        schedule = Schedule(epochs, batch_size, patience, self._warmup(), self.HELDOUT)
        product, failed = network.largest_product(batch_size), True
        try:
            with network.backend.workers(batch_size, product) as workers:
                with network.exclusion.lock:
                    network.workers = workers
                    network.allocate(batch_size, [self._optimizer], examples, np.empty(batch_size, np.int64))
                train(network, examples, self._optimizer, schedule, self._state, observer, score)
            failed = False
        finally:
            # a device that has failed fails here again: what counts is the first error
            with network.exclusion.lock, contextlib.suppress(*[Exception] if failed else []):
                network.workers = network.backend.workers()
                network.allocate(0)

    def _check_unchanged(self) -> None:
        """Raise unless this model can be trained on with its present arguments."""
        self._check_settings()
        self._check_device()
        self._check_fixed()

    def _check_device(self) -> None:
        """A fitted model stays where it is."""
        found = self.network_.backend.name
        if (self.device == "cuda") != (found == "cuda"):
            raise ValueError(
                f"device={self.device!r} was set after this model was fitted on device={found!r}: fit it again, or "
                f"save it and load it with device={self.device!r}"
            )

    def keep_best(self) -> None:
        """Return to the parameters and the optimizer's state of the best held-out score, where early stopping has kept
        them; or else take the average of the parameters, where one was asked for."""
        self._optimizer = optimizer = self._optimizer or self._make_optimizer()
        network, state = self.network_, self._state

        def restore() -> None:
            if not state.return_to_best(network, optimizer):
                optimizer.take_average()

        self._exclusion.alone(type(self).__name__, lambda: network.exclusion.between_steps(restore))

    def take_back_early_stop(self) -> None:
        """Let `fit_examples` go on after an early stop: patience counts anew."""
        self._state.take_back_early_stop()

    @staticmethod
    def _default_observer(verbose: int) -> Observer:
        from fastvae.progress import InterruptibleObserver, ProgressObserver

        return ProgressObserver() if verbose else InterruptibleObserver()

    @property
    def history_(self) -> dict[str, np.ndarray]:
        """Of each epoch: the loss and its parts (means over the examples), the held-out score (NaN without), images/s
        and seconds."""
        self._check_fitted()
        records = list(self._state.records)
        return {name: np.array([record[name] for record in records], np.float64) for name in self.history_names()}

    @classmethod
    def history_names(cls) -> tuple[str, ...]:
        """The entries of `history_`."""
        return ("epoch", *cls.LOSSES, cls.HELDOUT, "images_per_second", "seconds")

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that `transform` gives: "vae0", "vae1", ..., by the name of the class."""
        self._check_fitted()
        name = type(self).__name__.lower()
        return np.array([f"{name}{i}" for i in range(self._codes())], dtype=object)

    @property
    def n_steps_(self) -> int:
        """Steps of the optimizer so far."""
        self._check_fitted()
        return self._state.step

    @property
    def stopped_early_(self) -> bool:
        """True after a `fit` that its `patience` ended."""
        self._check_fitted()
        return self._state.stopped_early

    @property
    def best_epoch_(self) -> int:
        """The epoch with the best held-out ELBO, from 1; 0 for the start, or where nobody asked for early stopping."""
        self._check_fitted()
        return self._state.best_epoch

    @property
    def n_epochs_(self) -> int:
        """Epochs that are finished."""
        self._check_fitted()
        return self._state.epoch

    # ---- use ----------------------------------------------------------------------------------------------------

    def check(self, X: Any, name: str = "X") -> Any:
        """Return `X` as an array that this fitted model can use: features, finite values, range."""
        network = self._check_fitted()
        self._check_names(X, name)
        return self._checked(network, X, name)

    def _checked(self, network: Any, X: Any, name: str = "X") -> Any:
        X = as_examples(X, name, network.architecture.inputs, in_place=not network.kernels.ON_HOST)
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

    def examples(self, X: Any, name: str = "X", binarize: str | float | None = None) -> Examples:
        """`X`, checked, in the model's units."""
        network = self._check_complete()
        self._check_names(X, name)
        X, units = self._checked(network, X, name), network.units
        self._warn_of_other_units(network, X, name)
        return Examples(X, units.offset, units.scale, network.seed, network.kernels, binarize)

    def _data(self, X: Any) -> tuple[Any, Any]:
        """The network, and `X` as an array for a pass that begins with the encoder, its values not looked at."""
        network = self._check_complete()
        self._check_names(X)
        X = as_examples(X, "X", network.architecture.inputs, in_place=not network.kernels.ON_HOST)
        self._warn_of_other_units(network, X)
        if self._looks_at_all(network):  # which no kernel looks at
            self._clipping(network, X)
        return network, X

    def _results(self, network: Any, X: Any, key: str, write: Callable[..., Any], columns: int) -> np.ndarray:
        """What a pass makes of each row of X, (N, columns) float32."""
        out = np.empty((len(X), columns), np.float32)

        def keep(start: int, stop: int, found: np.ndarray) -> None:
            out[start:stop] = found.reshape(-1, columns)

        network.over(X, key, write, keep, lambda: self._clipping(network, X))
        return finite(out, X)

    @framed
    def transform(self, X: Any) -> np.ndarray:
        """Return the codes of rows (N, Z) float32, of a VAE the mean of q(z|x): an array, or as `set_output` says."""
        return self._transformed(*self._data(X))

    def _transformed(self, network: Any, X: Any) -> np.ndarray:
        return self._results(network, X, "codes", network.codes, network.inputs["z"])

    def reconstruct(self, X: Any) -> np.ndarray:
        """Return decode(transform(X)): (N, D) float32, in the user's units."""
        network, X = self._data(X)
        return self._decode(network, self._transformed(network, X))

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """`fit`, then `transform` of the same `X`."""
        return self.fit(X, y).transform(X)

    def decode(self, Z: Any) -> np.ndarray:
        """Return what a model makes of the codes `Z` (N, Z), of a VAE the mean of p(x|z): (N, D), in the user's units.

        float32; float64 where a column lies so far from 0 that float32 would not hold its differences.
        """
        return self._decode(self._check_fitted(), Z)

    def _decode(self, network: Any, Z: Any) -> np.ndarray:
        Z = as_examples(Z, "Z", network.inputs["z"], in_place=not network.kernels.ON_HOST)
        units = network.units
        out = np.empty((len(Z), network.inputs["x"]), units.dtype)

        def keep(start: int, stop: int, mean: np.ndarray) -> None:
            units.to_user(mean, out[start:stop])

        def check() -> None:
            check_values(Z, "Z")

        network.over(Z, "decode", network.decode, keep, check, name="z", units=network.code_units)
        return finite(out, Z)

    inverse_transform = decode


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
