"""The contract in `kernels/__init__.py`: each backend has every op under the described operands, and each op does on
awkward shapes what the reference does. A new op needs a line in the contract, a row in the table, and a function in
`fastvae/contract_cases/`.

`Program`, the one class of the contract, has a file of its own: test_program.py.
"""

import inspect
import math

import numpy as np
import pytest

import fastvae.kernels
from fastvae import contract_cases, reference
from fastvae.backend import Backend
from fastvae.contract_cases import CASES, LEAVE, cases_of
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots
from tests.support.contract import SHAPES, check_op
from tests.support.tolerances import check

CPU_ALONE = {"address", "header", "prototype"}  # for C
NOT_OPS = {"Program", "download", "forget", "shuffled_indices", "squared_norm", "total", "upload"}


def described():
    """Name to parameter names, for every `name(parameter shape, ...)` that opens a paragraph of the contract; of a
    class, the constructor's."""
    found, lines = {}, fastvae.kernels.__doc__.splitlines()
    text = "\n".join(lines)
    for start in [i for i in range(len(text)) if text.startswith("\n    ", i) and text[i + 5].isalpha()]:
        name = text[start + 5 :].split("(")[0]
        stop = start
        while name.isidentifier() and stop >= 0:
            depth, parameters, stop = 0, [""], text.index("(", stop)
            while True:
                letter = text[stop]
                depth += (letter in "([") - (letter in ")]")
                if depth == 0:
                    break
                if letter == "," and depth == 1:
                    parameters.append("")
                elif depth > 1 or letter != "(":
                    parameters[-1] += letter
                stop += 1
            found[name] = [p.split()[0] for p in parameters]
            following = text[stop + 1 :]
            stop += 1
            if not following.startswith(", "):  # two ops on one line
                break
            name = following[2:].split("(")[0]
    return found


def parameters(function):
    return list(inspect.signature(getattr(function, "py_func", function)).parameters)


def test_every_op_is_described():
    """The table's rows, with the operands in the same order."""
    contract = described()
    assert set(contract) == set(OPS) | NOT_OPS | {"run_steps"}
    for name, op in OPS.items():
        assert [operand.name for operand in op.operands] == contract[name], name


def test_a_backend_has_what_is_described(kernels):
    contract = described()
    assert set(kernels.__all__) - CPU_ALONE == set(OPS) | NOT_OPS
    for name in NOT_OPS:
        assert parameters(getattr(kernels, name)) == contract[name], name
    for name, op in OPS.items():
        given = [operand for operand in op.operands if operand.kind not in LEAVE]
        expected = ["data" if operand.kind == "source" else operand.name for operand in given]
        assert parameters(getattr(kernels, name)) == [*expected, "check"], name


def test_what_the_contract_says_of_programs_is_there(kernels):
    assert parameters(kernels.Program.add) == ["self", "op", "operands", "check"]
    assert parameters(kernels.Program.run) == ["self"]
    assert parameters(kernels.Program.returns) == ["self", "arrays"]
    assert kernels.Program(Slots()).sources == []
    run_steps = Backend("", kernels).workers().run_steps
    assert parameters(run_steps) == described()["run_steps"]


def test_every_op_has_cases():
    assert set(CASES) == set(OPS)
    for op in OPS:
        for shape in SHAPES:
            assert all(case.op == op for case in cases_of(op, shape))


# ---- every op on every backend -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", OPS)
def test_op(kernels, op, shape):
    """What it writes is right, all else is what it was, and both ways to call it give the same bits."""
    check_op(kernels, op, shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_is_added_twice(kernels, shape):
    """What stands there first is kept both times."""
    rows, columns, outputs = shape
    rng = np.random.default_rng(list(shape))
    x, weight, out = (
        rng.standard_normal(s, np.float32) for s in ((rows, columns), (columns, outputs), (rows, outputs))
    )
    x64, weight64, out64 = (a.astype(np.float64) for a in (x, weight, out))
    for times in (1, 2):
        kernels.dense_accumulate(x, weight, out)
        size = np.abs(out64) + times * (np.abs(x64) @ np.abs(weight64))
        check(out, out64 + times * (x64 @ weight64), "dense", size)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_total(kernels, shape):
    values = np.random.default_rng(list(shape)).standard_normal(math.prod(shape), np.float32) * np.float32(1e3)
    check(np.float64(kernels.total(values)), values.astype(np.float64).sum(), "exact", np.abs(values).sum())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_squared_norm(kernels, shape):
    grads = np.random.default_rng(list(shape)).standard_normal(math.prod(shape), np.float32) * np.float32(1e3)
    check(np.float64(kernels.squared_norm(grads)), (grads.astype(np.float64) ** 2).sum(), "exact")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shuffled_indices(kernels, shape):
    count = math.prod(shape)
    out = np.full(count, -1)
    kernels.shuffled_indices(contract_cases.KEY, 3, count, 0, out)
    np.testing.assert_array_equal(np.sort(out), np.arange(count))


# ---- the cases themselves ----------------------------------------------------------------------------------------


def test_adams_numbers_are_those_of_the_reference():
    """With them, the contract's formula is the textbook's."""
    rng = np.random.default_rng(0)
    p, g, m, v = rng.standard_normal((4, 50))
    v = np.abs(v)
    rate, correction, new1, keep2, new2, decay, epsilon = contract_cases.adam_numbers(*contract_cases.ADAM)
    m1, v1 = m + new1 * (g - m), keep2 * v + new2 * g**2
    found = p - (rate * m1 / (correction * np.sqrt(v1) + epsilon) + decay * p), m1, v1
    for ours, theirs in zip(found, reference.adam(p, g, m, v, *contract_cases.ADAM), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_operands_are_rounded_as_the_products_round_them(precision):
    x = np.array([[1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8]], np.float32)
    expected = x if precision == "float32" else [[1, 1, 1 + 2.0**-6]]
    np.testing.assert_array_equal(contract_cases.rounded(x, precision), expected)


def test_an_array_that_an_op_should_leave_alone_is_compared():
    case = next(cases_of("dense_accumulate", (3, 4, 5)))
    x = case.operands[0]
    assert [(c.found is x, c.size) for c in case.compared()].count((True, 0.0)) == 1
    x[0, 0] += 1
    (compared,) = [c for c in case.compared() if c.found is x]
    assert (compared.found != compared.expected).sum() == 1
