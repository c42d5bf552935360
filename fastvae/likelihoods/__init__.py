"""Likelihoods p(x|z), by name."""

from fastvae.errors import check_name
from fastvae.likelihoods.base import Likelihood as Likelihood
from fastvae.likelihoods.bernoulli import Bernoulli as Bernoulli
from fastvae.likelihoods.continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulli
from fastvae.likelihoods.gaussian import Gaussian as Gaussian
from fastvae.likelihoods.negative_binomial import NegativeBinomial as NegativeBinomial
from fastvae.likelihoods.poisson import Poisson as Poisson

LIKELIHOODS: dict[str, type[Likelihood]] = {
    kind.NAME: kind for kind in (Bernoulli, Gaussian, Poisson, ContinuousBernoulli, NegativeBinomial)
}


def make_likelihood(name: str, sigma: float | str, columns: int = 1, per_column: bool = False) -> Likelihood:
    """The likelihood of that name. A wrong sigma is refused, not ignored, also where it is not used."""
    check_name("likelihood", name, tuple(LIKELIHOODS))
    gaussian = Gaussian(sigma, columns, per_column)
    return gaussian if name == Gaussian.NAME else LIKELIHOODS[name](columns)
