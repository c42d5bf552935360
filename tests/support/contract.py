"""How a contract case is run on a backend and compared with the reference: what the tests of every backend share."""

import numpy as np

from fastvae.contract_cases import LEAVE, cases_of
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots
from tests.support.tolerances import check

# batch, inputs, outputs: ops over rows have the first two
SHAPES = [(1, 1, 1), (7, 33, 23), (3, 4, 3), (5, 17, 12), (2, 64, 43), (129, 31, 21)]

KINDS = {
    "dense_backward_input": "derivative",
    "masked_backward_input": "derivative",
    "normal_noise": "normal",
}  # of tolerances, beside those of the stem
STEMS = {
    "dense": "dense",
    "masked": "dense",
    "prefix": "prefix",
    "latent": "latent",
    "adam": "adam",
    "sgd": "adam",
    "average": "adam",
    "clip": "adam",
}


def kind(op, found):
    """The tolerance of one result of an op."""
    if op == "latent_forward" and found.ndim == 1:
        return "kl"
    return KINDS.get(op, STEMS.get(op.split("_")[0], "likelihood"))


def as_a_function(kernels, case):
    """Do a case by the op's function; return the number that the op leaves."""
    operands = zip(OPS[case.op].operands, case.operands, strict=True)
    return getattr(kernels, case.op)(*[value for operand, value in operands if operand.kind not in LEAVE])


def as_a_program(kernels, case):
    """The same by a program, with every number in a slot."""
    slots = Slots()
    program = kernels.Program(slots)
    case.write(program, slots)
    for array, before in zip(case.arrays, case.before, strict=True):
        np.testing.assert_array_equal(array, before)  # nothing has happened yet
    program.run()
    return case.left(slots)


def check_case(case, left):
    """Compare all that a case has written, and what it should have left alone, with what is expected."""
    for found, expected, size in case.compared(left):
        found = np.asarray(found)
        if not np.any(size):
            np.testing.assert_array_equal(found, expected, case.name)
        else:
            check(found.astype(np.float32) if found.ndim == 0 else found, expected, kind(case.op, found), size)


def check_op(kernels, op, shape, ways=(as_a_program, as_a_function)):
    """All cases of an op on a shape, in each way that it can be called, which give the same bits."""
    for several in zip(*[cases_of(op, shape) for _ in ways], strict=True):
        lefts = []
        for way, case in zip(ways, several, strict=True):
            lefts.append(way(kernels, case))
            check_case(case, lefts[-1])
        for left, other in zip(lefts, several, strict=True):
            assert left == lefts[0]
            for array, first in zip(other.arrays, several[0].arrays, strict=True):
                np.testing.assert_array_equal(array, first)
