"""No bit of a result depends on where arrays lie: where a compiler chooses among loops at run time, by whether arrays
might overlap, all of them must add up in one order."""

import numpy as np
import pytest

from fastvae.contract_cases import CASES, LEAVE, cases_of
from fastvae.kernels import cpu
from fastvae.kernels.ops import OPS

PLACES = 40
SHAPE = (5, 17, 12)


def packed(arrays, rng):
    """Copies of float32 arrays, in another order, with at most a few numbers between two."""
    pool, at, copies = (
        np.zeros(sum(a.size for a in arrays) + 6 * len(arrays) + 70, np.float32),
        int(rng.integers(64)),
        {},
    )
    for i in rng.permutation(len(arrays)):
        at += int(rng.integers(5))
        copies[id(arrays[i])] = pool[at : at + arrays[i].size].reshape(arrays[i].shape)
        copies[id(arrays[i])][...] = arrays[i]
        at += arrays[i].size
    return copies


@pytest.mark.parametrize("op", list(CASES))
def test_close_by(op):
    rng = np.random.default_rng(0)
    for case in cases_of(op, SHAPE):
        arrays = [array for array in case.arrays if array.dtype == np.float32 and array.flags.c_contiguous]
        first = None
        for _ in range(PLACES):
            copies = packed(arrays, rng)
            operands = zip(OPS[op].operands, case.operands, strict=True)
            getattr(cpu, op)(*[copies.get(id(v), v) for o, v in operands if o.kind not in LEAVE])
            found = [copies[id(array)].tobytes() for array in arrays]
            first = first or found
            assert found == first, case.name
