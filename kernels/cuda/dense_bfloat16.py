"""The products of `dense` with operands rounded to bfloat16, by the matrix units, with sums in float32.

A block of 128 threads makes a tile of 64 x 64 numbers, each of its four warps a quarter of it. Operands are rounded on
their way into shared memory, where a tile has 64 rows of 32 steps of the sum, in four units of eight: what one thread
reads at once, for two products. Which steps of the sum a unit has does not matter, as long as both operands agree; here
it is 4 u ... 4 u + 3 and as many from 16 further on, so that threads side by side read side by side from global memory.
Rows and units are swapped so that neither writing nor reading meets a bank twice.

The table, what a launch may hold and what is done with the products are those of `dense`.
"""

import functools

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, LEAST, WARP, Kernel, kernel
from fastvae.kernels.cuda.dense import (
    A_FOURS,
    A_STEP,
    BIAS,
    EXTRA,
    GRADIENT,
    MODE,
    THREADS,
    TILE,
    A,
    B,
    M,
    N,
    finish,
    four,
    pair_at,
    steps_of,
    tile_of,
)
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import bfloat16_word, load4, mma, part, shared_floats, store4
from fastvae.kernels.formulas import ZERO

DEEP, UNIT = 32, 8  # steps of the sum in a tile, and in a unit of it
UNITS = DEEP // UNIT  # of a row
ALONG = TILE // 4  # between a thread's rows, where they lie along the sum
HALF = THREADS // 2  # threads that fetch one operand: four rows of one unit each
FURTHER = DEEP // 2  # between the two fours of a unit
ROW, WORDS_OF_UNIT = DEEP // 2, UNIT // 2  # words of two numbers
OPERAND = TILE * ROW  # words of an operand, once
TOTALS = 4 * OPERAND  # where the bias's sums are, behind both operands twice
SWAP = 16  # see `finish`
TOTALS_OF_UNIT = TILE + 8  # one for each row, and so far apart that no bank is met twice
tiles = shared_floats(TOTALS + UNITS * TOTALS_OF_UNIT)
EMPTY = (((ZERO,) * 4,) * 4,) * 2  # a thread's shares of 2 x 4 products of (16, 8)
u32, u64, i32, i64 = np.uint32, np.uint64, np.int32, np.int64


@part
def word_at(row, unit):
    """Where a unit of a row begins in a tile; for a sum by `^` of rows or units, the same sum of places."""
    return u32((row ^ row // u32(4) % u32(2)) * u32(ROW) + (unit ^ row // u32(8) % u32(4)) * u32(WORDS_OF_UNIT))


@part
def share_along(share):
    """A thread's unit, and the first of its four rows, `ALONG` apart; where rows lie along the sum."""
    return u32(share % u32(UNITS)), u32(share // u32(UNITS))


@part
def share_across(share):
    """A thread's unit, and the first of its four rows, side by side; where they lie across the sum."""
    return u32(share // u32(ALONG)), u32(share % u32(ALONG) * u32(4))


@part
def eight(array, k, left, fours):
    """A unit of a row that lies along the sum; zeros for steps of the sum that are not there."""
    a, b = four(array, k, left, fours), four(array, k + u64(FURTHER), i32(left - i32(FURTHER)), fours)
    return a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]


@part
def fetch_along(array, start, step, fours, row, rows, column, columns):
    """A unit of four rows, `ALONG` apart, from a row and a column on; there are so many of both from there."""
    k, apart = u64(start + u64(row) * step + u64(column)), u64(u64(ALONG) * step)
    return (
        eight(array, k, columns if rows > i32(0) else i32(0), fours),
        eight(array, k + apart, columns if rows > i32(ALONG) else i32(0), fours),
        eight(array, k + u64(2) * apart, columns if rows > i32(2 * ALONG) else i32(0), fours),
        eight(array, k + u64(3) * apart, columns if rows > i32(3 * ALONG) else i32(0), fours),
    )


@part
def fetch_across(array, start, step, fours, row, rows, column, columns):
    """The same for rows that lie side by side."""
    k = u64(start + u64(column) * step + u64(row))
    a = four(array, k, rows if columns > i32(0) else i32(0), fours)
    b = four(array, k + step, rows if columns > i32(1) else i32(0), fours)
    c = four(array, k + u64(2) * step, rows if columns > i32(2) else i32(0), fours)
    d = four(array, k + u64(3) * step, rows if columns > i32(3) else i32(0), fours)
    k += u64(FURTHER) * step
    p = four(array, k, rows if columns > i32(FURTHER) else i32(0), fours)
    q = four(array, k + step, rows if columns > i32(FURTHER + 1) else i32(0), fours)
    r = four(array, k + u64(2) * step, rows if columns > i32(FURTHER + 2) else i32(0), fours)
    s = four(array, k + u64(3) * step, rows if columns > i32(FURTHER + 3) else i32(0), fours)
    return (
        (a[0], a[1], a[2], a[3], p[0], p[1], p[2], p[3]),
        (b[0], b[1], b[2], b[3], q[0], q[1], q[2], q[3]),
        (c[0], c[1], c[2], c[3], r[0], r[1], r[2], r[3]),
        (d[0], d[1], d[2], d[3], s[0], s[1], s[2], s[3]),
    )


@part
def as_fetched(x):
    """Rows that lie along the sum."""
    return x


@part
def turned(x):
    """Rows that lie across it."""
    a, b, c, d = x
    return (
        (a[0], b[0], c[0], d[0], a[4], b[4], c[4], d[4]),
        (a[1], b[1], c[1], d[1], a[5], b[5], c[5], d[5]),
        (a[2], b[2], c[2], d[2], a[6], b[6], c[6], d[6]),
        (a[3], b[3], c[3], d[3], a[7], b[7], c[7], d[7]),
    )


@part
def rounded(x):
    """Eight numbers in four words."""
    return bfloat16_word(x[0], x[1]), bfloat16_word(x[2], x[3]), bfloat16_word(x[4], x[5]), bfloat16_word(x[6], x[7])


@part
def keep(shared, k, apart, rows):
    """Write a thread's four rows of a unit, rounded; the first to k, `apart` says how far the others are."""
    store4(shared, k, rounded(rows[0]))
    store4(shared, u32(k ^ word_at(apart, u32(0))), rounded(rows[1]))
    store4(shared, u32(k ^ word_at(u32(2) * apart, u32(0))), rounded(rows[2]))
    store4(shared, u32(k ^ word_at(u32(3) * apart, u32(0))), rounded(rows[3]))


@part
def sum_of_eight(x):
    """Of numbers that are not rounded, pairwise."""
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]))


