"""Programs: calls in order, as often as wanted, over arrays that stay alive, with the numbers that stand there then.

That a program does what the function of the op does, with all numbers in slots: test_contract.py.
"""

import gc
import threading
import weakref

import numpy as np
import pytest

from fastvae.contract_cases import cases_of
from fastvae.kernels import philox
from fastvae.kernels.formulas import IDENTITY, TANH
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots, Source
from tests.support.programs import add_doubling, doubling

KEY = np.uint64(2**63 + 17)
SHAPE = 5, 7, 6  # B, D, H
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def one_doubling(kernels):
    """A program that doubles a number, and the number, (1, 1)."""
    (program,), numbers = doubling(kernels)
    return program, numbers[0]


def test_calls_are_done_in_order(kernels):
    """1/2 twice as large is not below 1; what is not above 3/4 is 0 however large it becomes."""
    found = []
    for order in (("double", "threshold"), ("threshold", "double")):
        program, x = kernels.Program(Slots()), np.full((2, 3), 0.5, np.float32)
        for name in order:
            if name == "double":
                add_doubling(program, x)
            else:
                program.add("threshold_inplace", x, 0.75)
        program.run()
        found.append(x[0, 0])
    assert found == [1, 0]


def test_a_result_is_the_next_calls_operand(kernels):
    x, weight, bias, out, again = normal(3, 4), normal(4, 4), normal(4), normal(3, 4), normal(3, 4)
    program = kernels.Program(Slots())
    program.add("dense_forward", x, weight, bias, IDENTITY, out, out)
    program.add("dense_forward", out, weight, bias, IDENTITY, again, again)
    program.run()
    np.testing.assert_allclose(again, (x @ weight + bias) @ weight + bias, rtol=1e-5, atol=1e-5)


def test_it_runs_as_often_as_wanted_and_reads_its_arrays_each_time(kernels):
    program, x = one_doubling(kernels)
    for repeat in range(1, 101):
        program.run()
        assert x[0, 0] == 2.0**repeat
    x[0, 0] = 3
    program.run()
    assert x[0, 0] == 6


def test_numbers_are_read_when_it_runs(kernels):
    """Of each kind: real, whole, and a seed; a whole one is counted from what stands there."""
    slots, x = Slots(), np.ones((1, 1), np.float32)
    program = kernels.Program(slots)
    add_doubling(program, x, slots.real("decay"))
    for decay in (-1.0, -4.0):
        slots["decay"] = decay
        program.run()
    assert x[0, 0] == 10
    noise, out = kernels.Program(slots), np.empty((4, 6), np.float32)
    noise.add("normal_noise", *(slots.whole(name) for name in ("seed", "stream", "step")), slots.whole("row") + 2, out)
    for key, stream, step, row in ((KEY, philox.PRIOR, 1, 0), (KEY, 9, 1, 0), (KEY, 9, 2, 0), (KEY - 1, 9, 2, 3)):
        slots["seed"] = np.uint64(key).view(np.int64)
        slots["stream"], slots["step"], slots["row"] = stream, step, row
        noise.run()
        expected = np.empty_like(out)
        kernels.normal_noise(np.uint64(key), stream, step, row + 2, expected)
        np.testing.assert_array_equal(out, expected)


def test_programs_of_the_same_slots_share_their_numbers(kernels):
    """Numbers that are written down as they are stay what they were, whatever else is written."""
    slots, x, y = Slots(), np.ones(3, np.float32), np.ones(3, np.float32)
    first, second = kernels.Program(slots), kernels.Program(slots)
    add_doubling(first, x)
    add_doubling(second, y, -2.0)
    add_doubling(second, y, slots.real("decay"))
    slots["decay"] = -4.0
    first.run()
    second.run()
    np.testing.assert_array_equal([x, y], [[2] * 3, [15] * 3])


def test_calls_may_be_added_after_a_run(kernels):
    program, x = one_doubling(kernels)
    program.run()
    y = np.ones((100, 100), np.float32)
    add_doubling(program, y)
    program.add("dense_forward", y, y, y[0], IDENTITY, np.empty_like(y), np.empty_like(y))  # needs more memory
    program.run()
    assert x[0, 0] == 4
    assert (y == 2).all()


def test_an_empty_program_does_nothing(kernels):
    kernels.Program(Slots()).run()


def test_no_rows(kernels):
    """Of a batch: nothing is done, and nothing is written."""
    program, out = kernels.Program(Slots()), np.full((2, 3), 7, np.float32)
    program.add("dense_forward", normal(0, 4), normal(4, 3), normal(3), IDENTITY, out[:0], out[:0])
    program.run()
    assert (out == 7).all()


# ---- operands -----------------------------------------------------------------------------------------------------


