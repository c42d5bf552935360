"""Likelihoods of one's own, as formulas of one number: see `Likelihood`."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastvae.data.scaling import check_unit_range
from fastvae.errors import NotAvailableError
from fastvae.kernels import philox
from fastvae.kernels.slots import Slot
from fastvae.likelihoods import base
from fastvae.likelihoods.base import Weigh
from fastvae.likelihoods.bisection import solve
from fastvae.likelihoods.poisson import Poisson
from fastvae.own.formulas import Formula
from fastvae.parameters import Parameters, Shape
from fastvae.passes import Pass

LEAST_START, NEAR, FURTHEST = 7.0, 1e-3, 1e9  # of the outputs at first: see `intercept`


class Likelihood(base.Likelihood):
    """A likelihood of one's own: formulas of one number, in plain NumPy, of which `register` makes the compiled loops.

        @register
        class Laplace(Likelihood):
            NAME, DENSITY, SCALING = "laplace", True, "standard"

            @staticmethod
            def term(x, a):
                return np.abs(x - a) + np.log(2.0), np.sign(a - x)

            @staticmethod
            def inverse_link(a):
                return a

            @staticmethod
            def sample(mean, rng):
                return rng.laplace(mean)

        VAE(likelihood="laplace").fit(X)

    The formulas run as they stand, in float64, where they are checked; compiled they are float32, with this package's
    own `exp`, `log`, `log1p`, `expm1`, `tanh`, `logaddexp` and `lgamma` in the place of NumPy's and `math`'s. They may
    branch (`a if a > 0 else 0.0`), and call functions of the same kind.

    Attributes
    ----------
    NAME
        What the user calls it: lower-case letters, digits and _.
    SUPPORT, WHOLE, DENSITY, SCALING
        As `fastvae.likelihoods.base.Likelihood` has them: the least and largest x, whether they are whole numbers,
        whether p(x|z) is a density, which scaling suits.
    PARAMETERS
        Name to start of parameters that are learned, each one a column: a number, or a function of the data's
        deviation from the decoder's first outputs and of their mean (D,), in model units.
    LINEAR
        True where the decoder's outputs are means of anything like a Gaussian: then it may begin at probabilistic PCA.
    NORMALISED
        False for a loss that is no likelihood: then nobody checks that the probabilities of all x add up to 1, and
        scores and evaluations are of that loss.
    MEAN, SEEN
        "sigmoid" or "exp", and "log1p", where the inverse link and what an encoder is given are that: of such ones
        alone a model can be exported, and of those that are the identity.
    """

    PARAMETERS: ClassVar[dict[str, Any]] = {}
    NORMALISED: ClassVar[bool] = True
    FORMULAS: ClassVar[dict[str, Formula]]  # set by `register`
    IS_IDENTITY: ClassVar[bool]
    PROBE: ClassVar[list[float]]  # what it computes of some numbers: files tell it by that

    def __init__(self, columns: int = 1):
        super().__init__(columns)
        self._values = [np.empty(columns, np.float32) for _ in self.PARAMETERS]
        self._mean = np.zeros(columns)
        self.initialise(np.ones(columns), self._mean)

    # ---- what one brings ----------------------------------------------------------------------------------------

    @staticmethod
    def term(x: Any, a: Any, *parameters: Any) -> Any:
        """The nll of one x at the decoder's output a, in nats with all constants; its derivative by a; and by each of
        the parameters. Must be there."""
        raise NotImplementedError

    @staticmethod
    def inverse_link(a: Any) -> Any:
        """The mean of p(x|z) at the decoder's output a. Must be there."""
        raise NotImplementedError

    @staticmethod
    def sample(mean: np.ndarray, rng: np.random.Generator, *parameters: np.ndarray) -> np.ndarray:
        """Draw x (N, D) from p(x|z), given its mean (N, D) and the parameters (D,); in model units. Must be there for
        `sample(noise=True)`."""
        raise NotImplementedError

    @staticmethod
    def encoder_input(x: Any) -> Any:
        """What an encoder is given of one x; x itself where it is left out."""
        raise NotImplementedError

    @staticmethod
    def link(mean: Any) -> Any:
        """The inverse of the inverse link, where the decoder's outputs begin; found by bisection where left out."""
        raise NotImplementedError

    # ---- in a pass: see `base.Likelihood` -------------------------------------------------------------------------

    def seen(self, p: Pass, x: np.ndarray) -> np.ndarray:
        """Write what the encoder is given."""
        if "encoder_input" not in self.FORMULAS:
            return x
        seen = p.empty(x.shape[1])
        p.add(f"{self.NAME}_encoder_input", x, seen)
        return seen

    def loss(
        self, p: Pass, x: np.ndarray, a: np.ndarray, weight: float | Slot, weigh: Weigh | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `base.Likelihood`."""
        nll, d_a = self._loss(p, x, a, weight)
        weights = self._weigh(p, nll, d_a, weigh)
        if self.PARAMETERS:
            p.gradient(self, (x, a, weight, weights))
        return nll, d_a

    def _loss(self, p: Pass, x: np.ndarray, a: np.ndarray, weight: float | Slot) -> tuple[np.ndarray, np.ndarray]:
        nll, d_a = p.beside(a), p.beside(a, a.shape[1])
        p.add(f"{self.NAME}_forward_backward", x, a, *self._values, weight, nll, d_a)
        return nll, d_a

    def nll_and_gradient(self, p: Pass, x: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `base.Likelihood`."""
        return self._loss(p, x, a, 1.0)

    def nll(self, p: Pass, x: np.ndarray, a: np.ndarray, nll: np.ndarray) -> np.ndarray:
        """See `base.Likelihood`."""
        p.add(f"{self.NAME}_forward", x, a, *self._values, nll)
        return nll

    def mean(self, p: Pass, a: np.ndarray) -> np.ndarray:
        """Write the inverse link over a."""
        if not self.IS_IDENTITY:
            p.add(f"{self.NAME}_inverse_link_inplace", a)
        return a

    # ---- over arrays of the host ----------------------------------------------------------------------------------

    def terms(self, x: np.ndarray, a: np.ndarray) -> np.ndarray:
        """See `base.Likelihood`: by the formula itself."""
        return -self.FORMULAS["term"].over(x, a, *self._values)[0]

    def draw(
        self, mean: np.ndarray, kernels: Any, seed: np.uint64, call: int, columns: slice = slice(None)
    ) -> np.ndarray:
        """See `base.Likelihood`: by NumPy's generator."""
        place = f"{type(self).__qualname__}.sample"
        if type(self).sample is Likelihood.sample:
            names = ", ".join(("mean", "rng", *self.PARAMETERS))
            raise NotAvailableError(
                f"likelihood={self.NAME!r} cannot draw x from p(x|z): {place}({names}) is missing. Add it as a "
                "@staticmethod, or leave out noise=True, which gives means"
            )
        rng = np.random.Generator(np.random.Philox(key=int(seed), counter=[0, 0, call, philox.OBSERVATION]))
        found = np.asarray(self.sample(mean, rng, *(values[columns].astype(np.float64) for values in self._values)))
        if found.shape != mean.shape or found.dtype.kind not in "fiub":
            raise ValueError(f"{place} gave {found.dtype} {found.shape}; real numbers {mean.shape} are needed")
        return found.astype(mean.dtype)

    def intercept(self, mean: np.ndarray) -> np.ndarray:
        """The outputs (D,) whose inverse link is the mean of the data; not far out where the link is flat there: a
        mean at the end of its range has none."""
        if self.IS_IDENTITY:
            return mean
        if "link" in self.FORMULAS:
            found = self.FORMULAS["link"].over(mean)[0]
            if np.isfinite(found).all():
                return found
        return _solved(lambda a: self.FORMULAS["inverse_link"].over(a)[0], np.asarray(mean, np.float64))

    def check(
        self,
        X: Any,
        found: tuple[np.ndarray, np.ndarray],
        scaling: tuple[np.ndarray, np.ndarray],
        name: str = "X",
        asked: Any = None,
    ) -> None:
        """Raise `ValueError` where values lie outside the support, or are no whole numbers where they must be."""
        if self.WHOLE:
            Poisson.check(self, X, found, scaling, name, asked)  # type: ignore[arg-type]
        elif self.SUPPORT == (0, 1):
            check_unit_range(*found, *scaling, name, asked)
        least, most = self.SUPPORT
        (smallest, largest), (offset, scale) = found, scaling
        low, high = float(((smallest - offset) / scale).min()), float(((largest - offset) / scale).max())
        if low < least or high > most:
            after = "" if (offset == 0).all() and (scale == 1).all() else f" after scale={asked!r}"
            raise ValueError(
                f"{name} has values from {low:.6g} to {high:.6g}{after}; likelihood={self.NAME!r} takes those from "
                f"{least:g} to {most:g}"
            )

    # ---- parameters of its own: see `passes.Owner` ------------------------------------------------------------------

    def shapes(self) -> dict[str, Shape]:
        """Each parameter (D,)."""
        return {f"{self.NAME}.{name}": (self.columns,) for name in self.PARAMETERS}

    def bind(self, parameters: Parameters, kernels: Any) -> None:
        """Take the views."""
        if not kernels.ON_HOST:
            raise ValueError(f"likelihood={self.NAME!r} is compiled for the CPU alone: use device='cpu'")
        names = list(self.shapes())
        self._values = [parameters.value(name) for name in names]
        self._gradients = [parameters.gradient(name) for name in names]
        self._starts = [parameters.start([name]) for name in names]

    @property
    def size(self) -> int:  # type: ignore[override]
        """Deviations that `set_sigma` is given."""
        return self.columns

    def set_sigma(self, sigma: np.ndarray | float) -> None:
        """Start again: the data's deviation from the outputs is known better."""
        self.initialise(np.broadcast_to(sigma, (self.columns,)), self._mean)

    def initialise(self, deviation: np.ndarray, mean: np.ndarray) -> None:
        """Start from what `PARAMETERS` says."""
        self._mean = mean
        for values, (name, start) in zip(self._values, self.PARAMETERS.items(), strict=True):
            found = np.asarray(start(deviation, mean) if callable(start) else start, np.float64)
            if found.shape not in ((), values.shape) or not np.isfinite(found).all():
                at = f"{type(self).__qualname__}.PARAMETERS[{name!r}]"
                raise ValueError(f"{at} gives {found!r}; a finite number, or one a column {values.shape}, is needed")
            values[:] = found

    def _part(self, part: int, parts: int) -> tuple[int, int]:
        return self.columns * part // parts, self.columns * (part + 1) // parts

    def write_gradient(self, program: Any, use: Any, part: int, parts: int, accumulate: bool) -> None:
        """Those of some columns."""
        x, a, weight, weights = use
        first, last = self._part(part, parts)
        if first < last:
            how = first, last, int(accumulate), weight, weights
            program.add(f"{self.NAME}_parameters", x, a, *self._values, *how, *self._gradients)

    def ranges(self, part: int, parts: int) -> list[tuple[int, int]]:
        """Those of some columns."""
        first, last = self._part(part, parts)
        return [(start + first, start + last) for start in self._starts if first < last]


def _solved(function: Callable[[np.ndarray], np.ndarray], target: np.ndarray) -> np.ndarray:
    """Where a monotone function has these values."""
    low, high = np.full_like(target, -LEAST_START), np.full_like(target, LEAST_START)
    sign = 1 if function(high[:1])[0] > function(low[:1])[0] else -1  # times it the function rises

    def rising(a: np.ndarray) -> np.ndarray:
        return sign * function(a)

    target = sign * target
    for ends, side in ((low, 1), (high, -1)):
        while True:
            beyond = side * (rising(ends) - target)  # above 0: further out
            far = beyond > NEAR * (1 + np.abs(target))
            far &= (np.abs(ends) < FURTHEST) & np.isfinite(function(2 * ends))
            if not far.any():
                break
            ends[far] *= 2
    return solve(rising, target, low, high)
