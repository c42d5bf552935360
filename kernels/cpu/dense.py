"""Dense layer: the products of `products`, the activations of `activations`, and the gradients."""

from fastvae.kernels import formulas as f
from fastvae.kernels.cpu.adam import factors, move
from fastvae.kernels.cpu.addresses import call, vector_at
from fastvae.kernels.cpu.compiler import as_part, part
from fastvae.kernels.cpu.products import OF_COLUMNS, PANELS, PLAIN, TRANSPOSED, clashes, strip_rows

rows_of_strip, rows_clash, adam_factors, adam_move = part(strip_rows), part(clashes), as_part(factors), as_part(move)


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


# ---- whole layers: `room` is memory for the product, `multiply` the address of the function that does it -----------


@part
def forward(x, weight, bias, activate, out, saved, room, multiply):
    """`dense_forward` of the contract; `activate` is the address of its activation, see `activations`."""
    (rows, depth), columns = x.shape, weight.shape[1]
    call(multiply, (PLAIN, at(x), at(weight), at(out), rows, depth, columns, 0, 0, 0, room))
    call(activate, (at(out), at(bias), at(saved), rows, columns))


@part
def backward_input(saved, weight, deactivate, d_out, more, d_x, room, multiply):
    """`dense_backward_input` of the contract; a `d_x` without rows is none."""
    rows, depth = d_out.shape
    call(deactivate, (at(saved), at(d_out), rows, depth))
    if d_x.shape[0]:
        call(multiply, (TRANSPOSED, at(d_out), at(weight), at(d_x), rows, depth, weight.shape[0], more, 0, 0, room))


@part
def panels_of(d_a, room, multiply):
    """The address of d_a's panels, behind the first `strip_rows` rows of `room`; 0 where it is read as it is."""
    depth, columns = d_a.shape
    if not rows_clash(columns):
        return 0
    panels = room + 4 * rows_of_strip(columns) * columns
    call(multiply, (PANELS, 0, at(d_a), panels, 0, depth, columns, 0, 0, 0, 0))
    return panels


@part
def backward_weight(x, d_a, first, last, d_weight, d_bias, room, multiply):
    """`dense_backward_weight` of the contract."""
    if first >= last:
        return
    (depth, whole), columns = x.shape, d_a.shape[1]
    panels, more = panels_of(d_a, room, multiply), rows_of_strip(columns)
    rest = room + 4 * (more * columns + (depth * columns if panels else 0))
    for start in range(first, last, more):
        rows = min(more, last - start)
        to = at(d_weight) + 4 * start * columns
        call(multiply, (OF_COLUMNS, at(x), at(d_a), to, rows, depth, columns, start, whole, panels, rest))
    if first == 0:
        sum_of_rows(d_a, d_bias)


@part
def adam(x, d_a, first, last, weight, m_weight, v_weight, bias, m_bias, v_bias, chosen, room, multiply):
    """`dense_adam_inplace` of the contract, with the numbers of `adam.factors`. Rows of a weight lie side by side: a
    strip of them is a piece of the flat buffer."""
    if first >= last:
        return
    (depth, whole), columns = x.shape, d_a.shape[1]
    panels, more = panels_of(d_a, room, multiply), rows_of_strip(columns)
    rest = room + 4 * (more * columns + (depth * columns if panels else 0))
    gradient = vector_at(room, more * columns)
    params, m, v = weight.reshape(-1), m_weight.reshape(-1), v_weight.reshape(-1)
    for start in range(first, last, more):
        rows = min(more, last - start)
        call(multiply, (OF_COLUMNS, at(x), at(d_a), room, rows, depth, columns, start, whole, panels, rest))
        begin, end = start * columns, (start + rows) * columns
        adam_move(params[begin:end], gradient[: end - begin], m[begin:end], v[begin:end], f.ONE, chosen)
    if first == 0:
        sum_of_rows(d_a, gradient)
        adam_move(bias, gradient[:columns], m_bias, v_bias, f.ONE, chosen)
