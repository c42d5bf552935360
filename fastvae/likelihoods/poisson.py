"""Poisson: counts."""

from typing import Any

import numpy as np

from fastvae import reference
from fastvae.data.validation import pieces
from fastvae.kernels import philox
from fastvae.likelihoods.base import Likelihood
from fastvae.likelihoods.kinds.poisson import LEAST_MEAN, MOST
from fastvae.passes import Pass


class Poisson(Likelihood):
    """Poisson(x; exp(a)), a the decoder's outputs: nll = sum_D exp(a) - x a + log x!, for whole numbers x from 0.

    A probability mass: counts are taken as they are, not scaled. Above a = 30, a rate of 1e13, exp(a) goes on as its
    tangent.
    """

    NAME, SUPPORT, WHOLE = "poisson", (0.0, np.inf), True
    SEEN, MEAN = "log1p", "exp"

    def seen(self, p: Pass, x: np.ndarray) -> np.ndarray:
        """Write log(1 + x): counts may differ by orders of magnitude."""
        seen = p.empty(x.shape[1])
        p.add("log1p", x, seen)
        return seen

    def mean(self, p: Pass, a: np.ndarray) -> np.ndarray:
        """Write exp(a) over a."""
        p.add("exp_inplace", a)
        return a

    def terms(self, x: np.ndarray, a: np.ndarray) -> np.ndarray:
        """See `Likelihood.terms`."""
        return reference.poisson_terms(x.astype(np.float64), a.astype(np.float64))

    def draw(
        self, mean: np.ndarray, kernels: Any, seed: np.uint64, call: int, columns: slice = slice(None)
    ) -> np.ndarray:
        """Counts at the rate `mean`, by NumPy's generator."""
        rng = np.random.Generator(np.random.Philox(key=int(seed), counter=[0, 0, call, philox.OBSERVATION]))
        return rng.poisson(np.minimum(mean, MOST)).astype(mean.dtype)

    def intercept(self, mean: np.ndarray) -> np.ndarray:
        """log(mean), with the mean kept off 0."""
        return np.log(np.maximum(mean, LEAST_MEAN))

    def check(
        self,
        X: Any,
        found: tuple[np.ndarray, np.ndarray],
        scaling: tuple[np.ndarray, np.ndarray],
        name: str = "X",
        asked: Any = None,
        needed_by: str = NAME,
    ) -> None:
        """Raise `ValueError` unless all values are whole numbers from 0, and no scaling was asked for."""
        offset, scale = scaling
        needs = f"likelihood={needed_by!r} needs counts, whole numbers from 0: use likelihood='gaussian' for other data"
        if (offset != 0).any() or (scale != 1).any():
            taken = f"likelihood={needed_by!r} takes counts as they are"
            raise ValueError(f"{taken}: scale={asked!r} must be None or 'auto'")
        smallest = float(found[0].min())
        if smallest < 0:
            raise ValueError(f"{name} has values down to {smallest:.6g}; {needs}")
        if X.dtype.kind not in "biu":
            for start, piece in pieces(X):
                wrong = np.argwhere(piece != np.floor(piece))
                if len(wrong):
                    row, column = (int(i) for i in wrong[0])
                    place = f"{piece[row, column]:.6g} at row {start + row}, column {column}"
                    raise ValueError(f"{name} has a value that is no whole number ({place}); {needs}")
