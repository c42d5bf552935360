"""Check this installation on this machine: what was chosen, and every kernel against a float64 reference.

python -m fastvae.selfcheck
python -m fastvae.selfcheck --device cuda --json
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
import traceback
from dataclasses import asdict
from typing import Any

from fastvae.command_line import FAILED, Parser, run
from fastvae.version import VERSION

WIDTH = 49  # of the names of kernels, and more than the longest
GPU_PARTS = ("float32", "bfloat16", "models")
EXTENSIONS = ("sse2", "avx2", "fma", "avx512f", "avx512bf16", "amx-tile", "amx-bf16", "neon", "sve")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns 0, or 1 where a kernel is wrong."""
    arguments = parser().parse_args(argv)
    return run("selfcheck", lambda: _selfcheck(arguments), arguments.traceback)


def parser() -> Parser:
    """The options."""
    p = Parser(
        "selfcheck", "Check every kernel against a float64 reference, and say what was chosen for this processor."
    )
    p.add_argument("--json", action="store_true", help="print everything as one line of JSON")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU too, if there is one")
    p.add_argument("--chosen-only", action="store_true", help="leave out the variants that this processor can run too")
    return p


def _selfcheck(arguments: argparse.Namespace) -> int:
    from fastvae.backend import missing_cuda

    if arguments.device == "cuda" and (reason := missing_cuda()):
        raise ValueError(f"device='cuda' cannot be had: {reason}; --device cpu checks the processor alone")
    about = describe()
    report: dict[str, Any] = {"about": about, "float32": {about["products"]: _check("float32")}, "bfloat16": {}}
    if about["bfloat16"]:
        report["bfloat16"][about["bfloat16"]] = _check("bfloat16")
    if not arguments.chosen_only:
        for variant in variants(about["products"]):
            report["float32"][variant] = _in_a_process_of_its_own(variant)
    results = [r for part in ("float32", "bfloat16") for results in report[part].values() for r in results]
    report["gpu"] = gpu = check_gpu(arguments.device)
    right = all(r["right"] for r in results + [r for part in GPU_PARTS for r in gpu.get(part, [])])
    report["right"] = right = right and not gpu.get("failed")
    print(json.dumps(report) if arguments.json else as_text(report))
    return 0 if right else FAILED


def check_gpu(device: str) -> dict[str, Any]:
    """What is missing for the GPU, or what it is and all that was checked there, up to the first error: a report of
    half of the kernels is worth more than none."""
    if device == "cpu":
        return {"missing": "not asked for (--device cpu)"}
    from fastvae.backend import missing_cuda

    if reason := missing_cuda():
        return {"missing": reason}
    from fastvae import checks_cuda
    from fastvae.checks import check_all
    from fastvae.kernels.cuda.driver import device as device_in_use

    without = missing_cuda("bfloat16")
    found: dict[str, Any] = {"about": device_in_use().describe() | {"bfloat16": without or "tensor cores"}}
    found |= {part: [] for part in GPU_PARTS} | {"launch_us": math.nan, "step_us": {}, "failed": None}
    try:
        for precision in ("float32",) if without else ("float32", "bfloat16"):
            for result in check_all(precision, "cuda"):
                found[precision].append(_as_dict(result))
        for outcome in (checks_cuda.noise(), *checks_cuda.training()):
            found["models"].append(_as_dict(outcome))
        found["launch_us"], found["step_us"] = checks_cuda.launch_microseconds(), checks_cuda.step_microseconds()
    except Exception as error:
        traceback.print_exc()
        found["failed"] = f"{type(error).__name__}: {error}"
    return found


def describe() -> dict[str, Any]:
    """What this machine is, what is installed, and what was chosen for it, with the reason."""
    from llvmlite import binding

    from fastvae.kernels.cpu import blas, cache, processor, program
    from fastvae.kernels.cpu.workers import processors

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
        "cache_bytes": cache.sizes(),
    }


def variants(chosen: str) -> list[str]:
    """The other ways to do the products that this processor has instructions for."""
    from fastvae.kernels.cpu import blas, processor

    has = processor.features()
    able = {"avx512": "avx512f" in has, "avx2": {"avx2", "fma"} <= has, "neon": processor.is_arm(), "plain": True}
    able[processor.BLAS] = blas.sgemm_address() != 0
    return [name for name, can in able.items() if can and name != chosen]