def test_arrays_stay_alive_as_long_as_the_program(kernels):
    """Of every op; the rows that a source reads are its own affair."""
    slots, names = Slots(), []
    program = kernels.Program(slots)
    for op in OPS:
        case = next(cases_of(op, SHAPE))
        if op != "read_rows":
            case.write(program, slots)
            names += [weakref.ref(array) for array in case.arrays]
    del case
    gc.collect()
    assert all(name() is not None for name in names)
    before = [name().tobytes() for name in names]
    shapes = {name().shape for name in names}
    litter = [np.full(shape, np.nan, np.float32) for shape in shapes for _ in range(50)]
    assert [name().tobytes() for name in names] == before
    program.run()
    del litter, program
    gc.collect()
    assert all(name() is None for name in names)


def test_a_view_keeps_its_memory_alive(kernels):
    program, x = kernels.Program(Slots()), np.ones((100, 4), np.float32)
    whole = weakref.ref(x)
    add_doubling(program, x[10:20])
    del x
    gc.collect()
    program.run()
    np.testing.assert_array_equal(whole()[:, 0], [1] * 10 + [2] * 10 + [1] * 80)


WRONG = {
    "float64": lambda a: a.astype(np.float64),
    "int32": lambda a: np.zeros(a.shape, np.int32),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[..., ::-1],
    "Fortran": lambda a: np.asfortranarray(a) if a.ndim == 2 else a[::-1],
    "a list": lambda a: a.tolist(),
}
WRONG_SHAPES = {
    "an axis too many": lambda a: a[None],
    "an axis too many at the end": lambda a: a[..., None],
    "an axis too few": lambda a: a.reshape(-1) if a.ndim == 2 else a[0:1].reshape(()),
    "too long": lambda a: np.repeat(a, 2, axis=0),
    "too wide": lambda a: np.repeat(a, 2, axis=-1),
}


def arrays_of(op):
    """The operands of an op, each number in a slot of its own or None, and the places of its arrays of float32."""
    kinds = {"counter": Slots().whole("n"), "result": Slots().real("x")}
    case = next(cases_of(op, SHAPE))
    operands = [kinds.get(o.kind, value) for o, value in zip(OPS[op].operands, case.operands, strict=True)]
    if op == "read_rows":
        operands[0] = Source(Slots(), "rows", operands[0].dtype)
    places = [i for i, o in enumerate(OPS[op].operands) if o.shape is not None and isinstance(operands[i], np.ndarray)]
    return operands, places


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("op", OPS)
def test_other_arrays_are_refused(kernels, op, wrong):
    """Each array in turn; the program is what it was before."""
    program, x = one_doubling(kernels)
    operands, places = arrays_of(op)
    for place in places:
        given = list(operands)
        given[place] = WRONG[wrong](given[place])
        name = OPS[op].operands[place].name
        with pytest.raises(TypeError, match=f"{op}: {name} is .*; a C-contiguous array of float32 is needed"):
            program.add(op, *given)
    program.run()
    assert x[0, 0] == 2


def sizes_known(op, place, operands):
    """The letters of an array's shape that stand in other arrays of the call too."""
    letters = OPS[op].operands[place].shape
    given = [o for o, value in zip(OPS[op].operands, operands, strict=True) if value is not None]
    others = [o.shape for o in given if o is not OPS[op].operands[place] and o.shape is not None]
    return {letter for letter in letters if any(letter in shape for shape in others)}


@pytest.mark.parametrize("wrong", WRONG_SHAPES)
@pytest.mark.parametrize("op", OPS)
def test_other_shapes_are_refused(kernels, op, wrong):
    """Each array in turn, by what the others say of its sizes; both shapes are named."""
    program, x = one_doubling(kernels)
    operands, places = arrays_of(op)
    refused = 0
    for place in places:
        letters, known = OPS[op].operands[place].shape, sizes_known(op, place, operands)
        if (wrong == "too long" and letters[0] not in known) or (wrong == "too wide" and letters[-1] not in known):
            continue
        given = list(operands)
        given[place] = WRONG_SHAPES[wrong](given[place])
        with pytest.raises(ValueError, match=rf"{op}: .*\(.*\).* \(.*\).* needed"):
            program.add(op, *given)
        refused += 1
    assert refused or wrong.startswith("too")  # an op of one array may have any
    program.run()
    assert x[0, 0] == 2


@pytest.mark.parametrize("op", OPS)
def test_another_number_of_operands_is_refused(kernels, op):
    program, x = one_doubling(kernels)
    operands, _ = arrays_of(op)
    for given in (operands[:-1], [*operands, 1]):
        with pytest.raises(TypeError, match=rf"{op} takes {len(operands)} operands \(.*\), not {len(given)}"):
            program.add(op, *given)
    program.run()
    assert x[0, 0] == 2


def test_a_number_that_is_left_needs_a_slot(kernels):
    program, x = one_doubling(kernels)
    with pytest.raises(TypeError, match="clip_scale: scale is 1.0; a Slot, where a real number is left needed"):
        program.add("clip_scale", x.reshape(-1), 1.0, 1.0)
    with pytest.raises(TypeError, match="threshold_inplace: threshold is .*; a real number, or a Slot needed"):
        program.add("threshold_inplace", x, x)
    operands, _ = arrays_of("read_rows")
    for place, name in ((0, "source"), (5, "outside")):
        given = list(operands)
        given[place] = 3
        with pytest.raises(TypeError, match=f"read_rows: {name} is 3; a S"):
            program.add("read_rows", *given)
    program.run()
    assert x[0, 0] == 2


