"""Programs: calls in order, as often as wanted, over arrays that stay alive, with the scalars that stand there then."""

import gc
import threading
import weakref

import numpy as np
import pytest

from fastvae.kernels import philox
from fastvae.kernels.formulas import IDENTITY, SILU, TANH
from fastvae.kernels.scalars import (
    ADAM_STEP,
    BETA1,
    BETA2,
    EPSILON,
    EXAMPLE_WEIGHT,
    FACTOR,
    FIRST_ROW,
    GRAD_SCALE,
    KL_WEIGHT,
    LEARNING_RATE,
    NOISE_STEP,
    OUTSIDE,
    SIGMA,
    SOURCE,
    SOURCE_COLUMN,
    SOURCE_ROW,
    WEIGHT_DECAY,
    Scalars,
)

KEY, STEP, ROW, ADAM = np.uint64(2**63 + 17), 12, 100, (3, 0.02, 0.85, 0.97, 1e-3, 0.1)
B, D, H = 5, 7, 6
NOT_GIVEN = np.empty((0, 0), np.float32)
RNG = np.random.default_rng(0)


def scalars():
    """All of them different, and none of them 0 or 1."""
    made = Scalars(KEY)
    made.integers[[NOISE_STEP, FIRST_ROW, ADAM_STEP]] = STEP, ROW, ADAM[0]
    made.reals[[LEARNING_RATE, BETA1, BETA2, EPSILON, WEIGHT_DECAY]] = ADAM[1:]
    made.reals[[EXAMPLE_WEIGHT, KL_WEIGHT, SIGMA, FACTOR, GRAD_SCALE]] = 0.37, 0.21, 0.3, 1.7, 0.4
    return made


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def unit(*shape):
    return RNG.random(shape, np.float32)


def as_it_is(function, *operands):
    function(*operands)


# op -> its operands in a program, and the call of the function of that name with the same ones and what is in `scalars`
OPS = {
    "dense_forward": ((normal(B, D), normal(D, H), normal(H), SILU, normal(B, H), normal(B, H)), as_it_is),
    "dense_accumulate": ((normal(B, D), normal(D, H), normal(B, H)), as_it_is),
    "dense_backward_input": ((normal(B, H), normal(D, H), TANH, normal(B, H), 1, normal(B, D)), as_it_is),
    "dense_backward_weight": ((normal(B, D), normal(B, H), 0, D, normal(D, H), normal(H)), as_it_is),
    "dense_adam_inplace": (
        (normal(B, D), normal(B, H), 0, D, normal(D, H), normal(D, H), unit(D, H), normal(H), normal(H), unit(H)),
        lambda call, *a: call(*a, *ADAM),
    ),
    "dense_backward_weight, no bias": ((normal(B, D), normal(B, H), 2, D, normal(D, H), None), as_it_is),
    "dense_adam_inplace, no bias": (
        (normal(B, D), normal(B, H), 0, D, normal(D, H), normal(D, H), unit(D, H), None, None, None),
        lambda call, *a: call(*a, *ADAM),
    ),
    "latent_forward": (
        (normal(B, H), normal(B, H), None, 7, normal(B, H), normal(B)),
        lambda call, mu, logvar, _, row, *out: call(mu, logvar, NOT_GIVEN, KEY, STEP, ROW + row, *out),
    ),
    "latent_backward": (
        (normal(B, H), normal(B, H), normal(B, H), normal(B, H), 7, normal(B, H), normal(B, H)),
        lambda call, mu, logvar, d_z, noise, row, *out: call(mu, logvar, d_z, noise, KEY, STEP, ROW + row, 0.21, *out),
    ),
    "squared_error_forward": (
        (normal(B, D), normal(B, D), normal(B)), lambda call, x, xhat, nll: call(x, xhat, 0.3, nll)
    ),
    "squared_error_forward_backward": (
        (normal(B, D), normal(B, D), normal(B), normal(B, D)), lambda call, x, y, *out: call(x, y, 0.3, 0.37, *out)
    ),
    "sigma_forward": ((unit(D) - 1, normal(D) - 5, normal(D), unit(D)), as_it_is),
    "gaussian_forward": ((normal(B, D), normal(B, D), normal(D), unit(D), normal(B)), as_it_is),
    "gaussian_forward_backward": (
        (normal(B, D), normal(B, D), normal(D), unit(D), normal(B), normal(B, D)),
        lambda call, x, xhat, log_sigma, inverse, *out: call(x, xhat, log_sigma, inverse, 0.37, *out),
    ),
    "sigma_backward": (
        (normal(B, D), unit(D) + 1, unit(D) - 1, normal(D) - 5, normal(D)),
        lambda call, *a: call(*a[:4], 0.37, a[4]),
    ),
    "sigma_optimal": ((normal(B, D), normal(B, D), normal(D) - 5, normal(D), unit(D)), as_it_is),
    "sigma_remember": (
        (normal(D), 0.75, normal(D) - 5, unit(D) - 1), lambda call, s, share, low, p: call(s, share, low, STEP, p)
    ),
    "bernoulli_forward": ((unit(B, D), normal(B, D), normal(B)), as_it_is),
    "bernoulli_forward_backward": (
        (unit(B, D), normal(B, D), normal(B), normal(B, D)), lambda call, x, logits, *out: call(x, logits, 0.37, *out)
    ),
    "sigmoid_inplace": ((normal(B, D),), as_it_is),
    "scale_inplace": ((normal(B, D),), lambda call, x: call(x, 1.7)),
    "adam_inplace": ((normal(30), normal(30), normal(30), unit(30)), lambda call, *a: call(*a, *ADAM, 0.4)),
    "normal_noise": (
        (philox.PRIOR, 7, normal(B, D)), lambda call, stream, row, out: call(KEY, stream, STEP, ROW + row, out)
    ),
    "binarize_inplace": ((unit(B, D), int(KEY), 7), lambda call, x, key, row: call(x, np.uint64(key), STEP, ROW + row)),
    "threshold_inplace": ((unit(B, D), 0.3), as_it_is),
    "gather": (
        (np.arange(60, dtype=np.uint8).reshape(12, 5), np.array([3, 0, 11]), normal(5), unit(5) + 1, normal(3, 5)),
        as_it_is,
    ),
}  # fmt: skip


