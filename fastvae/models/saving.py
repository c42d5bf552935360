"""An estimator's files: the model, and the checkpoint that a run continues from. How they are stored: `persistence`.

Whatever a file says is checked when it is read, for its type, its range, and against the rest of the file; `save` and
every training begin with the same checks, so that nothing is trained or written that could not be read.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Self, get_type_hints

import numpy as np

from fastvae import backend, persistence
from fastvae.data.condition import Condition, stored_condition
from fastvae.data.scaling import Units
from fastvae.data.validation import LARGEST
from fastvae.declared import declared, entry, from_fields
from fastvae.errors import ModelFileError
from fastvae.export import safetensors_file
from fastvae.models.fitting import TrainedEstimator
from fastvae.models.names import ESTIMATORS
from fastvae.models.origin import check_origins, origins
from fastvae.models.settings import LARGEST_SEED, plain
from fastvae.training import State

# of the entries of `metadata_` that the commands read; others are the user's
METADATA = {
    "image_shape": list[int] | None,
    "ink": bool,
    "column_names": Any,
    "binarize": str | float | None,
    "condition": list[str] | None,
    "fingerprint": str,
}


class SavedEstimator(TrainedEstimator):
    """An estimator that writes itself to a file and reads itself from one."""

    NAME: ClassVar[str]
    OLDER: ClassVar[dict[str, Any]] = {
        "warm_start": False
    }  # arguments that files of earlier versions lack: what those models were

    # ---- writing ------------------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write the model to one `.npz`, atomically. Raises `FileAccessError`; what stood there is then unchanged.

        While another thread trains the model, what is written is a copy, made between two steps.
        """
        model = self._copy_with(vars(self))
        network = model._check_complete()
        persistence.write_container(path, "model", *network.exclusion.between_steps(model._contents))

    def _header(self) -> dict[str, Any]:
        """What a file says beside the arrays; raises where `load` would refuse it."""
        params, fitted = _storable(self.get_params()), _storable(self._fitted)
        self._from_params(params)
        header = {
            "model": self.NAME,
            "architecture": asdict(self.network_.architecture),
            "params": params,
            "fitted": {name: value for name, value in fitted.items() if value != params[name]},
            "seed": int(self.seed_),
            "steps": self.n_steps_,
            "metadata": _checked_metadata(_nested("metadata_", self.metadata_), self.n_features_in_),
        }
        if own := origins(self.network_):
            header["own"] = own
        if self.network_.condition is not None:
            header["condition"] = self.network_.condition.to_json()
        if hasattr(self, "feature_names_in_"):
            header["feature_names"] = _checked_names(
                "feature_names", plain(self.feature_names_in_), self.n_features_in_
            )
        return header

    def _check_storable(self) -> None:
        persistence.encoded(self._header())

    def _contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and arrays, copies."""
        network = self._check_complete()
        arrays = {"scaling.offset": network.units.offset, "scaling.scale": network.units.scale}
        arrays |= {name: values.copy() for name, values in network.parameters.named_values().items()}
        arrays |= network.constants()
        arrays |= {} if network.condition is None else network.condition.arrays()
        arrays |= {f"history.{name}": values for name, values in self.history_.items()}
        return self._header(), arrays

    def save_checkpoint(self, path: Any) -> None:
        """Write model, optimizer and the state of training to one file, atomically; a copy as `save` does."""
        model = self._copy_with(vars(self))
        network = model._check_complete()
        persistence.write_container(path, "checkpoint", *network.exclusion.between_steps(model._checkpoint_contents))

    def _checkpoint_contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        header, arrays = self._contents()
        optimizer, state = self._optimizer or self._make_optimizer(), self._state
        header["training"] = state.to_json() | {"optimizer_steps": optimizer.step_count}
        arrays |= {f"optimizer.{name}": array.copy() for name, array in optimizer.state.items()}
        arrays |= {f"state.{name}": array.copy() for name, array in self.network_.state.items()}
        if state.best_values is not None:
            arrays["training.best_values"] = state.best_values
        return header, arrays | {f"training.best_{name}": array for name, array in state.best_state.items()}

    # ---- reading ------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: Any, decoder_only: bool = False, device: str = "auto") -> Self:
        """Read a model that `save` wrote, or the model in a checkpoint.

        Parameters
        ----------
        decoder_only
            Read what generation needs and nothing else: `decode` and `sample` work, the encoder stays on the disk.
        device
            Where the model is to compute, and to be trained further, wherever it was trained: "auto", "cpu", "cuda".

        Raises
        ------
        ModelFileError
            The file is truncated, altered, foreign, or of a newer format. Nothing in it is ever executed.
        FileAccessError
            It cannot be read.
        """
        return cls._from_file(path, {"model", "checkpoint"}, device, decoder_only)

    @classmethod
    def load_checkpoint(cls, path: Any, device: str = "auto") -> Self:
        """Read a checkpoint; `fit_examples` then goes on where it was written."""
        return cls._from_file(path, {"checkpoint"}, device, training=True)

    @classmethod
    def _from_file(
        cls, path: Any, kinds: set[str], device: str, decoder_only: bool = False, training: bool = False
    ) -> Self:
        wanted = (lambda name: not name.startswith(cls._left_out())) if decoder_only else None
        backend.select(device)  # a wrong one is refused before the file is read
        header, arrays = read_file(path, kinds, wanted)
        check_origins(path, header, cls.__name__)
        try:
            model = cls._restored(header, arrays, device, decoder_only)
            if training:
                model._restore_training(header, arrays)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            reason = " ".join(str(error).split())
            reason = reason if len(reason) <= 400 else reason[:400] + " ..."
            raise ModelFileError(f"{path}: it does not describe a {cls.__name__}: {reason}") from None
        return model

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray], device: str, decoder_only: bool) -> Self:
        """The model of a file. Nothing is allocated before what the header says agrees with the arrays."""
        if (name := entry("", header, "model", str)) != cls.NAME:
            reads = f": {name}.load reads it" if name in ESTIMATORS else ""
            raise ValueError(f"model is {name!r}; expected {cls.NAME!r}{reads}")
        params = cls.OLDER | entry("", header, "params", dict[str, Any])
        model = cls._from_params(params)
        fitted = cls._from_params(params | declared("fitted", header.get("fitted", {}), dict[str, Any]))
        condition = stored_condition(header["condition"], arrays) if "condition" in header else None
        architecture = fitted._stored_architecture(entry("", header, "architecture", dict[str, Any]), condition)
        columns = architecture.inputs
        offset, scale = (checked_array(arrays, f"scaling.{name}", (columns,), "f8") for name in ("offset", "scale"))
        if not (np.abs(offset).max() <= LARGEST and scale.min() > 0 and scale.max() <= 2 * LARGEST):
            raise ValueError("arrays 'scaling.offset' and 'scaling.scale' have values that no data have")
        seed = entry("", header, "seed", Any)
        if type(seed) is not int or not 0 <= seed <= LARGEST_SEED or fitted.random_state not in (None, seed):
            raise ValueError(f"seed is {seed!r}; random_state is {fitted.random_state!r}")
        metadata = _checked_metadata(entry("", header, "metadata", Any), columns)
        steps = entry("", header, "steps", int)
        records = [] if decoder_only else _records(arrays, fitted.history_names())
        state = State(epoch=len(records), step=steps, records=records)
        state.check()

        model.device = device
        chosen = backend.select_for_file(device, fitted.precision)
        network = cls._network_from(architecture, arrays, chosen, decoder_only)
        model._adopt(network, Units(offset, scale), np.uint64(seed), fitted._fixed(), None, {}, condition)
        model.metadata_, model._state = metadata, state
        if "feature_names" in header:
            names = _checked_names("feature_names", header["feature_names"], columns)
            model.feature_names_in_ = np.array(names, dtype=object)
        return model

    def _restore_training(self, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Set the optimizer and the state of training from a checkpoint."""
        training = dict(entry("", header, "training", dict[str, Any]))
        self._optimizer = optimizer = self._make_optimizer()
        optimizer.step_count = entry("training", training, "optimizer_steps", int)
        del training["optimizer_steps"]
        size = self.network_.parameters.values.shape
        for name, array in optimizer.state.items():
            array[:] = checked_array(arrays, f"optimizer.{name}", size)
        for name, array in self.network_.state.items():
            array[:] = checked_array(arrays, f"state.{name}", array.shape)
        best = ("best_values", *(f"best_{name}" for name in optimizer.state))
        stored = tuple(name for name in best if f"training.{name}" in arrays)
        kept = {name: checked_array(arrays, f"training.{name}", size) for name in stored}
        state = from_fields(State, "training", training, records=self._state.records, best_values=None, best_state={})
        state.check()
        if state.step != self.n_steps_ or optimizer.step_count > state.step:
            raise ValueError(
                f"training.step is {state.step}, training.optimizer_steps {optimizer.step_count}, steps {self.n_steps_}"
            )
        if state.sums and set(state.sums) != set(self.LOSSES):
            raise ValueError(f"training.sums has {', '.join(state.sums)}; expected the parts of the loss")
        wanted = best if state.best_elbo is not None else ()
        if stored not in (wanted, wanted[:1]):  # checkpoints of earlier versions have the best values alone
            raise ValueError(
                f"training.best_epoch is {state.best_epoch}; the file has {', '.join(stored) or 'nothing'}"
            )
        state.best_values = kept.pop("best_values", None)
        state.best_state = {name.removeprefix("best_"): array for name, array in kept.items()}
        self._state = state

    @classmethod
    @functools.cache
    def _kinds(cls) -> dict[str, Any]:
        """Types of the arguments, as the constructor declares them."""
        return get_type_hints(cls.__init__)

    @classmethod
    def _from_params(cls, params: dict[str, Any]) -> Self:
        """An estimator with these arguments, all that there are, each checked."""
        kinds, names = cls._kinds(), cls._names()
        for name in {*params, *names}:
            if (name in params) != (name in names):
                raise ValueError(f"params.{name} is {'not known' if name in params else 'missing'}")
        found = {name: declared(f"params.{name}", value, kinds.get(name, Any)) for name, value in params.items()}
        model = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})
        model._check_settings()
        return model

    def _stored_architecture(self, stored: dict[str, Any], condition: Condition | None = None) -> Any:
        """The architecture that the arguments and a condition give, which must be the one that a file says."""
        inputs = entry("architecture", stored, "inputs", int)
        if inputs < 1:
            raise ValueError(f"architecture.inputs is {inputs}; expected at least 1")
        architecture = self._conditioned(self._architecture(inputs), condition)
        expected = plain(asdict(architecture))
        for name, value in stored.items():
            if name not in expected:
                raise ValueError(f"architecture.{name} is not known")
            if value != expected[name]:
                raise ValueError(f"architecture.{name} is {value!r}; the arguments give {expected[name]!r}")
        return architecture

    # ---- what an estimator brings: see `hooks` -------------------------------------------------------------

    @staticmethod
    def _left_out() -> tuple[str, ...]:
        return "history.", "optimizer.", "state.", "training."

    @classmethod
    def _network_from(
        cls, architecture: Any, arrays: dict[str, np.ndarray], chosen: backend.Backend, decoder_only: bool
    ) -> Any:
        """The network with the parameters in `arrays`; nothing is allocated before these are checked."""
        expected = cls.NETWORK.expected_shapes(architecture, decoder_only)
        values = {name: checked_array(arrays, name, shape) for name, shape in expected.items()}
        network = cls.NETWORK(architecture, chosen, decoder_only)
        for name, value in values.items():
            network.parameters.value(name)[...] = value
        for name, constant in network.constants().items():
            constant[...] = checked_array(arrays, name, constant.shape)
        return network


