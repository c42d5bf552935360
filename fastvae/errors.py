"""What can go wrong, as types: each message says what was wrong, where, what was found, and what to do."""

import difflib
from collections.abc import Iterable


class NotFittedError(ValueError, AttributeError):
    """An estimator was asked for something that only `fit` or `load` can give (the same bases as scikit-learn's)."""


class NotAvailableError(AttributeError, TypeError):
    """An estimator was asked for a method that a model of its kind cannot have."""


class MissingPackageError(ImportError, ValueError):
    """Something needs a package that is optional, and is not installed."""


class UnusableTypeError(TypeError, ValueError):
    """Data are of a type that holds no real numbers (scikit-learn expects one base or the other, by the type)."""


class FileAccessError(OSError, ValueError):
    """A path could not be read or written: missing, no permission, a full disk. Nothing that stood there is lost."""

    def __str__(self) -> str:
        """The file and the reason, without the number that the system gives it."""
        return super().__str__() if self.filename is None else f"{self.filename}: {self.strerror}"


class FolderInUseError(ValueError):
    """Another process trains in this folder."""


class DataFileError(ValueError):
    """A data file was read and its content is not what it should be."""


class MissingLibraryError(ImportError, ValueError):
    """What was asked for needs an optional library that is not there: which, and how to install it."""


class ModelFileError(ValueError):
    """A model or checkpoint file is truncated, altered, foreign, or newer than this version can read.

    Attributes
    ----------
    modules : tuple of str
        Those that define what the model has of somebody's own, where importing them first is all that is needed.
    """

    modules: tuple[str, ...] = ()


class TrainingInProgressError(RuntimeError):
    """Something is training this model already: a second training of it is refused."""


class DivergenceError(ArithmeticError):
    """The loss stopped being a finite number during training."""


class TrainingWarning(UserWarning):
    """A training has ended, and something about its result should be known."""


class EvaluationWarning(UserWarning):
    """Something about the data or the result of an evaluation should be known."""


def counted(number: int, what: str) -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def closest(name: object, valid: Iterable[str]) -> str:
    """Say what is valid, and the nearest valid name first where one is near: for the end of an error message."""
    names = list(valid)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5) if isinstance(name, str) else []
    listing = ", ".join(repr(n) for n in names)
    return (f"did you mean {near[0]!r}? " if near else "") + f"valid: {listing}"


def check_name(argument: str, value: object, valid: Iterable[str]) -> None:
    """Raise `ValueError` that names the argument, the value and the nearest valid name unless `value` is valid."""
    names = list(valid)
    if not (isinstance(value, str) and value in names):
        raise ValueError(f"{argument}={value!r} is not known: {closest(value, names)}")
