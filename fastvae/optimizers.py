"""Adam over a model's flat parameter buffer."""

import math
from types import ModuleType

import numpy as np

from fastvae.kernels.memory import zeros
from fastvae.kernels.scalars import (
    ADAM_STEP,
    BETA1,
    BETA2,
    CLIP_NORM,
    EPSILON,
    GRAD_SCALE,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Scalars,
)
from fastvae.parameters import Parameters


class Adam:
    """Adam with bias correction, decoupled weight decay and clipping of the gradient's norm.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon, weight_decay
        See `adam_inplace` in the contract of `fastvae.kernels`. Kingma and Ba 2015; Loshchilov and Hutter 2019.
    clip_norm
        Largest Euclidean norm of the whole gradient; a longer one is scaled down to it. None: no limit.

    Attributes
    ----------
    step_count : int
        Steps taken so far.
    first_moment, second_moment : (P,) float32
    """

    def __init__(
        self,
        parameters: Parameters,
        kernels: ModuleType,
        learning_rate: float = 1e-3,
        clip_norm: float | None = None,
        weight_decay: float = 0.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ):
        self._parameters, self._kernels = parameters, kernels
        self.learning_rate, self.clip_norm, self.weight_decay = learning_rate, clip_norm, weight_decay
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self._first_moment, self._second_moment = (zeros(parameters.values.size) for _ in range(2))
        self.step_count = 0

    @property
    def first_moment(self) -> np.ndarray:
        """m."""
        self._parameters.bring_back()
        return self._first_moment[:]

    @property
    def second_moment(self) -> np.ndarray:
        """v."""
        self._parameters.bring_back()
        return self._second_moment[:]

    def begin_step(self, scalars: Scalars) -> None:
        """Count a step and set what its kernels read. With `clip_norm`, the gradients lie in the flat buffer already;
        without, nothing looks at them here, and `dense_adam_inplace` can make and use them at once."""
        scale = 1.0
        if self.clip_norm is not None and self._kernels.ON_HOST:
            norm = math.sqrt(self._kernels.squared_norm(self._parameters.gradients))
            scale = self.clip_norm / norm if norm > self.clip_norm else 1.0
        self.step_count += 1
        scalars.integers[ADAM_STEP] = self.step_count
        reals = scalars.reals
        reals[LEARNING_RATE], reals[BETA1], reals[BETA2] = self.learning_rate, self.beta1, self.beta2
        reals[EPSILON], reals[WEIGHT_DECAY], reals[GRAD_SCALE] = self.epsilon, self.weight_decay, scale
        reals[CLIP_NORM] = self.clip_norm or 0.0

    def step(self) -> None:
        """Change the parameters by one step along the gradients that lie in the flat buffer."""
        scalars = Scalars()
        self.begin_step(scalars)
        program = self._kernels.Program(scalars)
        arrays = self._parameters.values, self.first_moment, self.second_moment
        self._kernels.upload(self._parameters.gradients, *arrays)
        self.record(program, 0, self.first_moment.size)
        program.run()
        self._kernels.download(*arrays)

    def record(self, program, start: int, stop: int) -> None:
        """Write down the step of the parameters start ... stop - 1 of the flat buffer, from their gradients there."""
        flat = (self._parameters.values, self._parameters.gradients, self.first_moment, self.second_moment)
        if self.clip_norm is not None and not self._kernels.ON_HOST:
            program.add("gradient_norm", self._parameters.gradients)
        program.add("adam_inplace", *(array[start:stop] for array in flat))
