"""PREDICTED, not measured: the time of a training step on an NVIDIA H100 (SXM5), launch by launch.

    python benchmarks/predicted.py
    python benchmarks/predicted.py --size M --precision float32

Nothing here has run on a GPU. The launches are those of the program itself: a model trains on a device that only notes
them. What each reads, writes and computes follows from its arguments by the formulas of `h100.py`, which
`tests/benchmarks/test_predicted.py` compares with the compiled kernels, executed by an interpreter. What that costs is
taken from what others have published of the device. Bernoulli likelihood, no clipping, rows of bytes gathered from a
data set on the device. numba-cuda must be installed with its libraries; no GPU is needed.

A launch takes as long as launches do, and then the longest of these, which is the column "bound":

    latency         what a warp of one block does and waits for, one thing after the other, times the waves of blocks
    issue           the instructions of the fullest multiprocessor
    FMA             its multiply-adds
    matrix units    its products in bfloat16
    shared memory   what moves to and from its shared memory
    L2              what moves between the multiprocessors and the second cache: all that blocks ask for
    DRAM            what the second cache does not hold; it keeps what was used last, and each step has new rows of data

    few blocks      one of the first five, in a product of fewer blocks than there are multiprocessors: more blocks help
    launch          launching takes longer than any of them

With launches from Python a step takes as long as the host or the device, whichever is slower, since the host is ahead.
In a CUDA graph only the device counts.

What is assumed of the device, and where it is from, stands in `h100.py`, with the formulas.
"""

import argparse
import importlib.util
import math
import pathlib
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks.h100 import (
    CLOCK,
    DRAM_RATE,
    HOST,
    HOST_ARRAY,
    HOST_NUMBER,
    IN_GRAPH,
    IN_STREAM,
    KERNEL,
    L2_BYTES,
    L2_PORT,
    L2_RATE,
    LANES,
    MATRIX_RATE,
    MULTIPROCESSORS,
    PAGE,
    PRECISIONS,
    SCHEDULERS,
    SHARED_RATE,
    Work,
    work,
)
from benchmarks.sizes import SIZES, Size

# ---- the launches of a step -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Launched:
    """A launch that was noted."""

    kernel: Any
    grid: tuple
    block: tuple
    arguments: list[Any]

    @property
    def name(self) -> str:
        """The kernel's."""
        return self.kernel.__name__

    @property
    def host(self) -> float:
        """Seconds that it takes the host."""
        arrays = sum(isinstance(argument, np.ndarray) for argument in self.arguments)
        return HOST + HOST_ARRAY * arrays + HOST_NUMBER * (len(self.arguments) - arrays)


def recorder() -> Any:
    """A device that notes launches, over arrays of the host."""
    from fastvae.kernels.cuda.driver import Device

    class Recorder(Device):
        def __init__(self) -> None:
            super().__init__()
            self.launched: list[Launched] = []

        def fault(self):
            return None

        def capability(self):
            return (9, 0)

        def empty(self, size, dtype):
            return np.zeros(size, dtype)

        def write(self, there, array):
            there[...] = array

        def read(self, there, array):
            array[...] = there

        def free_bytes(self):
            return math.inf

        def launch(self, chosen, grid, block, arguments):
            self.launched.append(Launched(chosen, grid, block, arguments))

        def graph(self, launches):
            return lambda: [launch.do(self) for launch in launches]

    return Recorder()


def recorded(size: Size, precision: str = "float32") -> list[Launched]:
    """The launches of a step of training that is not the first."""
    from fastvae import VAE
    from fastvae.kernels.cuda.driver import using

    data = np.random.default_rng(0).integers(0, 256, (2 * size.B, size.D), np.uint8)
    indices, settings = np.arange(size.B), {"precision": precision, "device": "cuda", "random_state": 0}
    settings["init"] = "he"  # so that logvar is nowhere near 0: there its terms cost less
    with using(recorder()) as device:
        vae = VAE(latent_dim=size.Z, hidden=(size.H,), batch_size=size.B, scale=(0, 255), **settings)
        examples, network = vae.initialize(data), vae.network_
        network.allocate(size.B, [vae._make_optimizer()], examples, indices)
        for step in (1, 2):
            device.launched.clear()
            network.steps(step, indices[None].copy(), np.zeros(1))
    return device.launched


# ---- from counts to seconds -----------------------------------------------------------------------------------------


