"""Products in bfloat16: their rounding, every kind of unit as far as this processor goes, and the refusal elsewhere.

The dot product's kind runs everywhere as "emulated"; the matrix unit's driver runs on simulated instructions; both are
compiled for processors that have the real ones, and looked at there. Where this processor has one, it runs itself.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import fastvae
from fastvae.kernels.cpu import processor
from fastvae.kernels.formulas import bfloat16_bits, bfloat16_pair

TREE = pathlib.Path(fastvae.__file__).parents[1]

CHECK = """
import itertools
import numpy as np
from fastvae.kernels.cpu import Program
from fastvae.kernels.slots import Slots

def run(op, *operands):
    program = Program(Slots(), "bfloat16")
    program.add(op, *operands)
    program.run()

def rounded(x):
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32).astype(float)

def close(found, a, b, before=0.0):
    size = np.abs(a) @ np.abs(b) + np.abs(before)
    assert (np.abs(found - (a @ b + before)) <= 3e-6 * size + 1e-37).all(), (a.shape, b.shape)

rng = np.random.default_rng(0)
for B, D, H in itertools.product((1, 2, 15, 33, 64), (1, 7, 32, 33, 65), (1, 5, 31, 32, 67)):
    x, weight, d_a = (rng.standard_normal(s, np.float32) for s in ((B, D), (D, H), (B, H)))
    out, d_x, d_weight, d_bias = (np.full(s, np.nan, np.float32) for s in ((B, H), (B, D), (D, H), H))
    run("dense_forward", x, weight, np.zeros(H, np.float32), 0, out, out)
    close(out, rounded(x), rounded(weight))
    run("dense_backward_input", d_a, weight, 0, d_a, 0, d_x)
    close(d_x, rounded(d_a), rounded(weight).T)
    before = d_x.astype(float)
    run("dense_backward_input", d_a, weight, 0, d_a, 1, d_x)
    close(d_x, rounded(d_a), rounded(weight).T, before)
    for first, last in ((0, D // 2), (D // 2, D)):
        run("dense_backward_weight", x, d_a, first, last, 0, d_weight, d_bias)
    close(d_weight, rounded(x).T, rounded(d_a))
    np.testing.assert_allclose(d_bias, d_a.astype(float).sum(0), rtol=1e-5, atol=1e-5)
    before = d_weight.astype(float)
    for first, last in ((0, D // 2), (D // 2, D)):
        run("dense_backward_weight", x, d_a, first, last, 1, d_weight, d_bias)
    close(d_weight, rounded(x).T, rounded(d_a), before)
    before = out.astype(float)
    run("dense_accumulate", x, weight, out)
    close(out, rounded(x), rounded(weight), before)
one, many = np.empty((1, 40), np.float32), np.empty((50, 40), np.float32)
x, weight = rng.standard_normal((50, 70), np.float32), rng.standard_normal((70, 40), np.float32)
run("dense_forward", x, weight, np.zeros(40, np.float32), 0, many, many)
run("dense_forward", x[7:8], weight, np.zeros(40, np.float32), 0, one, one)
assert (one[0] == many[7]).all()
x[3, 5] = np.nan
run("dense_forward", x, weight, np.zeros(40, np.float32), 0, many, many)
assert (np.isnan(many).any(axis=1) == (np.arange(50) == 3)).all()
print("right")
"""

SIMULATION = """
import numpy as np
from llvmlite import binding, ir
from numba import carray, cfunc, float32, types, uint8, uint32
from numba.core import cgutils
from fastvae.kernels.cpu import processor, tile_bfloat16 as t
processor.FAULTS.clear()  # that the processor has none
from fastvae.kernels.cpu.addresses import array_at, I64

TILES, READY = np.zeros(8 * 1024, np.uint8), np.zeros(1, np.uint8)  # eight tiles of 16 rows by 64 bytes
AT, READY_AT = TILES.ctypes.data, READY.ctypes.data

def tilezero(tile):
    to = array_at(AT + 1024 * tile, 1024, uint8)
    for i in range(1024):
        to[i] = 0

def tileloadd64(tile, source, stride):
    to = array_at(AT + 1024 * tile, 1024, uint8)
    for row in range(16):
        line = array_at(source + row * stride, 64, uint8)
        for i in range(64):
            to[64 * row + i] = line[i]

def tilestored64(tile, target, stride):
    found = array_at(AT + 1024 * tile, 1024, uint8)
    for row in range(16):
        line = array_at(target + row * stride, 64, uint8)
        for i in range(64):
            line[i] = found[64 * row + i]

def tdpbf16ps(total, a, b):
    sums = array_at(AT + 1024 * total, 256, float32)
    x, y = array_at(AT + 1024 * a, 256, uint32), array_at(AT + 1024 * b, 256, uint32)
    for m in range(16):
        for n in range(16):
            found = sums[16 * m + n] if array_at(READY_AT, 1, uint8)[0] else np.float32(np.nan)
            for k in range(16):
                p, q = x[16 * m + k], y[16 * k + n]
                found += np.uint32(p << np.uint32(16)).view(np.float32) * np.uint32(q << np.uint32(16)).view(np.float32)
                high = np.uint32(0xFFFF0000)
                found += np.uint32(p & high).view(np.float32) * np.uint32(q & high).view(np.float32)
            sums[16 * m + n] = found

def ldtilecfg(configuration):
    c = array_at(configuration, 64, uint8)
    ready = c[0] == 1
    for tile in range(8):
        ready = ready and c[16 + 2 * tile] == 64 and c[17 + 2 * tile] == 0 and c[48 + tile] == 16
    array_at(READY_AT, 1, uint8)[0] = ready

def tilerelease():
    array_at(READY_AT, 1, uint8)[0] = 0

kept = []
for function in (tilezero, tileloadd64, tilestored64, tdpbf16ps, ldtilecfg, tilerelease):
    count = function.__code__.co_argcount
    kept.append(cfunc(types.void(*[types.int64] * count))(function))
    binding.add_symbol("simulated_" + function.__name__, kept[-1].address)

def simulated(builder, name, *operands):
    numbers = []
    for operand in operands:
        pointer = isinstance(operand.type, ir.PointerType)
        small = not pointer and operand.type.width < 64
        numbers.append(builder.ptrtoint(operand, I64) if pointer else builder.zext(operand, I64) if small else operand)
    signature = ir.FunctionType(ir.VoidType(), [I64] * len(numbers))
    builder.call(cgutils.get_or_insert_function(builder.module, signature, "simulated_" + name), numbers)

t._amx = simulated
"""

COMPILE = """
import re, sys
from fastvae.kernels.cpu import products, products_bfloat16
module = products_bfloat16 if sys.argv[1] == "bfloat16" else products
module.multiply.address
text = module.multiply._compiled._library.get_asm_str()
print(len(re.findall(sys.argv[2], text)))
"""


def python(script, folder, *arguments, **variables):
    """What a script prints in a process of its own, with compiled code of its own in a folder, if one is given."""
    own = {"NUMBA_CACHE_DIR": str(folder)} if folder else {}
    environment = os.environ | {"PYTHONPATH": str(TREE)} | own | variables
    line = [sys.executable, "-W", "error", "-c", script, *arguments]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_rounding():
    """To the nearest, to even; infinities stay, NaN stays NaN, what is too large becomes infinity."""
    exact = np.array([0, -0.0, 1, -2.5, np.inf, -np.inf, 2.0**-133], np.float32)
    for value in exact:
        assert bfloat16_bits(value) == value.view(np.uint32) >> 16
    half = np.float32(1 + 2.0**-8)  # between 1 and 1 + 2^-7
    assert bfloat16_bits(half) == 0x3F80
    assert bfloat16_bits(np.nextafter(half, np.float32(2))) == 0x3F81
    assert bfloat16_bits(np.float32(1 + 3 * 2.0**-8)) == 0x3F82
    assert bfloat16_bits(np.float32(3.4e38)) == 0x7F80
    for bits in (0x7F800001, 0xFFFFFFFF, 0x7FC00000):
        found = np.uint32(bfloat16_bits(np.uint32(bits).view(np.float32)) << 16).view(np.float32)
        assert np.isnan(found)
    assert bfloat16_pair(np.float32(1), np.float32(-2)) == 0xC0003F80


@pytest.mark.long
def test_the_dot_product_of_pairs_emulated():
    assert python(CHECK, None, FASTVAE_BFLOAT16="emulated") == "right"


@pytest.mark.long
def test_rounded_operands_in_float32():
    assert python(CHECK, None, FASTVAE_BFLOAT16="rounded") == "right"


@pytest.mark.long
@pytest.mark.skipif("avx512bf16" not in processor.features(), reason="this processor has no AVX-512 BF16")
def test_the_dot_product_of_pairs():
    """Chosen or not."""
    assert python(CHECK, None, FASTVAE_BFLOAT16="avx512") == "right"


@pytest.mark.long
def test_the_matrix_unit_on_simulated_instructions(tmp_path):
    assert python(SIMULATION + CHECK, tmp_path, FASTVAE_BFLOAT16="amx") == "right"


@pytest.mark.long
@pytest.mark.skipif(processor.BFLOAT16 is None, reason="this processor has no instructions for bfloat16")
def test_the_unit_of_this_processor():
    assert python(CHECK, None) == "right"


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "cpu", "features", "precision", "instruction", "least"),
    [
        ("amx", "sapphirerapids", "+avx512f,+avx512bf16,+amx-tile,+amx-bf16", "bfloat16", r"\btdpbf16ps\b", 4),
        ("avx512", "cooperlake", "+avx512f,+avx512bf16", "bfloat16", r"\bvdpbf16ps\b.*%zmm", 28),
        ("emulated", "cooperlake", "+avx512f", "float32", r"\bvfmadd231ps\b.*%zmm", 28),
    ],
)
@pytest.mark.skipif(processor.architecture() != "x86_64", reason="the compiler here is for another processor")
def test_it_compiles_for_processors_that_have_the_unit(tmp_path, kind, cpu, features, precision, instruction, least):
    """And to their instructions, in registers of full width."""
    settings = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "FASTVAE_BFLOAT16": kind}
    assert int(python(COMPILE, tmp_path, precision, instruction, **settings)) >= least


def test_elsewhere_it_is_refused_with_the_reason():
    script = """
from fastvae import VAE
from fastvae.kernels.cpu import processor
processor.BFLOAT16, processor.BFLOAT16_REASON = None, "the processor has neither AMX nor AVX-512 BF16"
try:
    VAE(precision="bfloat16").fit([[0.0, 1.0]] * 200)
except ValueError as error:
    print(error)
"""
    expected = (
        "precision='bfloat16' cannot be had: the processor has neither AMX nor AVX-512 BF16; use precision='float32'"
    )
    assert python(script, None) == expected


@pytest.mark.parametrize("kind", ["amx", "avx512"])
def test_a_unit_that_is_not_there_is_refused(kind):
    """LLVM would end the process."""
    script = """
from fastvae.kernels.cpu import processor
processor.features = lambda: {"avx512f"}
processor.choose_bfloat16()
from fastvae import VAE
try:
    VAE(precision="bfloat16").fit([[0.0, 1.0]] * 200)
except ValueError as error:
    print(error)
"""
    found = python(script, None, FASTVAE_BFLOAT16=kind)
    assert found.startswith(f"FASTVAE_BFLOAT16='{kind}': the processor has no ")


@pytest.mark.parametrize(("name", "chosen"), [("znver4", "avx512"), ("emeraldrapids", "rounded")])
def test_a_slow_dot_product_is_not_chosen(name, chosen):
    script = f"""
from fastvae.kernels.cpu import processor
processor.features, processor.model = lambda: {{"avx512f", "avx512bf16"}}, lambda: "{name}"
print(processor.choose_bfloat16()[0])
"""
    assert python(script, None) == chosen


def test_an_unknown_unit_is_refused():
    script = "from fastvae import VAE\nVAE().fit([[0.0, 1.0]] * 200)"
    message = "FASTVAE_BFLOAT16='tensor' is not known: valid: amx, avx512, rounded, emulated"
    with pytest.raises(AssertionError, match=message):
        python(script, None, FASTVAE_BFLOAT16="tensor")


@pytest.mark.long
def test_a_model_of_another_processor_can_be_used(tmp_path):
    """Its file says bfloat16; where that is missing it computes in float32, and says so."""
    script = """
import sys, warnings
import numpy as np
from fastvae import VAE
from fastvae.kernels.cpu import processor
X = np.random.default_rng(0).random((64, 6)).astype("float32")
vae = VAE(2, (8,), batch_size=16, epochs=2, precision="bfloat16", random_state=0).fit(X)
vae.save("model.npz")
processor.BFLOAT16 = None
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    other = VAE.load("model.npz")
assert len(found) == 1 and "it computes in float32 here" in str(found[0].message), found
assert np.abs(other.transform(X) - vae.transform(X)).max() < 0.05
print("right")
"""
    script = f"import os; os.chdir({str(tmp_path)!r})\n" + script
    assert python(script, tmp_path, FASTVAE_BFLOAT16="emulated") == "right"
