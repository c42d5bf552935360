"""The on-disk cache: a second process compiles nothing, and a change of the shared scalar maths is never missed."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np

import fastvae
import fastvae.kernels
from fastvae.kernels import formulas, philox
from fastvae.kernels.cpu import compiler

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

SIGMOID = """
import numpy as np
from fastvae.kernels import cpu
x = np.zeros((1, 1), np.float32)
cpu.sigmoid_inplace(x)
print(x[0, 0])
"""


def python(script, cache, *arguments, tree):
    """What the script prints in a new process, whose compiled kernels are kept under `cache`."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(tree)}
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cache, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_digest_is_of_the_shared_sources():
    sources = [pathlib.Path(m.__file__).read_bytes() for m in (formulas, philox, compiler)]
    assert hashlib.sha256(b"".join(sources)).hexdigest() == compiler.SHARED_DIGEST


def test_a_second_process_compiles_nothing_unless_the_digest_changed(tmp_path):
    def norm(digest=""):
        return python(NORM, tmp_path, digest, tree=PACKAGE.parent)

    assert norm() == ["False", "0", "1", "True"]
    assert norm() == ["True", "1", "0", "True"]
    assert norm("another") == ["True", "0", "1", "True"]
    assert norm("another") == ["True", "1", "0", "True"]
    assert norm() == ["True", "1", "0", "True"]


def test_a_changed_formula_is_compiled_anew(tmp_path):
    """In a copy of the package: the kernel's own file keeps its time stamp, which is all that numba looks at."""
    tree, cache = tmp_path / "tree", tmp_path / "cache"
    cache.mkdir()
    without = shutil.ignore_patterns("__pycache__", "data", "models")
    shutil.copytree(PACKAGE, tree / "fastvae", ignore=without)
    shutil.copytree(KERNELS, tree / "fastvae" / "kernels", ignore=without, dirs_exist_ok=True)
    assert python(SIGMOID, cache, tree=tree) == ["0.5"]
    with (tree / "fastvae" / "kernels" / "formulas.py").open("a") as file:
        file.write("\n\n@formula\ndef sigmoid(a):\n    return HALF * HALF\n")
    assert python(SIGMOID, cache, tree=tree) == ["0.25"]


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
