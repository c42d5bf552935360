"""Sums to more digits than float32 has, without float64: pairs of float32, a sum and what rounding has taken from it.

Ogita, Rump and Oishi, "Accurate sum and dot product" (2005). Devices fuse products with sums where they can; nothing
here depends on it, since every product is of halves of 12 bits, and exact.
"""

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import VECTOR, by_fours, load4, part
from fastvae.kernels.formulas import TWO, ZERO

FLAT, PARTS = 256, 128  # threads of a block; most blocks, each of which leaves one pair
UPPER_BITS = np.uint32(0xFFFFF000)  # sign, exponent and 12 bits of the significand
u32, u64, i64 = np.uint32, np.uint64, np.int64


@part
def plus(high, low, value):
    """The pair with a number added: high + value, and what rounding has taken from that sum. Knuth's two-sum."""
    total = high + value
    back = total - high
    return total, low + ((high - (total - back)) + (value - back))


@part
def plus_square(high, low, value):
    """The pair with value^2 added, in three exact products of the halves of value; the last is below rounding."""
    upper = u32(np.float32(value).view(np.uint32) & UPPER_BITS).view(np.float32)
    high, low = plus(high, low, upper * upper)
    if upper != value:  # infinity has no rest
        rest = value - upper
        high, low = plus(high, low, TWO * upper * rest)
        low += rest * rest
    return high, low


@part
def leave_sum(parts, place, high, low, highs, lows):
    """Add the pairs of the block's threads, in one order, and write the sum to two places of `parts`."""
    thread, half = u32(cuda.threadIdx.x), u32(FLAT // 2)
    highs[thread], lows[thread] = high, low
    cuda.syncthreads()
    while half > u32(0):
        if thread < half:
            high, low = plus(high, low + lows[thread + half], highs[thread + half])
            highs[thread], lows[thread] = high, low
        cuda.syncthreads()
        half = u32(half >> u32(1))
    if thread == u32(0):
        parts[place], parts[place + i64(1)] = high, low


@kernel(FLOATS, FLOATS, COUNT, block=(FLAT,))
def total_parts(values, parts, size):
    """The sum of the numbers, as a pair of each block (2 blocks,)."""
    highs = cuda.shared.array(FLAT, np.float32)
    lows = cuda.shared.array(FLAT, np.float32)
    thread, threads = u32(cuda.grid(1)), u32(cuda.gridsize(1))
    whole, high, low = size - size % VECTOR if by_fours(values) else u32(0), ZERO, ZERO
    k = u32(thread * VECTOR)
    while k < whole:
        v0, v1, v2, v3 = load4(values, u64(k))
        high, low = plus(high, low, v0)
        high, low = plus(high, low, v1)
        high, low = plus(high, low, v2)
        high, low = plus(high, low, v3)
        k = u32(k + threads * VECTOR)
    k = u32(whole + thread)
    while k < size:
        high, low = plus(high, low, values[k])
        k = u32(k + threads)
    leave_sum(parts, i64(cuda.blockIdx.x) * i64(2), high, low, highs, lows)


@part
def sum_of_squares(values, thread, threads, size):
    """A thread's share of the sum of the numbers' squares, as a pair."""
    whole, high, low = size - size % VECTOR if by_fours(values) else u32(0), ZERO, ZERO
    k = u32(thread * VECTOR)
    while k < whole:
        v0, v1, v2, v3 = load4(values, u64(k))
        high, low = plus_square(high, low, v0)
        high, low = plus_square(high, low, v1)
        high, low = plus_square(high, low, v2)
        high, low = plus_square(high, low, v3)
        k = u32(k + threads * VECTOR)
    k = u32(whole + thread)
    while k < size:
        high, low = plus_square(high, low, values[k])
        k = u32(k + threads)
    return high, low


@kernel(FLOATS, FLOATS, COUNT, block=(FLAT,))
def square_parts(values, parts, size):
    """The sum of the numbers' squares, as a pair of each block (2 blocks,)."""
    highs = cuda.shared.array(FLAT, np.float32)
    lows = cuda.shared.array(FLAT, np.float32)
    high, low = sum_of_squares(values, u32(cuda.grid(1)), u32(cuda.gridsize(1)), size)
    leave_sum(parts, i64(cuda.blockIdx.x) * i64(2), high, low, highs, lows)


def sum_of(parts: np.ndarray) -> float:
    """What the pairs add up to, in float64; where that is not finite, as float32 has it: what rounding takes from
    infinity is NaN."""
    highs, lows = parts[0::2].astype(np.float64), parts[1::2].astype(np.float64)
    return float(highs.sum() + lows.sum()) if np.isfinite(parts).all() else float(highs.sum())
