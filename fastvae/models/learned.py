"""What an estimator has learned: a network and what stands beside it, which threads and copies may share."""

import copy
from typing import Any, ClassVar, Self

import numpy as np

from fastvae import backend
from fastvae.data.condition import Labels, Vectors
from fastvae.data.scaling import Units
from fastvae.engine import Network
from fastvae.errors import NotFittedError
from fastvae.exclusion import Exclusion
from fastvae.models.origin import importable, register_again
from fastvae.models.settings import seed_from
from fastvae.optimizers import Optimizer
from fastvae.training import State


class Learned:
    """Base of `Estimator`.

    A training puts a network in its place in one step, with all that was learned beside it; each method takes the
    network once, and asks nothing but that: its results are of one model, and what a user sets reaches no memory. A
    second training at the same time is refused.
    """

    __slots__ = ("__dict__", "__weakref__", "_exclusion")  # a lock is not part of the state
    _exclusion: Exclusion
    NETWORK: ClassVar[type[Network]]
    LOSSES: ClassVar[tuple[str, ...]] = ("loss",)  # what the network reports of a step
    HELDOUT: ClassVar[str] = "heldout_score"  # what `score_examples` gives, the larger the better
    PORTABLE: ClassVar[bool] = False  # see `hooks`
    network_: Any
    metadata_: dict[str, Any]
    _state: State
    _optimizer: Optimizer | None
    _draws: int
    _gradients: int
    _fitted: dict[str, Any]
    device: str
    random_state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """With or without a constructor, as copies are made."""
        self = super().__new__(cls)
        self._exclusion = Exclusion()
        return self

    # ---- what an estimator brings -------------------------------------------------------------------------------

    def _set_objective(self, network: Any) -> None:
        """Tell a network what the loss needs to know beside the batch."""

    def _make_optimizer(self) -> Optimizer:
        raise NotImplementedError

    # ---- as a whole ---------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: arrays instead of the network and the optimizer, which hold compiled functions."""
        state = vars(self).copy()
        network, optimizer = state.pop("network_", None), state.pop("_optimizer", None)
        if own := importable(state, state.get("_fitted", {})):
            state["_own"] = own  # a pickle imports their modules

        def pack() -> None:
            state["_state"] = copy.deepcopy(state["_state"])
            scaling = network.units.offset, network.units.scale, network.seed
            constants = {name: array.copy() for name, array in network.constants().items()}
            values = network.parameters.values.copy()
            state["_packed_state"] = {name: array.copy() for name, array in network.state.items()}
            state["_packed"] = network.architecture, network.complete, values, constants, *scaling, network.condition
            if optimizer is not None:
                arrays = {name: array.copy() for name, array in optimizer.state.items()}
                state["_packed_optimizer"] = optimizer.step_count, arrays

        if network is not None:
            network.exclusion.between_steps(pack)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not hasattr(self, "_exclusion"):  # an old protocol of pickle knows no __new__
            self._exclusion = Exclusion()
        state = dict(state)
        packed, packed_optimizer = state.pop("_packed", None), state.pop("_packed_optimizer", None)
        register_again(state.pop("_own", ()))
        packed_state = state.pop("_packed_state", {})  # a pickle of earlier versions has none
        made = self._copy_with(state)
        if packed is not None:
            architecture, complete, values, constants, offset, scale, seed, *condition = packed
            chosen = backend.select_for_file(made.device, made._fitted["precision"])
            made.network_ = made.NETWORK(architecture, chosen, not complete)
            made.network_.parameters.values[:] = values
            for name, array in made.network_.constants().items():
                array[:] = constants[name]
            for name, array in made.network_.state.items():
                array[:] = packed_state[name]
            made.network_.prepare(seed, Units(offset, scale), *condition)
            made._set_objective(made.network_)
            made._optimizer = None
        if packed_optimizer is not None:
            made._optimizer = made._make_optimizer()
            made._optimizer.step_count, *arrays = packed_optimizer
            stored = arrays[0] if isinstance(arrays[0], dict) else dict(zip(made._optimizer.STATE, arrays, strict=True))
            for name, array in made._optimizer.state.items():  # those of earlier versions have Adam's moments in order
                array[:] = stored[name]
        self._put(vars(made))

    def _copy_with(self, attributes: dict[str, Any]) -> Self:
        """Another of the class, with these attributes; of `vars(self)`, the model as it is now, whatever comes in its
        place meanwhile."""
        made = type(self).__new__(type(self))
        vars(made).update(attributes)
        return made

    def _put(self, attributes: dict[str, Any]) -> None:
        """Set attributes all at once: no other thread sees some of them without the rest."""
        self.__dict__ = vars(self) | attributes

    # ---- in part ------------------------------------------------------------------------------------------------

    def _noise_of_call(self, random_state: Any) -> tuple[np.uint64, int]:
        """Seed and step of the noise of one call of `sample`: of a given seed or generator at step 0; of its own seed
        at a step that counts on from call to call, of whatever thread."""
        if random_state is not None or not isinstance(self.random_state, int | np.integer):
            return seed_from(self.random_state if random_state is None else random_state), 0
        with self._exclusion.lock:
            self._draws += 1
            return seed_from(self.random_state), self._draws - 1

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in vars(self)

    def _check_fitted(self) -> Any:
        """Return the network; with all that it knows, it stays the same whatever is put in its place meanwhile."""
        network = vars(self).get("network_")
        if network is None:
            name = type(self).__name__
            raise NotFittedError(f"this {name} is not fitted: call fit first, or {name}.load")
        return network

    def _check_complete(self) -> Any:
        network = self._check_fitted()
        if not network.complete:
            name = type(self).__name__
            raise NotFittedError(f"this {name} was loaded with decoder_only=True and can only generate: load it whole")
        return network

    @property
    def n_features_in_(self) -> int:
        """D, the columns of the data."""
        return self._check_fitted().architecture.inputs

    @property
    def offset_(self) -> np.ndarray:
        """(D,) float64: the model sees (X - offset_) / scale_."""
        return self._check_fitted().units.offset

    @property
    def scale_(self) -> np.ndarray:
        """(D,) float64: see `offset_`."""
        return self._check_fitted().units.scale

    @property
    def classes_(self) -> np.ndarray:
        """(C,) int64, bool or text: the distinct labels that the model was conditioned on, sorted; an AttributeError
        where there were none."""
        condition = self._check_fitted().condition
        if not isinstance(condition, Labels):
            raise AttributeError(f"this {type(self).__name__} was not fitted with labels as its condition")
        return condition.classes.copy()

    @property
    def condition_names_(self) -> np.ndarray:
        """(C,) of str: names of the columns of the condition, where that was a frame of floats; an AttributeError where
        they had none."""
        condition = self._check_fitted().condition
        if not isinstance(condition, Vectors) or condition.names is None:
            raise AttributeError(f"this {type(self).__name__} was not fitted with a condition whose columns have names")
        return np.array(condition.names, dtype=object)

    @property
    def seed_(self) -> np.uint64:
        """Of all that is random."""
        return self._check_fitted().seed

    def parameters(self) -> dict[str, np.ndarray]:
        """Name to array, in order of use. The arrays are views: writing into them changes the model, but not while it
        is being trained on a GPU. Their shapes and flags are their own."""
        return self._check_fitted().parameters.named_values()

    @property
    def history_(self) -> dict[str, np.ndarray]:
        """Of each epoch: the loss and its parts (means over the examples), the held-out score (NaN without), images/s
        and seconds."""
        self._check_fitted()
        records = list(self._state.records)
        return {name: np.array([record[name] for record in records], np.float64) for name in self.history_names()}

    @property
    def heldout_name(self) -> str:
        """What `history_` calls the held-out score."""
        return self.HELDOUT

    def history_names(self) -> tuple[str, ...]:
        """The entries of `history_`."""
        return ("epoch", *self.LOSSES, self.heldout_name, "images_per_second", "seconds")

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
