"""The ops inside other people's compiled code: in functions of numba and from C they do what they do from Python."""

import ctypes
import doctest
import inspect
import shutil
import subprocess
import sys

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from fastvae.contract_cases import LEAVE, cases_of
from fastvae.kernels import cpu
from fastvae.kernels.described import signature_of
from fastvae.kernels.ops import OPS

SHAPE = 6, 5, 4
IN_NUMBA = [name for name, op in OPS.items() if not any(o.kind in ("source", "counter") for o in op.operands)]
IN_C = [name for name in IN_NUMBA if name != "gather"]
FEW = {"dense_accumulate", "latent_backward", "gaussian_forward", "clip_scale", "gather"}


def marked(names):
    return [pytest.param(name, marks=pytest.mark.long if name in FEW else pytest.mark.slow) for name in names]


def given(case):
    """The operands of a case without the number that the op leaves."""
    pairs = zip(OPS[case.op].operands, case.operands, strict=True)
    return [value for operand, value in pairs if operand.kind not in LEAVE]


def check_alike(case, call):
    """Called both ways, each array has the same bits, and so has the number that is left."""
    left = getattr(cpu, case.op)(*given(case))
    after = [array.copy() for array in case.arrays]
    for array, before in zip(case.arrays, case.before, strict=True):
        array[...] = before
    assert call(*given(case)) == left
    for array, wanted in zip(case.arrays, after, strict=True):
        np.testing.assert_array_equal(array.view(np.uint8), wanted.view(np.uint8))


@pytest.mark.parametrize("name", marked(IN_NUMBA))
def test_in_a_function_of_numba(name):
    names = ", ".join(signature_of(OPS[name]).parameters)
    scope = {"cpu": cpu}
    exec(f"def used({names}):\n  return cpu.{name}({names})", scope)
    used = numba.njit(scope["used"])
    for case in cases_of(name, SHAPE):
        check_alike(case, used)


