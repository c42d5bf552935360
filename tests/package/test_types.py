"""What a type checker makes of the package as somebody has it who installed it: of a script, under `mypy --strict`."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from fastvae.kernels.described import stub

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = pathlib.Path(__file__).with_name("user_script.py")
INSTALL = "import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1], {settings})"


def run(*words, cwd, **environment):
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    found = subprocess.run([str(w) for w in words], cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    return found.returncode, found.stdout + found.stderr


def test_a_type_checker_is_told_of_each_op():
    """After a change of the table: python -c "from fastvae.kernels.described import stub; print(stub(), end='')"."""
    assert (ROOT / "kernels/cpu/__init__.pyi").read_text() == stub()


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """What the checker has found out about other packages."""
    return tmp_path_factory.mktemp("known")


def sources(folder):
    """A copy of what is built, so that building leaves nothing behind."""
    for name in ("fastvae", "kernels"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)


@pytest.mark.long
@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_a_script_that_uses_most_of_it_has_no_errors(how, known, tmp_path):
    """Installed by hand, without an index: a wheel is an archive of what lies in site-packages. An editable one is that
    of `pip install -e . --config-settings editable_mode=strict`: the usual one is found by Python alone."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    pytest.importorskip("setuptools", minversion="77", reason="setuptools builds the package")
    source, site = tmp_path / "source", tmp_path / "environment"
    source.mkdir()
    sources(source)
    run(sys.executable, "-m", "venv", "--without-pip", site, cwd=tmp_path)
    packages = next(site.glob("lib/python3*/site-packages"))
    (packages / "a_others.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")) + "\n")
    hook, settings = ("build_wheel", None) if how == "wheel" else ("build_editable", {"editable_mode": "strict"})
    code = INSTALL.format(hook=hook, settings=settings)
    status, output = run(sys.executable, "-c", code, tmp_path, cwd=source)
    assert status == 0, output[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, packages, "zip")
    shutil.copy(SCRIPT, tmp_path / "use.py")
    python = site / "bin/python"
    checker = (
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        known,
        "--python-executable",
        python,
    )
    status, output = run(*checker, "use.py", cwd=tmp_path)
    assert status == 0, output[-4000:]
    broken = (
        (tmp_path / "use.py").read_text().replace("cpu.kl_forward(mu, logvar)", "cpu.kl_forward(mu, losses=logvar)")
    )
    (tmp_path / "use.py").write_text(broken.replace("latent_dim=2, hidden=(16,)", "latent_dimm=2, hidden=(16,)"))
    status, output = run(*checker, "use.py", cwd=tmp_path)
    assert 'Unexpected keyword argument "losses" for "kl_forward"' in output
    assert 'did you mean "latent_dim"?' in output
    assert output.strip().endswith("Found 2 errors in 1 file (checked 1 source file)")


@pytest.mark.long
def test_the_script_runs(tmp_path):
    status, output = run(
        sys.executable, "-W", "ignore", SCRIPT, tmp_path / "model.npz", cwd=tmp_path, PYTHONPATH=str(ROOT)
    )
    assert status == 0, output[-2000:]
    assert "this VAE is not fitted" in output
