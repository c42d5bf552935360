"""log p(x, z) of a model, at any codes."""

from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.engine import EVALUATION
from fastvae.kernels.formulas import LOGVAR_HIGHEST, LOGVAR_LOWEST
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.passes import Pass

KEPT = 4  # passes that were written down


class Joint:
    """log p(x, z) = log p(x|z) + log N(z; 0, I), and q(z|x), of the examples of a model that has been fitted.

    Parameters
    ----------
    model : VAE
        Fitted, with its encoder.
    examples
        Of the model, as `model.examples(X)` gives them: binarised, they are what they are at their first reading.
    """

    def __init__(self, model: Any, examples: Examples):
        self.network = model._check_complete()
        self.examples = model._accepted(self.network, examples)
        self.latent_dim = int(self.network.architecture.latent_dim)
        self._threads = 1
        self._recorded: dict[tuple[str, int, int], tuple[Pass, list[np.ndarray], list[np.ndarray]]] = {}

    def __len__(self) -> int:
        return len(self.examples)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Examples `indices` (n,) int64, (n, D) float32 in the model's units."""
        out = np.empty((len(indices), self.network.inputs["x"]), np.float32)
        if self.examples.binarize != "dynamic":
            self.examples.fill(indices, out, EVALUATION, 0)
            return out
        for i, index in enumerate(indices):  # the draws of a row are those of its place among all examples
            self.examples.fill(indices[i : i + 1], out[i : i + 1], EVALUATION, int(index))
        return out

    def encode(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """mu and logvar (n, Z) float64 of q(z|x), the latter limited as everywhere, of rows (n, D) in the model's
        units."""
        mu, logvar = (np.empty((len(x), self.latent_dim)) for _ in range(2))
        for start, stop in self._pieces(len(x)):
            mu[start:stop], logvar[start:stop] = self._run("encode", x=x[start:stop])
        return mu, np.clip(logvar, LOGVAR_LOWEST, LOGVAR_HIGHEST)

    def __call__(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """log p(x, z) (n, K) float64, in nats of the user's units, of rows x (n, D) in the model's units at codes z
        (n, K, Z); -inf where float32 overflows."""
        count, draws, _ = z.shape
        flat, out = z.reshape(count * draws, -1), np.empty(count * draws)
        for start, stop in self._pieces(len(flat)):
            seen = x[np.arange(start, stop) // draws]
            (out[start:stop],) = self._run("nll", x=seen, z=flat[start:stop])
        out += self.network.log_jacobian
        out += 0.5 * np.square(flat).sum(axis=1) + 0.5 * self.latent_dim * np.log(2 * np.pi)
        np.negative(out, out=out)
        out[np.isnan(out)] = -np.inf
        return out.reshape(count, draws)

    def _pieces(self, count: int) -> list[tuple[int, int]]:
        """As many rows at a time as a pass does."""
        network = self.network
        self._threads, size = network.backend.pieces(count, network.largest_product(count), network.widest)
        step = self._threads * size
        return [(start, min(count, start + step)) for start in range(0, count, step)]

    def _run(self, name: str, **given: np.ndarray) -> list[np.ndarray]:
        """The results of a pass over these rows, which is written down anew only where their number has changed."""
        network, rows = self.network, len(next(iter(given.values())))
        key = name, rows, self._threads
        if key not in self._recorded:
            arrays = {name: empty(rows, network.inputs[name]) for name in given}
            inputs = {name: _cut(array) for name, array in arrays.items()}
            p = Pass(network.backend, Slots(), rows, inputs, min(self._threads, rows), backward=False)
            results = network.encode(p) if name == "encode" else self._write_nll(p)
            p.finish()
            if len(self._recorded) >= KEPT:
                self._recorded.clear()
            self._recorded[key] = p, list(arrays.values()), results
        p, inputs_, results = self._recorded[key]
        for array, values in zip(inputs_, given.values(), strict=True):
            array[:] = values
        network.upload_parameters()
        network.kernels.upload(*inputs_)
        with network.backend.passing(self._threads) as workers:
            p.run(workers)
        return results

    def _write_nll(self, p: Pass) -> list[np.ndarray]:
        x, z = p.input("x"), p.input("z")
        a = self.network.decoder(p, z)[0]
        return p.returns(self.network.likelihood.nll(p, x, a, p.empty()))


def _cut(array: np.ndarray) -> Any:
    return lambda p: p.cut(array)