@part
def add_sums(shared, own, apart, rows, first):
    """Add a thread's share to the sums over its four rows; the first time there is nothing yet to be added to."""
    unit, row = own
    k = u32(u32(TOTALS) + unit * u32(TOTALS_OF_UNIT) + row)
    k1, k2, k3 = u32(k + apart), u32(k + u32(2) * apart), u32(k + u32(3) * apart)
    shared[k] = sum_of_eight(rows[0]) + (ZERO if first else shared[k])
    shared[k1] = sum_of_eight(rows[1]) + (ZERO if first else shared[k1])
    shared[k2] = sum_of_eight(rows[2]) + (ZERO if first else shared[k2])
    shared[k3] = sum_of_eight(rows[3]) + (ZERO if first else shared[k3])


@part
def sum_of_row(shared, row):
    """The sum over a row: its units' sums, in order."""
    k, more = u32(u32(TOTALS) + row), u32(TOTALS_OF_UNIT)
    return shared[k] + shared[k + more] + shared[k + u32(2) * more] + shared[k + u32(3) * more]


@part
def four_products(sums, upper, lower, b0, b1, b2, b3):
    """`sums` with sixteen steps of the sum added: 16 rows of A by 4 x 8 columns of B."""
    a = upper[0], lower[0], upper[1], lower[1]
    return mma(sums[0], a, b0), mma(sums[1], a, b1), mma(sums[2], a, b2), mma(sums[3], a, b3)


