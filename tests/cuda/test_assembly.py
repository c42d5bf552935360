"""Kernels for the device, assembled for every architecture: what they take of it, and how much of it they fill.

The whole table: `pytest -m slow tests/cuda/test_assembly.py -k table -s`.
"""

import functools
import importlib
import math
import pkgutil

import numpy as np
import pytest

from tests.ptx.assembling import BETWEEN, MULTIPROCESSORS, Assembled, assembled, occupancy, why_not
from tests.ptx.compiling import compiled, pretend_device

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from numba import cuda, float32, int64, void

import fastvae.kernels.cuda
from fastvae.kernels.cuda import dense_bfloat16, driver, minibatch
from fastvae.kernels.cuda.declaration import KERNELS as REGISTERED

for module in pkgutil.iter_modules(fastvae.kernels.cuda.__path__):  # so that all kernels are registered
    importlib.import_module(f"fastvae.kernels.cuda.{module.name}")
for types in (("uint8", "float32"), ("int16", "float32"), ("float32", "float32"), ("float64", "float64")):
    minibatch.gathering(*map(np.dtype, types))
for layout in ((False, False), (False, True), (True, False), (True, True)):
    dense_bfloat16.product(*layout)
KERNELS = list(REGISTERED)  # other tests may make more
ARCHITECTURES = list(MULTIPROCESSORS)
CASES = [(kernel, capability) for kernel in KERNELS for capability in ARCHITECTURES if capability >= kernel.least]

# By how a kernel's name begins: the most registers of a thread, and the least share of a multiprocessor's warps, on all
# architectures; a little more and no less than was measured with CUDA 13.0. Threads are given registers by eights, so
# limits are multiples of that. Compute capability 7.5, where 64 of them cost nothing, often has the most; the least
# shares are those of 8.0 and 9.0.
LIMITS = {
    "dense_bfloat16": (128, 0.25),
    "dense": (120, 0.25),
    "adam": (64, 0.5),
    "latent_samples": (80, 0.33),
    "latent_forward": (64, 0.5),
    "latent_backward": (56, 0.56),
    "bernoulli": (64, 0.75),
    "poisson": (64, 0.5),
    "divergence": (64, 0.5),
    "squared_error": (64, 0.75),
    "gaussian": (72, 0.5),
    "draw": (56, 0.75),
    "binarize": (48, 1.0),
    "corrupt": (48, 0.62),
    "continuous_bernoulli": (56, 0.75),
    "mixed_forward": (64, 0.62),
    "gather_float64": (40, 0.75),
    "prefix_forward": (32, 0.41),  # rows of hidden units lie in shared memory, of which there is that much
    "prefix_gradients": (48, 0.22),
    "": (40, 1.0),
}


def shortcomings(name, found, threads, capability):
    """What is wrong with what a kernel takes: a list of words."""
    registers, share = next(limits for start, limits in LIMITS.items() if name.startswith(start))
    wrong = []
    if found.stack or found.spills:
        wrong.append(f"local memory: {found.stack} bytes, {found.spills} of spills")
    if found.registers > registers:
        wrong.append(f"registers: {found.registers}, above {registers}")
    if (filled := occupancy(found, threads, capability).share) < share:
        wrong.append(f"occupancy: {filled:.2f}, below {share}")
    return wrong


once = functools.cache(assembled)


@pytest.fixture
def figures(monkeypatch):
    """What a kernel takes on an architecture, worked out once for all tests."""

    def of(kernel, capability):
        pretend_device(monkeypatch, capability)
        return once(driver.compiled(kernel, capability).ptx, capability)

    return of


@pytest.mark.parametrize(
    ("kernel", "capability"),
    [pytest.param(*case, marks=pytest.mark.slow if case[1] in BETWEEN else ()) for case in CASES],
    ids=lambda of: getattr(of, "__name__", str(of)),
)
def test_kernel(kernel, capability, figures):
    """Everything in registers, no more of them than stated, and enough warps to hide the latency of memory."""
    assert shortcomings(kernel.__name__, figures(kernel, capability), math.prod(kernel.block), capability) == []


@pytest.mark.slow
def test_table(figures):
    """For each kernel and architecture: registers of a thread, bytes of shared memory, share of the warps."""
    print(f"\n{'kernel':30}{'block':>7}", *(f"{'sm_{}{}'.format(*capability):>15}" for capability in ARCHITECTURES))
    for kernel in KERNELS:
        row, shared = [], set()
        for capability in ARCHITECTURES:
            if (kernel, capability) not in CASES:
                row.append(f"{'-':>15}")
                continue
            found = figures(kernel, capability)
            filled = occupancy(found, math.prod(kernel.block), capability)
            row.append(f"{found.registers:4}{found.shared:6}{filled.share:5.0%}")
            shared.add(found.shared)
        print(f"{kernel.__name__:30}{'x'.join(map(str, kernel.block)):>7}", *row)
        assert len(shared) == 1  # what the system takes in each block is not counted


