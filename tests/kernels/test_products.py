"""The matrix products: each shape against float64, on every unit; what may be read, what may be written, which bits.

`python -m pytest -m slow tests/kernels/test_products.py` goes through all shapes up to 67 in each dimension.
"""

import ctypes
import functools
import hashlib
import itertools
import math
import mmap
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fastvae.kernels import cpu
from fastvae.kernels.cpu import processor, products
from fastvae.kernels.cpu.program import Program, engine
from fastvae.kernels.formulas import IDENTITY
from fastvae.kernels.slots import Slots
from tests.support.commands import python
from tests.support.models import TABLE, small
from tests.support.tolerances import check

LARGEST, AWKWARD = 67, (1, 7, 8, 9, 16, 33, 67)
GUARD, CANARY = 512, 0x7FC0DEAD  # numbers around an operand, and what stands there: NaN of a kind of its own
POOL = np.random.default_rng(0).normal(size=1_200_000).astype(np.float32)
needs_tiles = pytest.mark.skipif(processor.CHOSEN == processor.BLAS, reason="a BLAS adds up in an order of its own")


class Fenced:
    """An array between pages that nobody may read or write: right at the one after it, or at the one before it."""

    def __init__(self, shape, before=False):
        size, page = 4 * math.prod(shape), mmap.PAGESIZE
        middle = -(-size // page) * page
        self._memory = mmap.mmap(-1, middle + 2 * page)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for fence in (begin, begin + page + middle):
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), 0) == 0
        start = page if before else page + middle - size
        self.array = np.frombuffer(self._memory, np.float32, size // 4, start).reshape(shape)
        self.address = begin + start

    def filled(self, values):
        self.array[...] = values
        return self

    def intact(self):
        return True


class Guarded:
    """An array amid NaN, which begins `offset` numbers after a line of the cache; NaN itself until it is written."""

    def __init__(self, shape, offset=0):
        size = math.prod(shape)
        self._memory = np.full(size + 2 * GUARD + 16, CANARY, np.uint32)
        start = GUARD + (offset - self._memory.ctypes.data // 4) % 16
        self._around = self._memory[:start], self._memory[start + size :]
        self.array = self._memory[start : start + size].view(np.float32).reshape(shape)
        self.address = self.array.ctypes.data

    def filled(self, values):
        self.array[...] = values
        return self

    def intact(self):
        return all((part == CANARY).all() for part in self._around)


@functools.cache
def multiply():
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 11)(engine("float32").multiply.address)


def drawn(start, *shape):
    return POOL[start : start + math.prod(shape)].reshape(shape)


@dataclass(frozen=True)
class Product:
    """A call of `multiply` for `rows` rows of the output; see there."""

    kind: int
    a: np.ndarray
    b: np.ndarray
    rows: int
    first: int = 0
    before: np.ndarray | None = None  # what the result is added to
    columns: int | None = None  # of b, the first so many; all where None

    def factors(self):
        """The two matrices whose product it is."""
        if self.kind == products.OF_COLUMNS:
            return self.a[:, self.first : self.first + self.rows].T, self.b[:, : self.columns]
        return self.a, self.b.T if self.kind == products.TRANSPOSED else self.b

    def result(self, offset=0, place=Guarded):
        """What comes out, after a look at all that may not be written to."""
        depth, columns = self.factors()[1].shape
        a, b = place(self.a.shape, offset).filled(self.a), place(self.b.shape, 3 * offset).filled(self.b)
        out, size = place((self.rows, columns), offset), engine("float32").scratch_for(self.rows, depth, columns)
        if self.before is not None:
            out.filled(self.before)
        scratch, first = place((max(1, size),), offset), self.first if self.before is None else 1
        places = a.address, b.address, out.address, self.rows, depth, columns
        multiply()(self.kind, *places, first, self.a.shape[1], self.b.shape[1], scratch.address)
        assert all(x.intact() for x in (a, b, out, scratch)), "written outside"
        for operand, given in ((a, self.a), (b, self.b)):
            assert operand.array.tobytes() == given.tobytes(), "an operand was changed"
        return out.array.copy()


LAYERS = (513, 20, 256), (40, 512, 33), (1, 300, 400), (29, 784, 100), (30, 1701, 35), (1030, 9, 21)
SOME = list(itertools.product((1, 2, 7, 14, 33), (1, 8, 19), (1, 4, 8, 15, 16, 17, 32, 47, 64, 130, 256)))


def every_kind(rows, depth, columns, first=2):
    """Each kind of product with an output (rows, columns)."""
    a, b, transposed = drawn(5, rows, depth), drawn(3, depth, columns), drawn(7, columns, depth)
    return [
        Product(products.PLAIN, a, b, rows),
        Product(products.TRANSPOSED, a, transposed, rows),
        Product(products.TRANSPOSED, a, transposed, rows, before=drawn(11, rows, columns)),
        Product(products.OF_COLUMNS, drawn(9, depth, rows + 5), b, rows, first),
        Product(products.OF_COLUMNS, drawn(9, depth, rows + 5), drawn(4, depth, columns + 3), rows, columns=columns),
    ]


def check_shape(rows, depth, columns, offset=0):
    """All kinds of product of one shape against float64; the bits that came out."""
    bits = b""
    for product in every_kind(rows, depth, columns, first=(rows + depth) % 6):
        found, (a, b) = product.result(offset), (factor.astype(np.float64) for factor in product.factors())
        before = np.zeros_like(found) if product.before is None else product.before
        check(found, a @ b + before, "product", np.abs(a) @ np.abs(b) + np.abs(before))
        bits += found.tobytes()
    return bits


def check_layer(rows, inputs, outputs, place=Guarded):
    """The same through the kernels; the bits that came out."""
    shapes = (rows, inputs), (inputs, outputs), (rows, outputs), (outputs,)
    x, weight, d_a = (place(shape).filled(drawn(7 * i, *shape)).array for i, shape in enumerate(shapes[:3]))
    a, b, d = (array.astype(np.float64) for array in (x, weight, d_a))
    d_x, d_weight, out, d_bias = (place(shape) for shape in shapes)
    cpu.dense_forward(x, weight, np.zeros(outputs, np.float32), IDENTITY, out.array, out.array)
    cpu.dense_backward_input(d_a, weight, IDENTITY, d_a, 0, d_x.array)
    cpu.dense_backward_weight(x, d_a, 0, inputs, 0, d_weight.array, d_bias.array)
    for found, (left, right) in zip((out, d_x, d_weight), ((a, b), (d, b.T), (a.T, d)), strict=True):
        check(found.array, left @ right, "product", np.abs(left) @ np.abs(right))
    check(d_bias.array, d.sum(axis=0), "product", np.abs(d).sum(axis=0))
    assert all(found.intact() for found in (out, d_x, d_weight, d_bias))
    return b"".join(found.array.tobytes() for found in (out, d_x, d_weight, d_bias))


# ---- every shape --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2], ids=["rows", "depth", "columns"])
def test_shapes(place):
    """One dimension runs, the other two are awkward; operands lie at every offset from a line of the cache."""
    for number, (running, *others) in enumerate(itertools.product(range(1, LARGEST + 1), AWKWARD, AWKWARD)):
        others.insert(place, running)
        check_shape(*others, offset=number % 16)


@pytest.mark.slow
@pytest.mark.parametrize("rows", range(1, LARGEST + 1))
def test_all_shapes(rows):
    for depth, columns in itertools.product(range(1, LARGEST + 1), repeat=2):
        check_shape(rows, depth, columns, offset=(depth + columns) % 16)


LARGE = [
    (1, 784, 400), (1, 300, 1024), (2, 256, 255), (128, 784, 400), (513, 300, 256), (600, 512, 300), (700, 33, 257),
    (1025, 20, 40), (64, 1024, 1024), (37, 1, 2000), (3, 2000, 1), (403, 1201, 37), (1601, 260, 9), (2100, 3, 521),
]  # fmt: skip


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_large_layers(shape):
    """Rows that clash in the cache (multiples of 256); sums, heights and widths that are cut into pieces."""
    check_layer(*shape)


def read_fenced():
    """Some shapes with all operands right before, and right after, memory that ends the process when it is touched."""
    for shape in SOME:
        for product in every_kind(*shape, first=5):
            for before in (False, True):
                np.testing.assert_array_equal(product.result(before, Fenced), product.result())
    for shape in LAYERS:
        check_layer(*shape, Fenced)


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="memory cannot be fenced off on this system")
def test_nothing_is_read_outside_the_operands():
    python("from tests.kernels.test_products import read_fenced; read_fenced()")


