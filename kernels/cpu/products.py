"""The matrix products of a dense layer, by tiles: one function that compiled code calls by its address.

All sums run over their terms in order, with one fused multiply-add each: the result of a row does not depend on the
other rows, on how a batch is cut, or on the unit that the tiles are made for (`processor`).

Operands are addresses of C-contiguous float32 matrices. `scratch` is memory for panels, of as many
numbers as `scratch_for` says.
"""

from fastvae.kernels.cpu.addresses import matrix_at, vector_at
from fastvae.kernels.cpu.compiler import native, part
from fastvae.kernels.cpu.panels import copy, narrow, transpose, widen
from fastvae.kernels.cpu.tile import HEIGHTS, LANES, tile
from fastvae.kernels.formulas import ZERO

# What a call is to do; see `multiply`.
PLAIN, TRANSPOSED, OF_COLUMNS = range(3)

TALLEST, WIDTH = HEIGHTS[0], 2 * LANES
DEEP = 6400 // WIDTH  # terms of a sum at a time: a panel of b so long, 25 KB, stays in the first cache
TALL = 192 // TALLEST * TALLEST  # rows of a at a time: a block of a so high and deep stays in the second
GROUP = 64 // WIDTH * WIDTH  # rows of a that are transposed together
CLASH = 1024  # bytes; rows a multiple of this apart share so few sets of the cache that they drive each other out
FEW = 8192  # numbers that the first cache holds beside a panel


