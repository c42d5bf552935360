"""An estimator's arguments: read and set as scikit-learn does it, and which of them a training has fixed."""

import functools
import inspect
import reprlib
from typing import Any, ClassVar, Self

from fastvae.errors import check_name
from fastvae.models.settings import plain


class Arguments:
    """The constructor's arguments, each an attribute of the same name."""

    __slots__ = ()

    # those that may be changed between two trainings of one model; all others are fixed by the first one
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset(
        ("epochs", "batch_size", "learning_rate", "clip_norm", "device", "verbose", "early_stopping")
        + ("validation_fraction", "weight_decay", "schedule", "warmup_steps", "average", "warm_start")
    )
    _fitted: dict[str, Any]  # the others, as they were then

    @classmethod
    @functools.cache
    def _names(cls) -> list[str]:
        return [p for p in inspect.signature(cls.__init__).parameters if p != "self"]

    def _store(self, given: dict[str, Any]) -> None:
        """What a constructor does: each argument becomes an attribute of its name."""
        for name in self._names():
            setattr(self, name, given[name])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments and their present values."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor, for the next `fit`.

        How a model is trained (epochs, batch_size, learning_rate, clip_norm, weight_decay, schedule, warmup_steps,
        average, warm_start and, of a VAE, beta and kl_warmup_epochs) may be changed for the next `partial_fit` too. Any
        other argument is fixed by the first training: `partial_fit`, and `fit` with `warm_start`, refuse to go on where
        one was changed.
        """
        for name in params:
            check_name("parameter", name, self._names())
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = (f"{n}={v!r}" for n, v in self.get_params().items() if repr(v) != repr(defaults[n].default))
        return f"{type(self).__name__}({', '.join(changed)})"

    def _fixed(self) -> dict[str, Any]:
        """What a training fixes, as it is now, and copied."""
        return {name: _copied(value) for name, value in self.get_params().items() if name not in self.CHANGEABLE}

    def _check_fixed(self) -> None:
        """Raise unless everything that the first training has fixed is as it was then."""
        for name, fitted in self._fitted.items():
            value = getattr(self, name)
            if not _same(value, fitted):
                anew = "set warm_start=False and call fit" if getattr(self, "warm_start", False) else "call fit"
                raise ValueError(
                    f"{name}={reprlib.repr(value)} was set after this model was fitted with {name}="
                    f"{reprlib.repr(fitted)}: {anew} to start anew with it, or set it back to train on"
                )


def _copied(value: Any) -> Any:
    """A value that nobody's changes to an array or list reach; a generator is itself."""
    try:
        found = plain(value)
    except (TypeError, ValueError):
        return value
    return tuple(found) if isinstance(found, list) else found


def _same(value: Any, fitted: Any) -> bool:
    try:
        return value is fitted or bool(_copied(value) == fitted)
    except ValueError:  # of arrays, which no file holds either
        return False
