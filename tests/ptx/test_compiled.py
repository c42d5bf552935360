"""Real kernels: compiled by numba-cuda, executed by the interpreter, compared with NumPy."""

import math

import numpy as np
import pytest

from tests.ptx import PtxError, launch
from tests.ptx.compiling import compiled, pretend_device, why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

from numba import cuda, float32, int32, uint32, uint64, void

F32, U32 = float32[::1], uint32[::1]
MATRIX = float32[:, ::1]
TILE = 16


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
def capability(request, monkeypatch):
    """What kernels are compiled for."""
    pretend_device(monkeypatch, request.param)
    return request.param


@pytest.fixture(params=["lockstep", "warp"])
def order(request):
    return request.param


@pytest.mark.parametrize("fastmath", [False, True])
@pytest.mark.parametrize("n", [1, 127, 128, 129, 1000])
def test_elementwise_with_a_tail(capability, order, n, fastmath):
    def kernel(x, y, a):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = a * x[i] + math.exp(y[i]) - math.log(x[i]) + math.sqrt(x[i]) / (x[i] + float32(1))

    ptx = compiled(kernel, void(F32, F32, float32), capability, fastmath=fastmath)
    rng = np.random.default_rng(n)
    x, y = rng.random((2, n), np.float32) + np.float32(0.5)
    expected = 3.0 * x.astype(float) + np.exp(y) - np.log(x) + np.sqrt(x) / (x + 1)
    counters = launch(ptx, -(-n // 128), 128, [x, y, np.float32(3)], order=order, count=True)
    np.testing.assert_allclose(y, expected, rtol=3e-6)
    assert counters.distinct_read_bytes == counters.read_bytes == 8 * n
    assert counters.distinct_written_bytes == counters.written_bytes == 4 * n


@pytest.mark.parametrize("fastmath", [False, True])
def test_functions_of_the_device_library(capability, fastmath):
    def kernel(x, out):
        i = cuda.grid(1)
        if i < x.size:
            out[0, i] = math.sin(x[i])
            out[1, i] = math.cos(x[i])
            out[2, i] = math.tanh(x[i])
            out[3, i] = math.log1p(abs(x[i]))
            out[4, i] = math.expm1(x[i])
            out[5, i] = math.floor(x[i])
            out[6, i] = x[i] / float32(3)

    ptx = compiled(kernel, void(F32, MATRIX), capability, fastmath=fastmath)
    x = np.linspace(-9, 9, 777, dtype=np.float32)
    if not fastmath:
        x[0], x[-1] = 1e6, -3e8  # far enough to need the long reduction
    out = np.zeros((7, x.size), np.float32)
    launch(ptx, 4, 256, [x, out])
    wide = x.astype(float)
    with np.errstate(over="ignore"):
        expected = [np.sin(wide), np.cos(wide), np.tanh(wide), np.log1p(abs(wide)), np.expm1(wide)]
    expected += [np.floor(wide), wide / 3]
    for got, want in zip(out, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6 if fastmath else 1e-7)


@pytest.mark.parametrize("n", [1, 255, 256, 2000])
def test_reduction_through_shared_memory(capability, order, n):
    def kernel(x, out):
        held = cuda.shared.array(256, float32)
        t, i = cuda.threadIdx.x, cuda.grid(1)
        held[t] = x[i] if i < x.size else float32(0)
        cuda.syncthreads()
        k = 128
        while k > 0:
            if t < k:
                held[t] += held[t + k]
            cuda.syncthreads()
            k //= 2
        if t == 0:
            out[cuda.blockIdx.x] = held[0]

    ptx = compiled(kernel, void(F32, F32), capability)
    x = np.random.default_rng(n).integers(-99, 99, n).astype(np.float32)
    out = np.zeros(-(-n // 256), np.float32)
    counters = launch(ptx, len(out), 256, [x, out], order=order, count=True)
    assert out.sum() == x.sum()
    assert counters.bank_conflicts == 0


def test_a_reduction_that_lacks_its_barriers(capability):
    def kernel(x, out):
        held = cuda.shared.array(64, float32)
        t = cuda.threadIdx.x
        held[t] = x[t]
        if t < 32:
            out[t] = held[t] + held[t + 32]

    ptx = compiled(kernel, void(F32, F32), capability)
    x, out = np.arange(64, dtype=np.float32), np.zeros(32, np.float32)
    with pytest.raises(PtxError, match="race in shared memory"):
        launch(ptx, 1, 64, [x, out])


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_reduction_by_shuffles(capability, order, rows):
    def kernel(x, out):
        row, lane = cuda.blockIdx.x * (cuda.blockDim.x // 32) + cuda.threadIdx.x // 32, cuda.laneid
        if row < x.shape[0]:
            total = float32(0)
            for j in range(lane, x.shape[1], 32):
                total += x[row, j]
            k = 16
            while k > 0:
                total += cuda.shfl_down_sync(0xFFFFFFFF, total, k)
                k //= 2
            if lane == 0:
                out[row] = total

    ptx = compiled(kernel, void(MATRIX, F32), capability)
    x = np.random.default_rng(rows).integers(-99, 99, (rows, 77)).astype(np.float32)
    out = np.zeros(rows, np.float32)
    launch(ptx, 2, 128, [x, out], order=order)
    np.testing.assert_array_equal(out, x.sum(axis=1))


def test_integers_of_a_counter_based_generator(capability, order):
    @cuda.jit(device=True)
    def mixed(c0, c1, key):
        for _ in range(10):
            product = uint64(0xD256D193) * uint64(c0)
            c0, c1 = uint32(uint32(product >> uint64(32)) ^ key ^ c1), uint32(product)
            key = uint32(key + uint32(0x9E3779B9))
        return c0, c1

    def kernel(out, key):
        i = cuda.grid(1)
        if i < out.size // 2:
            a, b = mixed(uint32(i), uint32(7), key)
            out[2 * i], out[2 * i + 1] = a, b

    ptx = compiled(kernel, void(U32, uint32), capability)
    out = np.zeros(2 * 500, np.uint32)
    launch(ptx, 4, 128, [out, np.uint32(0xDEADBEEF)], order=order)
    c0, c1, key = np.arange(500, dtype=np.uint64), np.full(500, 7, np.uint64), 0xDEADBEEF
    for _ in range(10):
        product = np.uint64(0xD256D193) * c0
        c0, c1 = (product >> np.uint64(32)) ^ np.uint64(key) ^ c1, product & np.uint64(0xFFFFFFFF)
        key = (key + 0x9E3779B9) & 0xFFFFFFFF
    np.testing.assert_array_equal(out, np.stack([c0, c1], axis=1).ravel().astype(np.uint32))


@pytest.mark.parametrize("shape", [(1, 1, 1), (16, 16, 16), (17, 33, 5), (40, 20, 31)])
def test_tile_product(capability, order, shape):
    def kernel(a, b, out):
        left = cuda.shared.array((TILE, TILE), float32)
        right = cuda.shared.array((TILE, TILE), float32)
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        column, row = cuda.grid(2)
        total = float32(0)
        for first in range(0, a.shape[1], TILE):
            left[y, x] = a[row, first + x] if row < a.shape[0] and first + x < a.shape[1] else float32(0)
            right[y, x] = b[first + y, column] if first + y < b.shape[0] and column < b.shape[1] else float32(0)
            cuda.syncthreads()
            for k in range(TILE):
                total += left[y, k] * right[k, x]
            cuda.syncthreads()
        if row < out.shape[0] and column < out.shape[1]:
            out[row, column] = total

    ptx = compiled(kernel, void(MATRIX, MATRIX, MATRIX), capability)
    m, k, n = shape
    rng = np.random.default_rng(m)
    a, b = rng.integers(-9, 9, (m, k)).astype(np.float32), rng.integers(-9, 9, (k, n)).astype(np.float32)
    out = np.zeros((m, n), np.float32)
    counters = launch(ptx, (-(-n // TILE), -(-m // TILE)), (TILE, TILE), [a, b, out], order=order, count=True)
    np.testing.assert_array_equal(out, a @ b)
    assert counters.bank_conflicts == 0


def test_grid_barrier(capability, order):
    def kernel(x, out):
        i = cuda.grid(1)
        grid = cuda.cg.this_grid()
        for _ in range(3):
            out[i] = x[x.size - 1 - i] + float32(1)
            grid.sync()
            x[i] = out[i]
            grid.sync()

    ptx = compiled(kernel, void(F32, F32), capability)
    x, out = np.arange(256, dtype=np.float32), np.zeros(256, np.float32)
    launch(ptx, 4, 64, [x, out], order=order)
    np.testing.assert_array_equal(out, np.arange(256)[::-1] + 3)


def test_last_block_sums_what_all_have_left(capability, order):
    """Partial sums, a fence, a counter: the block that comes last adds them up."""

    def kernel(x, partial, counter, out):
        last = cuda.shared.array(1, int32)
        t, b = cuda.threadIdx.x, cuda.blockIdx.x
        if t == 0:
            total = float32(0)
            for i in range(64):
                total += x[b * 64 + i]
            partial[b] = total
            cuda.threadfence()
            last[0] = int32(cuda.atomic.add(counter, 0, 1) == cuda.gridDim.x - 1)
        cuda.syncthreads()
        if last[0] != 0 and t == 0:
            total = float32(0)
            for i in range(cuda.gridDim.x):
                total += partial[i]
            out[0] = total

    ptx = compiled(kernel, void(F32, F32, int32[::1], F32), capability)
    x, out = np.arange(512, dtype=np.float32), np.zeros(1, np.float32)
    launch(ptx, 8, 64, [x, np.zeros(8, np.float32), np.zeros(1, np.int32), out], order=order, seed=3)
    assert out[0] == x.sum()
    unfenced = "\n".join(line for line in ptx.splitlines() if "membar" not in line and "fence" not in line)
    with pytest.raises(PtxError, match="race in global memory"):
        launch(unfenced, 8, 64, [x, np.zeros(8, np.float32), np.zeros(1, np.int32), out], order=order, seed=3)


def test_race_between_blocks(capability):
    def kernel(x):
        i = cuda.threadIdx.x
        x[i + cuda.blockIdx.x] = float32(cuda.blockIdx.x)

    ptx = compiled(kernel, void(F32), capability)
    with pytest.raises(PtxError, match="race in global memory"):
        launch(ptx, 2, 32, [np.zeros(64, np.float32)])


def test_atomics(capability, order):
    def kernel(x, histogram, total):
        i = cuda.grid(1)
        if i < x.size:
            cuda.atomic.add(histogram, x[i], 1)
            cuda.atomic.max(total, 0, x[i])

    ptx = compiled(kernel, void(int32[::1], int32[::1], int32[::1]), capability)
    x = np.random.default_rng(2).integers(0, 10, 500).astype(np.int32)
    histogram, total = np.zeros(10, np.int32), np.zeros(1, np.int32)
    launch(ptx, 4, 128, [x, histogram, total], order=order)
    np.testing.assert_array_equal(histogram, np.bincount(x, minlength=10))
    assert total[0] == x.max()


def test_local_arrays(capability):
    def kernel(x, out):
        held = cuda.local.array(8, float32)
        i = cuda.grid(1)
        for k in range(8):
            held[k] = x[(i + k) % x.size]
        out[i] = held[int32(x[i]) % 8]

    ptx = compiled(kernel, void(F32, F32), capability)
    x, out = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    counters = launch(ptx, 2, 32, [x, out], count=True)
    np.testing.assert_array_equal(out, [x[(i + i % 8) % 64] for i in range(64)])
    assert counters.local_bytes > 0


def test_views_of_one_buffer_keep_their_places(capability):
    """Two views that overlap, written through one and read through the other after the grid's barrier."""

    def kernel(x, y):
        i = cuda.grid(1)
        x[i] = float32(i)
        cuda.syncthreads()
        if i < y.size:
            y[i] += float32(100)

    ptx = compiled(kernel, void(F32, F32), capability)
    buffer = np.zeros(40, np.float32)
    launch(ptx, 1, 32, [buffer[:32], buffer[8:16]])
    expected = np.pad(np.arange(32), (0, 8)).astype(np.float32)
    expected[8:16] += 100
    np.testing.assert_array_equal(buffer, expected)
