"""Ops of one's own: from Python, in functions of numba, in passes; and what is refused."""

import numba
import numpy as np
import pytest

from fastvae.kernels import cpu
from fastvae.kernels.ops import OPS
from fastvae.own import op, unregister
from tests.support.passes import new_pass, run

RNG = np.random.default_rng(1)
X = RNG.normal(size=(7, 4)).astype(np.float32)


def centred(x, out):
    """out = x less the mean of its row."""
    for i in range(x.shape[0]):
        total = 0.0
        for j in range(x.shape[1]):
            total += x[i, j]
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] - total / x.shape[1]


def test_an_op_is_called_as_all_others():
    own = op("x:B,D -> out:B,D")(centred)
    expected = X - X.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(own(X), expected, atol=1e-6)
    assert own is cpu.centred
    assert "less the mean" in own.__doc__

    @numba.njit
    def inside(x):
        return cpu.centred(x)

    np.testing.assert_array_equal(inside(X), own(X))
    p = new_pass(cpu, len(X), shares=3)
    out = p.empty(4)
    p.add("centred", p.cut(X), out)
    run(p)
    np.testing.assert_array_equal(out, own(X))
    with pytest.raises(ValueError, match=r"centred: out has shape \(7, 3\); \(B, D\) needed, where x has D = 4"):
        own(X, np.empty((7, 3), np.float32))
    unregister("centred")
    assert "centred" not in OPS
    with pytest.raises(ValueError, match="op 'centred' is none of one's own"):
        unregister("centred")


def test_an_op_with_numbers_and_what_may_be_left_out():
    @op("x:B,D by:D? factor:real times:whole first:fixed -> out:B,D")
    def scaled(x, by, factor, times, first, out):
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[i, j] = x[i, j] * factor * times + first + (by[j] if by.size > 0 else 0.0)

    by = np.arange(4, dtype=np.float32)
    np.testing.assert_allclose(scaled(X, None, 0.5, 3, 1), 1.5 * X + 1, rtol=1e-6)
    np.testing.assert_allclose(scaled(X, by, 0.5, 3, 1), 1.5 * X + 1 + by, rtol=1e-6)


def test_registered_again():
    """From the same place it is replaced; programs that are written down keep the old one."""
    own = op("x:B,D -> out:B,D")

    def make(factor):
        def scaled(x, out):
            out[:] = factor * x

        return scaled

    own(make(2))
    p = new_pass(cpu, len(X))
    out = p.empty(4)
    p.add("scaled", p.cut(X), out)
    own(make(3))
    np.testing.assert_array_equal(cpu.scaled(X), 3 * X)
    run(p)
    np.testing.assert_array_equal(out, 2 * X)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x:B,D -> result:B,D", r"op 'centred' takes \(x, out\), but the row says \(x, result\)"),
        ("x:B,D,H -> out:B,D", "x has 3 axes; at most 2"),
        ("x:B,d -> out:B,D", "the shape of x is 'B,d'; letters, such as B,D needed"),
        ("x:data -> out:B,D", "x:data is nothing that an op of one's own can have"),
    ],
)
def test_rows_that_are_refused(row, message):
    with pytest.raises((TypeError, ValueError), match=message):
        op(row)(centred)
    assert "centred" not in OPS


def test_names_that_are_taken():
    def kl_forward(mu, logvar, kl):
        pass

    with pytest.raises(ValueError, match=r"op 'kl_forward' exists already \(of the package\): take another name"):
        op("mu:B,Z logvar:B,Z -> kl:B")(kl_forward)


def test_what_numba_cannot_compile():
    @op("x:B,D -> out:B,D")
    def wrong(x, out):
        out[:] = x.nothing()

    with pytest.raises(
        TypeError, match=r"op 'wrong' cannot be compiled by numba: Unknown attribute 'nothing'.*test_ops"
    ):
        cpu.wrong(X)


def test_operands_without_end():
    names = [f"x{i}" for i in range(14)]
    scope = {}
    exec(f"def many({', '.join(names)}, out): pass", scope)
    with pytest.raises(ValueError, match="op 'many' has operands of 46 numbers; there is room for 40"):
        op(f"{' '.join(f'{name}:B,D' for name in names)} -> out:B,D")(scope["many"])
    assert "many" not in OPS