class SecondCache:
    """What is in it: the pages that were used last."""

    def __init__(self) -> None:
        self._pages: OrderedDict[int, bool] = OrderedDict()  # whether they are changed
        self._new = -1

    def use(self, made: Work) -> float:
        """Bytes that come from memory and go there in a launch."""
        moved = 0
        for ranges, changed in ((made.reads, False), (made.writes, True)):
            for start, size in ranges:
                for page in range(start // PAGE, -(-(start + size) // PAGE)):
                    moved += self._touch(page, changed, fetched=not changed)
        for _ in range(math.ceil(made.fresh / PAGE)):
            self._new -= 1
            moved += self._touch(self._new, False, fetched=False)
        return moved + made.fresh

    def _touch(self, page: int, changed: bool, fetched: bool) -> int:
        known = page in self._pages
        self._pages[page] = self._pages.pop(page, False) or changed
        lost = len(self._pages) * PAGE > L2_BYTES and self._pages.popitem(last=False)[1]
        return PAGE * ((fetched and not known) + lost)


def terms(made: Work, dram: float) -> dict[str, float]:
    """Seconds that each part of a launch would take by itself."""
    fullest = math.ceil(made.blocks / MULTIPROCESSORS) / made.blocks  # the share of the fullest multiprocessor
    waves = math.ceil(made.blocks / (MULTIPROCESSORS * made.resident))
    moved, issued = made.loaded + made.stored, made.blocks * made.warps * made.instructions
    clocks = {
        "latency": waves * (made.instructions + made.waits),
        "issue": fullest * issued / SCHEDULERS,
        "FMA": fullest * made.fma / LANES,
        "matrix units": fullest * made.mma / MATRIX_RATE,
        "shared memory": fullest * made.shared / SHARED_RATE,
        "L2": max(fullest * moved / L2_PORT, moved / L2_RATE * CLOCK),
        "DRAM": dram / DRAM_RATE * CLOCK,
    }
    return {name: value / CLOCK for name, value in clocks.items()}


@dataclass(frozen=True)
class Predicted:
    """A launch: bytes of memory, seconds by itself, what bounds it, and seconds of the host."""

    launched: Launched
    made: Work
    dram: float
    seconds: float
    bound: str

    @property
    def in_stream(self) -> float:
        """Seconds from the end of the launch before."""
        return self.seconds + KERNEL + IN_STREAM

    @property
    def in_graph(self) -> float:
        """The same in a CUDA graph."""
        return self.seconds + KERNEL + IN_GRAPH


def predicted(launches: list[Launched]) -> list[Predicted]:
    """The launches of a step like the one before it."""
    works, cache, found = [work(one.name, one.arguments) for one in launches], SecondCache(), []
    for made in works:
        cache.use(made)
    for one, made in zip(launches, works, strict=True):
        dram = cache.use(made)
        parts = terms(made, dram)
        bound = max(parts, key=lambda name: parts[name])
        seconds = parts[bound]
        if (made.fma or made.mma) and made.blocks < MULTIPROCESSORS and bound not in ("L2", "DRAM"):
            bound = "few blocks"
        found.append(Predicted(one, made, dram, seconds, "launch" if seconds < KERNEL + IN_STREAM else bound))
    return found


@dataclass(frozen=True)
class Step:
    """A step's seconds: the host's and the device's with launches from Python, and the device's in a CUDA graph."""

    host: float
    device: float
    graph: float


def step_of(found: list[Predicted]) -> Step:
    """All launches of a step."""
    host = sum(one.launched.host for one in found)
    return Step(host, sum(one.in_stream for one in found), sum(one.in_graph for one in found))


def table(title: str, found: list[Predicted]) -> Iterator[str]:
    """The launches of a step, and what they come to."""
    yield f"\nPREDICTED for an H100 SXM5, not measured: {title}"
    heads = "".join(f"{head:>10}" for head in ("blocks", "MB to L2", "MB DRAM", "MFLOP", "us"))
    yield f"{'launch':29}{heads}  {'bound':14}products"
    for one in found:
        moved, work_ = (one.made.loaded + one.made.stored) / 1e6, one.made.flops / 1e6
        numbers = f"{one.made.blocks:10}{moved:10.3f}{one.dram / 1e6:10.3f}{work_:10.2f}{1e6 * one.in_stream:10.2f}"
        yield f"{one.launched.name:29}{numbers}  {one.bound:14}{' '.join(one.made.shapes)}".rstrip()
    made = step_of(found)
    host, device, graph = (f"{1e6 * seconds:.0f}" for seconds in (made.host, made.device, made.graph))
    slower = "host" if made.host > made.device else "device"
    yield f"predicted: {len(found)} launches from Python: host {host} us, device {device} us, so a step by the {slower}"
    yield f"predicted: as a CUDA graph: {graph} us a step"


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", nargs="+", default=list(SIZES), choices=SIZES, help="default: all")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=PRECISIONS, help="default: both")
    chosen = parser.parse_args()
    install = "pip install 'numba-cuda[cu13]'"
    if importlib.util.find_spec("numba_cuda") is None:
        sys.exit(f"numba-cuda is not installed: {install}")
    try:
        importlib.import_module("fastvae.kernels.cuda.instructions")
    except Exception as error:  # of a library that is missing
        sys.exit(f"numba-cuda cannot work here ({str(error).split(': ')[0]}): {install}")
    for precision in chosen.precision:
        for size in (SIZES[name] for name in chosen.size):
            title = f"{size.name} {size.D}-{size.H}-{size.Z}, batch {size.B}, {precision}"
            print(*table(title, predicted(recorded(size, precision))), sep="\n")


if __name__ == "__main__":
    main()
