"""log p(x|z) of a decoder, and its gradient by z, for several z an example.

What samplers of p(z|x) ask of a model: nothing of it is trained here, and the weights have no gradients.
"""

from typing import Any

import numpy as np

from fastvae.backend import Backend
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.passes import Arena, Pass


class Likelihoods:
    """log p(x_i | z_ik) and its gradient by z_ik, for N examples with K codes each; each value depends on its own row
    alone.

    Parameters
    ----------
    network
        Fitted; its decoder is called.
    rows
        N K at most.
    """

    def __init__(self, network: Any, rows: int):
        self._network, self._backend = network, network.backend
        self._arena = Arena(rows)
        self._recorded: dict[int, tuple[Pass, np.ndarray, np.ndarray, list[np.ndarray]]] = {}
        self.shares = shares(self._backend, network, rows)
        network.upload_parameters()
        self.rows = 0  # N K for which data are held

    def hold(self, x: np.ndarray, chains: int) -> None:
        """Take data x (N, D) in the model's units, each row for `chains` codes."""
        self.rows = len(x) * chains
        _, repeated, _, _ = self._pass(self.rows)
        repeated.reshape(len(x), chains, -1)[:] = x[:, None]
        self._backend.kernels.upload(repeated)

    def _pass(self, rows: int) -> tuple[Pass, np.ndarray, np.ndarray, list[np.ndarray]]:
        if rows not in self._recorded:
            network = self._network
            p = Pass(self._backend, Slots(), rows, {}, min(self.shares, rows), self._arena)
            x, z = p.empty(network.inputs["x"]), p.empty(network.inputs["z"])
            a, back = network.decoder(p, z)
            nll, d_a = network.likelihood.nll_and_gradient(p, x, a)
            d_z = back(d_a)
            p.drop_gradients(network.owners())
            self._recorded[rows] = p, x, z, p.returns(nll, d_z)
        return self._recorded[rows]

    def __call__(self, z: np.ndarray, workers: Any) -> tuple[np.ndarray, np.ndarray]:
        """log p(x|z) (N, K) and its gradient (N, K, Z), float64, for z (N, K, Z), which is rounded to float32."""
        p, _, codes, results = self._pass(self.rows)
        codes[:] = z.reshape(codes.shape)
        self._backend.kernels.upload(codes)
        p.run(workers)
        nll, d_z = (array.astype(np.float64) for array in results)
        return np.negative(nll, out=nll).reshape(z.shape[:-1]), np.negative(d_z, out=d_z).reshape(z.shape)


def shares(backend: Backend, network: Any, rows: int) -> int:
    """Into how many shares so many rows are cut."""
    return backend.pieces(rows, network.largest_product(rows), network.widest)[0]


def encoded(network: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mu and logvar (N, Z) float64 of q(z|x), for data x (N, D) in the model's units; logvar is not limited."""
    held = empty(*x.shape)
    held[:] = x
    p = Pass(network.backend, Slots(), len(x), {"x": lambda p: p.cut(held)}, backward=False)
    results = network.encode(p)
    network.upload_parameters()
    network.kernels.upload(held)
    with network.backend.passing(1) as workers:
        p.run(workers)
    mu, logvar = (array.astype(np.float64) for array in results)
    return mu, logvar


def decoded(network: Any, z: np.ndarray) -> np.ndarray:
    """The mean of p(x|z) in the model's units (N, D) float32, for z (N, Z) float32."""
    mean = np.empty((len(z), network.inputs["x"]), np.float32)

    def keep(start: int, stop: int, found: np.ndarray) -> None:
        mean[start:stop] = found

    network.over(z, "decode", network.decode, keep, name="z", units=network.code_units)
    return mean