def piece(whole, most, step):
    """The size of equal pieces of `whole`, multiples of `step`, at most `most` each; `step` for nothing."""
    count = max(1, (whole + most - 1) // most)
    return max(1, ((whole + count - 1) // count + step - 1) // step) * step


def scratch_for(rows, depth, columns):
    """Numbers of float32 that one product with an output (rows, columns) and of this depth needs."""
    transposed = (depth + TALL) * GROUP
    narrow = (depth + rows) * LANES if columns < LANES else 0
    return max(transposed, narrow, DEEP * (WIDTH + TALL) + TALL * LANES)


equal_piece = part(piece)


@part
def apart(given, columns):
    """Numbers from one row of an operand with so many columns to the next, where 0 says that they lie side by side."""
    return given if given else columns


@part
def clashes(columns):
    """Whether the rows of a matrix with so many columns drive each other out of the cache."""
    return (4 * columns) % CLASH == 0


@part
def column_of_tiles(a, a_row, a_step, rows, b, b_step, vectors, c, c_row, depth, accumulate, ahead, ahead_step):
    """One tile below the other, of nearly one height: C = A B with `rows` rows and `vectors` vectors; see `tile`."""
    i = 0
    while i < rows:
        left = rows - i
        tiles = (left + TALLEST - 1) // TALLEST
        wanted = (left + tiles - 1) // tiles
        chosen = 1
        for height in HEIGHTS:
            if height <= left and (height >= wanted or chosen < height):
                chosen = height
        at_a, at_c = a + i * a_row, c + i * c_row
        tile(chosen, vectors, at_a, a_row, a_step, b, b_step, at_c, c_row, depth, accumulate, ahead, ahead_step)
        i += chosen


@part
def narrow_product(a, a_row, a_step, rows, b, b_row, columns, depth, out, scratch):
    """`tiled_product` for fewer columns than a vector has: b and out go through memory as wide as one."""
    panel = scratch
    strip = panel + 4 * depth * LANES
    widen(b, 4 * b_row, panel, 4 * LANES, depth, columns)
    column_of_tiles(a, a_row, a_step, rows, panel, 4 * LANES, 1, strip, 4 * LANES, depth, 0, b, 0)
    narrow(strip, 4 * LANES, out, 4 * columns, rows, columns)


@part
def block_of_columns(a, whole, depth, width, block):
    """block (depth, TALL) = the first `width` columns of a (depth, whole)."""
    vectors = width // LANES
    copy(a, 4 * whole, block, 4 * TALL, depth, vectors)
    if vectors * LANES < width:
        rows, to = matrix_at(a, depth, whole), matrix_at(block, depth, TALL)
        for k in range(depth):
            for c in range(vectors * LANES, width):
                to[k, c] = rows[k, c]


@part
def tiled_product(transposed, a, whole, rows, b, b_row, columns, depth, out, scratch):
    """out (rows, columns) = A b, where A is a (rows, whole) or, where `transposed` is 1, the transpose of
    a (depth, whole); rows of b lie `b_row` numbers apart.

    Block by block of A, as the caches hold them; all panels of b pass by each. The last columns, where they fill no
    vector, are made together with some before them, aside.
    """
    a_row, a_step = (4, 4 * whole) if transposed else (4 * whole, 4)
    if columns < LANES:
        narrow_product(a, a_row, a_step, rows, b, b_row, columns, depth, out, scratch)
        return
    panel, block = scratch, scratch + 4 * DEEP * WIDTH
    aside = block + 4 * DEEP * TALL
    tall, deep = equal_piece(rows, TALL, TALLEST), equal_piece(depth, DEEP, 1)
    # columns of a lie rows apart, which is slow to read again for every panel that passes by
    packs_a = transposed and (clashes(whole) or (columns > 2 * WIDTH and whole * depth > FEW))
    packs_b, last = clashes(b_row), columns % LANES
    for i in range(0, rows, tall):
        height = min(tall, rows - i)
        for k in range(0, depth, deep):
            terms, at_a, row, step = min(deep, depth - k), a + i * a_row + k * a_step, a_row, a_step
            if packs_a:
                block_of_columns(at_a, whole, terms, height, block)
                at_a, row, step = block, 4, 4 * TALL
            j = 0
            while j < columns:
                first, vectors, c, c_row = j, 2, out + 4 * (i * columns + j), 4 * columns
                if columns - j < WIDTH:
                    vectors = 1
                if columns - j < LANES:
                    first, c, c_row = columns - LANES, aside, 4 * LANES
                at_b, b_step = b + 4 * (k * b_row + first), 4 * b_row
                if packs_b:
                    copy(at_b, b_step, panel, 4 * WIDTH, terms, vectors)
                    at_b, b_step = panel, 4 * WIDTH
                ahead = b + 4 * (k * b_row + first + WIDTH)
                column_of_tiles(at_a, row, step, height, at_b, b_step, vectors, c, c_row, terms, k, ahead, 4 * b_row)
                j += vectors * LANES
        if last:
            first = columns - last
            narrow(aside + 4 * (LANES - last), 4 * LANES, out + 4 * (i * columns + first), 4 * columns, height, last)


@part
def product_of_row(a, b, b_row, out, depth, columns):
    """out (1, C) = a (1, K) @ b (K, C), where b is read once, row by row: its way from the memory takes the time."""
    x, rows, to = vector_at(a, depth), matrix_at(b, depth, b_row), vector_at(out, columns)
    for j in range(columns):
        to[j] = ZERO
    whole = depth - depth % 4
    for k in range(0, whole, 4):
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        for j in range(columns):
            to[j] = to[j] + x0 * rows[k, j] + x1 * rows[k + 1, j] + x2 * rows[k + 2, j] + x3 * rows[k + 3, j]
    for k in range(whole, depth):
        for j in range(columns):
            to[j] += x[k] * rows[k, j]


@part
def panel_of_columns(a, a_row, first, width, depth, panel):
    """panel[k, c] = a[first + c, k] for c < width, 0 beyond; rows of a lie `a_row` numbers apart."""
    whole = depth - depth % LANES
    rows, to = matrix_at(a, first + width, a_row), matrix_at(panel, depth, WIDTH)
    for c in range(0, WIDTH, LANES):
        done = 0
        if width - c >= LANES:
            done = whole
            for k in range(0, whole, LANES):
                transpose(a + 4 * ((first + c) * a_row + k), 4 * a_row, panel + 4 * (k * WIDTH + c), 4 * WIDTH, 0)
        for k in range(done, depth):
            for i in range(c, c + LANES):
                to[k, i] = rows[first + i, k] if i < width else ZERO


@part
def transpose_strip(strip, width, height, out, columns, accumulate):
    """out[r, c] = strip[c, r] for r < width and c < height, added to it where `accumulate` is 1; rows of out have
    `columns` numbers."""
    to, rest = matrix_at(out, width, columns), matrix_at(strip, height, WIDTH)
    for r in range(0, width, LANES):
        full = min(LANES, width - r)
        done = height - height % LANES if full == LANES else 0
        for c in range(0, done, LANES):
            transpose(strip + 4 * (c * WIDTH + r), 4 * WIDTH, out + 4 * (r * columns + c), 4 * columns, accumulate)
        for i in range(full):
            for c in range(done, height):
                value = rest[c, r + i]
                to[r + i, c] = to[r + i, c] + value if accumulate else value


@part
def product_transposed(a, a_row, b, b_row, out, rows, depth, columns, accumulate, scratch):
    """out (R, C) = a (R, K) @ b (C, K)', added to `out` where `accumulate` is 1; rows of a lie `a_row` numbers apart,
    those of b `b_row`.

    Computed as b @ a': some rows of a are transposed, and the result on its way out, never the whole of b.
    """
    strips = scratch + 4 * depth * GROUP
    tall, deep = equal_piece(columns, TALL, TALLEST), equal_piece(depth, DEEP, 1)
    for i in range(0, rows, GROUP):
        group = min(GROUP, rows - i)
        for j in range(0, group, WIDTH):
            panel_of_columns(a, a_row, i + j, min(WIDTH, group - j), depth, scratch + 4 * j * depth)
        for c in range(0, columns, tall):
            height = min(tall, columns - c)
            for k in range(0, depth, deep):
                at_b, terms = b + 4 * (c * b_row + k), min(deep, depth - k)
                for j in range(0, group, WIDTH):
                    panel, strip = scratch + 4 * (j * depth + k * WIDTH), strips + 4 * j * TALL
                    vectors = 2 if group - j > LANES else 1
                    result = strip, 4 * WIDTH, terms, k, panel, 0
                    column_of_tiles(at_b, 4 * b_row, 4, height, panel, 4 * WIDTH, vectors, *result)
            for j in range(0, group, WIDTH):
                to = out + 4 * ((i + j) * columns + c)
                transpose_strip(strips + 4 * j * TALL, min(WIDTH, group - j), height, to, columns, accumulate)


@native("void(" + ", ".join(["int64"] * 11) + ")")
def multiply(kind, a, b, out, rows, depth, columns, first, whole, across, scratch):
    """Do one product.

    kind, with R = rows, K = depth, C = columns:
        PLAIN       out (R, C) = a (R, K) @ b (K, C)
        TRANSPOSED  out (R, C) = a (R, K) @ b (C, K)', added to `out` where `first` is 1
        OF_COLUMNS  out (R, C) = a[:, first : first + R]' @ b[:, :C], with a (K, whole) and b (K, across)

    The rows of a and b lie `whole` and `across` numbers apart; 0: side by side.
    """
    if kind == PLAIN:
        a_row, b_row = apart(whole, depth), apart(across, columns)
        if rows == 1:
            product_of_row(a, b, b_row, out, depth, columns)
        else:
            tiled_product(0, a, a_row, rows, b, b_row, columns, depth, out, scratch)
    elif kind == TRANSPOSED:
        a_row, b_row = apart(whole, depth), apart(across, depth)
        product_transposed(a, a_row, b, b_row, out, rows, depth, columns, first, scratch)
    else:
        tiled_product(1, a + 4 * first, whole, rows, b, across, columns, depth, out, scratch)