@pytest.mark.parametrize(
    "shape", [(3, 5, 7), (37, 256, 256), (130, 300, 512), (20, 1024, 40), (600, 40, 33), (20, 300, 1030)], ids=str
)
def test_a_program_writes_nothing_outside_its_memory(shape):
    """Exactly the memory that a program asks for, amid guards."""
    rows, inputs, outputs = shape
    x, d_x = drawn(1, rows, inputs), np.empty((rows, inputs), np.float32)
    d_a, out = drawn(2, rows, outputs).copy(), np.empty((rows, outputs), np.float32)
    weight, d_weight, m, v = (np.ones((inputs, outputs), np.float32) for _ in range(4))
    bias, d_bias, m_bias, v_bias = (np.ones(outputs, np.float32) for _ in range(4))
    for op, operands in {
        "dense_forward": (x, weight, bias, IDENTITY, out, out),
        "dense_backward_input": (out, weight, IDENTITY, d_a, 0, d_x),
        "dense_accumulate": (x, weight, out),
        "dense_backward_weight": (x, d_a, 0, inputs, 0, d_weight, d_bias),
        "dense_backward_weight, added": (x, d_a, 0, inputs, 1, d_weight, d_bias),
        "dense_adam_inplace": (x, d_a, 0, inputs, weight, m, v, bias, m_bias, v_bias, *[0.5] * 7),
    }.items():
        program = Program(Slots())
        program.add(op.split(",")[0], *operands)
        assert program.job
        assert program._job[3] == program._scratch.ctypes.data
        scratch = Guarded((program._scratch_size,))
        program._job[3] = scratch.address
        program.run()
        assert scratch.intact(), op
        assert not program._scratch_size or (scratch.array.view(np.uint32) != CANARY).any(), op


