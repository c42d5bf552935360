"""What each kernel of a training step reads, writes and computes, and what an NVIDIA H100 (SXM5) takes for that.

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

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

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
    mu, logvar, *_, z, kl, integers, rows, _ = arguments
    made = over_rows(arguments, [mu, logvar, integers[:4]], [z, kl], 8, (141, 422, 69), L2 + 5 * SHUFFLE)
    made.loaded += 3 * rows * SECTOR  # the integers are four loads
    return made


def latent_backward(arguments: list) -> Work:
    """The same noise again, and both gradients."""
    mu, logvar, d_z, *_, d_mu, d_logvar, integers, reals, rows, _ = arguments
    reads = [mu, logvar, d_z, integers[:4], reals[:1]]
    made = over_rows(arguments, reads, [d_mu, d_logvar], 10, (72, 435, 62), L2)
    made.loaded += 3 * rows * SECTOR
    return made


def bernoulli(arguments: list) -> Work:
    """The likelihood and its gradient."""
    x, logits, _, nll, d_logits, reals, *_ = arguments
    return over_rows(arguments, [x, logits, reals[:1]], [nll, d_logits], 16, (82, 227, 47), 5 * SHUFFLE)


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
    table, reals, order, state, integers, own_reals, indices, batch, used = arguments
    rounds, own, own_reals = math.ceil(batch / 256), integers[:used], own_reals[:used]
    made = Work(1, 8, 8, 31 + 14 * rounds, BARRIER + L2 + (1 + rounds) * L2)
    line = [table[:used], reals[:used], order[:batch]]
    made.loaded = 8 * SECTOR + sum(sectors(x.nbytes) for x in line)
    made.stored = sum(sectors(x.nbytes) for x in (own, own_reals, indices)) + SECTOR
    made.reads, made.writes = where(state, *line), where(state, own, own_reals, indices)
    return made


def losses(arguments: list) -> Work:
    """One block: both sums over the rows, each of eight rounds through shared memory, twice read; then the loss."""
    nll, kl, both, _, _, reals, state, sums, _, _, rows, *_, size = arguments
    if not both:
        raise NotImplementedError("a step of one loss")
    if size:
        raise NotImplementedError("the norm of the gradient: only steps without clipping are predicted")
    rounds = math.ceil(rows / 256)
    made = Work(1, 8, 8, 360 + 24 * rounds, (rounds + 3) * L2 + 16 * (SHARED + BARRIER))
    made.loaded, made.stored, made.flops = 2 * sectors(FLOAT * rows) + 12 * SECTOR, 4 * SECTOR, 12 * rows
    made.shared = 2 * (2 * 256 + 4 * 255) * FLOAT
    made.reads, made.writes = where(nll, kl, reals[:2], state), where(sums[:4])
    return made


def adam_inplace(arguments: list) -> Work:
    """Four numbers of each array a round and thread."""
    params, grads, m, v, *_, reals, _, state, size = arguments
    blocks = min(1024, math.ceil(size / 1024))
    rounds = math.ceil(size / (1024 * blocks))
    made = Work(blocks, 8, 4, 79 + 105 * rounds, L2 + rounds * L2)
    made.loaded = 4 * sectors(FLOAT * size) + 10 * 8 * blocks * SECTOR
    made.stored, made.flops = 3 * sectors(FLOAT * size), 16 * size
    made.reads, made.writes = where(params, grads, m, v, reals[:9], state), where(params, m, v)
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
