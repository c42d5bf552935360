"""The matrix products of a dense layer, by tiles: one function that compiled code calls by its address.

All sums run over their terms in order, with one fused multiply-add each: the result of a row does not depend on the
other rows, on how a batch is cut, or on the unit that the tiles are made for (`processor`).

Operands are addresses of C-contiguous float32 matrices. `room` is memory for panels: `room_for` numbers.
"""

from fastvae.kernels.cpu.addresses import matrix_at, vector_at
from fastvae.kernels.cpu.compiler import native, part
from fastvae.kernels.cpu.panels import copy, transpose
from fastvae.kernels.cpu.tile import HEIGHTS, LANES, tile
from fastvae.kernels.formulas import ZERO

# What a call is to do; see `multiply`.
PLAIN, TRANSPOSED, OF_COLUMNS, PANELS = range(4)

TALLEST, WIDTH = HEIGHTS[0], 2 * LANES
STRIP = 1 << 16  # numbers of a weight's gradient that are made at a time, whole rows: they stay in the cache
BLOCK = 8 * TALLEST  # columns of an operand that are copied at a time where its rows clash
CLASH = 1024  # bytes; rows a multiple of this apart share so few sets of the cache that they drive each other out


def clashes(columns):
    """Whether the rows of a matrix with so many columns drive each other out of the cache."""
    return (4 * columns) % CLASH == 0


