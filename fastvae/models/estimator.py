"""What every estimator shares: fit, and what it tells of it. Its arguments: `arguments`; what it has learned, and
threads: `learned`; what it does with rows of data: `rows`; its files: `saving`.

What a model of its own brings is written down in `hooks`: an architecture, a network (see `engine`), and its methods.
Nothing here depends on scikit-learn; `__sklearn_tags__` is called by it alone.
"""

import contextlib
import dataclasses
import warnings
from typing import Any, Self

import numpy as np

from fastvae import backend
from fastvae.data.condition import Condition
from fastvae.data.conversion import column_names
from fastvae.data.minibatches import Conditions, Examples
from fastvae.data.preparation import held_out_places
from fastvae.data.ranges import warn_of_other_units
from fastvae.data.scaling import Units, check_scale, scaling
from fastvae.data.validation import Statistics, as_examples, check_values, statistics
from fastvae.data.weights import as_weights, normalised, weighted_mean
from fastvae.errors import TrainingWarning, check_name
from fastvae.kernels.cpu.workers import processors
from fastvae.models.arguments import Arguments
from fastvae.models.duration import AUTO, Duration
from fastvae.models.given import Given, first_rows, held_out_rows
from fastvae.models.rows import Rows
from fastvae.models.settings import check_integer, check_number, seed_from
from fastvae.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, RateSchedule
from fastvae.training import AHEAD, Observer, Schedule, State, train