def _as_dict(result: Any) -> dict[str, Any]:
    return asdict(result) | {"right": result.right}


def _check(precision: str) -> list[dict[str, Any]]:
    from fastvae.checks import check_all
    from fastvae.kernels.cpu.workers import Workers

    with Workers(1):  # which also gives a BLAS one thread
        return [_as_dict(result) for result in check_all(precision)]


def _in_a_process_of_its_own(variant: str) -> list[dict[str, Any]]:
    """The results of another variant: which one is chosen is decided when the kernels are imported."""
    from fastvae.kernels.cpu.processor import VARIABLE

    command = [sys.executable, "-m", "fastvae.selfcheck", "--json", "--chosen-only", "--device", "cpu"]
    path = os.pathsep.join([str(pathlib.Path(__file__).resolve().parents[1]), *sys.path])
    environment = os.environ | {VARIABLE: variant, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)["float32"][variant]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ValueError(f"the check of {variant} did not end: {last}") from None


def gpu_as_text(gpu: dict[str, Any]) -> str:
    """The GPU in a line."""
    if "missing" in gpu:
        return f"none: {gpu['missing']}"
    about = gpu["about"]
    return about["name"] + "".join(f", {name} {value}" for name, value in about.items() if name != "name")


def gpu_lines(gpu: dict[str, Any]) -> list[str]:
    """What was found on the GPU."""
    if "missing" in gpu:
        return []
    lines = ["", f"{'kernel on the GPU':<{WIDTH}}{'by':<10}{'error / allowed':>16}{'speed':>24}"]
    for part, by in (("float32", "cuda"), ("bfloat16", "cuda bf16")):
        lines += [_line(r, by) for r in gpu[part]]
    for r in gpu["models"]:
        lines.append(f"{r['name']:<{WIDTH + 10}}{_error(r):>16}{'' if r['right'] else '   WRONG'}")
    if gpu["failed"]:
        return [*lines, f"the GPU's check ended here: {gpu['failed']}"]
    lines.append(f"a launch costs the host {gpu['launch_us']:.1f} us")
    for size, times in gpu["step_us"].items():
        lines.append(f"a step, {size}: " + ", ".join(f"{how} {value:.0f} us" for how, value in times.items()))
    return lines


def _error(r: dict[str, Any]) -> str:
    return "wrong: NaN" if math.isnan(r["error"]) else f"{r['error']:.2f}"


def _line(r: dict[str, Any], by: str) -> str:
    wrong = "" if r["right"] else "   WRONG"
    return f"{r['name']:<{WIDTH}}{by:<10}{_error(r):>16}{r['rate']:>16.1f} {r['unit']:<7}{wrong}"


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    about = report["about"]
    lines = [
        f"fastvae {about['fastvae']}, Python {about['python']}, numpy {about['numpy']}, numba {about['numba']}",
        f"{about['processor']} ({about['llvm_name']}), {about['threads']} threads, {' '.join(about['extensions'])}",
        f"{about['system']}",
        f"products in float32: {about['products']} ({about['products_why']})",
        f"products in bfloat16: {about['bfloat16'] or 'none'} ({about['bfloat16_why']})",
        f"GPU: {gpu_as_text(report['gpu'])}",
        "compiled code on the disk: "
        + (", ".join(f"{size / 1e6:.1f} MB in {path}" for path, size in about["cache_bytes"].items()) or "none"),
        "",
        f"{'kernel':<{WIDTH}}{'by':<10}{'error / allowed':>16}{'speed of one thread':>24}",
    ]
    for part in ("float32", "bfloat16"):
        for variant, results in report[part].items():
            for r in results:
                is_product = r["unit"] == "GFLOP/s"
                if not is_product and variant != about["products"]:
                    continue  # the same code
                by = (variant if part == "float32" else f"{variant} bf16") if is_product else "numba"
                lines.append(_line(r, by))
    lines += gpu_lines(report["gpu"])
    results = [r for part in ("float32", "bfloat16") for v in report[part].values() for r in v]
    count = sum(not r["right"] for r in results + [r for part in GPU_PARTS for r in report["gpu"].get(part, [])])
    wrong = f"WRONG: {count} kernels do not agree" + (", and the GPU failed" if report["gpu"].get("failed") else "")
    lines += ["", "all kernels agree with the reference" if report["right"] else wrong]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
