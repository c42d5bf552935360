"""The generative stochastic network (Bengio, Thibodeau-Laufer, Alain and Yosinski 2014): a Markov chain is learned.

Layers u_0 = x, u_1, ..., u_L, between u_{i-1} and u_i one weight W_i that is used both ways. With n and m N(0, I) times
`noise`, anew each time, a step of the chain is

    odd i       u_i = act(u_{i-1} W_i + u_{i+1} W_{i+1}' + b_i + n) + m
    i = 0       x^ = sigmoid(u_1 W_1' + b_0),  x' drawn from Bernoulli(x^),  u_0 = x' with salt and pepper
    even i > 0  as odd i

and begins at u_0 = x with salt and pepper, u_i = 0 above. Walkback training: the loss is the mean over the first
`walkback` steps of the nll of the x that the chain began at, under each x^.

The gradient goes back through all layers above x and all steps; where an x' was drawn it ends, and x' counts as input.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastvae.engine import Network
from fastvae.errors import check_name
from fastvae.kernels.formulas import ACTIVATIONS, GAUSSIAN_NOISE, MASKING, SALT_AND_PEPPER
from fastvae.kernels.memory import zeros
from fastvae.kernels.philox import WALK
from fastvae.kernels.slots import Slot
from fastvae.layers import Bias, Tied, ones
from fastvae.likelihoods import make_likelihood
from fastvae.models.abilities import Abilities
from fastvae.models.autoencoder import ReconstructingEstimator
from fastvae.models.chains import ChainSampler
from fastvae.models.duration import AUTO
from fastvae.models.settings import check_integer, check_number, checked_names, widths
from fastvae.passes import ROW, Backprop, Pass, Row

HIDDEN = ("tanh", "sigmoid")  # activations that there are without a product: see `tanh_inplace`
USES, APART = 8, 1 << 24  # bits that a stream is apart from the next; rows between draws of one stream
WIDE = 400  # columns, from which on the noise is that of the published network
USUAL, USUAL_OF_FEW = (0.4, 2.0), (0.2, 0.5)  # corruption of x, and noise of the last layer
MOST_STEPS = 200  # of a walkback, so that rows so far apart stay apart modulo 2^32


@dataclass(frozen=True)
class Architecture:
    """What decides the parameters, and what the loss is."""

    inputs: int
    hidden: tuple[int, ...]
    activation: str
    corruption: float
    noise: tuple[float, ...]
    walkback: int


class GSNNetwork(Network):
    """Weights that are used both ways, and the chain; see `engine.Network` for what each method is."""

    def describe(self, a: Architecture, complete: bool) -> None:  # noqa: D102
        super().describe(a, True)
        self.inputs = {"x": a.inputs, "z": a.hidden[0]}
        sizes = a.inputs, *a.hidden
        self.weights = [Tied(f"layer.{i}", *pair) for i, pair in enumerate(pairwise(sizes), 1)]
        self.biases = [Bias(f"layer.{i}", size) for i, size in enumerate(sizes)]
        self.likelihood = make_likelihood("bernoulli", 1.0, a.inputs)

    def owners(self) -> Sequence[Any]:  # noqa: D102
        return [*self.weights, *self.biases]

    def role(self, name: str, downwards: bool) -> str:  # noqa: D102
        return "decoder" if downwards else f"hidden {name.rpartition('.')[2]}"

    def step(self, p: Pass, optimizers: Sequence[Any]) -> None:  # noqa: D102
        chain, x, weight = Chain(self, p), p.input("x"), p.slots.real("step weight")
        for k in self._walkback(chain, x):
            p.loss(**{f"step {k}": (chain.give_back(x, weight), weight)})
        chain.backward()
        p.update(optimizers[0], self.owners())

    def heldout_loss(self, p: Pass) -> list[np.ndarray]:
        """Write the nll (B,) of each step of the walkback, of rows that are held out."""
        chain, x = Chain(self, p), p.input("x")
        return p.returns(*(self.likelihood.nll(p, x, chain.logits()[0], p.empty()) for _ in self._walkback(chain, x)))

    def _walkback(self, chain: "Chain", x: np.ndarray) -> Iterator[int]:
        """Write the steps of a walkback, and stop at each before x is drawn."""
        chain.see(x)
        for k in range(self.architecture.walkback):
            if k > 0:
                chain.update(even=True)
                chain.draw()
            chain.update(even=False)
            yield k

    def numbers(self, rows: int, progress: np.ndarray, steps: np.ndarray) -> dict[str, Any]:  # noqa: D102
        return super().numbers(rows, progress, steps) | {"step weight": 1.0 / (rows * self.architecture.walkback)}

    def report(self, sums: dict[str, np.ndarray], rows: int, progress: np.ndarray) -> dict[str, np.ndarray]:  # noqa: D102
        return {"loss": np.mean(list(sums.values()), axis=0) / rows}

    def transition(self, p: Pass) -> np.ndarray:
        """Write x^ (B, D) after one step of the chain from "x" (B, D), not corrupted yet; the even layers above lie in
        buffers of the pass from one step to the next, and are 0 at first."""
        chain, sizes = Chain(self, p), (self.architecture.inputs, *self.architecture.hidden)
        states = {i: p.cut(zeros(p.rows, sizes[i])) for i in range(2, len(sizes), 2)}
        for i, state in states.items():
            chain.values[i] = state
        chain.see(p.input("x"))
        chain.update(even=False)
        mean = self.likelihood.mean(p, chain.logits()[0])
        chain.update(even=True)
        for i, state in states.items():
            p.add("corrupt", chain.values[i], MASKING, 0.0, p.seed, WALK, p.step, ROW, state)  # a copy
        return mean

    # ---- without noise ------------------------------------------------------------------------------------------

    def _codes(self, p: Pass) -> np.ndarray:
        """u_1 of x, with the layers above at 0: as the chain begins."""
        h, code = p.empty(self.architecture.hidden[0]), ACTIVATIONS[self.architecture.activation]
        p.add("dense_forward", p.input("x"), self.weights[0].weight, self.biases[1].weight[0], code, h, h)
        return h

    def _logits(self, p: Pass, h: np.ndarray) -> np.ndarray:
        a = self.weights[0].down(p, h)[0]
        return self.biases[0](p, ones(p), a)[0]

    def codes(self, p: Pass) -> list[np.ndarray]:  # noqa: D102
        return p.returns(self._codes(p))

    def decode(self, p: Pass) -> list[np.ndarray]:  # noqa: D102
        return p.returns(self.likelihood.mean(p, self._logits(p, p.input("z"))))

    def nll(self, p: Pass) -> list[np.ndarray]:
        """Write the nll (B,) of x under its own reconstruction."""
        return p.returns(self.likelihood.nll(p, p.input("x"), self._logits(p, self._codes(p)), p.empty()))


class Chain:
    """The chain, unrolled into a pass.

    Attributes
    ----------
    values
        What each layer has last been given, u_0 ... u_L; None is 0.
    """

    def __init__(self, network: GSNNetwork, p: Pass):
        self._network, self._p, self._ones = network, p, ones(p)
        self.values: list[np.ndarray | None] = [None] * (1 + len(network.weights))
        self._backs: list[Callable[[dict[int, np.ndarray]], None]] = []
        self._drawn, self._uses = 0, 0  # draws of x, and uses of noise, so far

    def _noisy(self, x: np.ndarray, kind: int, amount: float) -> np.ndarray:
        """Write x (B, D) with noise that nothing else has; x itself where the amount is 0."""
        if not amount:
            return x
        p, out, stream = self._p, self._p.beside(x, x.shape[1]), WALK + (self._uses << USES)
        p.add("corrupt", x, kind, amount, p.seed, stream, p.step, ROW, out)
        self._uses += 1
        return out

    def see(self, x: np.ndarray) -> None:
        """Write u_0, which is x (B, D) with salt and pepper."""
        self.values[0] = self._noisy(x, SALT_AND_PEPPER, self._network.architecture.corruption)

    def update(self, even: bool) -> None:
        """Write the even layers above x, or the odd ones."""
        for i in range(2 if even else 1, len(self.values), 2):
            self._update(i)

    def _update(self, i: int) -> None:
        """Write u_i from the layers beside it."""
        network, p, below = self._network, self._p, self.values[i - 1]
        above = self.values[i + 1] if i + 1 < len(self.values) else None
        noise, activation = network.architecture.noise[i - 1], network.architecture.activation
        moves = i > 1 and below is not None  # whether what lies below has a gradient
        if below is None:  # 0 still
            below = p.cut(zeros(p.rows, network.architecture.hidden[i - 2]))
        a, back_below = network.weights[i - 1].up(p, below, network.biases[i])
        back_above = None if above is None else network.weights[i].down(p, above, a)[1]
        h = self._noisy(a, GAUSSIAN_NOISE, noise)
        p.add(f"{activation}_inplace", h)
        self.values[i] = self._noisy(h, GAUSSIAN_NOISE, noise)

        def backprop(d: dict[int, np.ndarray]) -> None:
            d_a = d.pop(i, None)
            if d_a is None:  # of the last step, what x^ does not see
                return
            how = network.weights[i - 1].weight, ACTIVATIONS[activation]
            p.add("dense_backward_input", h, *how, d_a, False, None)
            p.gradient(network.biases[i], (self._ones, d_a))
            d_below = back_below(d_a, moves, d.get(i - 1))
            if moves:
                d[i - 1] = d_below
            if back_above is not None:
                d[i + 1] = back_above(d_a, True, d.get(i + 1))

        self._backs.append(backprop)

    def logits(self) -> tuple[np.ndarray, Backprop]:
        """Write the logits (B, D) of x^; what is returned beside them writes the gradient of u_1."""
        h = self.values[1]
        assert h is not None
        self._logits, back = self._network.weights[0].down(self._p, h)
        self._network.biases[0](self._p, self._ones, self._logits)
        return self._logits, back

    def give_back(self, x: np.ndarray, weight: Slot) -> np.ndarray:
        """Write the nll (B,) of x (B, D) under x^."""
        logits, back = self.logits()
        nll, d_logits = self._network.likelihood.loss(self._p, x, logits, weight)

        def backprop(d: dict[int, np.ndarray]) -> None:
            self._p.gradient(self._network.biases[0], (self._ones, d_logits))
            d[1] = back(d_logits, True, d.get(1))

        self._backs.append(backprop)
        return nll

    def draw(self) -> None:
        """Write u_0 from x' ~ Bernoulli(x^), over the logits."""
        p, self._drawn = self._p, self._drawn + 1
        drawn = self._network.likelihood.mean(p, self._logits)
        p.add("binarize_inplace", drawn, p.seed, p.step, Row(self._drawn * APART))
        self.see(drawn)

    def backward(self) -> None:
        """Write the gradients of all that was written, the last first."""
        d: dict[int, np.ndarray] = {}
        for back in reversed(self._backs):
            back(d)


