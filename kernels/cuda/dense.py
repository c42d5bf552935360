"""The dense layer on the device: products of matrices in tiles, with what comes before and after in the same launch.

A block of 128 threads makes a tile of 64 x 64 numbers, each thread 8 x 4 of them in registers. Sixteen rows of both
operands at a time lie in shared memory, twice: while one pair is multiplied, the next comes from global memory. An
operand lies as it lies, by rows or by columns; it is turned on its way into shared memory, where the numbers of a row
are swapped in groups of eight so that neither writing nor reading meets a bank twice.

One launch does several products, of any shapes: a row of a table for each. Its work is cut into tiles, one a block.
"""

import functools

import numpy as np

from fastvae.kernels import formulas as f
from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, Kernel, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import add_products, load4, part, shared_floats, store4
from fastvae.kernels.formulas import ZERO

TILE, DEEP, THREADS = 64, 16, 128  # rows and columns of a tile, its steps of the sum, threads that make it
TALL, WIDE = 8, 4  # of a tile, what a thread makes
SHARED = 2 * TILE * DEEP  # numbers of both operands, once
EMPTY = (ZERO,) * (TALL * WIDE)
tiles = shared_floats(2 * SHARED)
u32, u64, i32, i64 = np.uint32, np.uint64, np.int32, np.int64

# A product's row of the table: C = A B, (M, K) by (K, N), where A and B may go on with a second pair of K numbers; an
# operand is where it begins, the numbers from one row (or column) to the next, and whether it may be read by fours.
M, N, FIRST_TILE, MODE, CODE = range(5)
K, A, A_STEP, A_FOURS, B, B_STEP, B_FOURS = range(5, 12)
SECOND = 7  # what K ... B_FOURS of the second pair are further on
C, EXTRA, BIAS = range(19, 22)
WORDS = 22

# What is done with a product before it is written:
#   FORWARD   out = activation(C + bias), for silu also saved = C + bias: BIAS in `before`, EXTRA in `after`
#   BACKWARD  C activation'(saved), EXTRA in `before`; IDENTITY: C
#   ADDED     the same with what stands in C already added to it first
#   GRADIENT  C; where EXTRA is 1 also the sums of B over its rows, from BIAS in `after`
FORWARD, BACKWARD, ADDED, GRADIENT = range(4)


@part
def activated(a, code):
    """activation(a)."""
    if code == u32(f.RELU):
        return f.relu(a)
    if code == u32(f.LEAKY_RELU):
        return f.leaky_relu(a)
    if code == u32(f.TANH):
        return f.tanh(a)
    if code == u32(f.SIGMOID):
        return f.sigmoid(a)
    if code == u32(f.SOFTPLUS):
        return f.softplus(a)
    if code == u32(f.SILU):
        return f.silu(a)
    return a


@part
def derivative(y, code):
    """activation'(saved)."""
    if code == u32(f.RELU):
        return f.d_relu(y)
    if code == u32(f.LEAKY_RELU):
        return f.d_leaky_relu(y)
    if code == u32(f.TANH):
        return f.d_tanh(y)
    if code == u32(f.SIGMOID):
        return f.d_sigmoid(y)
    if code == u32(f.SOFTPLUS):
        return f.d_softplus(y)
    if code == u32(f.SILU):
        return f.d_silu(y)
    return f.ONE


@part
def four(array, k, left, fours):
    """The numbers from place k on, `left` of which count; zeros for the others."""
    if fours and left >= i32(4):
        return load4(array, k)
    v0 = array[k] if left > i32(0) else ZERO
    v1 = array[k + u64(1)] if left > i32(1) else ZERO
    v2 = array[k + u64(2)] if left > i32(2) else ZERO
    v3 = array[k + u64(3)] if left > i32(3) else ZERO
    return v0, v1, v2, v3


