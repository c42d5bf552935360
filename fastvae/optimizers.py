"""Adam over a model's flat parameter buffer."""

import math
from types import ModuleType

import numpy as np

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
        self.first_moment = np.zeros_like(parameters.values)
        self.second_moment = np.zeros_like(parameters.values)
        self.step_count = 0

    def step(self) -> None:
        """Change the parameters by one step along the gradients that lie in the flat buffer."""
        scale = 1.0
        if self.clip_norm is not None:
            norm = math.sqrt(self._kernels.squared_norm(self._parameters.gradients))
            scale = self.clip_norm / norm if norm > self.clip_norm else 1.0
        self.step_count += 1
        self._kernels.adam_inplace(
            self._parameters.values,
            self._parameters.gradients,
            self.first_moment,
            self.second_moment,
            self.step_count,
            self.learning_rate,
            self.beta1,
            self.beta2,
            self.epsilon,
            self.weight_decay,
            scale,
        )
