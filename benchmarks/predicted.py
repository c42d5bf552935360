"""PREDICTED, not measured: the time of a training step on an NVIDIA H100 (SXM5), launch by launch.

    python benchmarks/predicted.py
    python benchmarks/predicted.py --size M --precision float32

Nothing here has run on a GPU. The launches are those of the program itself: a model trains on a device that only notes
them. What each reads, writes and computes follows from its arguments by the formulas below, which
`tests/test_predicted.py` compares with the compiled kernels, executed by an interpreter. What that costs is taken from
what others have published of the device. Bernoulli likelihood, no clipping, rows of bytes gathered from a data set on
the device. numba-cuda must be installed; neither a GPU nor the CUDA toolkit is needed.

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

What is assumed, and where it is from:

- 132 multiprocessors, 50 MB of second cache, 3.35 TB/s of memory, 989 TFLOP/s of dense bfloat16: NVIDIA's data sheet
  and "H100 Tensor Core GPU Architecture". The last is 4,096 operations a clock and multiprocessor at 1.83 GHz, the
  clock that is assumed for everything. The sheet's 67 TFLOP/s of float32, a multiply-add counted as two, are of 1.98
  GHz; at 1.83 they are 61.8.
- A multiprocessor issues four instructions of warps, does 128 multiply-adds, and moves 128 bytes to or from shared
  memory a clock: CUDA C++ Programming Guide. Four words for each lane take four clocks, also where lanes read one.
- Instructions are those of PTX. Machine code (CUDA 13.0, compute capability 9.0) has about as many: of a step of the
  sum in float32 855 for PTX's 880. Roots and quotients, of which it has more, are not counted apart.
- `mma.sync` reaches 63% of the matrix units' rate, with results after 33 clocks; shared memory answers after 29 clocks
  (here 33, with four words), the first cache after 41, the second after 263, memory after 479: Luo et al.,
  "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture" (arXiv 2402.13499), on the PCIe model.
- The second cache gives 5.5 TB/s: Chips and Cheese, "Nvidia's H100: Funny L2, and Tons of Bandwidth" (2023), on that
  model too. One multiprocessor gets 64 bytes a clock (assumed).
- The shortest kernels take 1.1 microseconds (NVIDIA/numbast, pull request 71). From one to the next that depends on it
  pass 0.9 in a stream and 0.5 in a graph: "Getting Started with CUDA Graphs" (NVIDIA, 2019), on a V100.
- A launch by numba-cuda takes the host 5.6 microseconds, and 1.5 more for each array: NVIDIA/numba-cuda, pull request
  804, for none to four of them. A number is assumed to cost a quarter of an array; what this project does in Python
  around it is not counted. A graph takes 2.5 ("Constant Time Launch for Straight-Line CUDA Graphs", NVIDIA, 2024), so
  that the device is always the slower.
- What is said of Luo et al., Chips and Cheese and the two articles of NVIDIA was not looked up again for this.
- How many blocks a multiprocessor has at a time follows from their registers and shared memory, once assembled.
- What a warp waits for was read off the machine code and is added up here by hand: the least certain part. Waits of the
  products' inner loop came to within a fifth of its instructions in order, each with the time until its result.
"""

import argparse
import importlib.util
import math
import pathlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sizes import SIZES, Size

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

CLOCK = 1.83e9  # a second
MULTIPROCESSORS, SCHEDULERS, LANES = 132, 4, 128
SHARED_RATE, L2_PORT = 128, 64  # bytes a clock, of a multiprocessor
MATRIX_RATE = 0.63 * 4096  # operations a clock, of a multiprocessor
L2_RATE, DRAM_RATE = 5.5e12, 3.35e12  # bytes a second
L2_BYTES, PAGE = 50e6, 4096  # PAGE: what the second cache is taken to keep or to lose at once
SHARED, MATRIX, L1, L2, DRAM, BARRIER, SHUFFLE = 33, 33, 41, 263, 479, 20, 23  # clocks until there is a result
KERNEL, IN_STREAM, IN_GRAPH = 1.1e-6, 0.9e-6, 0.5e-6  # seconds
HOST, HOST_ARRAY, HOST_NUMBER = 5.6e-6, 1.5e-6, 0.4e-6
SECTOR, WARP, VECTOR, FLOAT = 32, 32, 4, 4
PRECISIONS = "float32", "bfloat16"

Ranges = list[tuple[int, int]]  # where bytes begin, and how many they are