def test_rows_are_read_from_where_the_source_says(kernels):
    """One program, other data each time; what is out of range adds up until somebody takes it away."""
    slots, out = Slots(), np.empty((2, 3), np.float32)
    program, source, counter = kernels.Program(slots), Source(slots, "x", np.int16), slots.whole("outside")
    program.add("read_rows", source, np.ones(3, np.float32), np.full(3, 2, np.float32), -3.0, 3.0, counter, out)
    assert program.sources == [source]
    outside = 0
    for data in (np.arange(6, dtype=np.int16).reshape(2, 3), np.arange(60, dtype=np.int16).reshape(6, 10)[1::4, ::-4]):
        source.read(data)
        assert source.rows is data
        program.run()
        np.testing.assert_array_equal(out, (data - 1) / np.float32(2))
        outside += (out > 3).sum()
        assert slots["outside"] == outside
    assert outside
    slots["outside"] = 0
    source.read(np.zeros((2, 3), np.int16))
    program.run()
    assert slots["outside"] == 0
    source.read(None)
    assert source.rows is None


def test_a_scaling_of_two_kinds_is_refused(kernels):
    slots = Slots()
    program, source, counter = kernels.Program(slots), Source(slots, "x", np.int16), slots.whole("outside")
    for offset, scale in ((np.ones(3), np.ones(3, np.float32)), (np.ones(6)[::2], np.ones(3))):
        with pytest.raises(TypeError, match="read_rows: offset and scale are float64 and float"):
            program.add("read_rows", source, offset, scale, 0.0, 1.0, counter, normal(2, 3))


@pytest.mark.parametrize(
    ("place", "wrong", "error"),
    [
        (0, np.zeros((9, 4), np.uint8), ValueError),
        (0, np.zeros((9, 3, 1), np.uint8), ValueError),
        (1, np.zeros(2, np.int32), TypeError),
        (1, np.zeros(4, np.int64)[::2], TypeError),
        (1, np.zeros(3, np.int64), ValueError),
        (2, np.zeros(4, np.float32), ValueError),
        (3, np.zeros((1, 3), np.float32), ValueError),
        (4, np.zeros((2, 4), np.float32), ValueError),
    ],
)
def test_a_gather_whose_arrays_do_not_fit_is_refused(kernels, place, wrong, error):
    """It reads by addresses: an index, or a column, too many would lie elsewhere in memory."""
    operands = [
        np.zeros((9, 3), np.uint8), np.zeros(2, np.int64), np.zeros(3, np.float32), np.ones(3, np.float32),
        np.zeros((2, 3), np.float32),
    ]  # fmt: skip
    program, x = one_doubling(kernels)
    operands[place] = wrong
    with pytest.raises(error, match="gather: "):
        program.add("gather", *operands)
    program.run()
    assert x[0, 0] == 2


def test_an_unknown_op_is_refused(kernels):
    program, x = one_doubling(kernels)
    with pytest.raises(KeyError):
        program.add("dense_sideways", x)
    program.run()
    assert x[0, 0] == 2


# ---- threads ------------------------------------------------------------------------------------------------------


def test_threads_run_different_programs_side_by_side(kernels):
    """Each over its own arrays, with memory of its own for the products; they share the layer and the slots."""
    shared, weight, bias = Slots(), normal(40, 256), normal(256)
    rows = [1, 2, 13, 40, 77, 130]
    made = []
    for count in rows:
        program, x, out = kernels.Program(shared), normal(count, 40), normal(count, 256)
        program.add("dense_forward", x, weight, bias, TANH, out, out)
        add_doubling(program, out)
        program.run()
        made.append((program, out, out.copy()))
    wrong = []

    def repeat(program, out, expected):
        for _ in range(100):
            out[...] = np.nan
            program.run()
            if (out != expected).any():
                wrong.append(len(out))

    threads = [threading.Thread(target=repeat, args=one) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


@pytest.mark.parametrize(("examples", "rows"), [(3, 7), (3, 2), (0, 2)])
def test_rows_that_do_not_divide_among_examples_are_refused(kernels, examples, rows):
    x, logits, nll = np.zeros((examples, 4), np.float32), np.zeros((rows, 4), np.float32), np.zeros(rows, np.float32)
    found = rf"logits has shape \({rows}, 4\), x has shape \({examples}, 4\)"
    with pytest.raises(
        ValueError, match=f"bernoulli_forward: {found}; B = {rows} must be a multiple of N = {examples}"
    ):
        kernels.bernoulli_forward(x, logits, nll)


def test_no_rows_of_no_examples_are_none(kernels):
    kernels.bernoulli_forward(*[np.zeros((0, 4), np.float32)] * 2, np.zeros(0, np.float32))