@part
def multiplied(shared, buffer, sums, thread):
    """`sums` with two tiles' share of the sum added, for the thread's fragments of its warp's 32 x 32 numbers.

    With g = lane // 4, the rows of A are 16 i + g and 8 further; column g of B's four fragments is such that a thread
    ends up with four numbers side by side, see `keep_sums`.
    """
    warp, group, unit = thread // u32(WARP), thread % u32(WARP) // u32(4), thread % u32(4)
    row = u32(warp // u32(2) * u32(32) + group)
    column = u32(warp % u32(2) * u32(32) + group // u32(2) * u32(4) + group % u32(2))
    left, right = u32(buffer ^ word_at(row, unit)), u32(buffer ^ u32(OPERAND) ^ word_at(column, unit))
    a0, a1 = load4(shared, left), load4(shared, u32(left ^ word_at(u32(8), u32(0))))
    a2, a3 = load4(shared, u32(left ^ word_at(u32(16), u32(0)))), load4(shared, u32(left ^ word_at(u32(24), u32(0))))
    b0, b1 = load4(shared, right), load4(shared, u32(right ^ word_at(u32(2), u32(0))))
    b2, b3 = load4(shared, u32(right ^ word_at(u32(16), u32(0)))), load4(shared, u32(right ^ word_at(u32(18), u32(0))))
    upper = four_products(sums[0], a0[:2], a1[:2], b0[:2], b1[:2], b2[:2], b3[:2])
    upper = four_products(upper, a0[2:], a1[2:], b0[2:], b1[2:], b2[2:], b3[2:])
    lower = four_products(sums[1], a2[:2], a3[:2], b0[:2], b1[:2], b2[:2], b3[:2])
    return upper, four_products(lower, a2[2:], a3[2:], b0[2:], b1[2:], b2[2:], b3[2:])


@part
def keep_eight(shared, row, column, x, y):
    """Write two fragments of (16, 8), of which a thread has four numbers side by side in each of two rows."""
    k = u32(row * u32(TILE) + (column ^ u32(row % u32(2) * u32(SWAP))))
    store4(shared, k, (x[0], x[1], y[0], y[1]))
    store4(shared, k + u32(8 * TILE), (x[2], x[3], y[2], y[3]))


@part
def keep_sums(shared, sums, thread):
    """Write the thread's numbers into a tile of 64 x 64, row after row, swapped as `finish` reads them."""
    warp, group, member = thread // u32(WARP), thread % u32(WARP) // u32(4), thread % u32(4)
    row, column = u32(warp // u32(2) * u32(32) + group), u32(warp % u32(2) * u32(32) + member * u32(4))
    upper, lower = sums
    keep_eight(shared, row, column, upper[0], upper[1])
    keep_eight(shared, row, u32(column + u32(16)), upper[2], upper[3])
    keep_eight(shared, u32(row + u32(16)), column, lower[0], lower[1])
    keep_eight(shared, u32(row + u32(16)), u32(column + u32(16)), lower[2], lower[3])


@functools.cache
def product(a_along: bool, b_along: bool) -> Kernel:
    """The kernel for operands that lie so: along the sum (a row of A, a column of B), or across it."""
    fetch_a, share_a, apart_a = (fetch_along, share_along, ALONG) if a_along else (fetch_across, share_across, 1)
    fetch_b, share_b, apart_b = (fetch_along, share_along, ALONG) if b_along else (fetch_across, share_across, 1)
    turn_a, turn_b = (as_fetched if a_along else turned), (as_fetched if b_along else turned)

    @part
    def keep_turned(shared, k, operand, rows):
        if operand == u32(A):
            keep(shared, k, u32(apart_a), turn_a(rows))
        else:
            keep(shared, k, u32(apart_b), turn_b(rows))

    @part
    def fetch(a, b, table, at, operand, step, unit, row, rows):
        """A thread's unit of four rows of an operand, A or B."""
        pair, deep, depth = pair_at(table, at, step, u32(DEEP))
        own, column = u32(pair + operand), u32(deep + unit * u32(4))
        start, apart, fours = u64(table[own]), u64(table[own + A_STEP - A]), table[own + A_FOURS - A]
        columns = i32(i32(depth) - i32(column))
        if operand == u32(A):
            return fetch_a(a, start, apart, fours, row, rows, column, columns)
        return fetch_b(b, start, apart, fours, row, rows, column, columns)

    def dense(a, b, c, before, after, table, products):
        """Products of matrices by the rows of a table, a tile of one of them each block."""
        shared, thread = tiles(), u32(cuda.threadIdx.x)
        at, row, column = tile_of(table, products, i64(cuda.blockIdx.x))
        steps, share = steps_of(table, at, u32(DEEP)), u32(thread % u32(HALF))
        summing = table[at + MODE] == GRADIENT and table[at + EXTRA] != 0 and row == u32(0) and thread >= u32(HALF)
        if thread < u32(HALF):
            operand, (unit, own), first, end = u32(A), share_a(share), row, u32(table[at + M])
        else:
            operand, (unit, own), first, end = u32(B), share_b(share), column, u32(table[at + N])
        first, place = u32(first + own), u32(word_at(own, unit) ^ u32(thread // u32(HALF) * u32(OPERAND)))
        left = i32(i32(end) - i32(first))
        sums, buffer, step = EMPTY, u32(0), u32(1)
        fetched = fetch(a, b, table, at, operand, u32(0), unit, first, left)
        if summing:
            add_sums(shared, share_b(share), u32(apart_b), turn_b(fetched), True)
        keep_turned(shared, place, operand, fetched)
        cuda.syncthreads()
        while step < steps:
            fetched = fetch(a, b, table, at, operand, u32(step * u32(DEEP)), unit, first, left)
            sums = multiplied(shared, buffer, sums, thread)
            if summing:
                add_sums(shared, share_b(share), u32(apart_b), turn_b(fetched), False)
            buffer = u32(buffer ^ u32(2 * OPERAND))
            keep_turned(shared, u32(place ^ buffer), operand, fetched)
            cuda.syncthreads()
            step = u32(step + u32(1))
        sums = multiplied(shared, buffer, sums, thread)
        cuda.syncthreads()
        keep_sums(shared, sums, thread)
        if summing and column + share < u32(table[at + N]):
            after[u64(table[at + BIAS]) + u64(column + share)] = sum_of_row(shared, share)
        cuda.syncthreads()
        finish(shared, u32(SWAP), thread, row, column, table, at, c, before, after)

    dense.__name__ = f"dense_bfloat16_{'along' if a_along else 'across'}_{'along' if b_along else 'across'}"
    dense.__qualname__ = dense.__name__
    return kernel(*[FLOATS] * 5, INTEGERS, COUNT, block=(THREADS,), least=LEAST["bfloat16"])(dense)
