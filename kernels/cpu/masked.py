"""A dense layer whose weight is a staircase: column j of a weight (D, H) has its first depths[j] rows, and zeros below.

The depths do not decrease from column to column, so that what the products need of the weight lies above a diagonal.
They are made panel by panel, each with those rows or columns alone that any of it has: about half of the whole
product. Inside a panel the zeros of the weight do the rest.
"""

from fastvae.kernels import formulas as f
from fastvae.kernels.cpu.addresses import call, integers_at, matrix_at, vector_at
from fastvae.kernels.cpu.compiler import part
from fastvae.kernels.cpu.dense import at, sum_of_rows
from fastvae.kernels.cpu.optimizers import in_float32, move
from fastvae.kernels.cpu.products import OF_COLUMNS, PLAIN, TRANSPOSED

STEP, MOST_PANELS = 64, 12  # rows or columns of a panel: a multiple of this, so that there are at most so many
TALL, WIDE = 64, 1024  # of a weight's gradient, what is made at a time
LINE = 16  # numbers of a cache's line, at whose beginning products begin


def panel(size):
    """Rows or columns of a panel of so many."""
    return STEP * max(1, (size + STEP * MOST_PANELS - 1) // (STEP * MOST_PANELS))


def block(columns):
    """Numbers of the gradient of a weight with so many columns that are made at a time, and of a bias's."""
    return max(TALL * min(WIDE, columns), columns)


panel_of, block_of = part(panel), part(block)


@part
def first_column(depths, row, start):
    """The first column from `start` on that has a row."""
    while start < depths.size and depths[start] <= row:
        start += 1
    return start


@part
def panels_of_outputs(x, weight, depths, out, add, scratch, multiply):
    """out = x @ weight, added to it where `add` is 1."""
    (rows, whole), columns = x.shape, weight.shape[1]
    wide = panel_of(columns)
    rest = scratch + 4 * rows * wide
    for left in range(0, columns, wide):
        width = min(wide, columns - left)
        depth = depths[left + width - 1]
        made = matrix_at(scratch, rows, width)
        if depth:
            operands = PLAIN, at(x), at(weight) + 4 * left, scratch, rows, depth, width, 0, whole, columns, rest
            call(multiply, operands)
        for i in range(rows):
            for j in range(width):
                value = made[i, j] if depth else f.ZERO
                out[i, left + j] = out[i, left + j] + value if add else value


@part
def forward(x, weight, bias, activate, depths, out, saved, scratch, multiply):
    """`masked_forward` of the contract; `activate` is the address of its activation, see `activations`."""
    rows, columns = out.shape
    panels_of_outputs(x, weight, integers_at(depths, columns), out, 0, scratch, multiply)
    call(activate, (at(out), at(bias), at(saved), rows, columns))


@part
def accumulate(x, weight, depths, out, scratch, multiply):
    """`masked_accumulate` of the contract."""
    panels_of_outputs(x, weight, integers_at(depths, weight.shape[1]), out, 1, scratch, multiply)


@part
def backward_input(saved, weight, deactivate, depths, d_out, accumulate, d_x, scratch, multiply):
    """`masked_backward_input` of the contract; a `d_x` without rows is none."""
    rows, columns = d_out.shape
    call(deactivate, (at(saved), at(d_out), rows, columns))
    if not d_x.shape[0]:
        return
    depth, deep = weight.shape[0], integers_at(depths, columns)
    tall, left = panel_of(depth), 0
    rest = scratch + 4 * rows * tall
    for first in range(0, depth, tall):
        height = min(tall, depth - first)
        left = first_column(deep, first, left)
        begin = left // LINE * LINE
        terms = columns - begin if left < columns else 0
        made = matrix_at(scratch, rows, height)
        if terms:
            of_weight = at(weight) + 4 * (first * columns + begin)
            operands = at(d_out) + 4 * begin, of_weight, scratch, rows, terms, height, 0, columns, columns, rest
            call(multiply, (TRANSPOSED, *operands))
        for i in range(rows):
            for j in range(height):
                value = made[i, j] if terms else f.ZERO
                d_x[i, first + j] = d_x[i, first + j] + value if accumulate else value


@part
def backward_weight(x, d_a, first, last, accumulate, depths, d_weight, d_bias, scratch, multiply):
    """`masked_backward_weight` of the contract: a block of the product at a time."""
    if first >= last:
        return
    (terms, whole), columns = x.shape, d_a.shape[1]
    deep, rest = integers_at(depths, columns), scratch + 4 * block_of(columns)
    if not accumulate:
        for i in range(first, last):
            for j in range(columns):
                d_weight[i, j] = f.ZERO
    own = first_column(deep, first, 0)
    for start in range(first, last, TALL):
        rows = min(TALL, last - start)
        own = first_column(deep, start, own)
        for left in range(own // LINE * LINE, columns, WIDE):
            width = min(WIDE, columns - left)
            made = matrix_at(scratch, rows, width)
            to = at(x), at(d_a) + 4 * left, scratch, rows, terms, width, start, whole, columns, rest
            call(multiply, (OF_COLUMNS, *to))
            begin = own
            for i in range(rows):
                begin = first_column(deep, start + i, begin)
                for j in range(max(begin, left), left + width):
                    d_weight[start + i, j] += made[i, j - left]
    if first == 0 and d_bias.size:
        total = vector_at(scratch, columns)
        sum_of_rows(d_a, total)
        for j in range(columns):
            d_bias[j] = d_bias[j] + total[j] if accumulate else total[j]


@part
def adam(
    x, d_a, first, last, depths, weight, m_weight, v_weight, bias, m_bias, v_bias,
    rate, correction, new1, keep2, new2, decay, epsilon, scratch, multiply,
):  # fmt: skip
    """`masked_adam_inplace` of the contract: a block of the gradient at a time."""
    if first >= last:
        return
    chosen = in_float32(rate, correction, new1, keep2, new2, decay, epsilon)
    (terms, whole), columns = x.shape, d_a.shape[1]
    deep, rest = integers_at(depths, columns), scratch + 4 * block_of(columns)
    params, m, v = weight.reshape(-1), m_weight.reshape(-1), v_weight.reshape(-1)
    own = first_column(deep, first, 0)
    for start in range(first, last, TALL):
        rows = min(TALL, last - start)
        own = first_column(deep, start, own)
        for left in range(own // LINE * LINE, columns, WIDE):
            width = min(WIDE, columns - left)
            made = vector_at(scratch, rows * width)
            to = at(x), at(d_a) + 4 * left, scratch, rows, terms, width, start, whole, columns, rest
            call(multiply, (OF_COLUMNS, *to))
            begin = own
            for i in range(rows):
                begin = first_column(deep, start + i, begin)
                skipped = max(begin - left, 0)
                if skipped < width:
                    grads = made[i * width + skipped : (i + 1) * width]
                    begun = (start + i) * columns + left + skipped
                    end = begun + width - skipped
                    move(params[begun:end], grads, m[begun:end], v[begun:end], f.ONE, chosen)
    if first == 0 and bias.size:
        total = vector_at(scratch, columns)
        sum_of_rows(d_a, total)
        move(bias, total, m_bias, v_bias, f.ONE, chosen)