class Estimator(Arguments, Duration, Rows):
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

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        transforms = TransformerTags(preserves_dtype=["float64", "float32"]) if hasattr(self, "transform") else None
        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            transformer_tags=transforms,
            input_tags=InputTags(),
        )

    # ---- what an estimator brings -------------------------------------------------------------------------------

    def _architecture(self, columns: int) -> Any:
        raise NotImplementedError

    def _make_network(self, columns: int, condition: Condition | None = None) -> Any:
        """Check the constructor's arguments and build the network, not yet initialised."""
        architecture = self._conditioned(self._architecture(columns), condition)
        return self.NETWORK(architecture, backend.select(self.device, self.precision))

    def _conditioned(self, architecture: Any, condition: Condition | None) -> Any:
        """The architecture of a model with that condition: it has a field `conditions`, its columns."""
        if condition is None:
            return architecture
        if not hasattr(architecture, "conditions"):
            raise TypeError(f"{type(self).__name__} takes no condition: leave it out")
        return dataclasses.replace(architecture, conditions=condition.columns)

    def score_examples(self, examples: Examples) -> np.ndarray:
        """What is held against the examples that are held out, (N,): the larger the better."""
        return self.score_samples(examples.X)

    def score_samples(self, X: Any) -> np.ndarray:
        """A score of each row (N,), the larger the better."""
        raise NotImplementedError

    def score(self, X: Any, y: Any = None, *, sample_weight: Any = None, **how: Any) -> float:
        """Mean of `score_samples`, which gets all other arguments but `y`: larger is better. With `sample_weight` (N,)
        it is sum w s / sum w; the scores of rows of weight 0 do not matter."""
        scores = self.score_samples(X, **how)
        return weighted_mean(scores, None if sample_weight is None else as_weights(sample_weight, len(scores)))

    def _suited_scale(self) -> Any:
        """The scaling that "auto" stands for."""
        return "standard"

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
        if self.weight_decay * self.learning_rate >= 1:
            found = f"weight_decay={self.weight_decay!r} times learning_rate={self.learning_rate!r}"
            raise ValueError(f"{found} must be less than 1: it is what each step takes away of the weights")
        if not 0 <= check_number("average", self.average, 0) <= 1:
            raise ValueError(
                f"average={self.average!r} must be from 0 to 1: the share of the steps that it is taken of"
            )

    def _check_weighted(self) -> None:
        """Raise where the arguments ask for what does not go with weights of rows."""

    def _check_storable(self) -> None:
        """Raise where this model could be trained and not be saved."""

    def initialize(
        self, X: Any, binarize: str | float | None = None, condition: Any = None, sample_weight: Any = None
    ) -> Examples:
        """Everything of `fit` before the first step: checks, scaling, and the drawn initial weights.

        For training loops of one's own, and for comparisons: `parameters()` and `loss_and_gradients` work afterwards.

        Parameters
        ----------
        X : (N, D)
            N >= 2; any real dtype, also a memory map, which is read in pieces.
        binarize
            See `fastvae.data.minibatches.Examples`.
        condition, sample_weight
            As `fit` has them.

        Returns
        -------
        Examples
            `X` in the model's units, without rows of weight 0.
        """
        return self._exclusion.alone(
            type(self).__name__, lambda: self._initialize_first(X, binarize, condition, sample_weight)
        )

    def _initialize_first(self, X: Any, binarize: str | float | None, condition: Any, weights: Any) -> Examples:
        X, names = self._learned_rows(X)
        given, known = first_rows(X, condition, weights, in_place=self.device == "cuda")
        return self._initialize(given, binarize, names=names, known=known)

    def _learned_rows(self, X: Any) -> tuple[Any, Any]:
        """X (N, D) as an array, and the names of its columns, if they have any: of data that are learned from."""
        return as_examples(X, in_place=self.device == "cuda"), column_names(X)

    def _heldout_rows(self, heldout: Any) -> Any:
        """Rows (M, D) that are held out, as an array."""
        return as_examples(heldout, "heldout", in_place=True)

    def _check_values(self, X: Any, name: str = "X") -> None:
        """Raise where rows that are learned from have values that nobody can use."""
        check_values(X, name)

    def _statistics(self, X: Any, weights: np.ndarray | None) -> Statistics:
        """What the columns of X are like, of rows with weights (N,)."""
        return statistics(X, weights=weights)

    def _scaling(self, facts: Statistics) -> tuple[np.ndarray, np.ndarray]:
        """Offset and scale of each column (D,)."""
        return scaling(self._scale(), facts, keep_constant=isinstance(self.scale, str) and self.scale == AUTO)

    def _initialize(
        self,
        given: Given,
        binarize: str | float | None = None,
        seed: np.uint64 | None = None,
        names: Any = None,
        known: Condition | None = None,
    ) -> Examples:
        self._check_settings()
        backend.select(self.device, self.precision)
        processors()  # a wrong FASTVAE_THREADS is refused before anything is done
        X, rows, weights = given.X, given.condition, given.weights
        if len(X) < 2:
            of = "" if weights is None else " whose weight is above 0"
            raise ValueError(f"X has 1 sample{of} (shape {X.shape}); fitting needs at least 2")
        if weights is not None:
            self._check_weighted()
        network = self._make_network(X.shape[1], known)
        facts = self._statistics(X, None if weights is None else normalised(weights))
        offset, scale = self._scaling(facts)
        self._check_range(network, X, (facts.smallest, facts.largest), (offset, scale))
        low, high = float(facts.smallest.min()), float(facts.largest.max())
        if not isinstance(self.scale, str | None):
            asked = float(offset.min()), float((offset + scale).max())
            warn_of_other_units(X, asked, what="is to scale, by scale=,")
            low, high = min(low, asked[0]), max(high, asked[1])
        seed = seed_from(self.random_state) if seed is None else seed
        units = Units(offset, scale)
        self._begin(network, X, units, facts, seed, *[] if rows is None else [rows])
        self._adopt(network, units, seed, self._fixed(), names, {"data_range": [low, high]}, known)
        beside = None if known is None or rows is None else Conditions(known, rows, network.kernels)
        return Examples(X, offset, scale, seed, network.kernels, binarize, beside, weights)

    def _begin(self, network: Any, X: Any, units: Units, facts: Statistics, seed: np.uint64, *condition: Any) -> None:
        """Set the first parameters of a network, from the data and what is known of their columns; of a model with a
        condition also from its rows (N, C)."""
        raise NotImplementedError

    def _scale(self) -> Any:
        """The scaling that "auto" stands for."""
        if not (isinstance(self.scale, str) and self.scale == AUTO):
            return self.scale
        return self._suited_scale()

    def _adopt(
        self,
        network: Any,
        units: Units,
        seed: np.uint64,
        fitted: dict[str, Any],
        names: Any,
        metadata: dict[str, Any],
        condition: Condition | None = None,
    ) -> None:
        """Set the learned attributes around a network; `fitted`: see `_fixed`; `names`: of columns that have some."""
        network.prepare(seed, units, condition)
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
        for part in optimizer.parts:
            part.learning_rate, part.clip_norm = self.learning_rate, self.clip_norm
            part.weight_decay = float(self.weight_decay)
            part.schedule = RateSchedule(self.schedule, int(self.warmup_steps), steps)
            part.keep_average(steps - max(1, round(self.average * steps)) + 1 if self.average else None)

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        condition: Any = None,
        heldout: Any = None,
        heldout_condition: Any = None,
        patience: int | None = None,
        sample_weight: Any = None,
        heldout_weight: Any = None,
    ) -> Self:
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
        condition : (N,) or (N, C), optional
            What p(x|z, c) and q(z|x, c) are conditioned on, in memory. The type decides: whole numbers, booleans and
            text (N,) are labels, `classes_` the distinct ones, of which there may be at most a third as many as rows;
            floats (N,) or (N, C) are real numbers, which are standardised. So pass a quantity in whole numbers, a year
            say, as floats, `condition.astype(float)`, and labels that are stored as floats as integers. Also a list, a
            series or categorical, and of floats a frame. Every method then wants the condition too.
        heldout : (M, D), optional
            Its mean ELBO goes into `history_` after each epoch. Without, and with early stopping, it is a part
            `validation_fraction` of X, which is then not trained on.
        heldout_condition : (M,) or (M, C), optional
            Of `heldout`, where there is a condition.
        patience
            Stop after that many epochs without a better held-out ELBO, and return to the best parameters and to Adam as
            it was then. Default: with early stopping, as many as make 3,000 steps, 10 at least; else no stop.
        sample_weight : (N,), optional
            How often each row counts: numbers from 0, finite, not all 0. The loss of a row is multiplied by
            w / mean(w), the mean over the rows of X that are trained on, so that the loss of an epoch is
            sum_i w_i loss_i / sum_i w_i, of which that of a batch of B rows is an estimate without bias,
            1/B sum_i w_i / mean(w) loss_i; the learning rate keeps its meaning. Scaling, the first parameters and the
            held-out score go by the weights too: whole numbers make what so many copies of each row would make. Rows of
            weight 0 are left out before anything else: their values do not matter, as long as they are finite. Not with
            sigma="optimal", nor with free_bits.
        heldout_weight : (M,), optional
            That of `heldout`, whose score is then sum w s / sum w. Default: all rows count alike.

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
        beside = condition, heldout_condition, sample_weight, heldout_weight
        self._exclusion.alone(type(self).__name__, lambda: self._fit(X, heldout, patience, *beside))
        return self

    def _fit(
        self, X: Any, heldout: Any, patience: int | None, condition: Any, heldout_condition: Any, weights: Any = None,
        heldout_weight: Any = None,
    ) -> None:  # fmt: skip
        fresh = type(self)(**self.get_params())  # what is refused must not cost the model that is here
        fresh._check_settings()
        seed = seed_from(fresh.random_state)
        X, names = fresh._learned_rows(X)
        given, known = first_rows(X, condition, weights, in_place=fresh.device == "cuda")
        stops = patience is not None or fresh._stops_early(len(given))
        held: Given | None = None
        if heldout is not None:
            held = held_out_rows(fresh._heldout_rows(heldout), known, heldout_condition, heldout_weight)
        elif heldout_condition is not None or heldout_weight is not None:
            name = "heldout_weight" if heldout_condition is None else "heldout_condition"
            raise ValueError(f"{name} goes with heldout, which was not given: leave it out, or give both")
        elif stops and len(given) >= 4:
            fresh._check_values(given.X)  # so that a position in a message is one in the user's array
            kept, held_back = held_out_places(given.X, fresh.validation_fraction, seed)
            given, held = given.at(kept), given.at(held_back)
        examples = fresh._initialize(given, None, seed, names, known)
        if not isinstance(fresh.batch_size, str) and fresh.batch_size > len(examples):
            found = f"the data ({len(examples)} examples)"
            raise ValueError(f"batch_size={fresh.batch_size} is larger than {found}: use at most {len(examples)}")
        epochs, batch_size, patient = fresh.plan(len(examples))
        if patience is None and stops and held is not None:
            patience = patient
        judged = None if held is None else fresh._heldout_examples(heldout, held)
        fresh._optimizer = fresh._make_optimizer()
        learned = {name: value for name, value in vars(fresh).items() if name not in self._names()}
        refitted = self.__sklearn_is_fitted__()
        if not refitted:
            self._put(learned)  # a long first training can be looked at, and saved
        observer = self._default_observer(fresh.verbose)
        try:
            fresh.fit_examples(examples, epochs, batch_size, judged, patience, observer)
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

    def _heldout_examples(self, heldout: Any, held: Given) -> Examples:
        network = self._check_complete()
        self._check_names(heldout, "heldout")
        X = self._checked(network, held.X, "heldout")
        return self._examples(network, X, "heldout", None, held.condition, held.weights)

    def fit_transform(self, X: Any, y: Any = None, *, condition: Any = None, **how: Any) -> np.ndarray:
        """`fit`, with whatever else that takes, then `transform` of the same `X` and `condition`."""
        return self.fit(X, y, condition=condition, **how).transform(X, condition)

    @staticmethod
    def _raise_if_interrupted(observer: Observer) -> None:
        if observer.stop_requested():
            raise KeyboardInterrupt("training was interrupted; the model keeps what it has learned so far")

    def partial_fit(self, X: Any, y: Any = None, *, condition: Any = None, sample_weight: Any = None) -> Self:
        """One pass over `X` (N, D), in batches of at most `batch_size`; the first call fixes scaling and weights, and
        which labels or vectors a `condition`, as `fit` has it, may hold. `sample_weight` too is as `fit` has it: the
        loss of a row is multiplied by w / mean(w), the mean over the rows of this call.

        Adam's moments live on between calls; they are not part of a saved model. Each call counts as an epoch, for
        `kl_warmup_epochs` too. That, `beta`, `learning_rate`, `clip_norm` and `batch_size` may be changed between
        calls; an argument that the first call has fixed is refused.

        Other threads may use the model meanwhile: a pass of theirs sees the weights change while it goes on. `save`,
        copies and `loss_and_gradients` see them as they are between two steps. A second training of the same model
        raises `TrainingInProgressError`.
        """
        self._exclusion.alone(type(self).__name__, lambda: self._partial_fit(X, condition, sample_weight))
        return self

    def _partial_fit(self, X: Any, condition: Any, weights: Any = None) -> None:
        if self.schedule != SCHEDULES[0] or self.average:
            found = f"schedule={self.schedule!r}" if self.schedule != SCHEDULES[0] else f"average={self.average!r}"
            raise ValueError(f"{found} must know when a training ends, which partial_fit does not: use fit")
        if not self.__sklearn_is_fitted__():
            examples = self._initialize_first(X, None, condition, weights)
        else:
            self._check_unchanged()
            examples = self.examples(X, condition=condition, sample_weight=weights)
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
        if examples.weights is not None:
            self._check_weighted()
        self._check_unchanged()
        self._check_storable()
        self._set_objective(network)
        self._optimizer = self._optimizer or self._make_optimizer()
        self._set_optimizer(self._optimizer, epochs * -(-len(examples) // batch_size))
        score = None if heldout is None else lambda: heldout.mean(self.score_examples(heldout))
        schedule = Schedule(epochs, batch_size, patience, self._warmup(), self.heldout_name)
        product, failed = network.largest_product(batch_size), True
        try:
            with network.backend.workers(batch_size, product) as workers:
                with network.exclusion.lock:
                    network.workers = workers
                    network.allocate(batch_size, self._optimizer.parts, examples, np.empty(batch_size, np.int64))
                train(network, examples, self._optimizer, schedule, self._state, observer, score)
                if score is not None and self._state.epoch >= epochs:
                    self._judge_average(network, score)
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
                self._take_average(network, optimizer)

        self._exclusion.alone(type(self).__name__, lambda: network.exclusion.between_steps(restore))

    @staticmethod
    def _take_average(network: Any, optimizer: Optimizer) -> None:
        if optimizer.has_average and not optimizer.averaged:  # nothing has been trained since the model was read
            network.written(optimizer.parts)
        optimizer.take_average()

    def _judge_average(self, network: Any, score: Any) -> None:
        """Keep the average as the best there is, where early stopping has found nothing better."""
        optimizer, state = self._optimizer, self._state
        assert optimizer is not None
        if not optimizer.has_average or state.best_elbo is None:
            return
        before = network.parameters.values.copy()
        self._take_average(network, optimizer)
        found = score()
        if found > state.best_elbo:
            state.remember_best(found, network, optimizer)
        network.parameters.values[:] = before

    def take_back_early_stop(self) -> None:
        """Let `fit_examples` go on after an early stop: patience counts anew."""
        self._state.take_back_early_stop()

    @staticmethod
    def _default_observer(verbose: int) -> Observer:
        from fastvae.progress import InterruptibleObserver, ProgressObserver

        return ProgressObserver() if verbose else InterruptibleObserver()
