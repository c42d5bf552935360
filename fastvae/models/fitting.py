"""How an estimator is trained: `fit`, anew or on from where it is; `partial_fit`; and the loop behind both."""

import contextlib
import copy
import warnings
from typing import Any, Self

import numpy as np

from fastvae.callbacks import Callback, CallbackObserver, Callbacks, listed
from fastvae.data.minibatches import Examples
from fastvae.data.preparation import held_out_places
from fastvae.errors import TrainingWarning
from fastvae.models.estimator import Estimator
from fastvae.models.given import Given, first_rows, held_out_rows
from fastvae.models.settings import check_integer, seed_from
from fastvae.optimizers import SCHEDULES, Optimizer
from fastvae.training import AHEAD, Observer, Schedule, train


class TrainedEstimator(Estimator):
    """An estimator that learns."""

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
        callbacks: Callbacks = None,
    ) -> Self:
        """Learn from `X` (N, D), forgetting what was learned before; with `warm_start`, going on from there.

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
            held-out score go by the weights too: whole numbers make the objective that so many copies of each row would
            make, though not the same bits, as batches and noise go by the place of a row. Rows of weight 0 are left out
            before anything else: their values do not matter, as long as they are finite. Not with sigma="optimal", nor
            with free_bits.
        heldout_weight : (M,), optional
            That of `heldout`, whose score is then sum w s / sum w. Default: all rows count alike.
        callbacks
            A function of (model, record), or an object with `on_epoch_end(model, record)`, `on_train_begin(model)` or
            `on_train_end(model)`, some of them; or a list of such. `record` is the epoch's entry of `history_`; True
            from `on_epoch_end` ends the training, `stopped_early_` is then True. `model` is the one that is trained,
            which is not `self` yet where there was one before: it may be used, copied and saved, not trained. What one
            raises ends the training as any error does, after `on_train_end`.

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
        told = listed(callbacks)
        beside = condition, heldout_condition, sample_weight, heldout_weight
        self._exclusion.alone(type(self).__name__, lambda: self._fit(X, heldout, patience, told, *beside))
        return self

    def _fit(
        self, X: Any, heldout: Any, patience: int | None, callbacks: list[Callback], condition: Any,
        heldout_condition: Any, weights: Any, heldout_weight: Any,
    ) -> None:  # fmt: skip
        refitted = self.__sklearn_is_fitted__()
        warm, names = refitted and bool(self.warm_start), None
        # what is refused must not cost the model that is here
        fresh = copy.deepcopy(self) if warm else type(self)(**self.get_params())
        if warm:
            fresh._check_unchanged()
            seed, known = fresh.seed_, fresh._check_complete().condition
            given = fresh._further_rows(X, condition, weights)
        else:
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
        if warm:
            parts = given.X, "X", None, given.condition, given.weights
            examples = fresh._examples(fresh.network_, *parts)
        else:
            examples = fresh._initialize(given, None, seed, names, known)
            fresh._optimizer = fresh._make_optimizer()
        if not isinstance(fresh.batch_size, str) and fresh.batch_size > len(examples):
            found = f"the data ({len(examples)} examples)"
            raise ValueError(f"batch_size={fresh.batch_size} is larger than {found}: use at most {len(examples)}")
        epochs, batch_size, patient = fresh.plan(len(examples))
        if patience is None and stops and held is not None:
            patience = patient
        judged = None if held is None else fresh._heldout_examples(heldout, held)
        if warm:
            fresh._state.begin_cycle(0 if fresh._optimizer is None else fresh._optimizer.step_count)
        learned = {name: value for name, value in vars(fresh).items() if name not in self._names()}
        if not refitted:
            self._put(learned)  # a long first training can be looked at, and saved
        observer, before = self._default_observer(fresh.verbose), fresh._state.step
        watching = CallbackObserver(callbacks, fresh, observer)
        try:
            try:
                fresh.fit_examples(examples, fresh._state.epoch + epochs, batch_size, judged, patience, watching)
                fresh.keep_best()
            finally:
                watching.ended()
        except BaseException as error:
            kept = (
                not isinstance(error, Exception) and fresh._state.step > before
            )  # a second Ctrl-C, or one after a step
            if kept and refitted:
                self._put({name: value for name, value in vars(fresh).items() if name in learned})
            elif not kept and not refitted:
                self.__dict__ = {name: value for name, value in vars(self).items() if name not in learned}
            raise
        if refitted:
            self._put({name: value for name, value in vars(fresh).items() if name in learned})
        self._raise_if_interrupted(observer)
        for line in fresh.remarks():
            warnings.warn(line, TrainingWarning, stacklevel=5)

    def _further_rows(self, X: Any, condition: Any, weights: Any) -> Given:
        """The rows of a training that goes on."""
        network = self._check_complete()
        X = self.check(X)
        return Given.of(X, self._condition_rows(network, condition, len(X)), weights)

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
        begun, state = self._state.cycle_step, self._state
        self._set_optimizer(
            self._optimizer, begun + (epochs - state.cycle_epoch) * -(-len(examples) // batch_size), begun
        )
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
