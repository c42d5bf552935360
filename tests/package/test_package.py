"""The package as such: what importing it costs, one copy of the kernels, docstrings that run."""

import doctest
import importlib
import os
import pathlib
import pkgutil
import shutil
import subprocess
import sys

import pytest

import fastvae

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = [
    name for _, name, _ in pkgutil.walk_packages(fastvae.__path__[:1], "fastvae.") if not name.endswith("report")
] + ["fastvae.kernels", "fastvae.kernels.formulas", "fastvae.kernels.philox", "fastvae.kernels.cpu"]


def python(*words, cwd=ROOT, **environment):
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False
    )


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, fastvae; print(sorted({'numpy', 'numba', 'matplotlib', 'tqdm', 'torch'} & set(sys.modules)))"
    assert python("-c", code).stdout.strip() == "[]"


def test_the_estimator_is_reached_by_name():
    from fastvae.models.vae import VAE

    assert fastvae.VAE is VAE
    assert "VAE" in dir(fastvae)
    with pytest.raises(AttributeError, match="no attribute 'VAEE'"):
        fastvae.VAEE  # noqa: B018


USE = """\
from fastvae import VAE
reveal_type(VAE(latent_dim=2))
reveal_type(VAE().fit([[1.0]]).transform([[1.0]]))
VAE(latent_dimm=2)
from fastvae import VEA
"""


def test_a_type_checker_knows_the_estimator_in_a_checkout_and_in_a_wheel(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "use.py").write_text(USE)
    shutil.copytree(ROOT / "fastvae", tmp_path / "wheel/fastvae", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "kernels", tmp_path / "wheel/fastvae/kernels")
    checker = ("-m", "mypy", "--no-site-packages", "--follow-imports=silent", "--ignore-missing-imports", "use.py")
    for place in (ROOT, tmp_path / "wheel"):
        found = python(*checker, "--cache-dir", str(tmp_path / "cache"), cwd=tmp_path, MYPYPATH=str(place)).stdout
        assert 'Revealed type is "fastvae.models.vae.VAE"' in found
        assert 'use.py:3: note: Revealed type is "Any"' in found  # an array: NumPy is not looked at here
        assert 'did you mean "latent_dim"?' in found
        assert 'has no attribute "VEA"' in found


def test_there_is_one_copy_of_the_kernels():
    result = python("-c", "import kernels")
    assert result.returncode == 1
    assert "imported as `fastvae.kernels`" in result.stderr


def test_a_copy_of_the_sources_runs_without_being_installed(tmp_path):
    for folder in ("fastvae", "kernels"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import fastvae.kernels as k, fastvae.models.vae as v; print(k.__file__); print(v.__file__)"
    kernels, vae = python("-c", code, cwd=tmp_path).stdout.split()
    assert pathlib.Path(kernels) == tmp_path / "kernels/__init__.py"
    assert pathlib.Path(vae) == tmp_path / "fastvae/models/vae.py"
    result = python("-m", "fastvae.train", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "--likelihood" in result.stdout


def test_every_package_of_the_tree_is_in_the_build():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(p.parent.relative_to(ROOT).parts)
        for folder in ("fastvae", "kernels")
        for p in (ROOT / folder).rglob("__init__.py")
    }
    assert set(listed) == {f"fastvae.{n}" if n.startswith("kernels") else n for n in found}


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_and_classes_have_docstrings(name):
    module = importlib.import_module(name)
    for attribute, value in vars(module).items():
        if not attribute.startswith("_") and getattr(value, "__module__", None) == name and callable(value):
            assert (value.__doc__ or "").strip(), f"{name}.{attribute}"


# ---- what numba says ------------------------------------------------------------------------------------------------

WAYS = {
    "absent": ("raise ModuleNotFoundError(\"No module named 'numba'\", name='numba')", "No module named 'numba'"),
    "refuses NumPy": ("raise ImportError('Numba needs NumPy 2.3 or less.\\nGot NumPy 9.')", "less. Got NumPy 9."),
    "broken": ("raise SystemError('initialization of _internal failed')", "SystemError: initialization of _internal"),
    "misses a name": ("import numpy; numpy.no_such_name", "AttributeError: module 'numpy' has no attribute"),
    "old": (
        "from types import SimpleNamespace as N\n__version__ = '0.60.0'\nversion_info = N(short=(0, 60))",
        "too old",
    ),
    "without compiler": (None, "NUMBA_DISABLE_JIT=1"),
}


@pytest.fixture(params=WAYS)
def unusable(request, tmp_path):
    """What of numba cannot be used: where it lies and what has been set, and the words to be said."""
    source, words = WAYS[request.param]
    if source is None:
        return {"PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}, words
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text(source)
    return {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}, words


def test_why_numba_cannot_be_used_is_the_error_of_the_import(unusable):
    environment, words = unusable
    for statement in ("from fastvae import VAE", "import fastvae; fastvae.VAE", "import fastvae.models.vae"):
        last = python("-c", statement, cwd=ROOT / "tests", **environment).stderr.splitlines()[-1]
        assert last.startswith("ImportError: ")
        assert words in last


@pytest.mark.parametrize("command", ["train", "sample", "encode", "selfcheck"])
def test_why_numba_cannot_be_used_is_one_line_of_a_command(unusable, command):
    environment, words = unusable
    result = python("-m", f"fastvae.{command}", cwd=ROOT / "tests", **environment)
    (line,) = result.stderr.splitlines()
    assert words in line
    assert (result.returncode, result.stdout) == (2, "")


def test_without_numpy_a_command_says_so_in_one_line(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')")
    result = python("-m", "fastvae.train", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}", cwd=tmp_path)
    assert result.stderr == "fastvae: No module named 'numpy': pip install numpy\n"


def test_an_attribute_error_inside_the_import_is_not_called_a_missing_name(tmp_path):
    (tmp_path / "numba.py").write_text("class version_info:\n    short = 9, 0")
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "cwd": tmp_path}
    last = python("-c", "from fastvae import VAE", **environment).stderr.splitlines()[-1]
    assert last == "ImportError: fastvae cannot be imported: module 'numba' has no attribute 'config'"
    said = python("-m", "fastvae.train", **environment).stderr
    assert said == "fastvae: AttributeError: module 'numba' has no attribute 'config'\n"