@dataclass
class Work:
    """What a launch does. Instructions and waits are those of the warp that has the most; the rest is of all blocks."""

    blocks: int
    warps: int  # of a block
    resident: int  # blocks on a multiprocessor at a time
    instructions: float = 0.0
    waits: float = 0.0  # clocks
    loaded: float = 0.0  # bytes between the second cache and the multiprocessors
    stored: float = 0.0
    flops: float = 0.0
    fma: float = 0.0
    mma: float = 0.0  # operations of the matrix units
    shared: float = 0.0  # bytes
    reads: Ranges = field(default_factory=list)
    writes: Ranges = field(default_factory=list)
    fresh: float = 0.0  # bytes that no step has read before
    shapes: list[str] = field(default_factory=list)  # of products, with the length of their sums last


def where(*arrays: np.ndarray) -> Ranges:
    """The bytes of arrays."""
    return [(array.__array_interface__["data"][0], array.nbytes) for array in arrays]


def sectors(size: float) -> float:
    """Bytes that move for a row of so many, from a sector's beginning."""
    return math.ceil(size / SECTOR) * SECTOR


# ---- products: see kernels/cuda/dense.py and dense_bfloat16.py ------------------------------------------------------


@dataclass(frozen=True)
class Inner:
    """What each thread does in one step of the sum, and what a block alone on its multiprocessor waits for.

    Attributes
    ----------
    deep
        Numbers of the sum in a step.
    resident
        Blocks on a multiprocessor at a time.
    start, instructions
        Before the first step, and of each.
    summing, totals
        Instructions, and bytes of shared memory, that the sums of B's columns add to each step.
    finish
        Instructions of each pass over two rows in the end, more than below.
    multiply
        Clocks from the first of them that multiplies to the last, without waiting.
    waits
        For shared memory or the matrix units while multiplying.
    fma, mma
        Multiply-adds of a thread, operations of the matrix units for the block.
    shared
        Bytes to and from shared memory in a step, of the block.
    """

    deep: int
    resident: int
    start: float
    instructions: float
    summing: float
    totals: int
    finish: int
    multiply: float
    waits: float
    fma: int
    mma: int
    shared: int

    @property
    def pauses(self) -> float:
        """Clocks of a step in which a warp issues nothing: for the table, the product, a barrier, and for operands that
        do not come while the tiles before are multiplied."""
        product = self.multiply + self.waits
        return 2 * L1 + max(0.0, L2 - product) + self.waits + SHARED + BARRIER


TILE = 64  # rows and columns
PLAIN = {"totals": 4096, "finish": 0, "multiply": 712, "waits": 16 * SHARED, "fma": 512, "mma": 0, "shared": 106_496}
MATRICES = {"totals": 2048, "finish": 3, "multiply": 132, "waits": SHARED + 2 * MATRIX, "fma": 0, "mma": 262_144}
MATRICES |= {"shared": 24_576}
INNER = {
    "dense_along_across": Inner(16, 5, 194, 880, 0, **PLAIN),
    "dense_along_along": Inner(16, 5, 176, 884, 0, **PLAIN),
    "dense_across_across": Inner(16, 5, 177, 863, 23, **PLAIN),
    "dense_bfloat16_along_across": Inner(32, 4, 252, 209, 0, **MATRICES),
    "dense_bfloat16_along_along": Inner(32, 4, 241, 192, 0, **MATRICES),
    "dense_bfloat16_across_across": Inner(32, 4, 236, 219, 17, **MATRICES),
}
# What is done with two rows of a product before they are written: instructions, and clocks until what is read is there.
PLAINLY, ACTIVATED, TIMES_DERIVATIVE, ADDED = (25, SHARED), (32, L1), (42, L2), (2, L2)


