"""Dense layer: the products of `products`, the activations of `activations`, and the gradients."""

from fastvae.kernels import formulas as f
from fastvae.kernels.cpu.addresses import call, vector_at
from fastvae.kernels.cpu.compiler import part
from fastvae.kernels.cpu.optimizers import in_float32, move
from fastvae.kernels.cpu.products import OF_COLUMNS, PLAIN, TRANSPOSED

# Numbers and columns of a weight's gradient made at a time: they stay in the cache. Rows that are no wider are made
# whole, and lie side by side with the next ones for Adam, which reads long lines fastest.
BLOCK, WIDEST = 1 << 16, 1024


def gradient_block(columns):
    """Rows and columns of the gradient of a weight (D, `columns`) that are made at a time."""
    wide = min(columns, WIDEST)
    return max(1, BLOCK // wide), wide


shape_of_block = part(gradient_block)


@part
def at(array):
    """Where an array begins."""
    return array.ctypes.data


@part
def sum_of_rows(d_out, total):
    """total (C, ...) = sum over the rows of d_out (R, C), in order."""
    rows, columns = d_out.shape
    for j in range(columns):
        total[j] = f.ZERO
    for i in range(rows):
        for j in range(columns):
            total[j] += d_out[i, j]


# ---- whole layers: `scratch` is memory for the product, `multiply` the address of the function that does it -------


@part
def forward(x, weight, bias, activate, out, saved, scratch, multiply):
    """`dense_forward` of the contract; `activate` is the address of its activation, see `activations`."""
    (rows, depth), columns = x.shape, weight.shape[1]
    call(multiply, (PLAIN, at(x), at(weight), at(out), rows, depth, columns, 0, 0, 0, scratch))
    call(activate, (at(out), at(bias), at(saved), rows, columns))


@part
def accumulate(x, weight, out, scratch, multiply):
    """`dense_accumulate` of the contract."""
    (rows, depth), columns = x.shape, weight.shape[1]
    rest, product = scratch + 4 * rows * columns, vector_at(scratch, rows * columns)
    call(multiply, (PLAIN, at(x), at(weight), scratch, rows, depth, columns, 0, 0, 0, rest))
    flat = out.reshape(-1)
    for k in range(rows * columns):
        flat[k] += product[k]


@part
def backward_input(saved, weight, deactivate, d_out, accumulate, d_x, scratch, multiply):
    """`dense_backward_input` of the contract; a `d_x` without rows is none."""
    rows, depth = d_out.shape
    call(deactivate, (at(saved), at(d_out), rows, depth))
    if d_x.shape[0]:
        sizes = rows, depth, weight.shape[0]
        call(multiply, (TRANSPOSED, at(d_out), at(weight), at(d_x), *sizes, accumulate, 0, 0, scratch))


@part
def backward_weight(x, d_a, first, last, accumulate, d_weight, d_bias, scratch, multiply):
    """`dense_backward_weight` of the contract."""
    if first >= last:
        return
    (depth, whole), columns = x.shape, d_a.shape[1]
    if accumulate:
        add_gradient(x, d_a, first, last, d_weight, d_bias, scratch, multiply)
        return
    to = at(d_weight) + 4 * first * columns
    call(multiply, (OF_COLUMNS, at(x), at(d_a), to, last - first, depth, columns, first, whole, columns, scratch))
    if first == 0 and d_bias.size:
        sum_of_rows(d_a, d_bias)


@part
def add_gradient(x, d_a, first, last, d_weight, d_bias, scratch, multiply):
    """The same, added to what stands there: a block of the product at a time."""
    (depth, whole), columns = x.shape, d_a.shape[1]
    tall, wide = shape_of_block(columns)
    rest, product = scratch + 4 * tall * wide, vector_at(scratch, max(tall * wide, columns))
    total = d_weight.reshape(-1)
    for start in range(first, last, tall):
        rows = min(tall, last - start)
        for left in range(0, columns, wide):
            width = min(wide, columns - left)
            to = OF_COLUMNS, at(x), at(d_a) + 4 * left, scratch, rows, depth, width, start, whole, columns, rest
            call(multiply, to)
            for i in range(rows):
                for j in range(width):
                    total[(start + i) * columns + left + j] += product[i * width + j]
    if first == 0 and d_bias.size:
        sum_of_rows(d_a, product)
        for j in range(columns):
            d_bias[j] += product[j]


@part
def adam(
    x, d_a, first, last, weight, m_weight, v_weight, bias, m_bias, v_bias,
    rate, correction, new1, keep2, new2, decay, epsilon, scratch, multiply,
):  # fmt: skip
    """`dense_adam_inplace` of the contract: a block of the gradient at a time."""
    if first >= last:
        return
    chosen = in_float32(rate, correction, new1, keep2, new2, decay, epsilon)
    (depth, whole), columns = x.shape, d_a.shape[1]
    tall, wide = shape_of_block(columns)
    rest, gradient = scratch + 4 * tall * wide, vector_at(scratch, max(tall * wide, columns))
    params, m, v = weight.reshape(-1), m_weight.reshape(-1), v_weight.reshape(-1)
    for start in range(first, last, tall):
        rows = min(tall, last - start)
        for left in range(0, columns, wide):
            width = min(wide, columns - left)
            to = OF_COLUMNS, at(x), at(d_a) + 4 * left, scratch, rows, depth, width, start, whole, columns, rest
            call(multiply, to)
            lines, length = (1, rows * columns) if width == columns else (rows, width)  # what lies side by side
            for line in range(lines):
                begin, made = (start + line) * columns + left, line * length
                end = begin + length
                grads = gradient[made : made + length]
                move(params[begin:end], grads, m[begin:end], v[begin:end], f.ONE, chosen)
    if first == 0 and bias.size:
        sum_of_rows(d_a, gradient)
        move(bias, gradient[:columns], m_bias, v_bias, f.ONE, chosen)
