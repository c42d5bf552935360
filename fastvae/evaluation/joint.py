"""log p(x|z) of a decoder, and its gradient by z, for several z an example.

What samplers of p(z|x) ask of a model: nothing of it is trained here, and the weights have no gradients.
"""

from typing import Any

import numpy as np

from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.models.vae_network import VAENetwork
from fastvae.passes import Arena, Pass

Data = dict[str, np.ndarray]  # "x" (N, D) in the model's units, and "condition" (N, C) where the model has one


class Likelihoods:
    """log p(x_i | z_ik) and its gradient by z_ik, for N examples with K codes each; each value depends on its own row
    alone.

    Parameters
    ----------
    network
        Of a fitted model.
    rows
        N K, about the most.
    """

    def __init__(self, network: VAENetwork, rows: int):
        self._network, self._arena = network, Arena(rows)
        self.shares = network.backend.pieces(rows, network.largest_product(rows), network.widest)[0]
        self._recorded: dict[int, tuple[Pass, Data, np.ndarray, list[np.ndarray]]] = {}
        network.upload_parameters()
        self.rows = 0  # N K for which data are held

    def hold(self, data: Data, codes: int) -> None:
        """Take N examples, for `codes` codes each. They are repeated: threads share an example, too."""
        self.rows = len(data["x"]) * codes
        for name, repeated in self._pass(self.rows)[1].items():
            repeated.reshape(-1, codes, repeated.shape[1])[:] = data[name][:, None]
            self._network.kernels.upload(repeated)

    def _pass(self, rows: int) -> tuple[Pass, Data, np.ndarray, list[np.ndarray]]:
        if rows not in self._recorded:
            network = self._network
            inputs = {name: (lambda p, columns=columns: p.empty(columns)) for name, columns in network.inputs.items()}
            p = Pass(network.backend, Slots(), rows, inputs, min(self.shares, rows), self._arena)
            data = {name: p.input(name) for name in network.inputs if name != "z"}
            z = p.input("z")
            a, back = network.decoded(p, z, data.get("condition"))
            nll, d_a = network.likelihood.nll_and_gradient(p, data["x"], a)
            d_z = back(d_a)
            p.drop_gradients(network.owners())
            p.finish()
            self._recorded[rows] = p, data, z, p.returns(nll, d_z)
        return self._recorded[rows]

    def __call__(self, z: np.ndarray, workers: Any) -> tuple[np.ndarray, np.ndarray]:
        """log p(x|z) (N, K) and its gradient (N, K, Z), float64, for z (N, K, Z), which is rounded to float32."""
        p, _, codes, results = self._pass(self.rows)
        codes[:] = z.reshape(codes.shape)
        self._network.kernels.upload(codes)
        p.run(workers)
        nll, d_z = (array.astype(np.float64) for array in results)
        return np.negative(nll, out=nll).reshape(z.shape[:-1]), np.negative(d_z, out=d_z).reshape(z.shape)


def encoded(network: VAENetwork, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """mu and logvar (N, Z) float64 of q(z|x); logvar is not limited."""
    held = {name: empty(*rows.shape) for name, rows in data.items()}
    for name, rows in data.items():
        held[name][:] = rows
    inputs = {name: (lambda p, rows=rows: p.cut(rows)) for name, rows in held.items()}
    p = Pass(network.backend, Slots(), len(held["x"]), inputs, backward=False)
    results = network.encode(p)
    network.upload_parameters()
    network.kernels.upload(*held.values())
    with network.backend.passing(1) as workers:
        p.run(workers)
    mu, logvar = (array.astype(np.float64) for array in results)
    return mu, logvar


def decoded(network: VAENetwork, z: np.ndarray, condition: np.ndarray | None = None) -> np.ndarray:
    """The mean of p(x|z) in the model's units (N, D) float32, for z (N, Z) float32 and the condition (N, C)."""
    mean = np.empty((len(z), network.inputs["x"]), np.float32)

    def keep(start: int, stop: int, found: np.ndarray) -> None:
        mean[start:stop] = found

    network.over(z, "decode", network.decode, keep, name="z", units=network.code_units, condition=condition)
    return mean