def strip_rows(columns):
    """Rows of a weight (D, `columns`) whose gradient is made at a time."""
    return max(1, STRIP // (columns * TALLEST)) * TALLEST


def room_for(rows, depth, columns):
    """Numbers of float32 that one product with an output (rows, columns) and of this depth needs."""
    return depth * (BLOCK + WIDTH) + max(rows, columns) * WIDTH


rows_clash = part(clashes)


@part
def column_of_tiles(a, a_row, a_step, rows, b, b_step, vectors, c, c_row, depth):
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
        tile(chosen, vectors, a + i * a_row, a_row, a_step, b, b_step, c + i * c_row, c_row, depth)
        i += chosen


@part
def narrow_product(a, a_row, a_step, rows, b, columns, depth, out, room):
    """`columns_of_product` for fewer columns than a vector has: b and out go through memory as wide as one."""
    panel = room
    strip = panel + 4 * depth * LANES
    wide_b, wide_out = matrix_at(panel, depth, LANES), matrix_at(strip, rows, LANES)
    from_b, to = matrix_at(b, depth, columns), matrix_at(out, rows, columns)
    for k in range(depth):
        for c in range(LANES):
            wide_b[k, c] = from_b[k, c] if c < columns else ZERO
    column_of_tiles(a, a_row, a_step, rows, panel, 4 * LANES, 1, strip, 4 * LANES, depth)
    for i in range(rows):
        for c in range(columns):
            to[i, c] = wide_out[i, c]


@part
def columns_of_product(a, a_row, a_step, rows, b, columns, depth, panels, out, room):
    """out = A b, where A lies at `a` with strides in bytes (see `tile`); `panels` holds those of b, 0 where none do.

    The last columns, where they fill no vector, are made together with some before them: those come out the same again.
    """
    if columns < LANES:
        narrow_product(a, a_row, a_step, rows, b, columns, depth, out, room)
        return
    panel = room
    j = 0
    while j < columns:
        left = columns - j
        first, vectors = j, 2
        if left < WIDTH:
            first, vectors = min(j, columns - LANES), 1
        from_b, b_step = b + 4 * first, 4 * columns
        if panels:
            from_b, b_step = panels + 4 * first * depth, 4 * WIDTH
        elif rows_clash(columns):
            copy(from_b, b_step, panel, 4 * WIDTH, depth, 2)
            from_b, b_step = panel, 4 * WIDTH
        column_of_tiles(a, a_row, a_step, rows, from_b, b_step, vectors, out + 4 * first, 4 * columns, depth)
        j = first + vectors * LANES


@part
def product_of_row(a, b, out, depth, columns):
    """out (1, C) = a (1, K) @ b (K, C), where b is read once, row by row: its way from the memory takes the time."""
    x, rows, to = vector_at(a, depth), matrix_at(b, depth, columns), vector_at(out, columns)
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
def panel_of_columns(a, first, width, depth, panel):
    """panel[k, c] = a[first + c, k] for c < width, 0 beyond."""
    whole = depth - depth % LANES
    rows, to = matrix_at(a, first + width, depth), matrix_at(panel, depth, WIDTH)
    for c in range(0, WIDTH, LANES):
        turned = 0
        if width - c >= LANES:
            turned = whole
            for k in range(0, whole, LANES):
                transpose(a + 4 * ((first + c) * depth + k), 4 * depth, panel + 4 * (k * WIDTH + c), 4 * WIDTH, 0)
        for k in range(turned, depth):
            for i in range(c, c + LANES):
                to[k, i] = rows[first + i, k] if i < width else ZERO


@part
def turn_strip(strip, first, width, columns, more, out):
    """out[first + r, c] = strip[c, r] for r < width, added where `more` is 1."""
    to, rest = matrix_at(out, first + width, columns), matrix_at(strip, columns, WIDTH)
    for r in range(0, width, LANES):
        full = min(LANES, width - r)
        turned = columns - columns % LANES if full == LANES else 0
        for c in range(0, turned, LANES):
            target = out + 4 * ((first + r) * columns + c)
            transpose(strip + 4 * (c * WIDTH + r), 4 * WIDTH, target, 4 * columns, more)
        for i in range(full):
            for c in range(turned, columns):
                value = rest[c, r + i]
                to[first + r + i, c] = to[first + r + i, c] + value if more else value


@part
def product_transposed(a, b, out, rows, depth, columns, more, room):
    """out (R, C) = a (R, K) @ b (C, K)', added to `out` where `more` is 1.

    Computed as b @ a': the few rows of a are turned round, and the result on its way out, never the whole of b.
    """
    panel = room
    strip = panel + 4 * depth * WIDTH
    for j in range(0, rows, WIDTH):
        width = min(WIDTH, rows - j)
        panel_of_columns(a, j, width, depth, panel)
        vectors = 2 if width > LANES else 1
        column_of_tiles(b, 4 * depth, 4, columns, panel, 4 * WIDTH, vectors, strip, 4 * WIDTH, depth)
        turn_strip(strip, j, width, columns, more, out)


@part
def product_of_columns(a, b, out, count, depth, columns, first, whole, panels, room):
    """out (count, C) = a[:, first : first + count]' @ b, with a (K, whole) and b (K, C)."""
    at_a = a + 4 * first
    if not rows_clash(whole):
        columns_of_product(at_a, 4, 4 * whole, count, b, columns, depth, panels, out, room)
    else:
        block = room + 4 * (depth * WIDTH + count * WIDTH)
        rows, to = matrix_at(a, depth, whole), matrix_at(block, depth, BLOCK)
        for start in range(0, count, BLOCK):
            part = min(BLOCK, count - start)
            vectors = part // LANES
            copy(at_a + 4 * start, 4 * whole, block, 4 * BLOCK, depth, vectors)
            for k in range(depth):
                for c in range(vectors * LANES, part):
                    to[k, c] = rows[k, first + start + c]
            columns_of_product(block, 4, 4 * BLOCK, part, b, columns, depth, panels, out + 4 * start * columns, room)


@native("void(" + ", ".join(["int64"] * 11) + ")")
def multiply(kind, a, b, out, rows, depth, columns, first, whole, panels, room):
    """Do one product.

    kind, with R = rows, K = depth, C = columns:
        PLAIN       out (R, C) = a (R, K) @ b (K, C)
        TRANSPOSED  out (R, C) = a (R, K) @ b (C, K)', added to `out` where `first` is 1
        OF_COLUMNS  out (R, C) = a[:, first : first + R]' @ b, with a (K, whole) and b (K, C); several with one b can
                    share the `panels` that
        PANELS      has written to `out`; 0 where b is read as it is.
    """
    if kind == PLAIN:
        if rows == 1:
            product_of_row(a, b, out, depth, columns)
        else:
            columns_of_product(a, 4 * depth, 4, rows, b, columns, depth, 0, out, room)
    elif kind == TRANSPOSED:
        product_transposed(a, b, out, rows, depth, columns, first, room)
    elif kind == OF_COLUMNS:
        product_of_columns(a, b, out, rows, depth, columns, first, whole, panels, room)
    else:
        for j in range(0, columns, WIDTH):
            copy(b + 4 * j, 4 * columns, out + 4 * j * depth, 4 * WIDTH, depth, 2)