def from_c(name):
    """The op as a function of ctypes, which is given the operands of the table."""
    op, declared = OPS[name], cpu.prototype(name)
    kinds = {"double": ctypes.c_double, "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64}
    words = [word.replace("const ", "") for word in declared.split("(")[1].rstrip(")").split(", ")]
    arguments = [ctypes.c_void_p if "*" in word else kinds[word.split()[0]] for word in words]
    result = ctypes.c_double if declared.startswith("double") else None
    function = ctypes.CFUNCTYPE(result, *arguments)(cpu.address(name))

    def call(*values):
        sizes, passed = {}, []
        operands = [operand for operand in op.operands if operand.kind not in LEAVE]
        for operand, value in zip(operands, values, strict=True):
            if operand.shape is not None and value is not None:
                sizes |= dict(zip(operand.shape, value.shape, strict=True))
            passed.append(value.ctypes.data if isinstance(value, np.ndarray) else value)
        letters = [word.split()[1] for word in words if word.split()[1].isupper()]
        return function(*(sizes.get(letter, 0) for letter in letters), *passed)

    return call


@pytest.mark.parametrize("name", marked(IN_C))
def test_from_c(name):
    call = from_c(name)
    for case in cases_of(name, SHAPE):
        check_alike(case, call)


@pytest.mark.long
def test_a_loss_of_one_s_own():
    """An op among other statements, its outputs made, in a loop over threads of numba."""

    @numba.njit(parallel=True)
    def losses(X, logits, means):
        for i in numba.prange(len(X)):
            nll = cpu.bernoulli_forward(X[i], logits[i])
            means[i] = nll.mean()

    rng = np.random.default_rng(0)
    X, logits = rng.random((20, 7, 5), np.float32).round(), rng.normal(size=(20, 7, 5)).astype(np.float32)
    means = np.empty(20)
    losses(X, logits, means)
    a = logits.astype(float)
    expected = (np.logaddexp(0, a) - X * a).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(means, expected, rtol=1e-5)


@pytest.mark.long
def test_what_is_wrong_is_said():
    @numba.njit
    def used(mu, logvar, kl):
        cpu.kl_forward(mu, logvar, kl)

    @numba.njit
    def active(x, weight, bias, activation):
        return cpu.dense_forward(x, weight, bias, activation)

    rows = np.zeros((3, 2), np.float32)
    used(rows, rows, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="kl_forward: logvar has another B than mu"):
        used(rows, rows[:2], np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="kl_forward: kl has another B"):
        used(rows, rows, np.zeros(2, np.float32))
    with pytest.raises(
        TypingError, match="kl_forward: mu is .*float64.*; a C-contiguous array .* of float32 is needed"
    ):
        used(rows.astype(float), rows, np.zeros(3, np.float32))
    with pytest.raises(TypingError, match="a C-contiguous array"):
        used(rows.T.copy().T, rows, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="activation must be from 0 to 6"):
        active(rows, np.zeros((2, 4), np.float32), np.zeros(4, np.float32), 7)
    with pytest.raises(TypeError, match="a C-contiguous array of float32"):
        cpu.kl_forward(rows.astype(float), rows)
    with pytest.raises(ValueError, match="'kl_forwards' is no op"):
        cpu.address("kl_forwards")
    with pytest.raises(ValueError, match="gather has code of its own for each dtype"):
        cpu.prototype("gather")


@pytest.mark.long
def test_compiled_code_with_an_op_is_not_kept_on_the_disk(tmp_path):
    """Its addresses are those of one process: numba says so instead of keeping it."""
    code = """
import numba, numpy as np, warnings
from fastvae.kernels import cpu
@numba.njit(cache=True)
def f(x):
    cpu.tanh_inplace(x)
x = np.ones((2, 2), np.float32)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    f(x)
print(any("dynamic globals" in str(w.message) for w in caught), abs(x - np.tanh(1)).max() < 1e-6)
"""
    (tmp_path / "own.py").write_text(code)
    for _ in range(2):
        done = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.split() == ["True", "True"], done.stderr


def test_indices_of_another_length_are_refused():
    """They would be read beyond their end."""
    x, weight, bias = np.zeros((3, 5), np.float32), np.zeros((5, 4), np.float32), np.zeros(4, np.float32)
    with pytest.raises(ValueError, match=r"depths has shape \(3,\); \(H,\) needed, where weight has H = 4"):
        cpu.masked_forward(x, weight, bias, 0, np.full(3, 5))
    with pytest.raises(ValueError, match=r"order has shape \(4,\); \(D,\) needed"):
        cpu.take_columns(x, np.arange(4))
    with pytest.raises(TypeError, match="a C-contiguous array of int64 is needed"):
        cpu.take_columns(x, np.arange(5.0))
    with pytest.raises(ValueError, match=r"E = 6 must be D \+ C = 5 \+ 2"):
        cpu.concatenate(x, np.zeros((3, 2), np.float32), np.zeros((3, 6), np.float32))


def test_outputs_may_be_left_out_and_checks_too():
    rng = np.random.default_rng(0)
    mu, logvar = rng.normal(size=(2, 6, 3)).astype(np.float32)
    z, kl = np.empty((6, 3), np.float32), np.empty(6, np.float32)
    assert cpu.latent_forward(mu, logvar, None, 7, 0, 0, 0, z, kl) is None
    made = cpu.latent_forward(mu, logvar, None, 7, 0, 0, 0, check=False)
    np.testing.assert_array_equal(made[0], z)
    np.testing.assert_array_equal(made[1], kl)
    np.testing.assert_array_equal(cpu.latent_forward(mu, logvar, None, 7, 0, 0, 0, kl=kl), z)
    with pytest.raises(TypeError, match="missing a required argument: 'out'"):
        cpu.normal_noise(7, 0, 0, 0)


@pytest.mark.parametrize("name", OPS)
def test_help_has_a_formula_shapes_and_an_example_that_runs(name):
    function = getattr(cpu, name)
    text = inspect.getdoc(function)
    assert text == inspect.cleandoc(function.__doc__)
    assert len(text.split("\n\n")[0]) > 10
    for operand in OPS[name].operands:
        assert f"\n{'data' if operand.kind == 'source' else operand.name} : " in text
        if operand.shape is not None:
            assert f"({', '.join(operand.shape)}" in text
    runner = doctest.DocTestRunner(verbose=False)
    for example in doctest.DocTestFinder().find(function, name, globs={}):
        runner.run(example)
    assert runner.tries > 2
    assert runner.failures == 0


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_header_is_one(tmp_path):
    (tmp_path / "fastvae.h").write_text(cpu.header())
    code = '#include "fastvae.h"\nfastvae_kl_forward op; int main(void) { return op != 0; }\n'
    (tmp_path / "own.c").write_text(code)
    subprocess.run(["gcc", "-Wall", "-Werror", "-pedantic", "own.c", "-o", "own"], cwd=tmp_path, check=True)
    assert cpu.header().count("typedef") == len(IN_C)
