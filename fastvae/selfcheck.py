"""Check this installation on this machine: what was chosen, and every kernel against a float64 reference.

python -m fastvae.selfcheck
"""

import argparse
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from fastvae.command_line import FAILED, Parser, run
from fastvae.version import VERSION

EXTENSIONS = ("sse2", "avx2", "fma", "avx512f", "avx512bf16", "amx-tile", "amx-bf16", "neon", "sve")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns 0, or 1 where a kernel is wrong."""
    p = Parser(
        "selfcheck", "Check every kernel against a float64 reference, and say what was chosen for this processor."
    )
    p.add_argument("--json", action="store_true", help="print everything as one line of JSON")
    p.add_argument("--chosen-only", action="store_true", help="leave out the variants that this processor can run too")
    arguments = p.parse_args(argv)
    return run("selfcheck", lambda: _selfcheck(arguments), arguments.traceback)


def _selfcheck(arguments: argparse.Namespace) -> int:
    about = describe()
    report: dict[str, Any] = {"about": about, "float32": {about["products"]: _check("float32")}, "bfloat16": {}}
    if about["bfloat16"]:
        report["bfloat16"][about["bfloat16"]] = _check("bfloat16")
    if not arguments.chosen_only:
        for variant in variants(about["products"]):
            report["float32"][variant] = _in_a_process_of_its_own(variant)
    right = all(r["right"] for part in ("float32", "bfloat16") for results in report[part].values() for r in results)
    report["right"] = right
    print(json.dumps(report) if arguments.json else as_text(report))
    return 0 if right else FAILED


def describe() -> dict[str, Any]:
    """What this machine is, what is installed, and what was chosen for it, with the reason."""
    from llvmlite import binding

    from fastvae.kernels.cpu import blas, processor, program
    from fastvae.kernels.cpu.compiler import cache_bytes
    from fastvae.workers import processors

    processor.check()
    has = processor.features()
    return {
        "fastvae": VERSION,
        "processor": processor.name(),
        "llvm_name": binding.get_host_cpu_name(),
        "architecture": platform.machine(),
        "extensions": [name for name in EXTENSIONS if name in has],
        "system": platform.platform(),
        "threads": processors(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("numpy", "numba", "llvmlite")},
        "products": "blas" if program.engine("float32") is blas else processor.UNIT.name,
        "products_why": processor.REASON,
        "bfloat16": processor.BFLOAT16,
        "bfloat16_why": processor.BFLOAT16_REASON,
        "cache_bytes": cache_bytes(),
    }


def variants(chosen: str) -> list[str]:
    """The other ways to do the products that this processor has instructions for."""
    from fastvae.kernels.cpu import blas, processor

    has = processor.features()
    able = {"avx512": "avx512f" in has, "avx2": {"avx2", "fma"} <= has, "neon": processor.is_arm(), "plain": True}
    able[processor.BLAS] = blas.sgemm_address() != 0
    return [name for name, can in able.items() if can and name != chosen]


def _check(precision: str) -> list[dict[str, Any]]:
    from fastvae.checks import check_all
    from fastvae.workers import Workers

    with Workers(1):  # which also gives a BLAS one thread
        return [asdict(result) | {"right": result.right} for result in check_all(precision)]


def _in_a_process_of_its_own(variant: str) -> list[dict[str, Any]]:
    """The results of another variant: which one is chosen is decided when the kernels are imported."""
    from fastvae.kernels.cpu.processor import VARIABLE

    command = [sys.executable, "-m", "fastvae.selfcheck", "--json", "--chosen-only"]
    path = os.pathsep.join([str(pathlib.Path(__file__).resolve().parents[1]), *sys.path])
    environment = os.environ | {VARIABLE: variant, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)["float32"][variant]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ValueError(f"the check of {variant} did not end: {last}") from None


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    about = report["about"]
    lines = [
        f"fastvae {about['fastvae']}, Python {about['python']}, numpy {about['numpy']}, numba {about['numba']}",
        f"{about['processor']} ({about['llvm_name']}), {about['threads']} threads, {' '.join(about['extensions'])}",
        f"{about['system']}",
        f"products in float32: {about['products']} ({about['products_why']})",
        f"products in bfloat16: {about['bfloat16'] or 'none'} ({about['bfloat16_why']})",
        "GPU: no model runs on one in this version",
        f"compiled code on the disk: {about['cache_bytes'] / 1e6:.1f} MB",
        "",
        f"{'kernel':<34}{'by':<10}{'error / allowed':>16}{'speed of one thread':>24}",
    ]
    for part in ("float32", "bfloat16"):
        for variant, results in report[part].items():
            for r in results:
                is_product = r["unit"] == "GFLOP/s"
                if not is_product and variant != about["products"]:
                    continue  # the same code
                by = (variant if part == "float32" else f"{variant} bf16") if is_product else "numba"
                error = "wrong: NaN" if math.isnan(r["error"]) else f"{r['error']:.2f}"
                wrong = "" if r["right"] else "   WRONG"
                lines.append(f"{r['name']:<34}{by:<10}{error:>16}{r['rate']:>16.1f} {r['unit']:<7}{wrong}")
    count = sum(not r["right"] for part in ("float32", "bfloat16") for v in report[part].values() for r in v)
    lines += ["", "all kernels agree with the reference" if report["right"] else f"WRONG: {count} kernels do not agree"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
