"""A generative adversarial network (Goodfellow et al. 2014): two networks, each of which is the loss of the other.

x' = G(z), z ~ N(0, I)        the logit that a row is of the data: D(x)

loss of D = mean of -log sigmoid(D(x)) + mean of -log(1 - sigmoid(D(x')))        loss of G = mean of -log sigmoid(D(x'))

The latter is the one that does not saturate (there, section 3). In each step D goes first, then G against the new D, on
the same x'. At the equilibrium G draws from the data's distribution and D(x) = 0 everywhere: the loss of D is 2 log 2,
that of G log 2, and D is right in half of all cases. Neither loss says how good the samples are. Weights of rows are
those of the first mean: the distribution of the data is then theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.validation import LARGEST
from fastvae.engine import Network
from fastvae.kernels import philox
from fastvae.kernels.formulas import CORRUPTIONS
from fastvae.layers import MLP, Half, Width
from fastvae.optimizers import Numbers, Optimizer
from fastvae.passes import ROW, Pass

OUTPUTS = {"sigmoid": None, "identity": "standard"}  # of the generator, and the scaling of the data that suits
DISCRIMINATOR, GENERATOR = "discriminator", "generator"
FIRST = np.zeros(1, np.int64)  # the only column of the logits


@dataclass(frozen=True)
class Architecture:
    """What decides the names and shapes of the parameters, and what the networks are."""

    inputs: int
    latent_dim: int
    hidden: tuple[Width, ...]
    discriminator_hidden: tuple[Width, ...]
    activation: str
    discriminator_activation: str
    output: str


class GANNetwork(Network):
    """Generator and discriminator; the generator alone where it is not `complete`. See `engine.Network`."""

    label_smoothing = instance_noise = noise_epochs = 0.0
    data_variance: float | None = None  # of all columns together, in the model's units, where the data are known

    def describe(self, a: Architecture, complete: bool) -> None:  # noqa: D102
        super().describe(a, complete)
        self.inputs = {"x": a.inputs, "z": a.latent_dim}
        seen = a.inputs, *a.discriminator_hidden, 1
        self.discriminator = MLP(DISCRIMINATOR, seen, a.discriminator_activation, "identity")
        self.generator = MLP(GENERATOR, (a.latent_dim, *a.hidden, a.inputs), a.activation, a.output)

    def owners(self) -> Sequence[Any]:  # noqa: D102
        return [*(self.discriminator.layers if self.complete else []), *self.generator.layers]

    def range_of(self, name: str) -> tuple[float, float]:  # noqa: D102
        return (0.0, 1.0) if name == "x" and self.architecture.output == "sigmoid" else (-LARGEST, LARGEST)

    # ---- a step -------------------------------------------------------------------------------------------------

    def step(self, p: Pass, optimizers: Sequence[Optimizer | None]) -> None:
        """Write a step of the discriminator's optimizer, the first, and one of the generator's, the last."""
        z, weight = p.empty(self.architecture.latent_dim), p.slots.real("example weight")
        p.add("normal_noise", p.seed, philox.GENERATED, p.step, ROW, z)
        generated, back_generator = self.generator(p, z)
        p.note("output", generated, name="x′")
        real = self._blurred(p, p.input("x"), philox.BLUR_OF_REAL)
        generated = self._blurred(p, generated, philox.BLUR_OF_GENERATED)

        for name, rows, label in (("real", real, 1.0 - self.label_smoothing), ("generated", generated, 0.0)):
            logits, loss, d_logits, back = self._judged(p, rows, label)
            taken = p.empty(1)  # for rows of the data: 1 or 0 for each
            p.add("take_columns", logits, FIRST, taken)
            p.add("threshold_inplace", taken, 0.0)
            if name == "real":  # those that are generated count alike
                p.weigh(loss, d_logits, taken)
            p.loss(**{name: (loss, weight)})
            p.loss(**{f"taken_{name}": (taken, 0.0)})
            back(d_logits, inputs=False)
        p.update(optimizers[0], self.discriminator.layers)

        _, loss, d_logits, back = self._judged(p, generated, 1.0)
        p.loss(generator=(loss, weight))
        d_generated = back(d_logits)
        p.drop_gradients(self.discriminator.layers)
        back_generator(d_generated, inputs=False)
        p.update(optimizers[-1], self.generator.layers)

    def _judged(self, p: Pass, rows: np.ndarray, label: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
        """Write logits (B, 1) of rows, the loss (B,) where they are to be `label`, its gradient by the logits (B, 1),
        and return what writes the backward too."""
        logits, back = self.discriminator(p, rows)
        labels, loss, d_logits = p.cut(np.full((p.rows, 1), label, np.float32)), p.empty(), p.empty(1)
        p.add("bernoulli_forward_backward", labels, logits, p.slots.real("example weight"), loss, d_logits)
        return logits, loss, d_logits, back

    def _blurred(self, p: Pass, rows: np.ndarray, stream: int) -> np.ndarray:
        """Write rows + instance noise; the gradient by these rows is that by the result."""
        if not self.instance_noise:
            return rows
        out, how = p.empty(rows.shape[1]), (CORRUPTIONS["gaussian"], p.slots.real("instance noise"))
        p.add("corrupt", rows, *how, p.seed, stream, p.step, ROW, out)
        return out

    def numbers(self, rows: int, progress: np.ndarray, steps: np.ndarray) -> dict[str, Numbers]:
        """See `engine.Network`; and the deviation of the instance noise."""
        left = np.clip(1.0 - progress / self.noise_epochs, 0.0, 1.0) if self.noise_epochs else np.ones(len(progress))
        return super().numbers(rows, progress, steps) | {"instance noise": self.instance_noise * left}

    def report(self, sums: dict[str, np.ndarray], rows: int, progress: np.ndarray) -> dict[str, np.ndarray]:
        """Both losses and their sum, in nats, and the accuracy of the discriminator, before its step."""
        means = {name: values / rows for name, values in sums.items()}
        discriminator = means["real"] + means["generated"]
        return {
            "loss": discriminator + means["generator"],
            "discriminator_loss": discriminator,
            "generator_loss": means["generator"],
            "accuracy_real": means["taken_real"],
            "accuracy_generated": 1.0 - means["taken_generated"],
        }

    # ---- other passes -------------------------------------------------------------------------------------------

    def decode(self, p: Pass) -> list[np.ndarray]:  # noqa: D102
        return p.returns(self.generator(p, p.input("z"))[0])

    def wiring(self) -> dict[str, Half]:  # noqa: D102
        return {"decode": Half.of(self.generator.layers, "mean")}

    def logits(self, p: Pass) -> list[np.ndarray]:
        """Write the logit (B, 1) that each row of x is of the data."""
        return p.returns(self.discriminator(p, p.input("x"))[0])