class GSN(ChainSampler, ReconstructingEstimator):
    """Generative stochastic network: a Markov chain through `hidden` layers, for data in [0, 1].

    Parameters
    ----------
    hidden
        Units of the layers above x.
    activation
        Of these, "tanh" or "sigmoid".
    corruption
        Probability that a number of x becomes 0 or 1, with equal odds, before it is seen. "auto": 0.4, or 0.2 for rows
        of fewer than 400 columns, each of which says more of the row.
    noise
        Standard deviation of the Gaussian noise before and after the activation of the last layer, below which there
        is none; or one number a layer. Codes lie in [-1, 1], so that 2 hides much of them. "auto": 2, or 0.5 for rows
        of fewer than 400 columns: with 2 their chain stays near the mean of the data.
    walkback
        Steps of the chain in training, each of which is to give x back.
    others
        As of `VAE`.

    `transform` gives the first hidden layer, and `reconstruct` x^, of the chain's first step without noise; `sample`
    runs the chain. There is no density.
    """

    NAME, NETWORK, ABILITIES = "GSN", GSNNetwork, Abilities(True, True, "chain", "none")
    SETTINGS = "a GSN", "a DenoisingAutoencoder with likelihood='gaussian'"
    likelihood = "bernoulli"
    corruption: float | str
    noise: float | tuple[float, ...] | str
    walkback: int

    def __init__(
        self, hidden: tuple[int, ...] = (500, 500), activation: str = "tanh",
        corruption: float | str = "auto", noise: float | tuple[float, ...] | str = "auto", walkback: int = 4,
        epochs: int | str = "auto", batch_size: int | str = "auto", learning_rate: float = 1e-3,
        clip_norm: float | None = None,
        scale: Any = "auto", precision: str = "float32", device: str = "auto", random_state: Any = None,
        verbose: bool | int = 0, early_stopping: bool | str = "auto", validation_fraction: float = 0.1,
        optimizer: str = "adam", weight_decay: float = 0.0, schedule: str = "constant", warmup_steps: int = 0,
        average: float = 0.0,
        warm_start: bool = False,
    ):  # fmt: skip
        self._store(locals())

    def _architecture(self, columns: int) -> Architecture:
        given = self.get_params()
        (activation,) = checked_names(given, activation=HIDDEN)
        hidden, walkback = widths("hidden", given["hidden"]), check_integer("walkback", self.walkback, 1)
        if not hidden:
            raise ValueError("hidden=() has no layer: a chain needs one at least, hidden=(500,) say")
        if walkback > MOST_STEPS:
            raise ValueError(f"walkback={walkback} must be at most {MOST_STEPS}")
        usual_corruption, usual_noise = USUAL if columns >= WIDE else USUAL_OF_FEW
        corruption = check_number("corruption", _chosen("corruption", self.corruption, usual_corruption), 0, True, 1)
        noises = self._noises(len(hidden), usual_noise)
        return Architecture(columns, hidden, activation, corruption, noises, walkback)

    def _noises(self, layers: int, usual: float) -> tuple[float, ...]:
        """The noise of each hidden layer; `usual` of the last one, where the user leaves that open."""
        return _of_layers("noise", self.noise, layers, usual)

    def sample(
        self,
        n: int | None = None,
        random_state: Any = None,
        *,
        chain_noise: float | tuple[float, ...] | None = None,
        chain_corruption: float | None = None,
        **how: Any,
    ) -> np.ndarray:
        """As `ChainSampler.sample`, with whose arguments `how` goes, by a chain that may have other noise than that of
        the training.

        Parameters
        ----------
        chain_noise, chain_corruption
            In the place of the training's `noise` and `corruption`. With somewhat more the chain moves faster from one
            kind of rows to another: on MNIST, trained with noise of 2, it visits 3.2 classes in 100 steps, and with
            noise of 3 then 8.0, and a Parzen window over its samples is no worse.
        """
        if chain_noise is None and chain_corruption is None:
            return super().sample(n, random_state, **how)
        network = self._check_complete()
        a, changed = network.architecture, dict[str, Any]()
        if chain_noise is not None:
            changed["noise"] = _of_layers("chain_noise", chain_noise, len(a.hidden), 0.0)
        if chain_corruption is not None:
            changed["corruption"] = check_number("chain_corruption", chain_corruption, 0, True, 1)
        other = type(network)(dataclasses.replace(a, **changed), network.backend)
        network.parameters.bring_back()
        other.parameters.values[:] = network.parameters.values
        other.prepare(network.seed, network.units)
        if random_state is None:
            random_state = np.random.default_rng([int(word) for word in self._noise_of_call(None)])
        return ChainSampler.sample(self._copy_with(vars(self) | {"network_": other}), n, random_state, **how)

    def _begin(self, network: GSNNetwork, X: Any, units: Any, facts: Any, seed: np.uint64, *condition: Any) -> None:
        mean = (facts.mean - units.offset) / units.scale
        network.initialise_layers(seed, facts.deviation / units.scale, mean)
        network.biases[0].weight[:] = network.likelihood.intercept(mean)


def _of_layers(name: str, value: Any, layers: int, usual: float) -> tuple[float, ...]:
    """One number for each layer, from one for the last, or from as many as there are."""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return (0.0,) * (layers - 1) + (check_number(name, _chosen(name, value, usual), 0),)
    found = tuple(check_number(f"{name}[{i}]", each, 0) for i, each in enumerate(value))
    if len(found) != layers:
        raise ValueError(
            f"{name}={value!r} has {len(found)} numbers for {layers} hidden layers: give one for each, or one number "
            "for the last"
        )
    return found


def _chosen(name: str, value: Any, usual: float) -> Any:
    """The value of an argument; `usual` for "auto"."""
    if isinstance(value, str):
        check_name(name, value, (AUTO,))
        return usual
    return value
