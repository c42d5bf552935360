"""Optimizers on the device: one launch over the flat buffer, clipping of the gradient's norm included."""

import math

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, WARP, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import VECTOR, by_fours, load4, part, store4, sum_of_warp
from fastvae.kernels.cuda.settings import STOPPED
from fastvae.kernels.cuda.sums import PARTS
from fastvae.kernels.formulas import ZERO, adam_moved, averaged, sgd_moved

WARPS = 8  # of a block of (WARP, WARPS) threads
u32, u64 = np.uint32, np.uint64


@part
def sum_of_block(value, shared):
    """The sum over a block of (WARP, WARPS) threads, for each of them, in one order."""
    value = sum_of_warp(value)
    if cuda.threadIdx.x == 0:
        shared[cuda.threadIdx.y] = value
    cuda.syncthreads()
    total = ZERO
    for warp in range(WARPS):
        total += shared[warp]
    return total


@part
def scale_of(reals, scale_place, largest_place, parts, shared):
    """What the gradient is multiplied by: where the real number at `largest_place` is above 0, that it may be no longer
    than that, by what PARTS blocks of `sums.square_parts` have left in `parts`."""
    scale, largest = reals[scale_place], reals[largest_place]
    if largest > ZERO:
        place = u32(cuda.threadIdx.y) * u32(WARP) + u32(cuda.threadIdx.x)
        norm = scale * math.sqrt(sum_of_block(parts[place * u32(2)] if place < u32(PARTS) else ZERO, shared))
        if norm > largest:
            scale = scale * (largest / norm)
    return scale


@kernel(*[FLOATS] * 4, *[COUNT] * 9, FLOATS, FLOATS, INTEGERS, COUNT, block=(WARP, WARPS))
def adam_inplace(
    params, grads, m, v, rate, correction, new1, keep2, new2, decay, epsilon, grad_scale, largest, reals, parts, state,
    size,
):  # fmt: skip
    """`adam_inplace` of the contract; see `scale_of`. Nothing happens once the loss has stopped being finite: see
    `steps`."""
    shared = cuda.shared.array(WARPS, np.float32)
    thread = (u32(cuda.blockIdx.x) * u32(WARPS) + u32(cuda.threadIdx.y)) * u32(WARP) + u32(cuda.threadIdx.x)
    threads = u32(cuda.gridDim.x) * u32(WARPS * WARP)
    if state[STOPPED]:
        size = u32(0)
    scale = scale_of(reals, grad_scale, largest, parts, shared)
    chosen = (
        reals[rate], reals[correction], reals[new1], reals[keep2], reals[new2], reals[decay], reals[epsilon],
    )  # fmt: skip
    fours = by_fours(params) and by_fours(grads) and by_fours(m) and by_fours(v)
    whole = size - size % VECTOR if fours else u32(0)
    k = u32(thread * VECTOR)
    while k < whole:
        p0, p1, p2, p3 = load4(params, u64(k))
        g0, g1, g2, g3 = load4(grads, u64(k))
        m0, m1, m2, m3 = load4(m, u64(k))
        v0, v1, v2, v3 = load4(v, u64(k))
        p0, m0, v0 = adam_moved(p0, g0, m0, v0, scale, chosen)
        p1, m1, v1 = adam_moved(p1, g1, m1, v1, scale, chosen)
        p2, m2, v2 = adam_moved(p2, g2, m2, v2, scale, chosen)
        p3, m3, v3 = adam_moved(p3, g3, m3, v3, scale, chosen)
        store4(params, u64(k), (p0, p1, p2, p3))
        store4(m, u64(k), (m0, m1, m2, m3))
        store4(v, u64(k), (v0, v1, v2, v3))
        k = u32(k + threads * VECTOR)
    k = u32(whole + thread)
    while k < size:
        params[k], m[k], v[k] = adam_moved(params[k], grads[k], m[k], v[k], scale, chosen)

        k = u32(k + threads)


@kernel(*[FLOATS] * 3, *[COUNT] * 6, FLOATS, FLOATS, INTEGERS, COUNT, block=(WARP, WARPS))
def sgd_inplace(
    params, grads, velocity, rate, momentum, ahead, decay, grad_scale, largest, reals, parts, state, size,
):  # fmt: skip
    """`sgd_inplace` of the contract; as `adam_inplace`."""
    shared = cuda.shared.array(WARPS, np.float32)
    k = (u32(cuda.blockIdx.x) * u32(WARPS) + u32(cuda.threadIdx.y)) * u32(WARP) + u32(cuda.threadIdx.x)
    threads = u32(cuda.gridDim.x) * u32(WARPS * WARP)
    if state[STOPPED]:
        size = u32(0)
    scale = scale_of(reals, grad_scale, largest, parts, shared)
    while k < size:
        params[k], velocity[k] = sgd_moved(
            params[k], grads[k], velocity[k], scale, reals[rate], reals[momentum], reals[ahead], reals[decay]
        )

        k = u32(k + threads)


@kernel(FLOATS, COUNT, FLOATS, FLOATS, INTEGERS, COUNT, block=(WARP, WARPS))
def average_inplace(params, share, average, reals, state, size):
    """`average_inplace` of the contract; as `adam_inplace`."""
    k = (u32(cuda.blockIdx.x) * u32(WARPS) + u32(cuda.threadIdx.y)) * u32(WARP) + u32(cuda.threadIdx.x)
    threads = u32(cuda.gridDim.x) * u32(WARPS * WARP)
    if state[STOPPED]:
        size = u32(0)
    while k < size:
        average[k] = averaged(average[k], params[k], reals[share])

        k = u32(k + threads)


@kernel(FLOATS, FLOATS, COUNT, block=(WARP, WARPS))
def add_inplace(x, out, size):
    """out += x."""
    k = (u32(cuda.blockIdx.x) * u32(WARPS) + u32(cuda.threadIdx.y)) * u32(WARP) + u32(cuda.threadIdx.x)
    threads = u32(cuda.gridDim.x) * u32(WARPS * WARP)
    while k < size:
        out[k] += x[k]

        k = u32(k + threads)
