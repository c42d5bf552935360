"""The on-disk cache: a second process compiles nothing, and a change in any file of kernels is never missed."""

import hashlib
import pathlib
import shutil

import numpy as np
import pytest

import commands
import fastvae
import fastvae.kernels
from fastvae.kernels.cpu import compiler
from fastvae.kernels.formulas import ACTIVATIONS

PACKAGE, KERNELS = (pathlib.Path(m.__file__).parent for m in (fastvae, fastvae.kernels))

NORM = """
import sys
import numpy as np
from fastvae.kernels.cpu import adam, compiler
compiler.SHARED_DIGEST = sys.argv[1] or compiler.SHARED_DIGEST
before = compiler.is_cached(adam.squared_norm)
assert adam.squared_norm(np.ones(3, np.float32)) == 3
stats = adam.squared_norm.stats
print(before, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), compiler.is_cached(adam.squared_norm))
"""

# by a kernel that Python calls, and by one that is called by its address
SIGMOID = """
import numpy as np
from fastvae.kernels import cpu
from fastvae.kernels.formulas import ACTIVATIONS
x, y, one = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)
cpu.sigmoid_inplace(x)
cpu.dense_forward(one, one, one[0], ACTIVATIONS["sigmoid"], y, y)
print(x[0, 0], y[0, 0])
"""

DENSE = """
import numpy as np
from fastvae.kernels import cpu
from fastvae.kernels.cpu import activations, ops, products
from fastvae.kernels.formulas import ACTIVATIONS
x, weight, bias = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
y = np.empty((8, 8), np.float32)
natives = [ops.OPS["dense_forward"], products.multiply]
for code in ACTIVATIONS.values():
    cpu.dense_forward(x, weight, bias[0].copy(), code, y, np.empty_like(y))
    natives.append(activations._PASSES[code][0])
cpu.dense_forward(x, weight, bias[0].copy(), 0, y, y)
print(sum(native._compiled.cache_hits for native in natives), y.tobytes().hex())
"""
COUNT = 2 + len(ACTIVATIONS)


def python(script, cache, *arguments, tree, **environment):
    """What the script prints in a new process, whose compiled kernels are kept under `cache`."""
    environment |= {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(tree)}
    return commands.python(script, *arguments, **environment).split()


def test_the_digest_is_of_all_sources():
    files = [file for folder in (KERNELS, KERNELS / "cpu") for file in folder.glob("*.py")]
    assert {"formulas.py", "philox.py", "scalars.py", "compiler.py", "tile.py"} <= {file.name for file in files}
    sources = b"".join(file.read_bytes() for file in sorted(files))
    assert hashlib.sha256(sources).hexdigest() == compiler.SHARED_DIGEST


def test_a_second_process_compiles_nothing_unless_the_digest_changed(tmp_path):
    def norm(digest=""):
        return python(NORM, tmp_path, digest, tree=PACKAGE.parent)

    assert norm() == ["False", "0", "1", "True"]
    assert norm() == ["True", "1", "0", "True"]
    assert norm("another") == ["True", "0", "1", "True"]
    assert norm("another") == ["True", "1", "0", "True"]
    assert norm() == ["True", "1", "0", "True"]


def test_a_second_process_compiles_no_function_that_is_called_by_its_address(tmp_path):
    first, second = (python(DENSE, tmp_path, tree=PACKAGE.parent) for _ in range(2))
    assert first[0] == "0"
    assert second == [str(COUNT), first[1]]


def test_units_do_not_take_each_others_code(tmp_path):
    """In one cache, one after the other: what is fused differs from what is not, and stays so."""
    fused, plain, again = (
        python(DENSE, tmp_path, tree=PACKAGE.parent, FASTVAE_PRODUCTS=unit) for unit in ("avx2", "plain", "avx2")
    )
    assert fused[0] == plain[0] == "0"
    assert again == [str(COUNT), fused[1]]
    assert plain[1] != fused[1]


@pytest.fixture
def tree(tmp_path):
    """A copy of the package without what the kernels do not need."""
    without = shutil.ignore_patterns("__pycache__", "data", "models")
    shutil.copytree(PACKAGE, tmp_path / "tree" / "fastvae", ignore=without)
    shutil.copytree(KERNELS, tmp_path / "tree" / "fastvae" / "kernels", ignore=without, dirs_exist_ok=True)
    return tmp_path / "tree"


def test_a_changed_formula_is_compiled_anew(tmp_path, tree):
    """The kernels' own files keep their time stamps, which is all that numba looks at."""
    cache = tmp_path / "cache"
    cache.mkdir()
    assert python(SIGMOID, cache, tree=tree) == ["0.5", "0.5"]
    with (tree / "fastvae" / "kernels" / "formulas.py").open("a") as file:
        file.write("\n\n@formula\ndef sigmoid(a):\n    return HALF * HALF\n")
    assert python(SIGMOID, cache, tree=tree) == ["0.25", "0.25"]


def test_kernels_are_cached_and_release_the_lock():
    from fastvae.kernels.cpu import adam, latent, likelihoods

    for function in (adam.adam_inplace, latent.latent_forward, likelihoods.sigmoid_inplace):
        assert isinstance(function._cache, compiler._DigestCache)
        assert function.targetoptions["nogil"]
        assert function.targetoptions["error_model"] == "numpy"


def test_nothing_assumes_that_numbers_are_finite():
    """`nnan` or `ninf` would let the compiler drop the NaN that a diverged run must show."""
    from fastvae.kernels.cpu import adam, latent

    assert adam.adam_inplace.targetoptions["fastmath"] == {"contract"}
    assert latent.latent_forward.targetoptions["fastmath"] == {"contract", "reassoc", "nsz"}


def test_division_by_zero_is_numpys():
    """Infinity, not an exception: with Python's error model the loops do not vectorise."""

    @compiler.kernel
    def divide(x, out):
        for i in range(x.size):
            out[i] = x[i] / np.float32(0)

    out = np.empty(2, np.float32)
    divide(np.array([1, -1], np.float32), out)
    np.testing.assert_array_equal(out, [np.inf, -np.inf])
