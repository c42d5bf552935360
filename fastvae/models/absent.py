"""Methods that an estimator does not have, though its neighbours do: asking for one says why, and what to use."""

from typing import Any

from fastvae.errors import NotAvailableError


class _Absent:
    """A descriptor in the place of a method: `hasattr` finds nothing, and so scikit-learn takes no GAN for a
    transformer; `model.transform` raises with the reason."""

    def __init__(self, reason: str):
        self.__doc__ = f"Not there: {reason}."
        self._reason = reason

    def __get__(self, instance: Any, owner: type) -> Any:
        raise NotAvailableError(self._reason.replace("{name}", owner.__name__))


def absent(reason: str) -> Any:
    """What stands in the place of a method that is not there; "{name}" in the reason is the estimator's."""
    return _Absent(reason)
