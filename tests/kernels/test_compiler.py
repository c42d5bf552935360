"""The on-disk cache: a second process compiles nothing, and a change in any file of kernels is never missed."""

import hashlib
import importlib
import pathlib
import re
import shutil

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import fastvae
import fastvae.kernels
from fastvae.kernels.cpu import (
    activations,
    cache,
    compiler,
    elementwise,
    latent,
    ops,
    optimizers,
    processor,
    products,
    row_losses,
    team,
)
from tests.support import commands

PACKAGE, KERNELS = (pathlib.Path(m.__file__).parent for m in (fastvae, fastvae.kernels))

NORM = """
import sys
import numpy as np
from fastvae.kernels.cpu import cache, compiler, optimizers
cache.SHARED_DIGEST = sys.argv[1] or cache.SHARED_DIGEST
before = compiler.is_cached(optimizers.squared_norm)
assert optimizers.squared_norm(np.ones(3, np.float32)) == 3
stats = optimizers.squared_norm.stats
after = compiler.is_cached(optimizers.squared_norm)
print(before, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), after)
"""

# by a kernel that Python calls, and by functions that are called by their address: two closures, which only what they
# hold tells apart
NATIVES = """
import ctypes
import numpy as np
from fastvae.kernels import cpu
from fastvae.kernels.cpu import activations
from fastvae.kernels.formulas import RELU, SIGMOID
x, bias, hits = np.zeros((1, 1), np.float32), np.zeros(1, np.float32), 0
cpu.sigmoid_inplace(x)
print(x[0, 0])
for code in (SIGMOID, RELU):
    x[...] = 0
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(activations.forward(code))
    function(x.ctypes.data, bias.ctypes.data, x.ctypes.data, 1, 1)
    hits += activations._PASSES[code][0]._compiled.cache_hits
    print(x[0, 0])
print(hits)
"""


def python(script, folder, *arguments, tree, **environment):
    """What the script prints in a new process, whose compiled kernels are kept under `folder`."""
    environment |= {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(tree)}
    return commands.python(script, *arguments, cwd=folder, **environment).split()


def test_the_digest_is_of_all_sources():
    files = [file for folder in (KERNELS, KERNELS / "cpu") for file in folder.glob("*.py")]
    assert {"formulas.py", "philox.py", "slots.py", "ops.py", "compiler.py", "tile.py"} <= {file.name for file in files}
    sources = b"".join(file.read_bytes() for file in sorted(files))
    assert hashlib.sha256(sources).hexdigest() == cache.SHARED_DIGEST


@pytest.mark.long
def test_a_second_process_compiles_nothing_unless_the_digest_changed(tmp_path):
    def norm(digest=""):
        return python(NORM, tmp_path, digest, tree=PACKAGE.parent)

    assert norm() == ["False", "0", "1", "True"]
    assert norm() == ["True", "1", "0", "True"]
    assert norm("another") == ["False", "0", "1", "True"]
    assert norm("another") == ["True", "1", "0", "True"]
    assert norm() == ["True", "1", "0", "True"]


@pytest.mark.long
def test_functions_that_are_called_by_their_address_are_compiled_once_for_each_unit(tmp_path):
    """One cache for all: a second process compiles nothing, and no unit takes the code of another."""
    hits = [
        python(NATIVES, tmp_path, tree=PACKAGE.parent, FASTVAE_PRODUCTS=unit)[-1]
        for unit in ("avx2", "avx2", "plain", "avx2")
    ]
    assert hits == ["0", "2", "0", "2"]


@pytest.fixture
def tree(tmp_path):
    """A copy of the package without what the kernels do not need."""
    without = shutil.ignore_patterns("__pycache__", "data", "models")
    shutil.copytree(PACKAGE, tmp_path / "tree" / "fastvae", ignore=without)
    shutil.copytree(KERNELS, tmp_path / "tree" / "fastvae" / "kernels", ignore=without, dirs_exist_ok=True)
    return tmp_path / "tree"


