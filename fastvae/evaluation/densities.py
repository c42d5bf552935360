"""The densities of a model at any codes: log p(x|z) and its gradient by z, log p(x, z), and q(z|x).

Nothing of a model is trained here: its weights have no gradients.
"""

from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.engine import EVALUATION
from fastvae.kernels.formulas import LOGVAR_HIGHEST, LOGVAR_LOWEST
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.models.vae_network import VAENetwork
from fastvae.passes import Arena, Pass

Data = dict[str, np.ndarray]  # "x" (N, D) in the model's units, and "condition" (N, C) where the model has one
KEPT = 4  # passes that were written down, by their rows


class CodeDensity:
    """log p(x_i | z_ik) of N examples with K codes each, and its gradient by z_ik; each value depends on its own row
    alone.

    Parameters
    ----------
    network
        Of a fitted model.
    rows
        N K, about the most.
    gradient
        Whether it is wanted.
    """

    def __init__(self, network: VAENetwork, rows: int, gradient: bool = True):
        self._network, self._arena, self._gradient = network, Arena(rows), gradient
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
            if len(self._recorded) == KEPT:
                self._recorded.clear()
            network, backward = self._network, self._gradient
            inputs = {name: (lambda p, columns=columns: p.empty(columns)) for name, columns in network.inputs.items()}
            shares = min(self.shares, rows)
            p = Pass(network.backend, Slots(), rows, inputs, shares, self._arena, backward=backward)
            data = {name: p.input(name) for name in network.inputs if name != "z"}
            z = p.input("z")
            a, back = network.decoded(p, z, data.get("condition"))
            if backward:
                nll, d_a = network.likelihood.nll_and_gradient(p, data["x"], a)
                results = [nll, back(d_a)]
                p.drop_gradients(network.owners())
            else:
                results = [network.likelihood.nll(p, data["x"], a, p.empty())]
            p.finish()
            self._recorded[rows] = p, data, z, p.returns(*results)
        return self._recorded[rows]

    def __call__(self, z: np.ndarray, workers: Any) -> tuple[np.ndarray, ...]:
        """log p(x|z) (N, K), and its gradient (N, K, Z), float64, for z (N, K, Z), which is rounded to float32."""
        p, _, codes, results = self._pass(self.rows)
        codes[:] = z.reshape(codes.shape)
        self._network.kernels.upload(codes)
        p.run(workers)
        nll, *d_z = (array.astype(np.float64) for array in results)
        return np.negative(nll, out=nll).reshape(z.shape[:-1]), *(np.negative(d, out=d).reshape(z.shape) for d in d_z)


class Given:
    """Rows of examples as a network reads them: x (n, D) in the model's units, and a condition (n, C) where it has one.

    Indexing gives some of them, by a slice or by their places.
    """

    def __init__(self, **inputs: np.ndarray):
        self.inputs: Data = inputs

    def __len__(self) -> int:
        return len(self.inputs["x"])

    def __getitem__(self, places: slice | np.ndarray) -> "Given":
        return Given(**{name: values[places] for name, values in self.inputs.items()})


class Joint:
    """log p(x, z) = log p(x|z) + log N(z; 0, I), and q(z|x), for examples of a model that has been fitted.

    Parameters
    ----------
    model : VAE
        Fitted, with its encoder.
    examples
        Of the model, as `model.examples(X)` gives them: binarised, they are what `model.encode_examples` sees.
    """

    def __init__(self, model: Any, examples: Examples):
        self.network = model._check_complete()
        self.examples = model._accepted(self.network, examples)
        self.latent_dim = int(self.network.inputs["z"])
        self._density: CodeDensity | None = None
        self._most = 0  # rows that it was made for

    def __len__(self) -> int:
        return len(self.examples)

    def rows(self, indices: np.ndarray) -> Given:
        """Examples `indices` (n,) int64."""
        x = np.empty((len(indices), self.network.inputs["x"]), np.float32)
        if self.examples.binarize == "dynamic":
            for i, index in enumerate(indices):  # the draws of a row are those of its place among all examples
                self.examples.fill(indices[i : i + 1], x[i : i + 1], EVALUATION, int(index))
        else:
            self.examples.fill(indices, x, EVALUATION, 0)
        condition = self.examples.condition_rows
        return Given(x=x) if condition is None else Given(x=x, condition=condition[indices].astype(np.float32))

    def encode(self, given: Given) -> tuple[np.ndarray, np.ndarray]:
        """mu and logvar (n, Z) float64 of q(z|x), the latter limited as everywhere."""
        return encoded(self.network, given.inputs)

    def __call__(self, given: Given, z: np.ndarray) -> np.ndarray:
        """log p(x, z) (n, K) float64, in nats of the user's units, at codes z (n, K, Z), K for each row; -inf where
        float32 overflows."""
        network, (count, draws, _) = self.network, z.shape
        out = -0.5 * np.square(z).sum(axis=2, dtype=np.float64) - 0.5 * self.latent_dim * np.log(2 * np.pi)
        threads, size = network.backend.pieces(count * draws, network.largest_product(count * draws), network.widest)
        most = threads * size
        if self._density is None or self._most != most:
            self._density, self._most = CodeDensity(network, most, gradient=False), most
        density, rows, codes = self._density, max(1, most // draws), min(draws, most)  # examples, and codes of each
        network.upload_parameters()
        with network.backend.passing(density.shares) as workers:
            for first in range(0, count, rows):
                some = slice(first, first + rows)
                for start in range(0, draws, codes):
                    of_them = some, slice(start, start + codes)
                    density.hold(given[some].inputs, z[of_them].shape[1])
                    out[of_them] += density(z[of_them], workers)[0]
        out -= network.log_jacobian
        out[np.isnan(out)] = -np.inf
        return out


def encoded(network: VAENetwork, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """mu and logvar (N, Z) float64 of q(z|x), the latter limited to [-30, 20]."""
    held = {name: empty(*rows.shape) for name, rows in data.items()}
    for name, rows in data.items():
        held[name][:] = rows
    inputs = {name: (lambda p, rows=rows: p.cut(rows)) for name, rows in held.items()}
    count = len(held["x"])
    threads = network.backend.pieces(count, network.largest_product(count), network.widest)[0]
    p = Pass(network.backend, Slots(), count, inputs, min(threads, count), backward=False)
    results = network.encode(p)
    network.upload_parameters()
    network.kernels.upload(*held.values())
    with network.backend.passing(threads) as workers:
        p.run(workers)
    mu, logvar = (array.astype(np.float64) for array in results)
    return mu, np.clip(logvar, LOGVAR_LOWEST, LOGVAR_HIGHEST)


def decoded(network: VAENetwork, z: np.ndarray, condition: np.ndarray | None = None) -> np.ndarray:
    """What the likelihood draws by, for z (N, Z) float32 and the condition (N, C): the mean of p(x|z) in the model's
    units (N, D) float32, or of a mixed table the decoder's outputs (N, A)."""
    mean = np.empty((len(z), network.likelihood.outputs), np.float32)

    def keep(start: int, stop: int, found: np.ndarray) -> None:
        mean[start:stop] = found

    network.over(z, "decode", network.decode, keep, name="z", units=network.code_units, condition=condition)
    return mean
