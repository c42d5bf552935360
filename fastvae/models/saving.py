"""An estimator's files: the model, and the checkpoint that a run continues from. How they are stored: `persistence`."""

from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np

from fastvae import backend, persistence
from fastvae.errors import ModelFileError
from fastvae.models.base import HISTORY, Estimator
from fastvae.models.settings import check_integer, plain, seed_from
from fastvae.training import State


class SavedEstimator(Estimator):
    """An estimator that writes itself to a file and reads itself from one."""

    NAME: ClassVar[str]

    def save(self, path: Any) -> None:
        """Write the model to one `.npz`, atomically. Raises `FileAccessError`; what stood there is then unchanged."""
        self._check_complete()
        persistence.write_container(path, "model", *self._contents())

    def _contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        params = {name: plain(value) for name, value in self.get_params().items()}
        if not isinstance(params["random_state"], int | None):
            params["random_state"] = None  # a generator has moved on since; seed_ has what it gave
        header = {
            "model": self.NAME,
            "architecture": asdict(self.network_.architecture),
            "params": params,
            "seed": int(self.seed_),
            "steps": self.n_steps_,
            "metadata": plain(self.metadata_),
        }
        if hasattr(self, "feature_names_in_"):
            header["feature_names"] = plain(self.feature_names_in_)
        arrays = {"scaling.offset": self.offset_, "scaling.scale": self.scale_, **self.parameters()}
        arrays |= {f"history.{name}": values for name, values in self.history_.items()}
        return header, arrays

    def save_checkpoint(self, path: Any) -> None:
        """Write model, optimizer and the state of training to one file, atomically."""
        header, arrays = self._contents()
        optimizer = self._optimizer or self._make_optimizer()
        state = self._state.to_json()
        del state["records"]
        header["training"] = state | {"optimizer_steps": optimizer.step_count}
        arrays |= {"optimizer.first_moment": optimizer.first_moment, "optimizer.second_moment": optimizer.second_moment}
        if self._state.best_values is not None:
            arrays["training.best_values"] = self._state.best_values
        persistence.write_container(path, "checkpoint", header, arrays)

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
        return cls._from_file(path, {"model", "checkpoint"}, decoder_only, device)[0]

    @classmethod
    def load_checkpoint(cls, path: Any, device: str = "auto") -> Self:
        """Read a checkpoint; `fit_examples` then goes on where it was written."""
        model, header, arrays = cls._from_file(path, {"checkpoint"}, False, device)
        try:
            training = dict(header["training"])
            model._optimizer = model._make_optimizer()
            model._optimizer.step_count = int(training.pop("optimizer_steps"))
            model._optimizer.first_moment[:] = arrays["optimizer.first_moment"]
            model._optimizer.second_moment[:] = arrays["optimizer.second_moment"]
            records = model._state.records
            model._state = State(**training, records=records, best_values=arrays.get("training.best_values"))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path}: the state of training in it is not complete ({error})") from None
        return model

    @classmethod
    def _from_file(
        cls, path: Any, kinds: set[str], decoder_only: bool, device: str
    ) -> tuple[Self, dict[str, Any], dict[str, np.ndarray]]:
        wanted = (lambda name: name.startswith(cls._generation_names())) if decoder_only else None
        backend.select(device)  # a wrong one is refused before the file is read
        header, arrays = persistence.read_container(path, kinds, wanted)
        try:
            if header["model"] != cls.NAME:
                raise ValueError(f"it holds a {header['model']!r}")
            model = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in header["params"].items()})
            model.device = device
            chosen = backend.select_for_file(device, model.precision)
            network = cls._network_from(header["architecture"], arrays, chosen, decoder_only)
            seed = seed_from(check_integer("seed", header["seed"], 0))
            model._adopt(network, arrays["scaling.offset"], arrays["scaling.scale"], seed)
            model.metadata_ = dict(header["metadata"])
            if "feature_names" in header:
                model.feature_names_in_ = header["feature_names"]
            model._state = State(records=_records(arrays))
            model._state.epoch, model._state.step = len(model._state.records), int(header["steps"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise ModelFileError(f"{path}: its header does not describe a {cls.__name__} ({reason})") from None
        return model, header, arrays

    @staticmethod
    def _generation_names() -> tuple[str, ...]:
        """Prefixes of the arrays that generation needs."""
        raise NotImplementedError

    @classmethod
    def _network_from(
        cls, architecture: dict[str, Any], arrays: dict[str, np.ndarray], chosen: backend.Backend, decoder_only: bool
    ) -> Any:
        raise NotImplementedError


def _records(arrays: dict[str, np.ndarray]) -> list[dict[str, float]]:
    columns = {name: arrays[f"history.{name}"] for name in HISTORY if f"history.{name}" in arrays}
    length = min((len(values) for values in columns.values()), default=0)
    records = [{name: float(values[i]) for name, values in columns.items()} for i in range(length)]
    for record in records:
        record["epoch"] = int(record["epoch"])
    return records