@pytest.mark.long
def test_a_changed_formula_is_compiled_anew(tmp_path, tree):
    """The kernels' own files keep their time stamps, which is all that numba looks at."""
    folder = tmp_path / "cache"
    folder.mkdir()
    assert python(NATIVES, folder, tree=tree) == ["0.5", "0.5", "0.0", "0"]
    with (tree / "fastvae" / "kernels" / "formulas.py").open("a") as file:
        file.write("\n\n@formula\ndef sigmoid(a):\n    return HALF * HALF\n")
    assert python(NATIVES, folder, tree=tree) == ["0.25", "0.25", "0.0", "0"]


def compiled():
    """Every kernel that Python calls, and every function that is called by its address."""
    for file in sorted((KERNELS / "cpu").glob("*.py")):
        module = importlib.import_module(f"fastvae.kernels.cpu.{file.stem}")
        values = [*vars(module).values(), *getattr(module, "FUNCTIONS", {}).values()]
        yield from (value for value in values if isinstance(value, Dispatcher | compiler.Native))
    yield from ops.CODES.values()
    yield from (native for both in activations._PASSES.values() for native in both)


def test_kernels_are_cached_and_release_the_lock():
    for function in (
        optimizers.adam_inplace,
        latent.divergence,
        elementwise.FUNCTIONS["sigmoid_inplace"],
        team.run,
        team.serve,
    ):
        assert isinstance(function._cache, cache.Cache)
        assert function.targetoptions["nogil"]
        assert function.targetoptions["error_model"] == "numpy"
    assert products.multiply.address
    assert isinstance(products.multiply._compiled._cache, cache.Cache)


def test_nothing_assumes_that_numbers_are_finite():
    """`nnan` or `ninf` would let the compiler drop the NaN that a diverged run must show."""
    found = []
    for function in compiled():
        native = isinstance(function, compiler.Native)
        found.append(function._fastmath if native else function.targetoptions.get("fastmath") or set())
        assert found[-1] <= {"contract", "reassoc", "nsz"}, function
    assert optimizers.adam_inplace.targetoptions["fastmath"] == {"contract"}
    assert latent.divergence.targetoptions["fastmath"] == {"contract", "reassoc", "nsz"}
    assert products.multiply._fastmath == {"contract"}
    assert len(found) > 50


@pytest.mark.long
@pytest.mark.skipif(processor.architecture() != "x86_64", reason="looks for instructions of x86-64")
def test_loops_over_formulas_vectorise():
    """A formula left as a call would take the loop's numbers one by one."""
    rows = np.ones((32, 8), np.float32)
    for function, operands in (
        (latent.reparameterize, (rows,) * 3),
        (latent.gradients, (rows, rows, rows, 0.1, rows, rows)),
        (latent.sample, (rows[:8], rows[:8], rows, rows[:, 0].copy())),
        (latent.gradients_of_samples, (rows[:8], rows[:8], rows, rows, rows[0], 1, 0.1, rows[0], rows[:8], rows[:8])),
        (latent.importance_weights, (rows.ravel(), rows.ravel(), 0.1, rows[0], rows.ravel())),
        (row_losses.FUNCTIONS["bernoulli_forward_backward"], (rows, rows, 0.1, rows[:, 0].copy(), rows)),
        (optimizers.adam_inplace, (*[rows[0]] * 4, *[0.1] * 8)),
    ):
        fresh = compiler.as_part(function)
        fresh(*operands)
        (text,) = fresh.inspect_asm().values()
        assert len(re.findall(r"\bv?f?n?m(?:ul|add|sub)\w*ps\b", text)) > 5, function


def test_division_by_zero_is_numpys():
    """Infinity, not an exception: with Python's error model the loops do not vectorise."""

    @compiler.kernel
    def divide(x, out):
        for i in range(x.size):
            out[i] = x[i] / np.float32(0)

    out = np.empty(2, np.float32)
    divide(np.array([1, -1], np.float32), out)
    np.testing.assert_array_equal(out, [np.inf, -np.inf])
