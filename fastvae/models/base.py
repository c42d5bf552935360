"""What every estimator shares: parameters as scikit-learn has them, and fit. Its files are in `saving`.

A model of its own brings `Architecture`, a network that is `Trainable`, and its methods. Nothing here depends on
scikit-learn; `__sklearn_tags__` is called by it alone.
"""

import contextlib
import copy
import inspect
from typing import Any, Self

import numpy as np

from fastvae import backend
from fastvae.data.minibatches import Examples
from fastvae.data.scaling import Units, check_unit_range, scaling
from fastvae.data.validation import as_examples, check_values, statistics
from fastvae.errors import NotFittedError, check_name
from fastvae.models.settings import check_integer, check_number, seed_from
from fastvae.optimizers import Adam
from fastvae.training import Observer, Schedule, State, train
from fastvae.workers import processors

HISTORY = ("epoch", "loss", "nll", "kl", "heldout_elbo", "images_per_second", "seconds")


class Estimator:
    """Base of the estimators: the constructor stores, `fit` learns; learned attributes end in an underscore."""

    _optimizer: Adam | None
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

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
            input_tags=InputTags(),
        )

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: arrays instead of the network and the optimizer, which hold compiled functions."""
        state = vars(self).copy()
        network, optimizer = state.pop("network_", None), state.pop("_optimizer", None)
        if network is not None:
            state["_state"] = copy.deepcopy(self._state)
            state["_packed"] = (network.architecture, network.complete, network.parameters.values.copy())
        if optimizer is not None:
            moments = (optimizer.first_moment.copy(), optimizer.second_moment.copy())
            state["_packed_optimizer"] = (optimizer.step_count, *moments)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        packed, packed_optimizer = state.pop("_packed", None), state.pop("_packed_optimizer", None)
        vars(self).update(state)
        if packed is not None:
            architecture, complete, values = packed
            chosen = backend.select_for_file(self.device, self.precision)
            self.network_ = self._build(architecture, chosen, not complete)
            self.network_.parameters.values[:] = values
            self._prepare()
            self._optimizer = None
        if packed_optimizer is not None:
            self._optimizer = self._make_optimizer()
            self._optimizer.step_count = packed_optimizer[0]
            self._optimizer.first_moment[:], self._optimizer.second_moment[:] = packed_optimizer[1:]

    # ---- what an estimator brings -------------------------------------------------------------------------------

    network_: Any

    def _make_network(self, columns: int) -> Any:
        """Check the constructor's arguments and build the network, not yet initialised."""
        raise NotImplementedError

    @staticmethod
    def _build(architecture: Any, chosen: backend.Backend, decoder_only: bool) -> Any:
        """The network of an architecture."""
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
        self._check_settings()
        X = as_examples(X, in_place=self.device == "cuda")
        if len(X) < 2:
            raise ValueError(f"X has 1 example (shape {X.shape}); fitting needs at least 2")
        network = self._make_network(X.shape[1])
        facts = statistics(X)
        offset, scale = scaling(self.scale, facts)
        if self.likelihood == "bernoulli":
            check_unit_range(facts.smallest, facts.largest, offset, scale)
        self._adopt(network, offset, scale, seed_from(self.random_state))
        spread = float(np.sqrt(np.mean((facts.deviation / scale) ** 2)))
        network.initialise(self.seed_, (facts.mean - offset) / scale, spread)
        self._state = State()
        return Examples(X, offset, scale, self.seed_, network.kernels, binarize)

    def _adopt(self, network: Any, offset: np.ndarray, scale: np.ndarray, seed: np.uint64) -> None:
        """Set the learned attributes around a network."""
        self.network_ = network
        self.n_features_in_ = len(offset)
        self.offset_, self.scale_, self.seed_ = offset, scale, seed
        self._prepare()
        self._optimizer = None
        self._draws = 0
        self.metadata_: dict[str, Any] = {}

    def _prepare(self) -> None:
        self.network_.prepare(seed=self.seed_, units=Units(self.offset_, self.scale_), **self._objective())

    def _objective(self) -> dict[str, Any]:
        """What the loss needs to know beside the batch."""
        return {}

    def _make_optimizer(self) -> Adam:
        return Adam(self.network_.parameters, self.network_.kernels, self.learning_rate, self.clip_norm)

    def fit(self, X: Any, y: Any = None, *, heldout: Any = None, patience: int | None = None) -> Self:
        """Learn from `X` (N, D), forgetting what was learned before.

        Parameters
        ----------
        X : (N, D)
            Any real dtype; a memory map is read in pieces. Finite; in [0, 1] after scaling for "bernoulli". An array on
            a GPU (CUDA array interface) is used in place by a model with device="cuda".
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
        DivergenceError
            The loss stopped being finite. As after every error, what was learned before this call is kept.
        """
        if patience is not None:
            check_integer("patience", patience, 1)
            if heldout is None:
                raise ValueError(f"patience={patience} needs held-out data: pass heldout=")
        fresh = type(self)(**self.get_params())  # what is refused must not cost the model that is here
        examples = fresh.initialize(X)
        if self.batch_size > len(examples):
            found = f"the data ({len(examples)} examples)"
            raise ValueError(f"batch_size={self.batch_size} is larger than {found}: use at most {len(examples)}")
        held = None if heldout is None else fresh.examples(heldout, "heldout")
        before = vars(self).copy()
        vars(self).update(vars(fresh))
        observer = self._default_observer(self.verbose)
        try:
            self.fit_examples(examples, self.epochs, self.batch_size, held, patience, observer)
        except BaseException as error:
            if isinstance(error, Exception) or not self._state.step:  # or interrupted before the first step
                vars(self).clear()
                vars(self).update(before)
            raise
        self.keep_best()
        self._raise_if_interrupted(observer)
        return self

    @staticmethod
    def _raise_if_interrupted(observer: Observer) -> None:
        if observer.stop_requested():
            raise KeyboardInterrupt("training was interrupted; the model keeps what it has learned so far")

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One pass over `X` (N, D), in batches of at most `batch_size`; the first call fixes scaling and weights.

        Adam's moments live on between calls; they are not part of a saved model.
        """
        if not hasattr(self, "network_"):
            examples = self.initialize(X)
        else:
            self._check_device()
            examples = self.examples(X)
        self._state.begin_epoch()  # whatever an interrupted or stopped fit has left
        observer = self._default_observer(self.verbose)
        epochs = self._state.epoch + 1
        self.fit_examples(examples, epochs, min(self.batch_size, len(examples)), None, None, observer)
        self._raise_if_interrupted(observer)
        return self

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

        The loop behind `fit`, for callers with a source, held-out examples and an observer of their own.
        """
        self._optimizer = self._optimizer or self._make_optimizer()
        self._optimizer.learning_rate, self._optimizer.clip_norm = self.learning_rate, self.clip_norm
        elbo = (lambda: float(self.elbo_examples(heldout).mean())) if heldout is not None else None
        schedule = Schedule(epochs, batch_size, patience)
        network, indices = self.network_, np.empty(batch_size, np.int64)
        product, failed = network.largest_product(batch_size), True
        try:
            with network.backend.workers(batch_size, product) as network.workers:
                network.allocate(batch_size, self._optimizer, examples, indices)
                train(network, examples, self._optimizer, schedule, self._state, observer, elbo, indices)
            failed = False
        finally:
            network.workers = network.backend.workers()
            # a device that has failed fails here again: what counts is the first error
            with contextlib.suppress(*[Exception] if failed else []):
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
        if self._state.best_values is not None:
            self.network_.parameters.values[:] = self._state.best_values

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
        records = self._state.records
        return {name: np.array([record[name] for record in records], np.float64) for name in HISTORY}

    @property
    def sigma_(self) -> float:
        """Standard deviation of p(x|z) in the model's units, for a Gaussian likelihood."""
        self._check_fitted()
        self.network_.parameters.bring_back()
        return self.network_.likelihood.sigma

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that `transform` gives: "vae0", "vae1", ..."""
        self._check_fitted()
        name = type(self).__name__.lower()
        return np.array([f"{name}{i}" for i in range(self.network_.architecture.latent_dim)], dtype=object)

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

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            name = type(self).__name__
            raise NotFittedError(f"this {name} is not fitted: call fit first, or {name}.load")

    def _check_complete(self) -> None:
        self._check_fitted()
        if not self.network_.complete:
            name = type(self).__name__
            raise NotFittedError(f"this {name} was loaded with decoder_only=True and can only generate: load it whole")

    def check(self, X: Any, name: str = "X") -> Any:
        """Return `X` as an array that this fitted model can use: features, finite values, range."""
        self._check_fitted()
        X = as_examples(X, name, self.n_features_in_, in_place=not self.network_.kernels.ON_HOST)
        smallest, largest = check_values(X, name)
        if self.network_.architecture.likelihood == "bernoulli":
            check_unit_range(smallest, largest, self.offset_, self.scale_, name)
        return X

    def examples(self, X: Any, name: str = "X", binarize: str | float | None = None) -> Examples:
        """`X`, checked, in the model's units."""
        self._check_complete()
        return Examples(self.check(X, name), self.offset_, self.scale_, self.seed_, self.network_.kernels, binarize)

    def parameters(self) -> dict[str, np.ndarray]:
        """Name to array, in order of use. The arrays are views: writing into them changes the model, but not while it
        is being trained on a GPU."""
        self._check_fitted()
        return self.network_.parameters.named_values()