# ---- whether a fault would be noticed -----------------------------------------------------------------------------


@pytest.mark.parametrize("capability", ARCHITECTURES, ids=str)
def test_an_array_in_local_memory_is_noticed(capability, monkeypatch):
    def kernel(places, out):
        held = cuda.local.array(64, float32)
        for i in range(64):
            held[i] = out[i]
        out[cuda.threadIdx.x] = held[places[cuda.threadIdx.x] % 64]

    pretend_device(monkeypatch, capability)
    found = assembled(compiled(kernel, void(int64[::1], float32[::1]), capability), capability)
    assert found.stack >= 4 * 64
    assert found.spills == 0
    assert "local memory" in shortcomings("kernel", found, 128, capability)[0]


@pytest.mark.parametrize("capability", ARCHITECTURES, ids=str)
def test_spills_are_noticed(capability, monkeypatch):
    """A thread holds 48 numbers, and with few registers not all of them there."""

    def kernel(x, out):
        i = cuda.threadIdx.x
        held = cuda.local.array(48, float32)
        for k in range(48):
            held[k] = x[i + 128 * k]
        cuda.syncthreads()
        for k in range(48):
            out[i + 128 * k] = held[k] * held[47 - k]

    pretend_device(monkeypatch, capability)
    code = compiled(kernel, void(float32[::1], float32[::1]), capability)
    assert not assembled(code, capability).spills
    found = assembled(code, capability, most_registers=24)
    assert found.registers <= 24
    assert found.spills > 0
    assert found.stack > 0
    assert "spills" in shortcomings("kernel", found, 128, capability)[0]


@pytest.mark.parametrize(
    ("name", "found", "threads", "word"),
    [
        ("add_inplace", Assembled(32, 0, 4, 0), 256, "local memory"),
        ("add_inplace", Assembled(32, 0, 0, 4), 256, "local memory"),
        ("dense_along_along", Assembled(121, 16_384, 0, 0), 128, "registers"),
        ("dense_along_along", Assembled(112, 48_000, 0, 0), 128, "occupancy"),
        ("latent_forward", Assembled(64, 32_768, 0, 0), 128, "occupancy"),
    ],
)
def test_every_limit_counts(name, found, threads, word):
    """Each of them alone."""
    (wrong,) = shortcomings(name, found, threads, (8, 0))
    assert wrong.startswith(word)


def test_what_is_not_one_kernel_is_refused():
    with pytest.raises(ValueError, match="syntax|fatal"):
        assembled(".version 9.0 .target sm_80 .address_size 64 .visible .entry f() { nonsense; }", (8, 0))
    with pytest.raises(ValueError, match="one kernel"):
        assembled(".version 9.0 .target sm_80 .address_size 64 .visible .entry f() {} .visible .entry g() {}", (8, 0))


# ---- how much of a multiprocessor is filled, worked out by hand ---------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "found", "threads", "blocks", "share"),
    [
        # 112 registers x 32 threads = 14 units of 256 a warp; 16,384 of a quarter hold 4 warps, so 16 in all; 4 a block
        ((8, 0), Assembled(112, 16_384, 0, 0), 128, 4, 16 / 64),
        # 100 x 32 = 3,200 is 12.5 units, so 13: 3,328, and again 4 warps a quarter
        ((8, 6), Assembled(100, 0, 0, 0), 128, 4, 16 / 48),
        # 48 x 32 = 1,536: 10 warps a quarter, 40 in all; blocks of 8: 5
        ((9, 0), Assembled(48, 0, 0, 0), 256, 5, 40 / 64),
        # 32 x 32 = 1,024: 64 warps by registers; by shared memory 228 / (32 + 1) KB: 6 blocks of 4
        ((9, 0), Assembled(32, 32 * 1024, 0, 0), 128, 6, 24 / 64),
        # the same before 8.0, where nothing is reserved: 64 / 32 KB
        ((7, 5), Assembled(32, 32 * 1024, 0, 0), 128, 2, 8 / 32),
        # blocks of one warp (33 threads: two) come to their number first
        ((8, 6), Assembled(10, 0, 0, 0), 32, 16, 16 / 48),
        ((12, 0), Assembled(10, 0, 0, 0), 33, 24, 48 / 48),
        # 100 x 32 takes 13 units, 16 warps in all: not one block of 32
        ((10, 0), Assembled(100, 0, 0, 0), 1024, 0, 0.0),
    ],
)
def test_occupancy(capability, found, threads, blocks, share):
    assert occupancy(found, threads, capability) == (blocks, share)