def name_of(case):
    """The op's; cases of one op are told apart by what follows a comma."""
    return case.split(",")[0]


def copied(operands):
    return [operand.copy() if isinstance(operand, np.ndarray) else operand for operand in operands]


def doubling(kernels, value=1.0):
    """A number in an array, and a program that doubles it."""
    program, x = kernels.Program(Scalars()), np.full((1, 1), value, np.float32)
    program.scalars.reals[FACTOR] = 2.0
    program.add("scale_inplace", x)
    return program, x


@pytest.mark.parametrize("op", OPS)
def test_a_program_does_what_the_function_does(kernels, op):
    """All scalars are read from their places, and rows are counted from the first one that stands there."""
    operands, call = OPS[op]
    program, given, expected = kernels.Program(scalars()), copied(operands), copied(operands)
    program.add(name_of(op), *given)
    for a, b in zip(given, copied(operands), strict=True):
        np.testing.assert_array_equal(a, b)  # nothing has happened yet
    program.run()
    call(getattr(kernels, name_of(op)), *expected)
    changed = 0
    for found, e, before in zip(given, expected, operands, strict=True):
        if isinstance(found, np.ndarray):
            np.testing.assert_allclose(found, e, rtol=1e-6, atol=1e-7)
            changed += (found != before).any()
    assert changed


def test_calls_are_done_in_order(kernels):
    """1/2 three times larger is above 1; what is not above 1 is 0 however large it becomes."""
    found = []
    for order in (("scale", "threshold"), ("threshold", "scale")):
        program, x = kernels.Program(Scalars()), np.full((2, 3), 0.5, np.float32)
        program.scalars.reals[FACTOR] = 3.0
        for name in order:
            program.add(f"{name}_inplace", x, *([1.0] if name == "threshold" else []))
        program.run()
        found.append(x[0, 0])
    assert found == [1, 0]


def test_a_result_is_the_next_calls_operand(kernels):
    x, weight, bias, out, again = normal(3, 4), normal(4, 4), normal(4), normal(3, 4), normal(3, 4)
    program = kernels.Program(Scalars())
    program.add("dense_forward", x, weight, bias, IDENTITY, out, out)
    program.add("dense_forward", out, weight, bias, IDENTITY, again, again)
    program.run()
    np.testing.assert_allclose(again, (x @ weight + bias) @ weight + bias, rtol=1e-5, atol=1e-5)


def test_it_runs_as_often_as_wanted_and_reads_its_arrays_each_time(kernels):
    program, x = doubling(kernels)
    for repeat in range(1, 101):
        program.run()
        assert x[0, 0] == 2.0**repeat
    x[0, 0] = 3
    program.run()
    assert x[0, 0] == 6


def test_scalars_are_read_when_it_runs(kernels):
    program, x = doubling(kernels)
    program.run()
    program.scalars.reals[FACTOR] = 5.0
    program.run()
    assert x[0, 0] == 10
    noise, out = kernels.Program(scalars()), np.empty((4, 6), np.float32)
    noise.add("normal_noise", philox.PRIOR, 0, out)
    for step, row in ((1, 0), (2, 0), (2, 3)):
        noise.scalars.integers[[NOISE_STEP, FIRST_ROW]] = step, row
        noise.run()
        expected = np.empty_like(out)
        kernels.normal_noise(KEY, philox.PRIOR, step, row, expected)
        np.testing.assert_array_equal(out, expected)


