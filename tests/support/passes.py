"""Passes of the tests' own, that are run without a model."""

import numpy as np

from fastvae.backend import Backend
from fastvae.kernels.slots import Slots
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
        numbers |= {name: values[0] for name, values in optimizer.numbers(1).items()}
        optimizer.step_count += 1
    for name, value in numbers.items():
        if name in p.slots:
            p.slots[name] = np.asarray(value).item()
    p.run(InTurn)
