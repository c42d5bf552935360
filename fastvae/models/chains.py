"""Samples of models that have no prior: states of a Markov chain whose transitions the model has learned.

A transition corrupts x, gives it back, and draws: x' from p(x'|h) with h from a corrupted x. Trained as an autoencoder
of corrupted input is, the chain's states come to be distributed as the data (Bengio, Yao, Alain and Vincent 2013;
Bengio, Thibodeau-Laufer, Alain and Yosinski 2014); how soon, and how well, depends on the training. States of one chain
that follow each other depend on each other.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastvae.data.validation import as_examples
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.models.rows import finite
from fastvae.models.settings import check_integer
from fastvae.models.with_likelihood import LikelihoodEstimator
from fastvae.passes import Pass

AT_ONCE = 512  # chains that a pass takes together


class ChainSampler(LikelihoodEstimator):
    """What an estimator samples by whose network has `transition(p)`, which writes the mean (B, D) of p(x'|h) from the
    states "x" (B, D), in the model's units; other states may lie in buffers of the pass."""

    def sample(
        self,
        n: int | None = None,
        random_state: Any = None,
        *,
        steps: int = 1,
        burn_in: int = 100,
        chains: int | None = None,
        start: Any = None,
        noise: bool = False,
    ) -> np.ndarray:
        """Draw from a Markov chain, or from several: (n, D) in the user's units.

        Parameters
        ----------
        n
            How many. None: one for each chain.
        random_state
            A seed or generator of this call. None: by the model's own `random_state`; where that is an integer the
            draws are reproducible, and go on from call to call.
        steps
            Transitions from one sample of a chain to its next.
        burn_in
            Transitions before those. One chain's samples of 100 transitions that follow each other are
            `sample(100, chains=1, burn_in=0)`.
        chains
            How many chains, which divides n; the samples of one stand side by side, in order. Default: as many as there
            are rows in `start`, or n: then samples are independent, and each costs `burn_in + steps` transitions.
        start : (chains, D), optional
            Their first states, in the user's units. Default: drawn from p(x|h) with h = 0.
        noise
            True: the states themselves, drawn from p(x'|h); else the means that they are drawn from.

        Returns
        -------
        samples : (n, D)
            float32, or float64 as `decode` has it.
        """
        network = self._check_complete()
        start = None if start is None else self._checked(network, as_examples(start, "start"), "start")
        if chains is None:
            chains = len(start) if start is not None else check_integer("n", 1 if n is None else n, 1)
        chains = check_integer("chains", chains, 1)
        n = self._check_samples(network, chains if n is None else n)
        steps, burn_in = check_integer("steps", steps, 1), check_integer("burn_in", burn_in, 0)
        if n % chains:
            raise ValueError(f"n={n} samples cannot come evenly from {chains} chains: take a multiple of {chains}")
        if start is not None and len(start) != chains:
            raise ValueError(f"start has {len(start)} rows for {chains} chains: give one for each")
        seed, call = self._noise_of_call(random_state)
        seeds = np.random.SeedSequence([int(seed), call]).generate_state(-(-chains // AT_ONCE), np.uint64)
        units, per = network.units, n // chains
        out = np.empty((chains, per, network.inputs["x"]), units.dtype)
        for seed, first in zip(seeds, range(0, chains, AT_ONCE), strict=True):
            rows = slice(first, min(first + AT_ONCE, chains))
            x = self._first_states(network, None if start is None else start[rows], rows.stop - first, seed)
            for t, state in enumerate(walk(network, x, seed, burn_in + per * steps, noise)):
                place, rest = divmod(t + 1 - burn_in, steps)
                if place > 0 and rest == 0:
                    units.to_user(state, out[rows, place - 1])
        return finite(out.reshape(n, -1), out.reshape(n, -1))

    @staticmethod
    def _first_states(network: Any, start: Any, rows: int, seed: np.uint64) -> np.ndarray:
        x = empty(rows, network.inputs["x"])
        if start is not None:
            x[...] = (np.asarray(start, np.float64) - network.units.offset) / network.units.scale
            return x
        means = np.empty((1, network.inputs["x"]), np.float32)

        def keep(first: int, stop: int, mean: np.ndarray) -> None:
            means[first:stop] = mean

        codes = np.zeros((1, network.inputs["z"]), np.float32)
        network.over(codes, "decode", network.decode, keep, name="z", units=network.code_units)
        x[...] = network.likelihood.draw(np.repeat(means, rows, axis=0), network.kernels, seed, 0)
        return x


def walk(network: Any, x: np.ndarray, seed: np.uint64, transitions: int, drawn: bool = False) -> Iterator[np.ndarray]:
    """The states x (B, D) float32 of chains after each of so many transitions, in the model's units, over the first
    ones; or the means that they are drawn from. Each belongs to the caller until it asks for the next.

    No result depends on the number of threads: the noise of transition t, from 1, is that of step t.
    """
    kernels, backend = network.kernels, network.backend
    count = backend.pieces(len(x), network.largest_product(len(x)), network.widest)[0]
    p = Pass(backend, Slots(), len(x), {"x": lambda p: p.cut(x)}, count, backward=False)
    (mean,) = p.returns(network.transition(p))
    p.slots["seed"] = np.uint64(seed).view(np.int64)
    network.upload_parameters()
    network.parameters.bring_back()  # a likelihood's own, by which the host draws
    with backend.passing(count) as workers:
        for t in range(1, transitions + 1):
            p.slots["step"] = t
            kernels.upload(x)
            p.run(workers)
            x[...] = network.likelihood.draw(mean, kernels, seed, t)
            yield x if drawn else mean
