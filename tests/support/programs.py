"""Programs that several tests share: ones that double numbers, so that each run shows."""

import numpy as np

from fastvae.kernels.slots import Slots


def add_doubling(program, x, decay=-1.0, times=1):
    """Have a program double the numbers of x: a step of gradient descent whose only force is a decay of -1."""
    flat = x.reshape(-1)
    zeros = np.zeros_like(flat)
    for _ in range(times):
        program.add("sgd_inplace", flat, zeros, zeros, 1.0, 0.0, 0.0, decay, 1.0)


def doubling(kernels, count=1):
    """Programs that double a number of their own, and these numbers (count, 1, 1)."""
    numbers, slots = np.ones((count, 1, 1), np.float32), Slots()
    programs = [kernels.Program(slots) for _ in range(count)]
    for program, number in zip(programs, numbers, strict=True):
        add_doubling(program, number)
    return programs, numbers
