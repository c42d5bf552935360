"""The README's Python and its commands, run as they stand."""

import importlib.util
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from fastvae.backend import missing_cuda

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
EACH = [pytest.param(code, marks=pytest.mark.long if "@register" in code else ()) for code in PYTHON]  # which compiles
COMMANDS = [line.strip().split("  #")[0] for line in TEXT.splitlines() if line.startswith("    python -m fastvae.")]


def test_there_is_something_to_run():
    assert len(PYTHON) >= 1
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("code", EACH)
def test_python(code, tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def write_tables(folder):
    """The tables of the commands: one of numbers with names of rows and notes, one with words and gaps."""
    sizes = [(i * 37 % 60) / 20 for i in range(60)]
    rows = [f"r{i},{v:.2f},{v * v:.2f},seen {i}" for i, v in enumerate(sizes)]
    (folder / "table.csv").write_text("\n".join(["name,length,area,notes", *rows]) + "\n")
    rows = [f"{'' if i % 9 == 0 else f'{v:.2f}'},{'bog' if v > 1 else 'fen'},{i * i % 5}" for i, v in enumerate(sizes)]
    (folder / "mixed.csv").write_text("\n".join(["length,site,eggs", *rows]) + "\n")


@pytest.mark.long
def test_commands_in_order(tmp_path):
    write_tables(tmp_path)
    for command in COMMANDS:
        if "mnist" in command or "NAME" in command:
            continue  # needs data that is not in the package
        if "cuda" in command and missing_cuda():
            continue
        if any(f".{name}" in command and importlib.util.find_spec(name) is None for name in ("onnx", "safetensors")):
            continue
        if command.strip().endswith("fastvae.compare"):
            command = command.strip() + " --budget 0.5"  # seconds a model, instead of 6
        if ".train" in command and ".csv" in command:
            command = command.strip() + " --epochs 5"
        words = [sys.executable if w == "python" else w for w in shlex.split(command)]
        result = subprocess.run(
            words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{command}: {result.stderr}"


def test_files_that_are_named_exist():
    for path in re.findall(r"`((?:fastvae|kernels|tests|benchmarks)/[\w./]*)`", TEXT) + re.findall(
        r"\]\(([\w./]+)\)", TEXT
    ):
        assert (ROOT / path).exists(), path
