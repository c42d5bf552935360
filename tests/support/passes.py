"""Passes of the tests' own, that are run without a model; and the smallest model."""

import numpy as np

from fastvae.backend import Backend
from fastvae.data.minibatches import Examples
from fastvae.engine import Network
from fastvae.kernels import cpu
from fastvae.kernels.slots import Slots
from fastvae.layers import Dense
from fastvae.likelihoods import Gaussian
from fastvae.passes import Pass


class InTurn:
    """Runs the programs of a phase one after the other."""

    @staticmethod
    def run_programs(programs):
        for program in programs:
            program.run()


def new_pass(kernels, rows, shares=1, arena=None, inputs=None, backward=True):
    return Pass(Backend("cpu", kernels), Slots(), rows, inputs or {}, shares, arena, backward)


def run(p, *optimizers, **numbers):
    """Do a pass once, with the numbers of the optimizers' next step, which is counted, and others by name."""
    optimizers = [optimizer for optimizer in optimizers if optimizer is not None]
    for optimizer in optimizers:
        numbers |= {name: np.ravel(values)[0] for name, values in optimizer.numbers(1).items()}
        optimizer.step_count += 1
    for name, value in numbers.items():
        if name in p.slots:
            p.slots[name] = np.asarray(value).item()
    p.run(InTurn)


class Reconstruction(Network):
    """x from x by one linear layer: loss = mean over the batch of |x - (x W + b)|^2 / 2, and a constant."""

    def __init__(self, columns, threads=1):
        super().__init__(columns, Backend("cpu", cpu))
        self.workers = cpu.workers.Workers(threads)
        for values in self.parameters.named_values().values():
            values[...] = np.random.default_rng(0).normal(size=values.shape)

    def describe(self, columns, complete):
        super().describe(columns, complete)
        self.layer, self.likelihood, self.inputs = Dense("layer", columns, columns), Gaussian(), {"x": columns}

    def owners(self):
        return [self.layer]

    def step(self, p, optimizers):
        x, weight = p.input("x"), p.slots.real("weight")
        a, back = self.layer(p, x)
        nll, d_a = self.likelihood.loss(p, x, a, weight)
        p.loss(nll=(nll, weight))
        back(d_a, inputs=False)
        p.update(optimizers[0], self.owners())

    def numbers(self, rows, progress, steps):
        return {"weight": np.full(len(progress), 1 / rows)}

    def report(self, sums, rows, progress):
        return {"loss": sums["nll"] / rows}

    def train(self, X, orders, optimizer):
        """Steps on those rows of X (N, D): one call for each order (n, B); return their losses."""
        columns, losses, done = X.shape[1], [], 0
        examples = Examples(X, np.zeros(columns), np.ones(columns), self.seed, cpu)
        with self.workers:
            self.allocate(orders[0].shape[1], [optimizer], examples, np.empty(orders[0].shape[1], np.int64))
            for order in orders:
                losses += [parts["loss"] for parts in self.steps(done + 1, order, np.zeros(len(order)))]
                done += len(order)
            self.allocate(0)
        return losses
