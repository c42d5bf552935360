"""Likelihoods that are refused when they are registered, each with what is wrong, and where."""

import math
import re

import numpy as np
import pytest

from fastvae.likelihoods import LIKELIHOODS
from fastvae.own import register
from fastvae.parameters import Parameters
from tests.own.likelihoods import laplace

LOG_2 = np.log(2)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"NAME": None}, TypeError, "Laplace has no NAME"),
        ({"NAME": "La place"}, ValueError, "likelihood 'La place': a name of lower-case letters, digits and _"),
        ({"NAME": "gaussian"}, ValueError, "likelihood 'gaussian' exists already (of the package): take another name"),
        ({"NAME": "kl"}, ValueError, "op 'kl_forward' exists already (of the package)"),
        ({"term": None}, TypeError, "Laplace lacks term(x, a), a @staticmethod: the nll of one x"),
        ({"inverse_link": None}, TypeError, "Laplace lacks inverse_link(a), a @staticmethod: the mean of p(x|z)"),
        ({"term": lambda x: x}, TypeError, "Laplace.term takes (x); it must take (x, a)"),
        ({"term": lambda self, x, a: x}, TypeError, "make it a @staticmethod"),
        ({"sample": lambda mean: mean}, TypeError, "Laplace.sample takes (mean); it must take (mean, rng)"),
        ({"term": lambda x, a: abs(x - a) + LOG_2}, TypeError, "; 2 numbers are needed: the nll of one x, its deriva"),
        ({"term": lambda x, a: (x, a, 1.0)}, TypeError, "2 numbers are needed"),
        ({"term": lambda x, a: ("x", 1.0)}, TypeError, "2 real numbers are needed"),
        ({"term": lambda x, a: (np.array([x, a]), 1.0)}, TypeError, "2 real numbers are needed"),
        ({"term": lambda x, a: (undefined, 1.0)}, TypeError, "Laplace.term fails at x = -20, a = -11.9863: NameError"),  # noqa: F821
        ({"term": lambda x, a: (abs(x - a) + LOG_2, np.sign(x - a))}, ValueError,
         "Laplace.term: at x = -20, a = -11.9863 its number 2 is -1, and the nll changes by 1 with a: it must be the "
         "derivative of the nll by a"),
        ({"term": lambda x, a: (np.log(a), 1 / a)}, ValueError,
         "Laplace.term: the nll of one x is nan at x = -20, a = -11.9863; it must be finite over the support"),
        ({"term": lambda x, a: (abs(x - a), np.sign(a - x))}, ValueError,
         "at a = -6 exp(-nll), integrated over all x, is 1.999, not 1: a constant is missing, log(1.999) to be added"),
        ({"term": lambda x, a: (np.log(np.exp(8 * abs(x - a))) / 8 + LOG_2, np.sign(a - x))}, ValueError,
         "in float64 and inf in float32, in which it is compiled"),
        ({"term": lambda x, a: (abs(math.fsum([x, -a])) + LOG_2, np.sign(a - x))}, TypeError,
         "Laplace.term cannot be compiled by numba: Unknown attribute 'fsum'"),
        ({"inverse_link": lambda a: (a, a)}, TypeError, "Laplace.inverse_link returned"),
        ({"inverse_link": lambda a: np.sqrt(a)}, ValueError, "Laplace.inverse_link: the mean is nan at a = -11.9863"),
        ({"inverse_link": lambda a: np.exp(a) + 1, "MEAN": "exp"}, ValueError, "Laplace.MEAN: exp is 6.22"),
        ({"inverse_link": lambda a: np.exp(a), "MEAN": "cosh"}, ValueError, "Laplace.MEAN is 'cosh'; 'sigmoid' or"),
        ({"encoder_input": lambda x: np.log(x)}, ValueError, "Laplace.encoder_input: what the encoder is given is"),
        ({"PARAMETERS": {"weight": 0.0}}, ValueError, "'weight' is no name that a parameter can have"),
        ({"PARAMETERS": {"b": "one"}}, TypeError, "Laplace.term takes (x, a); it must take (x, a, b)"),
        ({"PARAMETERS": {"b": "one"}, "term": lambda x, a, b: (x, a, b)}, TypeError, "PARAMETERS['b']: 'one' gives no"),
        ({"PARAMETERS": {"b": 0.0}, "term": lambda x, a, b: ((x - a - b) ** 2, 2 * (a + b - x), 0.0)}, ValueError,
         "its number 3 is 0, and the nll changes by "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(changed, error, message):
    before = set(LIKELIHOODS)
    with pytest.raises(error, match=re.escape(message)):
        register(laplace(**changed))
    assert set(LIKELIHOODS) == before


def test_what_is_no_class():
    with pytest.raises(TypeError, match="is no subclass of fastvae.own.Likelihood"):
        register(dict)


def test_a_loss_that_is_no_likelihood():
    register(laplace(term=lambda x, a: (abs(x - a), np.sign(a - x)), NORMALISED=False))


def test_on_a_gpu_it_is_refused():
    class Device:
        ON_HOST = False

    register(laplace())
    likelihood = LIKELIHOODS["laplace"](3)
    with pytest.raises(ValueError, match="likelihood='laplace' is compiled for the CPU alone: use device='cpu'"):
        likelihood.bind(Parameters({}), Device)
