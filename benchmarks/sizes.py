"""The shapes that everything is measured at, and the arrays of a model of that shape."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Size:
    """A VAE D-H-Z with one hidden layer on each side, its batch B, and the N examples that batches are drawn from."""

    name: str
    D: int
    H: int
    Z: int
    B: int
    N: int = 60_000

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the model's parameters, as fastvae names them."""
        pairs = {
            "encoder.0": (self.D, self.H),
            "mu": (self.H, self.Z),
            "logvar": (self.H, self.Z),
            "decoder.0": (self.Z, self.H),
            "decoder.1": (self.H, self.D),
        }
        return {f"{n}.{part}": s for n, (i, o) in pairs.items() for part, s in (("weight", (i, o)), ("bias", (o,)))}

    @property
    def parameters(self) -> int:
        """P, the number of parameters."""
        return sum(int(np.prod(shape)) for shape in self.shapes().values())

    @property
    def step_flops(self) -> int:
        """Of the products of one training step: forward and both of backward, but none back into the data."""
        weights = 2 * self.D * self.H + 3 * self.H * self.Z
        return 2 * self.B * (3 * weights - self.D * self.H)

    def weights(self) -> dict[str, np.ndarray]:
        """The same initial parameters for every implementation: normal, variance 1 / inputs; small biases."""
        rng = np.random.default_rng(1)
        return {
            name: (rng.standard_normal(shape) * (shape[0] ** -0.5 if len(shape) == 2 else 0.01)).astype(np.float32)
            for name, shape in self.shapes().items()
        }

    def data(self, rows: int | None = None) -> np.ndarray:
        """Rows (B by default) in [0, 1], (rows, D) float32."""
        return np.random.default_rng(2).random((rows or self.B, self.D), dtype=np.float32)

    def normals(self, *shape: int, seed: int = 3) -> np.ndarray:
        """N(0, 1), float32."""
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


SIZES = {
    size.name: size
    for size in (
        Size("XS", 64, 128, 8, 32),
        Size("S", 64, 64, 8, 128),
        Size("M", 784, 400, 20, 128),
        Size("L", 784, 1024, 32, 512),
    )
}
DEFAULT_SIZE = "M"
