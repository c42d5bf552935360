"""Adam on the device: one launch over the flat buffer, clipping of the gradient's norm included."""

import math

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, WARP, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import VECTOR, load4, part, store4, sum_of_warp
from fastvae.kernels.cuda.settings import CORRECTION, DECAY, KEEP2, NEW1, NEW2, RATE, STOPPED
from fastvae.kernels.cuda.sums import PARTS
from fastvae.kernels.formulas import ZERO, adam_moved
from fastvae.kernels.scalars import CLIP_NORM, EPSILON, GRAD_SCALE

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


@kernel(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, INTEGERS, COUNT, block=(WARP, WARPS))
def adam_inplace(params, grads, m, v, reals, parts, state, size):
    """`adam_inplace` of the contract, with the numbers of `settings`; where CLIP_NORM is above 0, the gradient is
    scaled down to that norm, by what PARTS blocks of `sums.square_parts` have left in `parts`. Nothing happens once the
    loss has stopped being finite: see `steps`."""
    shared = cuda.shared.array(WARPS, np.float32)
    thread = (u32(cuda.blockIdx.x) * u32(WARPS) + u32(cuda.threadIdx.y)) * u32(WARP) + u32(cuda.threadIdx.x)
    threads = u32(cuda.gridDim.x) * u32(WARPS * WARP)
    scale, clip_norm = reals[GRAD_SCALE], reals[CLIP_NORM]
    if state[STOPPED]:
        size = u32(0)
    if clip_norm > ZERO:
        place = u32(cuda.threadIdx.y) * u32(WARP) + u32(cuda.threadIdx.x)
        norm = scale * math.sqrt(sum_of_block(parts[place * u32(2)] if place < u32(PARTS) else ZERO, shared))
        if norm > clip_norm:
            scale = scale * (clip_norm / norm)
    chosen = reals[RATE], reals[CORRECTION], reals[NEW1], reals[KEEP2], reals[NEW2], reals[DECAY], reals[EPSILON]
    whole = size - size % VECTOR
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
