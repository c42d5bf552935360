"""Write a trained model as two files that need NumPy alone: NAME.py and NAME.npz.

python -m fastvae.export runs/digits --out digits_model.py        then: import digits_model; digits_model.encode(X)
"""

import argparse
import sys

from fastvae import numpy_file
from fastvae.command_line import Parser, run, say
from fastvae.models.registry import load
from fastvae.sample import model_path


def parser() -> Parser:
    """The options."""
    p = Parser("export", "Write a trained model as a Python file and its numbers, which need NumPy alone.")
    p.add_argument("model", help="a model.npz, or the folder of a run")
    p.add_argument("--out", default="model.py", help="NAME.py; the numbers go into NAME.npz beside it")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run("export", lambda: _export(arguments), arguments.traceback)


def _export(arguments: argparse.Namespace) -> int:
    source = model_path(arguments.model)
    code, numbers = numpy_file.paths(arguments.out)
    for path in (code, numbers):
        if path.exists() and path.samefile(source):
            raise ValueError(f"--out {arguments.out}: {path} is what is read; give another name")
    numpy_file.write(load(source, device="cpu"), code)
    size = code.stat().st_size + numbers.stat().st_size
    say(f"{code}, {numbers}: {size:,} bytes; import {code.stem}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