def test_calls_may_be_added_after_a_run(kernels):
    program, x = doubling(kernels)
    program.run()
    y = np.ones((100, 100), np.float32)
    program.add("scale_inplace", y)
    program.add("dense_forward", y, y, y[0], IDENTITY, np.empty_like(y), np.empty_like(y))  # needs more memory
    program.run()
    assert x[0, 0] == 4
    assert (y == 2).all()


def test_an_empty_program_does_nothing(kernels):
    kernels.Program(Scalars()).run()


def test_no_rows(kernels):
    """Of a batch: nothing is done, and nothing is written."""
    program, out = kernels.Program(Scalars()), np.full((2, 3), 7, np.float32)
    program.add("dense_forward", normal(0, 4), normal(4, 3), normal(3), IDENTITY, out[:0], out[:0])
    program.run()
    assert (out == 7).all()


# ---- operands -----------------------------------------------------------------------------------------------------


def test_arrays_stay_alive_as_long_as_the_program(kernels):
    program, names = kernels.Program(scalars()), []
    for op, (operands, _) in OPS.items():
        given = copied(operands)
        program.add(name_of(op), *given)
        names += [weakref.ref(a) for a in given if isinstance(a, np.ndarray)]
    del given
    gc.collect()
    assert all(name() is not None for name in names)
    before = [name().tobytes() for name in names]
    litter = [np.full(shape, np.nan, np.float32) for shape in [(B, D), (D, H), (B, H), (H,), (D,), (B,), (30,)] * 50]
    assert [name().tobytes() for name in names] == before
    program.run()
    del litter, program
    gc.collect()
    assert all(name() is None for name in names)


def test_a_view_keeps_its_memory_alive(kernels):
    program, x = kernels.Program(Scalars()), np.ones((100, 4), np.float32)
    program.scalars.reals[FACTOR] = 2.0
    whole = weakref.ref(x)
    program.add("scale_inplace", x[10:20])
    del x
    gc.collect()
    program.run()
    np.testing.assert_array_equal(whole()[:, 0], [1] * 10 + [2] * 10 + [1] * 80)


WRONG = {
    "float64": lambda a: a.astype(np.float64),
    "int32": lambda a: a.astype(np.int32),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[..., ::-1],
    "Fortran": lambda a: np.asfortranarray(a) if a.ndim == 2 else a[::-1],
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("op", [op for op in OPS if op != "gather"])
def test_other_arrays_are_refused(kernels, op, wrong):
    """Each array in turn; the program is what it was before."""
    program, x = doubling(kernels)
    operands = copied(OPS[op][0])
    places = [i for i, operand in enumerate(operands) if isinstance(operand, np.ndarray)]
    for place in places:
        given = copied(operands)
        given[place] = WRONG[wrong](given[place])
        with pytest.raises(TypeError, match=f"{name_of(op)}: an operand is .*C float32 needed"):
            program.add(name_of(op), *given)
    program.run()
    assert x[0, 0] == 2


def test_rows_are_read_from_where_the_scalars_say(kernels):
    """One program, other data each time; what is out of range adds up until somebody takes it away."""
    made, out = scalars(), np.empty((2, 3), np.float32)
    program, n = kernels.Program(made), made.integers
    program.add("read_rows", np.dtype(np.int16), np.ones(3, np.float32), np.full(3, 2, np.float32), -3.0, 3.0, out)
    outside = 0
    for data in (np.arange(6, dtype=np.int16).reshape(2, 3), np.arange(60, dtype=np.int16).reshape(6, 10)[1::4, ::-4]):
        n[SOURCE], (n[SOURCE_ROW], n[SOURCE_COLUMN]) = data.ctypes.data, data.strides
        program.run()
        np.testing.assert_array_equal(out, (data - 1) / np.float32(2))
        outside += (out > 3).sum()
        assert n[OUTSIDE] == outside


def test_a_scaling_of_two_kinds_is_refused(kernels):
    program = kernels.Program(Scalars())
    for offset, scale in ((np.ones(3), np.ones(3, np.float32)), (np.ones(6)[::2], np.ones(3))):
        with pytest.raises(TypeError, match="read_rows: offset is float64"):
            program.add("read_rows", np.dtype(np.int16), offset, scale, 0.0, 1.0, normal(2, 3))


def test_an_unknown_op_is_refused(kernels):
    program, x = doubling(kernels)
    with pytest.raises(KeyError):
        program.add("dense_sideways", x)
    program.run()
    assert x[0, 0] == 2


# ---- threads ------------------------------------------------------------------------------------------------------


def test_threads_run_different_programs_side_by_side(kernels):
    """Each over its own arrays, with memory of its own for the products; they share the layer and the scalars."""
    shared, weight, bias = scalars(), normal(40, 256), normal(256)
    rows = [1, 2, 13, 40, 77, 130]
    made = []
    for count in rows:
        program, x, out = kernels.Program(shared), normal(count, 40), normal(count, 256)
        program.add("dense_forward", x, weight, bias, TANH, out, out)
        program.add("scale_inplace", out)
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