# ---- what is in the operands --------------------------------------------------------------------------------------

SHAPES = [(1, 5, 40), (5, 9, 19), (13, 33, 40), (29, 17, 3), (20, 16, 300), (8, 40, 256)]


def in_order(a, b):
    """a @ b in float64, term by term: what IEEE 754 says of NaN and infinity, whatever a BLAS makes of them."""
    total = np.zeros((a.shape[0], b.shape[1]))
    for k in range(a.shape[1]):
        total += a[:, k : k + 1].astype(np.float64) * b[k : k + 1].astype(np.float64)
    return total


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 2.0**-149, 1e18])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_special_values_go_where_they_belong(shape, value):
    """In either operand or in both, among zeros too: 0 inf = NaN in its own row and column and nowhere else."""
    rng = np.random.default_rng(list(shape))
    for product in every_kind(*shape):
        for poisoned in ([0], [1], [0, 1]):
            operands = product.a.copy(), product.b.copy()
            for operand in operands:
                operand[rng.random(operand.shape) < 0.2] = 0
            for which in poisoned:
                operands[which][tuple(rng.integers(operands[which].shape))] = value
            changed = replace(product, a=operands[0], b=operands[1])
            with np.errstate(invalid="ignore"):
                expected = in_order(*changed.factors()) + (0 if product.before is None else product.before)
            found = changed.result()
            np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
            np.testing.assert_array_equal(np.isposinf(found), np.isposinf(expected))
            np.testing.assert_array_equal(np.isneginf(found), np.isneginf(expected))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_zeros_small_and_large_numbers(shape):
    """Zeros give 0; sums of exact products far below 2^-126 are not flushed to 0; too large a number is infinity."""
    for product in every_kind(*shape)[:2] + every_kind(*shape)[3:]:
        ones = np.ones_like(product.a)
        for a, b in ((0 * product.a, product.b), (product.a, 0 * product.b)):
            np.testing.assert_array_equal(replace(product, a=a, b=b).result(), 0)
        tiny = replace(product, a=ones * np.float32(2.0**-100), b=np.full_like(product.b, 2.0**-49))
        np.testing.assert_array_equal(tiny.result(), np.float32(shape[1] * 2.0**-149))
        huge = replace(product, a=ones * np.float32(2e38), b=np.full_like(product.b, -2))
        np.testing.assert_array_equal(huge.result(), -np.inf)


