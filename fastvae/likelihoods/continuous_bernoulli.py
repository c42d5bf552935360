"""Continuous Bernoulli: numbers in [0, 1] that are a density, as grey values are."""

from typing import Any

import numpy as np

from fastvae.data.scaling import check_unit_range
from fastvae.likelihoods.base import Likelihood
from fastvae.likelihoods.kinds.continuous_bernoulli import ContinuousBernoulliKind
from fastvae.passes import Pass
from fastvae.reference import mixed

KIND = ContinuousBernoulliKind()


class ContinuousBernoulli(Likelihood):
    """The density a e^(x a) / (e^a - 1) of x in [0, 1], a the decoder's outputs: nll = sum_D log((e^a - 1) / a) - x a.

    Where "bernoulli" takes grey values for probabilities of a 1, whose nll is no likelihood of theirs, this is one.
    Loaiza-Ganem and Cunningham 2019.
    """

    NAME, SUPPORT, DENSITY = "continuous_bernoulli", (0.0, 1.0), True

    def mean(self, p: Pass, a: np.ndarray) -> np.ndarray:
        """Write 1 / (1 - e^-a) - 1 / a over a."""
        p.add("continuous_mean_inplace", a)
        return a

    def terms(self, x: np.ndarray, a: np.ndarray) -> np.ndarray:
        """See `Likelihood.terms`."""
        return -mixed.continuous_bernoulli(x.astype(np.float64), a.astype(np.float64), 0.0)[0]

    def draw(
        self, mean: np.ndarray, kernels: Any, seed: np.uint64, call: int, columns: slice = slice(None)
    ) -> np.ndarray:
        """By the inverse of the distribution function at uniform noise."""
        u = self.uniform(mean.shape, kernels, seed, call).astype(np.float64)
        return KIND.quantile(KIND.logit(mean.astype(np.float64)), u).astype(mean.dtype)

    def intercept(self, mean: np.ndarray) -> np.ndarray:
        """The logit of each mean."""
        return KIND.logit(mean.astype(np.float64))

    def check(
        self,
        X: Any,
        found: tuple[np.ndarray, np.ndarray],
        scaling: tuple[np.ndarray, np.ndarray],
        name: str = "X",
        asked: Any = None,
    ) -> None:
        """Raise `ValueError` unless all values lie in [0, 1], once scaled."""
        settings = "likelihood='continuous_bernoulli'", "likelihood='gaussian'"
        check_unit_range(*found, *scaling, name, asked, settings)
