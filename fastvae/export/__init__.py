"""Trained models as files for others: NumPy alone, ONNX, safetensors.

    to_numpy(model, "digits_model.py")
    to_onnx(model, "digits.onnx")
    to_safetensors(model, "digits.safetensors")

`python -m fastvae.export MODEL --out NAME.py` (or `.onnx`, `.safetensors`) is the command. What the first two take of a
model says `portable`; a format is a file. Nothing is imported before it is used, as models read files of safetensors.
"""

import os
import pathlib
from typing import Any

Path = str | os.PathLike[str]


def to_numpy(model: Any, path: Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Write NAME.py and NAME.npz, which need NumPy alone: see `numpy_file.write`."""
    from fastvae.export.numpy_file import write

    return write(model, path)


def to_onnx(model: Any, path: Path) -> tuple[pathlib.Path, ...]:
    """Write NAME.encoder.onnx, NAME.decoder.onnx and NAME.score.onnx: see `onnx_file.write`."""
    from fastvae.export.onnx_file import write

    return write(model, path)


def to_safetensors(model: Any, path: Path) -> tuple[pathlib.Path]:
    """Write NAME.safetensors, which `load` reads: see `safetensors_file.write`."""
    from fastvae.export.safetensors_file import write

    return write(model, path)


def parser() -> Any:
    """The options of the command."""
    from fastvae.export.command import parser

    return parser()


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    from fastvae.export.command import main

    return main(argv)
