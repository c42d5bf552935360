"""What every estimator shares: fit, and what it tells of it. Its arguments: `arguments`; what it has learned, and
threads: `learned`; its files: `saving`.

A model of its own brings `Architecture`, a network that is `Trainable`, and its methods. Nothing here depends on
scikit-learn; `__sklearn_tags__` is called by it alone.
"""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any, Self

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
from fastvae.likelihoods import LIKELIHOODS
from fastvae.models.arguments import Arguments
from fastvae.models.duration import AUTO, Duration
from fastvae.models.frames import Frames
from fastvae.models.learned import Learned
from fastvae.models.settings import check_integer, check_number, seed_from
from fastvae.optimizers import Adam, Optimizer
from fastvae.training import AHEAD, Observer, Schedule, State, train

HELDOUT_DRAWS, MOST_HELDOUT_DRAWS = 2048, 16  # of z in all behind a held-out ELBO, about; of an example
HISTORY = ("epoch", "loss", "nll", "kl", "heldout_elbo", "images_per_second", "seconds")


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
    likelihood: str

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
            input_tags=InputTags(),
        )

    # ---- what an estimator brings -------------------------------------------------------------------------------

    def _make_network(self, columns: int) -> Any:
        """Check the constructor's arguments and build the network, not yet initialised."""
        raise NotImplementedError

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
        network.likelihood.check(X, (facts.smallest, facts.largest), (offset, scale), asked=self._scale())
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
        check_name("likelihood", self.likelihood, tuple(LIKELIHOODS))
        return LIKELIHOODS[self.likelihood].SCALING

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
        return Adam(self.network_.parameters, self.network_.kernels, self.learning_rate, self.clip_norm)

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
        self._optimizer.learning_rate, self._optimizer.clip_norm = self.learning_rate, self.clip_norm
        elbo = None
        if heldout is not None:
            draws = min(HELDOUT_DRAWS // len(heldout) + 1, MOST_HELDOUT_DRAWS)
            elbo = lambda: float(self.elbo_examples(heldout, draws).mean())  # noqa: E731
        schedule = Schedule(epochs, batch_size, patience, self._warmup())
        product, failed = network.largest_product(batch_size), True
        try:
            with network.backend.workers(batch_size, product) as workers:
                with network.exclusion.lock:
                    network.workers = workers
                    network.allocate(batch_size, [self._optimizer], examples, np.empty(batch_size, np.int64))
                train(network, examples, self._optimizer, schedule, self._state, observer, elbo)
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
        """Return to the parameters, and the moments of Adam, of the best held-out ELBO, where early stopping has kept
        them."""
        self._optimizer = optimizer = self._optimizer or self._make_optimizer()
        network, state = self.network_, self._state

        def restore() -> None:
            state.return_to_best(network, optimizer)

        self._exclusion.alone(type(self).__name__, lambda: network.exclusion.between_steps(restore))

    def take_back_early_stop(self) -> None:
        """Let `fit_examples` go on after an early stop: patience counts anew."""
        self._state.take_back_early_stop()

    def elbo_examples(self, examples: Examples, n_samples: int = 1) -> np.ndarray:
        """The ELBO of each of the examples, (N,) float64, in nats of the user's units, from so many draws each."""
        raise NotImplementedError

    @staticmethod
    def _default_observer(verbose: int) -> Observer:
        from fastvae.progress import InterruptibleObserver, ProgressObserver

        return ProgressObserver() if verbose else InterruptibleObserver()

    @property
    def history_(self) -> dict[str, np.ndarray]:
        """Of each epoch: loss, nll and kl (means in nats), held-out ELBO (NaN without), images/s and seconds."""
        self._check_fitted()
        records = list(self._state.records)
        return {name: np.array([record[name] for record in records], np.float64) for name in HISTORY}

    @property
    def sigma_(self) -> Any:
        """Standard deviation of p(x|z) in the model's units, for a Gaussian likelihood: a number, or (D,) where each
        column has its own; times `scale_`, it is in the user's."""
        network = self._check_fitted()
        network.parameters.bring_back()
        return network.likelihood.sigma

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that `transform` gives: "vae0", "vae1", ..."""
        name, network = type(self).__name__.lower(), self._check_fitted()
        return np.array([f"{name}{i}" for i in range(network.architecture.latent_dim)], dtype=object)

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
        unit = network.likelihood.SUPPORT == (0, 1)
        if unit and (
            (isinstance(self.scale, str) and self.scale == "minmax") or self.metadata_.get("learned_range") is True
        ):
            return clipping(X, *found, *scaled, name)
        network.likelihood.check(X, found, scaled, name, self._scale())
        return None

    def _warn_of_other_units(self, network: Any, X: Any, name: str = "X") -> None:
        known = self.metadata_.get("data_range")
        refused = network.likelihood.SUPPORT == (0, 1)  # or clipped, with a word: what is beyond
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