@part
def fetch_along(array, start, step, fours, place, places, deep, depth, share):
    """Four steps of the sum of one row, which lie side by side; rows from `place` on, steps from `deep` on."""
    row, column = place + share // u32(4), deep + share % u32(4) * u32(4)
    left = i32(i32(depth) - i32(column)) if row < places else i32(0)
    return four(array, start + u64(row) * step + u64(column), left, fours)


@part
def keep_along(shared, tile, share, values):
    """Write them into a tile: a number into each of four of its rows."""
    row, group = share // u32(4), share % u32(4)
    k = tile + group * u32(4 * TILE) + (row ^ u32(group * u32(8)))
    shared[k] = values[0]
    shared[k + u32(TILE)] = values[1]
    shared[k + u32(2 * TILE)] = values[2]
    shared[k + u32(3 * TILE)] = values[3]


@part
def fetch_across(array, start, step, fours, place, places, deep, depth, share):
    """Four rows at one step of the sum, which lie side by side."""
    row, column = place + share % u32(16) * u32(4), deep + share // u32(16)
    left = i32(i32(places) - i32(row)) if column < depth else i32(0)
    return four(array, start + u64(column) * step + u64(row), left, fours)


@part
def keep_across(shared, tile, share, values):
    """Write them into a tile: side by side."""
    row, column = share % u32(16) * u32(4), share // u32(16)
    store4(shared, tile + column * u32(TILE) + (row ^ u32(column // u32(4) * u32(8))), values)


@part
def multiplied(shared, left, right, sums, rows, columns):
    """`sums` with two tiles' share of the sum added, for the thread's rows and columns."""
    k = u32(0)
    while k < u32(DEEP):
        swap, at = u32(k // u32(4) * u32(8)), u32(k * u32(TILE))
        row = u32(left + at + (rows ^ swap))
        a0, a1, a2, a3 = load4(shared, row)
        a4, a5, a6, a7 = load4(shared, row + u32(4))
        b = load4(shared, u32(right + at + (columns ^ swap)))
        sums = add_products(sums, (a0, a1, a2, a3, a4, a5, a6, a7), b)
        k = u32(k + u32(1))
    return sums


@part
def sum_of_column(shared, tile, column, total):
    """`total` with the numbers of a column of a tile added, in order."""
    k = u32(0)
    while k < u32(DEEP):
        total += shared[tile + k * u32(TILE) + (column ^ u32(k // u32(4) * u32(8)))]
        k = u32(k + u32(1))
    return total


@part
def keep_sums(shared, rows, columns, s):
    """Write the thread's numbers into a tile of 64 x 64, row after row."""
    k = u32(rows * u32(TILE) + columns)
    store4(shared, k, (s[0], s[1], s[2], s[3]))
    store4(shared, k + u32(TILE), (s[4], s[5], s[6], s[7]))
    store4(shared, k + u32(2 * TILE), (s[8], s[9], s[10], s[11]))
    store4(shared, k + u32(3 * TILE), (s[12], s[13], s[14], s[15]))
    store4(shared, k + u32(4 * TILE), (s[16], s[17], s[18], s[19]))
    store4(shared, k + u32(5 * TILE), (s[20], s[21], s[22], s[23]))
    store4(shared, k + u32(6 * TILE), (s[24], s[25], s[26], s[27]))
    store4(shared, k + u32(7 * TILE), (s[28], s[29], s[30], s[31]))


@part
def finish(shared, swap, thread, row, column, table, at, c, before, after):
    """Do what is to be done with a tile that begins at a row and a column of C, and write it. The numbers of an odd row
    lie in `shared` in groups of `swap` that are swapped; 0 for none."""
    rows, columns = u32(table[at + M]), u32(table[at + N])
    mode, code = u32(table[at + MODE]), u32(table[at + CODE])
    to, extra, bias = u64(table[at + C]), u64(table[at + EXTRA]), u64(table[at + BIAS])
    j = column + thread % u32(TILE)
    i = u32(thread // u32(TILE))
    while i < u32(TILE) and row + i < rows and j < columns:
        value = shared[i * u32(TILE) + (thread % u32(TILE) ^ u32(i % u32(2) * swap))]
        k = u64(row + i) * u64(columns) + u64(j)
        if mode == u32(FORWARD):
            value += before[bias + u64(j)]
            if code == u32(f.SILU):
                after[extra + k] = value
            value = activated(value, code)
        elif mode != u32(GRADIENT):
            if mode == u32(ADDED):
                value += c[to + k]
            if code != u32(f.IDENTITY):
                value *= derivative(before[extra + k], code)
        c[to + k] = value
        i = u32(i + u32(THREADS // TILE))


@part
def tile_of(table, products, tile):
    """A block's tile: where its product's row of the table begins, and the tile's first row and column of C."""
    at, left = u32(0), i32(products) - i32(1)
    while left > i32(0) and tile >= table[at + WORDS + FIRST_TILE]:
        at, left = u32(at + WORDS), i32(left - i32(1))
    own = u32(tile - table[at + FIRST_TILE])
    across = (u32(table[at + N]) + u32(TILE - 1)) // u32(TILE)
    return at, own // across * u32(TILE), own % across * u32(TILE)


@part
def steps_of(table, at, deep):
    """How many times `deep` steps of the sum there are, over both pairs of operands."""
    steps = (u32(table[at + K]) + deep - u32(1)) // deep
    return u32(steps + (u32(table[at + SECOND + K]) + deep - u32(1)) // deep)


@part
def pair_at(table, at, step, deep):
    """The pair of operands that a step of the sum belongs to: where in the table it is, as if it were the first, the
    step's place in it, and its depth. Each pair takes whole times `deep` steps."""
    depth = u32(table[at + K])
    whole = u32((depth + deep - u32(1)) // deep * deep)
    if step < whole:
        return at, step, depth
    return u32(at + SECOND), u32(step - whole), u32(table[at + SECOND + K])


@functools.cache
def product(a_along: bool, b_along: bool) -> Kernel:
    """The kernel for operands that lie so: along the sum (a row of A, a column of B), or across it."""
    fetch_a, keep_a = (fetch_along, keep_along) if a_along else (fetch_across, keep_across)
    fetch_b, keep_b = (fetch_along, keep_along) if b_along else (fetch_across, keep_across)

    @part
    def fetch(a, b, table, at, row, column, deep, thread):
        """A thread's share of the next tiles of both operands, in four times four numbers."""
        m, n = u32(table[at + M]), u32(table[at + N])
        at, deep, depth = pair_at(table, at, deep, u32(DEEP))
        a_start, a_step, a_fours = u64(table[at + A]), u64(table[at + A_STEP]), table[at + A_FOURS]
        b_start, b_step, b_fours = u64(table[at + B]), u64(table[at + B_STEP]), table[at + B_FOURS]
        other = u32(thread + u32(THREADS))
        return (
            fetch_a(a, a_start, a_step, a_fours, row, m, deep, depth, thread),
            fetch_a(a, a_start, a_step, a_fours, row, m, deep, depth, other),
            fetch_b(b, b_start, b_step, b_fours, column, n, deep, depth, thread),
            fetch_b(b, b_start, b_step, b_fours, column, n, deep, depth, other),
        )

    @part
    def keep(shared, buffer, thread, fetched):
        """Write them into the tiles of a buffer."""
        other = u32(thread + u32(THREADS))
        keep_a(shared, buffer, thread, fetched[0])
        keep_a(shared, buffer, other, fetched[1])
        keep_b(shared, u32(buffer + u32(TILE * DEEP)), thread, fetched[2])
        keep_b(shared, u32(buffer + u32(TILE * DEEP)), other, fetched[3])

    def dense(a, b, c, before, after, table, products):
        """Products of matrices by the rows of a table, a tile of one of them each block."""
        shared, thread, tile = tiles(), u32(cuda.threadIdx.x), i64(cuda.blockIdx.x)
        at, row, column = tile_of(table, products, tile)
        steps = steps_of(table, at, u32(DEEP))
        rows, columns = thread // u32(TILE // WIDE) * u32(TALL), thread % u32(TILE // WIDE) * u32(WIDE)
        summing = table[at + MODE] == GRADIENT and table[at + EXTRA] != 0 and row == u32(0) and thread < u32(TILE)
        sums, total, buffer, step = EMPTY, ZERO, u32(0), u32(1)
        keep(shared, buffer, thread, fetch(a, b, table, at, row, column, u32(0), thread))
        cuda.syncthreads()
        while step < steps:
            fetched = fetch(a, b, table, at, row, column, u32(step * u32(DEEP)), thread)
            sums = multiplied(shared, buffer, u32(buffer + u32(TILE * DEEP)), sums, rows, columns)
            if summing:
                total = sum_of_column(shared, u32(buffer + u32(TILE * DEEP)), thread, total)
            buffer = u32(u32(SHARED) - buffer)
            keep(shared, buffer, thread, fetched)
            cuda.syncthreads()
            step = u32(step + u32(1))
        sums = multiplied(shared, buffer, u32(buffer + u32(TILE * DEEP)), sums, rows, columns)
        if summing:
            total = sum_of_column(shared, u32(buffer + u32(TILE * DEEP)), thread, total)
            if column + thread < u32(table[at + N]):
                after[u64(table[at + BIAS]) + u64(column + thread)] = total
        cuda.syncthreads()
        keep_sums(shared, rows, columns, sums)
        cuda.syncthreads()
        finish(shared, u32(0), thread, row, column, table, at, c, before, after)

    dense.__name__ = f"dense_{'along' if a_along else 'across'}_{'along' if b_along else 'across'}"
    dense.__qualname__ = dense.__name__
    return kernel(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, INTEGERS, COUNT, block=(THREADS,))(dense)


FORWARDS, BACKWARDS = product(True, False), product(True, True)  # x weight, d_a weight'
GRADIENTS, TRANSPOSED = product(False, False), product(False, True)  # x' d_a, and what no layer needs


def row(shape: tuple[int, int], pairs: list[tuple], mode: int, code: int, c: int, extra: int, bias: int) -> list[int]:
    """A product's row of the table, but for its first tile. C is of that shape; each of one or two pairs is K, where A
    begins, its step, where B begins, its step."""
    numbers = [0] * WORDS
    numbers[M], numbers[N], numbers[MODE], numbers[CODE] = *shape, mode, code
    for second, (depth, a, a_step, b, b_step) in enumerate(pairs):
        fours = [int(start % 4 == 0 and step % 4 == 0) for start, step in ((a, a_step), (b, b_step))]
        at = K + SECOND * second
        numbers[at : at + SECOND] = depth, a, a_step, fours[0], b, b_step, fours[1]
    numbers[C], numbers[EXTRA], numbers[BIAS] = c, extra, bias
    return numbers


def table_of(rows: list[list[int]]) -> tuple[np.ndarray, int]:
    """The table of a launch, flat, and its number of blocks."""
    table, tiles = np.array(rows, np.int64), 0
    for numbers in table:
        numbers[FIRST_TILE] = tiles
        tiles += -(-numbers[M] // TILE) * -(-numbers[N] // TILE)
    return table.reshape(-1), int(tiles)


@kernel(FLOATS, FLOATS, COUNT, COUNT, block=(THREADS,))
def derivative_inplace(saved, d_out, code, size):
    """d_out *= activation'(saved) over `size` numbers."""
    k = u32(cuda.grid(1))
    while k < size:
        d_out[k] *= derivative(saved[k], code)
        k = u32(k + u32(cuda.gridsize(1)))
