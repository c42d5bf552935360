"""Write a trained model as files for others; see `fastvae.export`.

python -m fastvae.export runs/digits --out digits_model.py        then: import digits_model; digits_model.encode(X)
"""

import argparse
import pathlib
from typing import Any

from fastvae.command_line import Parser, run, say
from fastvae.export import numpy_file, onnx_file, safetensors_file
from fastvae.models.registry import load
from fastvae.sample import model_path

FORMATS: dict[str, tuple[Any, Any]] = {  # ending to what names the files, and what writes them
    ".py": (numpy_file.paths, numpy_file.write),
    ".onnx": (lambda out: onnx_file.paths(out).values(), onnx_file.write),
    ".safetensors": (safetensors_file.paths, safetensors_file.write),
}


def parser() -> Parser:
    """The options."""
    p = Parser("export", "Write a trained model as files for others: NumPy alone, ONNX, or safetensors.")
    p.add_argument("model", help="a model.npz or .safetensors, or the folder of a run")
    p.add_argument("--out", default="model.py", help="the ending is the format. NAME.py: encode, decode, sample, score "
                   "with NumPy alone; the numbers go into NAME.npz beside it. NAME.onnx: NAME.encoder.onnx, "
                   "NAME.decoder.onnx and NAME.score.onnx, for onnxruntime and others. NAME.safetensors: the "
                   "parameters by name, and all that fastvae needs to load the model from it")  # fmt: skip
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run("export", lambda: _export(arguments), arguments.traceback)


def _export(arguments: argparse.Namespace) -> int:
    source, out = model_path(arguments.model), pathlib.Path(arguments.out)
    ending = out.suffix or ".py"
    if ending not in FORMATS:
        raise ValueError(f"--out {out}: the ending {ending!r} is not known; valid: {', '.join(FORMATS)}")
    targets, write = FORMATS[ending]
    for path in targets(out):
        if path.exists() and path.samefile(source):
            raise ValueError(f"--out {arguments.out}: {path} is what is read; give another name")
    written = write(load(source, device="cpu"), out)
    size = sum(path.stat().st_size for path in written)
    note = f"; import {written[0].stem}" if ending == ".py" else ""
    say(f"{', '.join(map(str, written))}: {size:,} bytes{note}")
    return 0
