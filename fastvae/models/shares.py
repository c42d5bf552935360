"""The shares of a batch: what each thread does in a step."""

import functools
from dataclasses import dataclass

import numpy as np

from fastvae.kernels.scalars import Scalars
from fastvae.layers import Program


@dataclass(frozen=True, eq=False)
class Shares:
    """What each thread does in a step on a batch of so many rows, a program each; and where the batch's data go."""

    scalars: Scalars
    x: np.ndarray
    nll: np.ndarray
    kl: np.ndarray
    filled: bool  # by the batch; else the programs read the rows themselves
    forward: list[Program]  # its rows of the batch
    backward: list[Program]  # the same; none where `forward` goes all the way
    gradients: list[Program]  # its rows of the weights
    adam: list[Program]

    @functools.cached_property
    def forward_jobs(self) -> np.ndarray:
        """The jobs of `forward`."""
        return np.array([program.job for program in self.forward], np.int64)

    @functools.cached_property
    def adam_jobs(self) -> np.ndarray:
        """The jobs of `adam`."""
        return np.array([program.job for program in self.adam], np.int64)
