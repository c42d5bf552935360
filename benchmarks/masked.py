"""What it brings to leave the masked half of MADE's weights out of the products: a step against the whole products.

    FASTVAE_THREADS=1 python benchmarks/masked.py
    python benchmarks/masked.py --rows 500 --hidden 500 8000

784-H-784 with direct connections: forward, backward by the inputs, gradients with Adam's step. Both ways have the same
weights, with their zeros; the whole products go on to move what is masked, which then costs nothing more. Processor
milliseconds, medians of rounds in turn.
"""

import argparse
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from fastvae.contract_cases import adam_numbers
from fastvae.kernels import cpu
from fastvae.kernels.formulas import IDENTITY, RELU
from fastvae.kernels.slots import Slots

COLUMNS, ROUNDS = 784, 15
ADAM = adam_numbers(1, 1e-3, 0.9, 0.999, 1e-8, 0.0)


class Step:
    """A step's ops, written down part by part."""

    def __init__(self, rows: int, width: int):
        rng = np.random.default_rng(0)
        degrees, columns = 1 + np.arange(width) * (COLUMNS - 1) // width, np.arange(COLUMNS)
        self.depths = degrees, np.searchsorted(degrees, columns, side="right"), columns  # hidden, output, direct
        shapes = (COLUMNS, width), (width, COLUMNS), (COLUMNS, COLUMNS)
        self.weights = [
            (rng.standard_normal(shape) * (np.arange(shape[0])[:, None] < depths) / 30).astype(np.float32)
            for shape, depths in zip(shapes, self.depths, strict=True)
        ]
        self.x, self.d_out = (
            self._array(rng.random((rows, COLUMNS)) < 0.13),
            self._array(rng.normal(size=(rows, COLUMNS))),
        )
        self.h, self.out, self.d_h = (np.empty((rows, n), np.float32) for n in (width, COLUMNS, width))

    @staticmethod
    def _array(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)

    def program(self, ops: str, parts: tuple[str, ...]) -> cpu.Program:
        """Those parts by the ops "dense" or "masked"."""
        made = cpu.Program(Slots())
        hidden, output, direct = ((depths,) if ops == "masked" else () for depths in self.depths)
        first, second, third = self.weights
        biases = [np.zeros(weight.shape[1], np.float32) for weight in self.weights[:2]]
        if "forward" in parts:
            made.add(f"{ops}_forward", self.x, first, biases[0], RELU, *hidden, self.h, self.h)
            made.add(f"{ops}_forward", self.h, second, biases[1], IDENTITY, *output, self.out, self.out)
            made.add(f"{ops}_accumulate", self.x, third, *direct, self.out)
        if "backward" in parts:
            made.add(f"{ops}_backward_input", self.out, second, IDENTITY, *output, self.d_out, 0, self.d_h)
            made.add(f"{ops}_backward_input", self.h, first, RELU, *hidden, self.d_h, 0, None)
        if "gradients and Adam" in parts:
            uses = (self.x, self.d_h, hidden), (self.h, self.d_out, output), (self.x, self.d_out, direct)
            for (x, d_a, mask), weight in zip(uses, self.weights, strict=True):
                own = weight.copy()
                moments = np.zeros_like(own), np.zeros_like(own)
                made.add(f"{ops}_adam_inplace", x, d_a, 0, len(own), *mask, own, *moments, *[None] * 3, *ADAM)
        return made


def measured(step: Step, parts: tuple[str, ...]) -> dict[str, float]:
    """Milliseconds of both ways."""
    programs = {ops: step.program(ops, parts) for ops in ("dense", "masked")}
    times: dict[str, list[float]] = {ops: [] for ops in programs}
    for i in range(ROUNDS + 1):
        for ops, program in programs.items():
            begun = time.process_time()
            program.run()
            if i:  # the first compiles
                times[ops].append(time.process_time() - begun)
    return {ops: 1e3 * float(np.median(values)) for ops, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--hidden", type=int, nargs="+", default=[500, 2000])
    chosen = parser.parse_args()
    parts = "forward", "backward", "gradients and Adam"
    for width in chosen.hidden:
        step = Step(chosen.rows, width)
        for some in (*[(part,) for part in parts], parts):
            found = measured(step, some)
            name = "all" if some == parts else some[0]
            print(
                f"784-{width}-784, {chosen.rows} rows, {name:20} whole {found['dense']:7.2f} ms, masked "
                f"{found['masked']:7.2f} ms, ratio {found['dense'] / found['masked']:.2f}"
            )


if __name__ == "__main__":
    main()
