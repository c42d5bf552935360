"""The products of `products` with their operands rounded to bfloat16, and sums in float32: `precision="bfloat16"`.

Both operands are packed in pairs for each product, as `tile_bfloat16` wants them; their rounding is part of that. The
sums of a result run over k in one order, whatever else is in the batch.
"""

import numpy as np
from numba import uint32

from fastvae.kernels.cpu.addresses import array_at, matrix_at
from fastvae.kernels.cpu.compiler import native, part
from fastvae.kernels.cpu.panels import transpose
from fastvae.kernels.cpu.products import OF_COLUMNS, TRANSPOSED, apart
from fastvae.kernels.cpu.tile import LANES
from fastvae.kernels.cpu.tile_bfloat16 import HEIGHTS, KIND, PAIRS, TILES, WIDTH, begin, end, tile
from fastvae.kernels.formulas import bfloat16_pair

CHOICE = HEIGHTS[KIND]
TALLEST = CHOICE[0]
ROWS = 32  # rows are packed in multiples of so many


def padded(rows, depth):
    """Rows and pairs as they are packed."""
    return -(-rows // ROWS) * ROWS, -(-depth // (2 * PAIRS)) * PAIRS


def scratch_for(rows, depth, columns):
    """Numbers of 32 bits that a product with an output (rows, columns) and of this depth needs: a twice, a panel twice,
    a strip, and the configuration of the matrix unit."""
    high, pairs = padded(rows, depth)
    return 2 * pairs * (high + WIDTH) + high * WIDTH + TILES.size


packed = part(padded)


@part
def pairs_of_rows(source, row, rows, depth, target, high, pairs):
    """target (high, pairs) = the pairs along the rows of source (rows, depth), `row` numbers apart; 0 beyond."""
    to = array_at(target, high * pairs, uint32)
    for i in range(high):
        from_row, k = array_at(source + 4 * i * row, depth, np.float32), depth // 2
        if i < rows:
            for p in range(k):
                to[i * pairs + p] = bfloat16_pair(from_row[2 * p], from_row[2 * p + 1])
            if depth % 2:
                to[i * pairs + k] = bfloat16_pair(from_row[depth - 1], np.float32(0))
                k += 1
        else:
            k = 0
        for p in range(k, pairs):
            to[i * pairs + p] = np.uint32(0)


@part
def pairs_of_columns(source, row, columns, depth, target, wide, pairs):
    """target (pairs, wide) = the pairs down the columns of source (depth, columns), `row` numbers apart; 0 beyond."""
    to = array_at(target, pairs * wide, uint32)
    for p in range(pairs):
        for c in range(wide):
            to[p * wide + c] = np.uint32(0)
        if 2 * p + 1 < depth:
            upper = array_at(source + 8 * p * row, columns, np.float32)
            lower = array_at(source + 4 * (2 * p + 1) * row, columns, np.float32)
            for c in range(columns):
                to[p * wide + c] = bfloat16_pair(upper[c], lower[c])
        elif 2 * p < depth:
            upper = array_at(source + 8 * p * row, columns, np.float32)
            for c in range(columns):
                to[p * wide + c] = bfloat16_pair(upper[c], np.float32(0))


@part
def transpose_matrix(source, rows, columns, target):
    """target (columns, rows) = source (rows, columns)', 32 bits each; both multiples of LANES."""
    for i in range(0, rows, LANES):
        for j in range(0, columns, LANES):
            transpose(source + 4 * (i * columns + j), 4 * columns, target + 4 * (j * rows + i), 4 * rows, 0)


@part
def strip_of_tiles(a, rows, panel, strip, pairs):
    """strip (rows or more, WIDTH) = a @ panel."""
    i = 0
    while i < rows:
        height = TALLEST
        if height > rows - i and TALLEST != ROWS:
            for lower in CHOICE:
                if height > rows - i:
                    height = lower
        tile(height, a + 4 * i * pairs, 4 * pairs, panel, strip + 4 * i * WIDTH, pairs)
        i += height


@native("void(" + ", ".join(["int64"] * 11) + ")")
def multiply(kind, a, b, out, rows, depth, columns, first, whole, across, scratch):
    """What `products.multiply` does, in bfloat16."""
    high, pairs = packed(rows, depth)
    packed_a, panel = scratch, scratch + 4 * high * pairs
    strip = panel + 4 * pairs * WIDTH
    spare = strip + 4 * high * WIDTH
    configuration = spare + 4 * pairs * max(high, WIDTH)
    if kind == OF_COLUMNS:
        pairs_of_columns(a + 4 * first, whole, rows, depth, spare, high, pairs)
        transpose_matrix(spare, pairs, high, packed_a)
    else:
        pairs_of_rows(a, apart(whole, depth), rows, depth, packed_a, high, pairs)
    b_row = apart(across, depth if kind == TRANSPOSED else columns)
    to, made, tiles = (
        matrix_at(out, rows, columns),
        matrix_at(strip, high, WIDTH),
        array_at(configuration, 64, np.uint8),
    )
    transposed = kind == TRANSPOSED
    add = transposed and first != 0
    for i in range(64):
        tiles[i] = TILES[i]
    begin(configuration)
    for j in range(0, columns, WIDTH):
        width = min(WIDTH, columns - j)
        if not transposed:
            pairs_of_columns(b + 4 * j, b_row, width, depth, panel, WIDTH, pairs)
        else:
            pairs_of_rows(b + 4 * j * b_row, b_row, width, depth, spare, WIDTH, pairs)
            transpose_matrix(spare, WIDTH, pairs, panel)
        strip_of_tiles(packed_a, rows, panel, strip, pairs)
        for i in range(rows):
            for c in range(width):
                to[i, j + c] = to[i, j + c] + made[i, c] if add else made[i, c]
    end()
