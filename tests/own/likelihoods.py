"""Likelihoods that tests register: the package's own again, by formulas of NumPy, and others."""

import math

import numpy as np

from fastvae.kernels import formulas
from fastvae.own import Likelihood


class SameBernoulli(Likelihood):
    """The package's own formula."""

    NAME, SUPPORT = "same_bernoulli", (0.0, 1.0)

    @staticmethod
    def term(x, a):
        return formulas.bernoulli_term(x, a)

    @staticmethod
    def inverse_link(a):
        return formulas.sigmoid(a)

    @staticmethod
    def link(mean):
        p = np.clip(mean, 1e-3, 1 - 1e-3)
        return np.log(p / (1 - p))

    @staticmethod
    def sample(mean, rng):
        return rng.random(mean.shape) < mean


class OwnBernoulli(Likelihood):
    """In plain NumPy, as a textbook has it."""

    NAME, SUPPORT, MEAN = "own_bernoulli", (0.0, 1.0), "sigmoid"

    @staticmethod
    def term(x, a):
        return np.logaddexp(0, a) - x * a, 1 / (1 + np.exp(-a)) - x

    @staticmethod
    def inverse_link(a):
        return 1 / (1 + np.exp(-a))


class OwnGaussian(Likelihood):
    """With a log sigma of each column that is learned."""

    NAME, DENSITY, SCALING, PARAMETERS = "own_gaussian", True, "standard", {"log_sigma": 0.0}

    @staticmethod
    def term(x, a, log_sigma):
        r = (a - x) * np.exp(-log_sigma)
        return r**2 / 2 + log_sigma + np.log(2 * np.pi) / 2, r * np.exp(-log_sigma), 1 - r**2

    @staticmethod
    def inverse_link(a):
        return a

    @staticmethod
    def sample(mean, rng, log_sigma):
        return rng.normal(mean, np.exp(log_sigma))


class OwnPoisson(Likelihood):
    """Of counts, of which the encoder sees log(1 + x)."""

    NAME, SUPPORT, WHOLE, SEEN = "own_poisson", (0.0, np.inf), True, "log1p"

    @staticmethod
    def term(x, a):
        return np.exp(a) - x * a + math.lgamma(x + 1), np.exp(a) - x

    @staticmethod
    def inverse_link(a):
        return np.exp(a)

    @staticmethod
    def encoder_input(x):
        return np.log1p(x)


def laplace(**changed):
    """Another one, registered by nobody, with something changed; None: left out."""
    body = {
        "NAME": "laplace", "DENSITY": True, "SCALING": "standard",
        "term": lambda x, a: (np.abs(x - a) + np.log(2), np.sign(a - x)),
        "inverse_link": lambda a: a,
    } | changed  # fmt: skip
    body = {name: staticmethod(v) if callable(v) else v for name, v in body.items() if v is not None}
    return type("Laplace", (Likelihood,), body | {"__module__": "elsewhere", "__qualname__": "Laplace"})
