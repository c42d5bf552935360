"""Kinds of columns of a mixed table, each with its likelihood: what is made of the decoder's outputs, in NumPy.

The nll of each, and its gradient, are in `fastvae.kernels.mixed`; in float64, to be read, in `fastvae.reference.mixed`.
"""

from fastvae.likelihoods.kinds.bernoulli import BernoulliKind
from fastvae.likelihoods.kinds.categorical import CategoricalKind
from fastvae.likelihoods.kinds.continuous_bernoulli import ContinuousBernoulliKind
from fastvae.likelihoods.kinds.gaussian import GaussianKind
from fastvae.likelihoods.kinds.kind import Kind as Kind
from fastvae.likelihoods.kinds.negative_binomial import NegativeBinomialKind
from fastvae.likelihoods.kinds.poisson import PoissonKind

KINDS: dict[str, Kind] = {
    kind.NAME: kind()
    for kind in (
        GaussianKind, PoissonKind, NegativeBinomialKind, BernoulliKind, ContinuousBernoulliKind, CategoricalKind,
    )
}  # fmt: skip
