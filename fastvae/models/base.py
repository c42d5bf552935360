"""What every estimator shares: parameters as scikit-learn has them, and fit. Its files: `saving`; threads: `learned`.

A model of its own brings `Architecture`, a network that is `Trainable`, and its methods. Nothing here depends on
scikit-learn; `__sklearn_tags__` is called by it alone.
"""

import contextlib
import inspect
from typing import Any, Self

import numpy as np

from fastvae import backend
from fastvae.data.minibatches import Examples
from fastvae.data.scaling import Units, check_unit_range, scaling
from fastvae.data.validation import as_examples, check_values, statistics
from fastvae.errors import check_name
from fastvae.models.learned import Learned
from fastvae.models.settings import check_integer, check_number, seed_from
from fastvae.optimizers import Adam
from fastvae.training import AHEAD, Observer, Schedule, State, train
from fastvae.workers import processors

HISTORY = ("epoch", "loss", "nll", "kl", "heldout_elbo", "images_per_second", "seconds")


class Estimator(Learned):
    """Base of the estimators: the constructor stores, `fit` learns; learned attributes end in an underscore."""

    # set by the constructor of each estimator
    epochs: int
    batch_size: int
    learning_rate: float
    clip_norm: float | None
    scale: Any
    precision: str
    device: str
    random_state: Any
    verbose: int
    likelihood: str

    # ---- parameters, as scikit-learn has them -------------------------------------------------------------------

    @classmethod
    def _names(cls) -> list[str]:
        return [p for p in inspect.signature(cls.__init__).parameters if p != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments and their present values."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor; takes effect at the next `fit`."""
        for name in params:
            check_name("parameter", name, self._names())
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = (f"{n}={v!r}" for n, v in self.get_params().items() if repr(v) != repr(defaults[n].default))
        return f"{type(self).__name__}({', '.join(changed)})"

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
        check_integer("epochs", self.epochs, 1)
        check_integer("batch_size", self.batch_size, 1)
        check_number("learning_rate", self.learning_rate, 0, inclusive=False)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0, inclusive=False)
        backend.select(self.device, self.precision)
        check_integer("verbose", self.verbose, 0)
        processors()  # a wrong FASTVAE_THREADS is refused before anything is done

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

    def _initialize(self, X: Any, binarize: str | float | None = None) -> Examples:
        self._check_settings()
        X = as_examples(X, in_place=self.device == "cuda")
        if len(X) < 2:
            raise ValueError(f"X has 1 example (shape {X.shape}); fitting needs at least 2")
        network = self._make_network(X.shape[1])
        facts = statistics(X)
        offset, scale = scaling(self.scale, facts)
        if self.likelihood == "bernoulli":
            check_unit_range(facts.smallest, facts.largest, offset, scale)
        seed = seed_from(self.random_state)
        spread = float(np.sqrt(np.mean((facts.deviation / scale) ** 2)))
        network.initialise(seed, (facts.mean - offset) / scale, spread)
        self._adopt(network, offset, scale, seed)
        return Examples(X, offset, scale, seed, network.kernels, binarize)

    def _adopt(self, network: Any, offset: np.ndarray, scale: np.ndarray, seed: np.uint64) -> None:
        """Set the learned attributes around a network."""
        network.prepare(seed=seed, units=Units(offset, scale), **self._objective())
        self._put({"network_": network, "_state": State(), "_optimizer": None, "_draws": 0, "metadata_": {}})

    def _objective(self) -> dict[str, Any]:
        """What the loss needs to know beside the batch."""
        return {}

    def _make_optimizer(self) -> Adam:
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
            Its mean ELBO goes into `history_` after each epoch.
        patience
            Stop after that many epochs without a better held-out ELBO, and return to the best parameters.

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
            if heldout is None:
                raise ValueError(f"patience={patience} needs held-out data: pass heldout=")
        self._exclusion.alone(type(self).__name__, lambda: self._fit(X, heldout, patience))
        return self

    def _fit(self, X: Any, heldout: Any, patience: int | None) -> None:
        fresh = type(self)(**self.get_params())  # what is refused must not cost the model that is here
        examples = fresh.initialize(X)
        if fresh.batch_size > len(examples):
            found = f"the data ({len(examples)} examples)"
            raise ValueError(f"batch_size={fresh.batch_size} is larger than {found}: use at most {len(examples)}")
        held = None if heldout is None else fresh.examples(heldout, "heldout")
        fresh._optimizer = fresh._make_optimizer()
        learned = {name: value for name, value in vars(fresh).items() if name not in self._names()}
        refitted = self.__sklearn_is_fitted__()
        if not refitted:
            self._put(learned)  # a long first training can be looked at, and saved
        observer = self._default_observer(fresh.verbose)
        try:
            fresh.fit_examples(examples, fresh.epochs, fresh.batch_size, held, patience, observer)
            fresh.keep_best()
        except Exception:
            if not refitted:
                self.__dict__ = {name: value for name, value in vars(self).items() if name not in learned}
            raise
        except BaseException:  # a second Ctrl-C
            if refitted:
                self._put(learned)
            raise
        if refitted:
            self._put(learned)
        self._raise_if_interrupted(observer)

    @staticmethod
    def _raise_if_interrupted(observer: Observer) -> None:
        if observer.stop_requested():
            raise KeyboardInterrupt("training was interrupted; the model keeps what it has learned so far")

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One pass over `X` (N, D), in batches of at most `batch_size`; the first call fixes scaling and weights.

        Adam's moments live on between calls; they are not part of a saved model. Other threads may use the model
        meanwhile: a pass of theirs sees the weights change while it goes on. `save`, copies and `loss_and_gradients`
        see them as they are between two steps. A second training of the same model raises `TrainingInProgressError`.
        """
        self._exclusion.alone(type(self).__name__, lambda: self._partial_fit(X))
        return self

    def _partial_fit(self, X: Any) -> None:
        if not self.__sklearn_is_fitted__():
            examples = self._initialize(X)
        else:
            self._check_device()
            examples = self.examples(X)
        self._state.begin_epoch()  # whatever an interrupted or stopped fit has left
        observer = self._default_observer(self.verbose)
        epochs = self._state.epoch + 1
        self._fit_examples(examples, epochs, min(self.batch_size, len(examples)), None, None, observer)
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
        check_integer("batch_size", batch_size, 1)
        examples = self._accepted(network, examples).staged(batch_size, AHEAD)
        if heldout is not None:
            heldout = self._accepted(network, heldout, "heldout")
        self._optimizer = self._optimizer or self._make_optimizer()
        self._optimizer.learning_rate, self._optimizer.clip_norm = self.learning_rate, self.clip_norm
        elbo = (lambda: float(self.elbo_examples(heldout).mean())) if heldout is not None else None
        schedule = Schedule(epochs, batch_size, patience)
        indices = np.empty(batch_size, np.int64)
        product, failed = network.largest_product(batch_size), True
        try:
            with network.backend.workers(batch_size, product) as workers:
                with network.exclusion.lock:
                    network.workers = workers
                    network.allocate(batch_size, self._optimizer, examples, indices)
                train(network, examples, self._optimizer, schedule, self._state, observer, elbo, indices)
            failed = False
        finally:
            # a device that has failed fails here again: what counts is the first error
            with network.exclusion.lock, contextlib.suppress(*[Exception] if failed else []):
                network.workers = network.backend.workers()
                network.allocate(0)

    def _check_device(self) -> None:
        """A fitted model stays where it is."""
        found = self.network_.backend.name
        if (self.device == "cuda") != (found == "cuda"):
            raise ValueError(
                f"device={self.device!r} was set after this model was fitted on device={found!r}: fit it again, or "
                f"save it and load it with device={self.device!r}"
            )

    def keep_best(self) -> None:
        """Return to the parameters of the best held-out ELBO, where early stopping has kept them."""
        best = self._state.best_values
        if best is None:
            return

        def restore() -> None:
            self.network_.parameters.values[:] = best

        self._exclusion.alone(type(self).__name__, lambda: self.network_.exclusion.between_steps(restore))

    def elbo_examples(self, examples: Examples) -> np.ndarray:
        """The ELBO of each of the examples, (N,) float64, in nats of the user's units."""
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
    def sigma_(self) -> float:
        """Standard deviation of p(x|z) in the model's units, for a Gaussian likelihood."""
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
        """The epoch with the best held-out ELBO, from 1; 0 where nobody asked for early stopping."""
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
        return self._checked(self._check_fitted(), X, name)

    @staticmethod
    def _checked(network: Any, X: Any, name: str = "X") -> Any:
        X = as_examples(X, name, network.architecture.inputs, in_place=not network.kernels.ON_HOST)
        smallest, largest = check_values(X, name)
        if network.architecture.likelihood == "bernoulli":
            check_unit_range(smallest, largest, network.units.offset, network.units.scale, name)
        return X

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
        X, units = self._checked(network, X, name), network.units
        return Examples(X, units.offset, units.scale, network.seed, network.kernels, binarize)
