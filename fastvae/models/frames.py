"""What an estimator has to do with frames of pandas and polars: names of columns that come in, frames that go out."""

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from fastvae.data.conversion import check_names, column_names, is_frame
from fastvae.errors import check_name

CONTAINERS = ("default", "pandas", "polars")


class Frames:
    """The part of an estimator that knows frames.

    Attributes
    ----------
    feature_names_in_ : ndarray (D,) of str
        Names of the columns that the model was fitted on, where it was a frame whose names are text, or a table that
        a command read; there is none otherwise.
    """

    __slots__ = ()

    _feature_names: np.ndarray | None = None

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns that the model was fitted on; an AttributeError where they had none."""
        names = self._feature_names
        if names is None:
            names = vars(self).get("metadata_", {}).get("column_names")
        if names is None:
            raise AttributeError(f"this {type(self).__name__} was not fitted on columns with names")
        return np.array(names, dtype=object)

    @feature_names_in_.setter
    def feature_names_in_(self, names: Any) -> None:
        vars(self)["_feature_names"] = np.array(names, dtype=object)

    def _check_names(self, X: Any, name: str = "X") -> None:
        """Raise `ValueError` where X is a frame of other columns, or in another order."""
        if is_frame(X):
            check_names(column_names(X), getattr(self, "feature_names_in_", None), name)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what `transform` and `fit_transform` return.

        Parameters
        ----------
        transform
            "default": an array; "pandas" or "polars": a frame with `get_feature_names_out` as its columns and, in
            pandas, the index of X. None changes nothing. Where this was never called, scikit-learn's `set_config` says
            it.
        """
        if transform is not None:
            check_name("transform", transform, CONTAINERS)
            vars(self)["_sklearn_output_config"] = {"transform": transform}  # scikit-learn's name: `clone` copies it
        return self

    def _container(self) -> str:
        chosen = vars(self).get("_sklearn_output_config", {}).get("transform")
        sklearn = sys.modules.get("sklearn")  # where nobody has imported it, nobody has configured it
        if chosen is None and sklearn is not None:
            chosen = sklearn.get_config().get("transform_output", "default")
            check_name("transform_output", chosen, CONTAINERS)
        return chosen or "default"

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that `transform` gives."""
        raise NotImplementedError


def framed(transform: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The method with its result as the user has chosen by `Frames.set_output`: to type checkers an array."""

    @functools.wraps(transform)
    def framing(self: Any, X: Any, condition: Any = None) -> Any:
        container = self._container()
        if container != "default":
            library = _imported(container)
        codes = transform(self, X, condition)
        if container == "default":
            return codes
        names = list(self.get_feature_names_out())
        if container == "polars":
            return library.DataFrame(codes, schema=names, orient="row")
        index = X.index if isinstance(X, library.DataFrame) else None
        return library.DataFrame(codes, index=index, columns=names, copy=False)

    return framing


def _imported(container: str) -> Any:
    try:
        return importlib.import_module(container)
    except ImportError:
        raise ImportError(
            f"transform output as {container!r} was set, which needs it: pip install {container}"
        ) from None
