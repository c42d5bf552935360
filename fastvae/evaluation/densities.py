"""log p(x, z) and q(z|x) of a model, at any codes."""

from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.engine import EVALUATION
from fastvae.kernels.formulas import LOGVAR_HIGHEST, LOGVAR_LOWEST
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.passes import Pass

KEPT = 4  # passes that were written down


class Given:
    """Rows of examples as a network reads them: x (n, D) in the model's units, and a condition (n, C) where it has one.

    Indexing gives some of them, by a slice or by their places.
    """

    def __init__(self, **inputs: np.ndarray):
        self.inputs = inputs

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
        self._threads = 1
        self._recorded: dict[tuple[str, int, int], tuple[Pass, dict[str, np.ndarray], list[np.ndarray]]] = {}

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
        mu, logvar = (np.empty((len(given), self.latent_dim)) for _ in range(2))
        for start, stop in self._pieces(len(given)):
            mu[start:stop], logvar[start:stop] = self._run("encode", given[start:stop].inputs)
        return mu, np.clip(logvar, LOGVAR_LOWEST, LOGVAR_HIGHEST)

    def __call__(self, given: Given, z: np.ndarray) -> np.ndarray:
        """log p(x, z) (n, K) float64, in nats of the user's units, at codes z (n, K, Z), K for each row; -inf where
        float32 overflows."""
        count, draws, _ = z.shape
        flat = np.asarray(z, np.float64).reshape(count * draws, -1)
        out = -0.5 * np.square(flat).sum(axis=1) - 0.5 * self.latent_dim * np.log(2 * np.pi) - self.network.log_jacobian
        for start, stop in self._pieces(len(flat)):
            seen = given[np.arange(start, stop) // draws].inputs
            out[start:stop] -= self._run("nll", seen | {"z": flat[start:stop]})[0]
        out[np.isnan(out)] = -np.inf
        return out.reshape(count, draws)

    def _pieces(self, count: int) -> list[tuple[int, int]]:
        """As many rows at a time as a pass does."""
        network = self.network
        self._threads, size = network.backend.pieces(count, network.largest_product(count), network.widest)
        step = self._threads * size
        return [(start, min(count, start + step)) for start in range(0, count, step)]

    def _run(self, name: str, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The results of a pass over these rows, which is written down anew only where their number has changed."""
        network, rows = self.network, len(given["x"])
        key = name, rows, self._threads
        if key not in self._recorded:
            if len(self._recorded) >= KEPT:
                self._recorded.clear()
            self._recorded[key] = self._written(name, rows, list(given))
        p, inputs, results = self._recorded[key]
        for of, values in given.items():
            inputs[of][:] = values
        network.upload_parameters()
        network.kernels.upload(*inputs.values())
        with network.backend.passing(self._threads) as workers:
            p.run(workers)
        return results

    def _written(self, name: str, rows: int, names: list[str]) -> tuple[Pass, dict[str, np.ndarray], list[np.ndarray]]:
        network = self.network
        inputs = {of: empty(rows, network.inputs[of]) for of in names}
        reads = {of: _cut(array) for of, array in inputs.items()}
        p = Pass(network.backend, Slots(), rows, reads, min(self._threads, rows), backward=False)
        results = network.encode(p) if name == "encode" else self._write_nll(p)
        p.finish()
        return p, inputs, results

    def _write_nll(self, p: Pass) -> list[np.ndarray]:
        network = self.network
        x, z, c = p.input("x"), p.input("z"), network.condition_of(p)
        return p.returns(network.likelihood.nll(p, x, network.decoded(p, z, c)[0], p.empty()))


def _cut(array: np.ndarray) -> Any:
    return lambda p: p.cut(array)
