"""What a VAE is trained for: a class for each objective, which writes its loss and the gradients by mu and logvar.

With z_k from q(z|x), k = 1 ... K, and w_k = p(x|z_k) p(z_k) / q(z_k|x), the losses are means over the batch of

    elbo    mean_k nll(x, z_k) + beta KL[q(z|x) || p(z)]         Kingma and Welling 2014
    iwae    -log 1/K sum_k w_k                                   Burda, Grosse and Salakhutdinov 2016
    dreg    the same, with another gradient of the encoder       Tucker, Lawson, Gu and Maddison 2019

The bound of "iwae" rises with K from the ELBO to log p(x), while the gradient that it gives the encoder drowns in its
noise (Rainforth et al. 2018). That of "dreg" has the same expectation and does not: there the part that does not reach
q(z|x) through z, its score, is reparameterized as well. The encoder runs once an example, whatever K, and the K rows of
the decoder's output share their row of x.
"""

from typing import Any, ClassVar

import numpy as np

from fastvae.errors import check_name
from fastvae.kernels.memory import zeros
from fastvae.kernels.slots import Slot
from fastvae.layers import latent, latent_samples
from fastvae.models.settings import check_integer, check_number
from fastvae.optimizers import Numbers
from fastvae.passes import Pass, Whole

LATE = 2**31  # steps from here on are of no training, and have noise of their own


