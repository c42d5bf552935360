"""Hidden units that a row's columns move one after the other, and the outputs that see them: `prefix_forward` and
`prefix_backward` of the contract.

    a_1 = bias        h_d = sigmoid(a_d)        logits_d = output_bias_d + V_d . h_d        a_{d+1} = a_d + x_d W_d

A column that is 0 moves nothing, so that the columns between two that are 1 share their h: a *run*. All of it is done
for LANES units at a time, for CHUNK columns, for one row after the other, so that what these columns have of W and V
stays in the first cache. The units do not see each other but in the sum of an output. So the gradients of all
parameters of some units come from these units alone: threads share the units, not the rows, and add to nothing that
another one writes. No bit depends on their number, as lanes stand at multiples of LANES, and sums go over the rows in
order. The forward leaves a at the beginning of each chunk; the backward walks a chunk forwards once more from there,
keeping the h of its runs, and then from its last run to its first.

Where a column is 1, exp(-a) is multiplied by exp(-W_d), which is worked out once for all rows, so that the sigmoid
costs a product and a division. Where |a| may become so large within a chunk that this could leave the range of float32,
the sigmoid itself is taken.
"""

from fastvae.kernels import formulas as f
from fastvae.kernels.cpu.addresses import integers_at, matrix_at, vector_at
from fastvae.kernels.cpu.compiler import as_part, kernel, part
from fastvae.kernels.cpu.dense import at, sum_of_rows
from fastvae.kernels.cpu.lanes import BYTES, add_dots, add_lanes, next_units, run_backward
from fastvae.kernels.ops import CHUNK, LANES

FAR = f.f32(80.0)  # |a|, from where on exp(-a) is not multiplied
TABLE = CHUNK * LANES  # numbers of one chunk's weights


def scratch_for(rows, columns):
    """Numbers of scratch memory that either op needs."""
    return max(columns, 5 * TABLE + (CHUNK + 3 + rows) * LANES + CHUNK + 2 * (CHUNK + 2))


@kernel
def packed(weight, start, count, left, width, out):
    """out (CHUNK, LANES) = that piece of a weight, and zeros beside it."""
    for d in range(count):
        for k in range(width):
            out[d, k] = weight[start + d, left + k]
        for k in range(width, LANES):
            out[d, k] = f.ZERO


@kernel
def factors(weight, count, out, largest):
    """out = exp(-weight), and the largest |weight| of each row; of a table."""
    for d in range(count):
        most = f.ZERO
        for k in range(LANES):
            most = max(most, abs(weight[d, k]))
        largest[d] = most
    flat, to = weight.reshape(-1), out.reshape(-1)
    for k in range(count * LANES):
        to[k] = f.exp(-flat[k])


@kernel
def first_units(a, e, h):
    """e = exp(-a), h = 1 / (1 + e); return the largest |a|."""
    most = f.ZERO
    for k in range(LANES):
        most = max(most, abs(a[k]))
    for k in range(LANES):
        e[k] = f.exp(-a[k])
        h[k] = f.ONE / (f.ONE + e[k])
    return most


@kernel
def exact_units(a, h):
    """h = sigmoid(a)."""
    for k in range(LANES):
        h[k] = f.sigmoid(a[k])


pack, make_factors, begin_units, take_sigmoid = (
    as_part(packed), as_part(factors), as_part(first_units), as_part(exact_units),
)  # fmt: skip


@part
def is_near(most, x, largest):
    """Whether |a| stays below FAR within a chunk: it is `most` at first, and each column that is 1 adds to it."""
    for d in range(x.size):
        if x[d] != f.ZERO:
            most += largest[d]
    return most < FAR


@part
def forward(x, weight, bias, output_weight, output_bias, carried, logits, scratch):
    """`prefix_forward` of the contract."""
    (rows, columns), units = x.shape, bias.size
    w, v = matrix_at(scratch, CHUNK, LANES), matrix_at(scratch + 4 * TABLE, CHUNK, LANES)
    factor, rest = matrix_at(scratch + 8 * TABLE, CHUNK, LANES), scratch + 12 * TABLE
    a, e, h = vector_at(rest, LANES), vector_at(rest + BYTES, LANES), vector_at(rest + 2 * BYTES, LANES)
    largest = vector_at(rest + 3 * BYTES, CHUNK)
    for start in range(0, columns, CHUNK):
        count, place = min(CHUNK, columns - start), start // CHUNK * units
        for i in range(rows):
            for d in range(count):
                logits[i, start + d] = output_bias[start + d]
        for left in range(0, units, LANES):
            width = min(LANES, units - left)
            pack(weight, start, count, left, width, w)
            pack(output_weight, start, count, left, width, v)
            make_factors(w, count, factor, largest)
            for k in range(LANES):
                a[k] = f.ZERO
            for i in range(rows):
                for k in range(width):
                    if start == 0:
                        carried[i, left + k] = bias[left + k]
                    a[k] = carried[i, place + left + k]
                seen, out = x[i, start : start + count], at(logits) + 4 * (i * columns + start)
                most = begin_units(a, e, h)
                near, begin = is_near(most, seen, largest), 0
                if not near:
                    take_sigmoid(a, h)
                for d in range(count):
                    if seen[d] != f.ZERO:
                        add_dots(at(h), at(v) + begin * BYTES, d + 1 - begin, out + 4 * begin)
                        next_units(at(a), at(w) + d * BYTES, at(e), at(factor) + d * BYTES, at(h))
                        begin = d + 1
                        if not near:
                            take_sigmoid(a, h)
                add_dots(at(h), at(v) + begin * BYTES, count - begin, out + 4 * begin)
                if start + count < columns:
                    for k in range(width):
                        carried[i, place + units + left + k] = a[k]