def read_file(
    path: Any, kinds: set[str], names: Callable[[str], bool] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a model, from its own kind of file or from one of safetensors: see
    `persistence.read_container`."""
    if "model" in kinds and safetensors_file.recognised(path):
        return safetensors_file.read(path, names)
    return persistence.read_container(path, kinds, names)


def checked_array(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: str = "f4", finite: bool = True
) -> np.ndarray:
    """The array of a file that has that name; it must have that shape and dtype, and finite values, not below 0 where
    they are squares."""
    if name not in arrays:
        raise ValueError(f"array {name!r} should have shape {shape}; the file has nothing")
    array = arrays[name]
    if array.shape != shape or array.dtype != np.dtype(dtype):
        found = f"{array.shape}, {array.dtype}"
        raise ValueError(f"array {name!r} should have shape {shape} and dtype {np.dtype(dtype)}; the file has {found}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"array {name!r} has values that are not finite")
    if name.endswith("second_moment") and array.min() < 0:
        raise ValueError(f"array {name!r} has values below 0")
    return array


def _storable(params: dict[str, Any]) -> dict[str, Any]:
    """Arguments as a file has them; not a generator: it has moved on since, and `seed_` has what it gave."""
    generators = np.random.Generator | np.random.RandomState
    return {name: None if isinstance(v, generators) else _nested(name, v) for name, v in params.items()}


def _nested(name: str, value: Any) -> Any:
    try:
        return plain(value, name)
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply, or holds itself") from None


def _checked_names(place: str, names: Any, columns: int) -> list[str]:
    found: list[str] = declared(place, names, list[str])
    if len(found) != columns:
        raise ValueError(f"{place} has {len(found)} names; the model has {columns} columns")
    return found


def _checked_metadata(metadata: Any, columns: int) -> dict[str, Any]:
    found: dict[str, Any] = declared("metadata", metadata, dict[str, Any])
    known = {name: declared(f"metadata.{name}", found.get(name), kind | None) for name, kind in METADATA.items()}
    shape, binarize = known["image_shape"], known["binarize"]
    if shape is not None and (len(shape) not in (2, 3) or math.prod(shape) != columns):
        raise ValueError(f"metadata.image_shape is {shape}; the model has {columns} columns")
    if known["column_names"] is not None:
        _checked_names("metadata.column_names", known["column_names"], columns)
    if binarize is not None and not (binarize == "dynamic" if isinstance(binarize, str) else 0 <= binarize < 1):
        raise ValueError(f"metadata.binarize is {binarize!r}; expected 'dynamic' or a number in [0, 1)")
    return found


def _records(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> list[dict[str, float]]:
    """Of each finished epoch, from arrays of one length."""
    count = arrays["history.epoch"].size if "history.epoch" in arrays else 0
    columns = {}
    for name in names:  # data held out may be such that their score is not finite
        found = checked_array(arrays, f"history.{name}", (count,), "f8", finite=not name.startswith("heldout"))
        columns[name] = found.tolist()
    if columns["epoch"] != list(range(1, count + 1)):
        raise ValueError(f"array 'history.epoch' does not count from 1 to {count}")
    return [{name: columns[name][i] for name in names} | {"epoch": i + 1} for i in range(count)]