class Objective:
    """Base of the objectives.

    Parameters
    ----------
    samples
        K, of z for an example.
    beta, kl_warmup_epochs
        Weight of the KL, reached linearly over so many epochs.
    free_bits
        Nats that each latent dimension's KL, a mean over the batch, may have before it counts.
    """

    NAME: ClassVar[str]
    WEIGHTED: ClassVar[bool] = False  # whether samples have importance weights

    def __init__(self, samples: int = 1, beta: float = 1.0, kl_warmup_epochs: float = 0.0, free_bits: float = 0.0):
        self.samples, self.beta, self.kl_warmup_epochs, self.free_bits = samples, beta, kl_warmup_epochs, free_bits

    def kl_weight(self, progress: np.ndarray) -> Numbers:
        """The weight of the KL at a progress (n,) in epochs."""
        if not self.kl_warmup_epochs:
            return self.beta
        return self.beta * np.minimum(1.0, progress / self.kl_warmup_epochs)

    def numbers(self, rows: int, progress: np.ndarray, steps: np.ndarray) -> dict[str, Numbers]:
        """Slot names to the numbers of those steps (n,): see `engine.Network`."""
        return {
            "kl weight": self.kl_weight(progress) * (1.0 / rows),
            "sample weight": 1.0 / (rows * self.samples),
            "first sample": steps // LATE * LATE + steps % LATE * self.samples,
        }

    def write(
        self, network: Any, p: Pass, x: np.ndarray, c: np.ndarray | None, mu: np.ndarray, logvar: np.ndarray,
        noise: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Write the loss of x (B, D), with its condition c (B, C), from mu and logvar (B, Z) of q; return d_mu and
        d_logvar. `noise` (B K, Z) is used instead of drawing, row i K + k for sample k of example i."""
        raise NotImplementedError

    def report(
        self, sums: dict[str, np.ndarray], rows: int, progress: np.ndarray, log_jacobian: float
    ) -> dict[str, np.ndarray]:
        """Means over the batch, "loss" first, in nats of the user's units, from the sums (n,) of what was watched."""
        raise NotImplementedError


class ELBO(Objective):
    """mean_k nll + beta kl: the KL in closed form, all samples with the same weight.

    With free bits, kl is the sum over latent dimensions of max(free_bits, mean over the batch of the dimension's KL): a
    dimension below has no gradient of it. Kingma et al. 2016.
    """

    NAME = "elbo"

    def write(self, network, p, x, c, mu, logvar, noise):  # noqa: D102
        weight, kl_weight = p.slots.real("sample weight"), p.slots.real("kl weight")
        if self.samples == 1 and not self.free_bits:
            z, kl, back_z = latent(p, mu, logvar, noise=noise)
        else:
            z, _, back_samples = latent_samples(p, mu, logvar, self.samples, noise=noise)
            kl, counted = p.empty(), self._counted(p, mu, logvar, kl_weight)
            p.add("kl_forward", mu, logvar, kl)

            def back_z(d_z: np.ndarray, kl_weight: float | Slot) -> tuple[np.ndarray, np.ndarray]:
                return back_samples(d_z, kl_weight=kl_weight, counted=counted)

        a, back_a = network.decoded(p, z, c)
        nll, d_a = network.likelihood.loss(p, x, a, weight)
        p.weigh(kl)
        p.loss(nll=(nll, weight), kl=(kl, kl_weight))
        d_z = back_a(d_a)
        return back_z(d_z, kl_weight) if p.weights is None else self._weighted(p, back_z, d_z, kl_weight)

    @staticmethod
    def _weighted(p: Pass, back_z: Any, d_z: np.ndarray, kl_weight: Slot) -> tuple[np.ndarray, np.ndarray]:
        """Write d_mu and d_logvar of a KL that is multiplied by the weights of rows, as d_z has been: both gradients
        alone, and the difference of that of z and the negative one of the KL."""
        assert p.weights is not None
        away = _difference(p, np.zeros((1, 1), np.float32), p.cut(p.weights.reshape(-1, 1)), -1.0)
        found, kl = back_z(d_z, 0.0), back_z(p.cut(zeros(*d_z.shape)), kl_weight)
        for each in kl:
            p.add("scale_rows_inplace", p.cut(away.reshape(-1)), each)
        d_mu, d_logvar = (_difference(p, *pair) for pair in zip(kl, found, strict=True))
        return d_mu, d_logvar

    def _counted(self, p: Pass, mu: np.ndarray, logvar: np.ndarray, kl_weight: Slot) -> Any:
        """Write which latent dimensions have more than their free bits, (Z,) for each share; None where all count."""
        if not self.free_bits:
            return None
        counted, lacking = p.each(mu.shape[1]), p.each(mu.shape[1])
        p.meet()  # the mean is that of the whole batch
        p.add("free_bits", Whole(mu), Whole(logvar), self.free_bits, counted, lacking)
        p.loss(lacking=(lacking[0], kl_weight))
        return counted

    def report(self, sums, rows, progress, log_jacobian):  # noqa: D102
        nll, kl = sums["nll"] / (rows * self.samples) + log_jacobian, sums["kl"] / rows
        counted = kl + sums["lacking"] / rows if "lacking" in sums else kl
        return {"loss": nll + self.kl_weight(progress) * counted, "nll": nll, "kl": kl}


def _difference(p: Pass, x: np.ndarray, a: np.ndarray, weight: float = 1.0) -> np.ndarray:
    """Write weight (a - x), of a (B, Z): a gradient of squared errors."""
    out = p.empty(a.shape[1])
    p.add("squared_error_forward_backward", x, a, 0.0, 1.0, weight, p.empty(), out)
    return out


class IWAE(Objective):
    """-log 1/K sum_k w_k, and beside it nll and KL, means under q: their sum is an estimate of the negative ELBO."""

    NAME, WEIGHTED = "iwae", True
    DOUBLY: ClassVar[bool] = False

    def write(self, network, p, x, c, mu, logvar, noise):  # noqa: D102
        weight = p.slots.real("example weight")
        z, log_ratio, back_z = latent_samples(p, mu, logvar, self.samples, noise=noise)
        a, back_a = network.decoded(p, z, c)
        bound, weights, kl = p.empty(), p.empty(repeats=self.samples), p.empty()

        def weigh(nll: np.ndarray) -> np.ndarray:
            p.add("importance_weights", log_ratio, nll, weight, bound, weights)
            p.weigh(bound, weights)
            return weights

        nll, d_a = network.likelihood.loss(p, x, a, 1.0, weigh)
        p.add("kl_forward", mu, logvar, kl)
        p.weigh(kl)
        p.loss(bound=(bound, weight), nll=(nll, weight), kl=(kl, weight))
        return back_z(back_a(d_a), weights, self.DOUBLY)

    def report(self, sums, rows, progress, log_jacobian):  # noqa: D102
        nll, kl = sums["nll"] / (rows * self.samples) + log_jacobian, sums["kl"] / rows
        return {"loss": sums["bound"] / rows + log_jacobian, "nll": nll, "kl": kl}


class DReG(IWAE):
    """The bound of "iwae", and its decoder's gradient; the encoder's is doubly reparameterized."""

    NAME, DOUBLY = "dreg", True


OBJECTIVES: dict[str, type[Objective]] = {kind.NAME: kind for kind in (ELBO, IWAE, DReG)}

PLAIN = {"beta": 1.0, "kl_warmup_epochs": 0.0, "free_bits": 0.0}  # what goes with importance weights


def objective_of(estimator: Any) -> Objective:
    """What an estimator's arguments say is trained for; raises where one of them is wrong, or does not go with it."""
    check_name("objective", estimator.objective, tuple(OBJECTIVES))
    kind, samples = OBJECTIVES[estimator.objective], check_integer("n_samples", estimator.n_samples, 1)
    numbers = {name: check_number(name, getattr(estimator, name), 0) for name in PLAIN}
    for name, value in PLAIN.items() if kind.WEIGHTED else []:
        if numbers[name] != value:
            raise ValueError(
                f"{name}={getattr(estimator, name)!r} goes with objective='elbo': the importance weights of "
                f"objective={kind.NAME!r} have no KL of their own to weigh; leave it at {value:g}"
            )
    if kind.WEIGHTED and isinstance(estimator.sigma, str) and estimator.sigma == "optimal":
        raise ValueError(
            f"sigma='optimal' goes with objective='elbo': under objective={kind.NAME!r} the best sigma of a batch "
            "depends on the importance weights, and they on it; use sigma='learned'"
        )
    return kind(samples, **numbers)