@part
def runs_of(seen, w, factor, near, a, e, states, begins):
    """Walk a chunk: the h of its runs and where each begins; return how many there are. `states` has the first."""
    count = 1
    begins[0] = 0
    for d in range(seen.size):
        if seen[d] != f.ZERO:
            begins[count] = d + 1
            next_units(at(a), at(w) + d * BYTES, at(e), at(factor) + d * BYTES, at(states) + count * BYTES)
            if not near:
                take_sigmoid(a, states[count])
            count += 1
    return count


@part
def unpack(table, start, count, left, width, add, out):
    """Write a table to its piece of a gradient, or add it there."""
    for d in range(count):
        for k in range(width):
            out[start + d, left + k] = out[start + d, left + k] + table[d, k] if add else table[d, k]


@part
def backward(
    x, weight, output_weight, carried, d_logits, first, last, accumulate, d_weight, d_bias, d_output_weight,
    d_output_bias, scratch,
):  # fmt: skip
    """`prefix_backward` of the contract."""
    (rows, columns), units = x.shape, d_bias.size
    w, v = matrix_at(scratch, CHUNK, LANES), matrix_at(scratch + 4 * TABLE, CHUNK, LANES)
    factor, d_w = matrix_at(scratch + 8 * TABLE, CHUNK, LANES), matrix_at(scratch + 12 * TABLE, CHUNK, LANES)
    d_v, rest = matrix_at(scratch + 16 * TABLE, CHUNK, LANES), scratch + 20 * TABLE
    states, rest = matrix_at(rest, CHUNK + 1, LANES), rest + (CHUNK + 1) * BYTES
    a, e = vector_at(rest, LANES), vector_at(rest + BYTES, LANES)
    d_a, rest = matrix_at(rest + 2 * BYTES, rows, LANES), rest + (2 + rows) * BYTES
    largest, begins = vector_at(rest, CHUNK), integers_at(rest + 4 * CHUNK, CHUNK + 2)
    for left in range(first, last, LANES):
        width = min(LANES, last - left)
        for i in range(rows):
            for k in range(LANES):
                d_a[i, k] = f.ZERO
        for k in range(LANES):
            a[k] = f.ZERO
        for chunk in range((columns - 1) // CHUNK, -1, -1):
            start = chunk * CHUNK
            count, place = min(CHUNK, columns - start), chunk * units + left
            pack(weight, start, count, left, width, w)
            pack(output_weight, start, count, left, width, v)
            make_factors(w, count, factor, largest)
            for d in range(count):
                for k in range(LANES):
                    d_w[d, k] = f.ZERO
                    d_v[d, k] = f.ZERO
            for i in range(rows):
                for k in range(width):
                    a[k] = carried[i, place + k]
                seen, slopes = x[i, start : start + count], at(d_logits) + 4 * (i * columns + start)
                most = begin_units(a, e, states[0])
                near, own, end = is_near(most, seen, largest), at(d_a) + i * BYTES, count
                if not near:
                    take_sigmoid(a, states[0])
                for run in range(runs_of(seen, w, factor, near, a, e, states, begins) - 1, -1, -1):
                    d = begins[run]
                    tables = at(v) + d * BYTES, at(d_v) + d * BYTES
                    run_backward(tables[0], tables[1], slopes + 4 * d, end - d, at(states) + run * BYTES, own)
                    if run > 0:
                        add_lanes(own, at(d_w) + (d - 1) * BYTES)
                    end = d
            unpack(d_w, start, count, left, width, accumulate, d_weight)
            unpack(d_v, start, count, left, width, accumulate, d_output_weight)
        for k in range(width):
            total = f.ZERO
            for i in range(rows):
                total += d_a[i, k]
            d_bias[left + k] = d_bias[left + k] + total if accumulate else total
    if first == 0 < last:
        total = vector_at(scratch, columns)
        sum_of_rows(d_logits, total)
        for d in range(columns):
            d_output_bias[d] = d_output_bias[d] + total[d] if accumulate else total[d]
