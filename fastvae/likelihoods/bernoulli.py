"""Bernoulli: data in [0, 1]."""

from typing import Any

import numpy as np

from fastvae import reference
from fastvae.data.scaling import check_unit_range
from fastvae.likelihoods.base import Likelihood
from fastvae.passes import Pass


class Bernoulli(Likelihood):
    """Bernoulli(x; sigmoid(a)), a the decoder's outputs: nll = sum_D softplus(a) - x a, for x in [0, 1].

    Between 0 and 1 it is the usual cross-entropy of a pixel taken as a probability. It is a probability mass, not a
    density: scaling of the data does not enter it.
    """

    NAME, SUPPORT = "bernoulli", (0.0, 1.0)
    MEAN = "sigmoid"

    def mean(self, p: Pass, a: np.ndarray) -> np.ndarray:
        """Write sigmoid(a) over a."""
        p.add("sigmoid_inplace", a)
        return a

    def terms(self, x: np.ndarray, a: np.ndarray) -> np.ndarray:
        """See `Likelihood.terms`."""
        return reference.bernoulli_terms(x.astype(np.float64), a.astype(np.float64))

    def draw(
        self, mean: np.ndarray, kernels: Any, seed: np.uint64, call: int, columns: slice = slice(None)
    ) -> np.ndarray:
        """1 with probability `mean`, else 0."""
        return (self.uniform(mean.shape, kernels, seed, call) <= mean).astype(mean.dtype)

    def check(
        self,
        X: Any,
        found: tuple[np.ndarray, np.ndarray],
        scaling: tuple[np.ndarray, np.ndarray],
        name: str = "X",
        asked: Any = None,
    ) -> None:
        """Raise `ValueError`, with the range found, unless the values lie in [0, 1] once scaled."""
        check_unit_range(*found, *scaling, name, asked)

    def intercept(self, mean: np.ndarray) -> np.ndarray:
        """logit(mean), with the mean kept off 0 and 1."""
        p = np.clip(mean, 1e-3, 1 - 1e-3)
        return np.log(p / (1 - p))