# ---- which bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_place_in_memory_changes_nothing(shape):
    for product in every_kind(*shape):
        for offset in range(1, 16):
            np.testing.assert_array_equal(product.result(offset), product.result())


@needs_tiles
@pytest.mark.parametrize("columns", [1, 3, 5, 8, 15, 16, 17, 31, 33, 64, 65, 127, 130, 256, 300])
def test_a_row_does_not_depend_on_the_others(columns):
    """The bits of each are those that it has alone, with one other, or among 33."""
    for depth in (1, 6, 16, 37):
        for product in every_kind(71, depth, columns, first=0):
            whole = product.result()
            for count, start in ((1, 0), (1, 35), (1, 70), (2, 0), (2, 69), (14, 30), (33, 5), (33, 38), (70, 1)):
                rows = slice(start, start + count)
                part = replace(product, rows=count, first=start)
                if product.kind != products.OF_COLUMNS:
                    part = replace(product, rows=count, a=product.a[rows])
                if product.before is not None:
                    part = replace(part, before=product.before[rows])
                np.testing.assert_array_equal(part.result(), whole[rows])


@pytest.mark.parametrize("change", [lambda X: X[:, ::2], lambda X: X[::-1], lambda X: X.T, lambda X: X[1:, 1:]])
def test_views_as_input_give_the_bits_of_their_copies(change):
    """Strided, reversed, in Fortran's order, or cut out: in fitting and in use."""
    X = change(np.concatenate([TABLE, TABLE[:, ::-1] + 1], axis=1)[:48])
    copy = np.ascontiguousarray(X)
    assert X.ctypes.data != copy.ctypes.data
    noise = np.ones((len(X), 3))
    of_view, of_copy = small("gaussian").fit(X), small("gaussian").fit(copy)
    for name, values in of_view.parameters().items():
        np.testing.assert_array_equal(values, of_copy.parameters()[name])
    for use in (
        of_view.transform,
        of_view.elbo,
        of_view.reconstruct,
        lambda x: of_view.loss_and_gradients(x, noise)[0],
    ):
        np.testing.assert_array_equal(use(X), use(copy))


# ---- units --------------------------------------------------------------------------------------------------------

FUSED, OTHERS = ("avx512", "avx2", "neon"), ("plain", "blas")


def digest():
    """A digest of the results on some shapes, checked."""
    bits = [check_shape(*shape, offset=1) for shape in SOME]
    bits += [check_layer(*shape) for shape in LAYERS]
    return hashlib.sha256(b"".join(bits)).hexdigest()


@functools.cache
def of_unit(unit):
    script = """
        from tests.kernels import test_products
        print(test_products.processor.CHOSEN, test_products.digest())
    """
    return python(script, FASTVAE_PRODUCTS=unit).split()


@pytest.mark.long
@pytest.mark.parametrize("unit", FUSED + OTHERS)
def test_each_unit_is_right_on_this_processor(unit):
    assert of_unit(unit)[0] == unit


@pytest.mark.long
def test_units_with_a_fused_multiply_add_give_the_same_bits():
    assert len({of_unit(unit)[1] for unit in FUSED}) == 1
    if processor.CHOSEN in FUSED:
        assert digest() == of_unit(FUSED[0])[1]


def test_an_unknown_unit_is_refused_with_the_known_ones():
    """When something is to be computed: the package itself can be imported."""
    script = """
        from fastvae import VAE
        try:
            VAE().initialize([[0.0, 1.0]] * 4)
        except ValueError as error:
            print(error)
    """
    assert python(script, FASTVAE_PRODUCTS="") == ""  # as if it were not set
    for name in ("avx1024", "AVX2"):
        message = python(script, FASTVAE_PRODUCTS=name)
        assert f"FASTVAE_PRODUCTS={name!r} is not known: valid: " in message
        assert all(unit in message for unit in FUSED + OTHERS)