def sizes_of_tiles(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """How many rows and columns of each tile count."""
    for row in range(0, rows, TILE):
        for column in range(0, columns, TILE):
            yield min(TILE, rows - row), min(TILE, columns - column)


def part(buffer: np.ndarray, start: int, size: int) -> tuple[int, int]:
    """The bytes of some numbers of a buffer."""
    return buffer.__array_interface__["data"][0] + FLOAT * int(start), FLOAT * int(size)


def product(kernel: str, arguments: list) -> Work:
    """Products by a table. Each block reads its rows of A and its columns of B whole."""
    from fastvae.kernels.cuda import dense as d

    a, b, c, before, after, table, count = arguments
    inner, (a_lies, b_lies) = INNER[kernel], kernel.split("_")[-2:]
    made, longest = Work(0, d.THREADS // WARP, inner.resident), (0.0, 0.0)
    for row in table.reshape(-1, d.WORDS)[:count].tolist():
        m, n, mode, code = row[d.M], row[d.N], row[d.MODE], row[d.CODE]
        forward, added, summing = mode == d.FORWARD, mode == d.ADDED, mode == d.GRADIENT and row[d.EXTRA] == 1
        derived = not forward and mode != d.GRADIENT and code != 0
        steps, whole = 0, 0
        for at in (0, d.SECOND):
            depth, first, step, _, second, other_step, _ = row[d.K + at : d.K + at + d.SECOND]
            steps += math.ceil(depth / inner.deep)
            for rows, columns in sizes_of_tiles(m, n):
                made.loaded += FLOAT * depth * (rows + columns)
            whole += depth
            if depth:
                lines, length = (m, depth) if a_lies == "along" else (depth, m)
                made.reads.append(part(a, first, (lines - 1) * step + length))
                lines, length = (n, depth) if b_lies == "along" else (depth, n)
                made.reads.append(part(b, second, (lines - 1) * other_step + length))
        made.flops += 2 * m * n * whole
        made.shapes.append(f"{m}x{n}x{whole}")
        for rows, columns in sizes_of_tiles(m, n):
            made.blocks += 1
            made.loaded += FLOAT * rows * columns * (forward + derived + added)
            made.stored += FLOAT * rows * columns
            made.fma += steps * inner.fma * d.THREADS
            made.mma += steps * inner.mma
            made.shared += steps * inner.shared + FLOAT * TILE * TILE + FLOAT * rows * columns
        made.shared += steps * inner.totals * summing * math.ceil(n / TILE)
        made.stored += FLOAT * n * summing
        made.reads += [part(before, row[d.BIAS], n)] * forward + [part(before, row[d.EXTRA], m * n)] * derived
        made.writes += [part(c, row[d.C], m * n)] + [part(after, row[d.BIAS], n)] * summing
        each, wait = ACTIVATED if forward else TIMES_DERIVATIVE if derived else PLAINLY
        each, wait = each + inner.finish + ADDED[0] * added, wait + ADDED[1] * added
        passes = math.ceil(min(TILE, m) / 2)
        instructions = inner.start + steps * (inner.instructions + summing * inner.summing) + passes * each
        waits = (2 + count) * L2 + steps * inner.pauses + passes * wait
        longest = max(longest, (instructions, waits), key=sum)
    made.instructions, made.waits = longest
    return made


# ---- the other kernels ----------------------------------------------------------------------------------------------
# Instructions of a thread, and what it waits for: at the beginning, and in each round. Kernels that go over rows take
# four numbers of a row each round and thread; where the rows are no multiple of four, one, which is not modelled.


def over_rows(arguments: list, reads: list, writes: list, resident: int, counts: tuple, wait: float) -> Work:
    """A warp for each row. `counts`: instructions without rounds, of each, operations for each number."""
    rows, columns = arguments[-2:]
    whole, each, flops = counts
    rounds = math.ceil(columns / (WARP * VECTOR))
    made = Work(math.ceil(rows / 4), 4, resident, whole + rounds * each, wait + rounds * L2)
    made.flops = flops * rows * columns
    made.loaded = sum(rows * sectors(FLOAT * columns) for x in reads if x.size == rows * columns)
    made.stored = sum(rows * sectors(FLOAT * columns if x.size > rows else FLOAT) for x in writes)
    made.loaded += rows * SECTOR * sum(x.size != rows * columns for x in reads)
    made.reads, made.writes = where(*reads), where(*writes)
    return made


def latent_forward(arguments: list) -> Work:
    """Noise, z and the KL."""
    mu, logvar, _, _, integers, _, z, kl, rows, _ = arguments
    made = over_rows(arguments, [mu, logvar, integers], [z, kl], 8, (141, 422, 69), L2 + 5 * SHUFFLE)
    made.loaded += 2 * rows * SECTOR  # the integers are three loads
    return made


def latent_backward(arguments: list) -> Work:
    """The same noise again, and both gradients."""
    mu, logvar, d_z, _, _, integers, reals, _, d_mu, d_logvar, rows, _ = arguments
    made = over_rows(arguments, [mu, logvar, d_z, integers, reals], [d_mu, d_logvar], 10, (72, 435, 62), L2)
    made.loaded += 2 * rows * SECTOR
    return made


def bernoulli(arguments: list) -> Work:
    """The likelihood and its gradient."""
    x, logits, reals, nll, d_logits, *_ = arguments
    return over_rows(arguments, [x, logits, reals], [nll, d_logits], 16, (63, 227, 47), 5 * SHUFFLE)


def gather(arguments: list) -> Work:
    """Rows of the data set, a number each round and thread. Memory gives 64 bytes at a time, then the second cache."""
    values, indices, _, offset, scale, out, rows, columns = arguments
    rounds, size = math.ceil(columns / WARP), columns * values.itemsize
    made = Work(math.ceil(rows / 8), 8, 8, 33 + 19 * rounds, L2 + rounds * L2 + math.ceil(size / 64) * (DRAM - L2))
    made.flops = 2 * rows * columns
    read = sectors(size) + SECTOR + sectors(columns * offset.itemsize) + sectors(columns * scale.itemsize)
    made.loaded, made.stored, made.fresh = rows * read, rows * sectors(FLOAT * columns), rows * size
    made.reads, made.writes = where(indices, offset, scale), where(out)
    return made


def next_step(arguments: list) -> Work:
    """One block; where in the table it is, and then a line of it."""
    table, reals, order, state, own, own_reals, indices, batch = arguments
    rounds = math.ceil(batch / 256)
    made = Work(1, 8, 8, 31 + 14 * rounds, BARRIER + L2 + (1 + rounds) * L2)
    line = [table[: own.size], reals[: own_reals.size], order[:batch]]
    made.loaded = 8 * SECTOR + sum(sectors(x.nbytes) for x in line)
    made.stored = sum(sectors(x.nbytes) for x in (own, own_reals, indices)) + SECTOR
    made.reads, made.writes = where(state, *line), where(state, own, own_reals, indices)
    return made


def losses(arguments: list) -> Work:
    """One block: both sums over the rows, each of eight rounds through shared memory, twice read; then the loss."""
    nll, kl, reals, state, sums, rows, *_, size = arguments
    if size:
        raise NotImplementedError("the norm of the gradient: only steps without clipping are predicted")
    rounds = math.ceil(rows / 256)
    made = Work(1, 8, 8, 360 + 24 * rounds, (rounds + 3) * L2 + 16 * (SHARED + BARRIER))
    made.loaded, made.stored, made.flops = 2 * sectors(FLOAT * rows) + 12 * SECTOR, 4 * SECTOR, 12 * rows
    made.shared = 2 * (2 * 256 + 4 * 255) * FLOAT
    made.reads, made.writes = where(nll, kl, reals, state), where(sums[:4])
    return made


def adam_inplace(arguments: list) -> Work:
    """Four numbers of each array a round and thread."""
    params, grads, m, v, reals, _, state, size = arguments
    blocks = min(1024, math.ceil(size / 1024))
    rounds = math.ceil(size / (1024 * blocks))
    made = Work(blocks, 8, 4, 40 + 105 * rounds, L2 + rounds * L2)
    made.loaded = 4 * sectors(FLOAT * size) + 10 * 8 * blocks * SECTOR
    made.stored, made.flops = 3 * sectors(FLOAT * size), 16 * size
    made.reads, made.writes = where(params, grads, m, v, reals, state), where(params, m, v)
    return made


KERNELS: dict[str, Callable[[list], Work]] = {
    made.__name__: made for made in (latent_forward, latent_backward, bernoulli, next_step, losses, adam_inplace)
}


def work(kernel: str, arguments: list) -> Work:
    """What a launch of a kernel does."""
    if kernel in INNER:
        return product(kernel, arguments)
    if kernel.startswith("gather_"):
        return gather(arguments)
    if kernel not in KERNELS:
        raise NotImplementedError(f"benchmarks/predicted.py has no formulas for {kernel}")
    return KERNELS[kernel](arguments)


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
    from fastvae.kernels.cuda.device import Device

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

    return Recorder()


def recorded(size: Size, precision: str = "float32") -> list[Launched]:
    """The launches of a step of training that is not the first."""
    from fastvae import VAE
    from fastvae.kernels.cuda.device import using
    from fastvae.training import Batch

    data = np.random.default_rng(0).integers(0, 256, (2 * size.B, size.D), np.uint8)
    indices, settings = np.arange(size.B), {"precision": precision, "device": "cuda", "random_state": 0}
    with using(recorder()) as device:
        vae = VAE(latent_dim=size.Z, hidden=(size.H,), batch_size=size.B, scale=(0, 255), **settings)
        examples, network = vae.initialize(data), vae.network_
        network.allocate(size.B, vae._make_optimizer(), examples, indices)
        for _ in range(2):
            device.launched.clear()
            network.steps(Batch.of(np.empty((size.B, 0)), 1, 0.0), indices[None], [0.0])
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
    yield f"{len(found)} launches from Python: host {host} us, device {device} us, so a step by the {slower}"
    yield f"as a CUDA graph: {graph} us a step"


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", nargs="+", default=list(SIZES), choices=SIZES, help="default: all")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=PRECISIONS, help="default: both")
    chosen = parser.parse_args()
    if importlib.util.find_spec("numba_cuda") is None:
        sys.exit("numba-cuda is not installed: pip install 'fastvae-engine[cuda]'")
    for precision in chosen.precision:
        for size in (SIZES[name] for name in chosen.size):
            title = f"{size.name} {size.D}-{size.H}-{size.Z}, batch {size.B}, {precision}"
            print(*table(title, predicted(recorded(size, precision))), sep="\n")


if __name__ == "__main__":
    main()
