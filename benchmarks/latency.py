"""How long one row takes: transform, decode and score_samples of a trained VAE, and of what it is exported to.

    python benchmarks/latency.py                       # one thread each, then what each chooses
    python benchmarks/latency.py --by fastvae onnxruntime --calls 20000 --threads 1

Each implementation runs alone in a process of its own; their rounds alternate. Every call is timed by itself, from a
NumPy array (1, D) of float32 to a NumPy array. What counts is p50, what a call takes, and p99, what one in a hundred
takes at least. Results must agree with fastvae's before anything is timed. `--cpu` has the time that the calling thread
had a processor for, in place of the clock's: with one thread each, what a busy machine can still measure.
"""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

import numpy as np

from benchmarks import machine
from benchmarks.cases import compiler_missing
from benchmarks.workers import THREAD_SETTINGS

SIZES = {  # name: columns, arguments
    "784-400-20": (784, {"latent_dim": 20, "hidden": (400,), "likelihood": "bernoulli", "activation": "relu"}),
    "14-64-64-4": (14, {"latent_dim": 4, "hidden": (64, 64), "likelihood": "gaussian", "activation": "silu"}),
}
FUNCTIONS = ("transform", "decode", "score_samples")
IMPLEMENTATIONS = ("fastvae", "numpy export", "onnxruntime", "torch", "torch.compile")
DIFFERENT = 64  # rows that the calls go through
ROUNDS, WARM_UP = 10, 20  # and calls before those of a round, which wake what has slept
TOLERANCE = 1e-4  # of the largest value


def rows(columns: int, latent_dim: int, function: str) -> list[np.ndarray]:
    """What the calls are given: (1, D) or (1, Z)."""
    rng = np.random.default_rng(5)
    if function == "decode":
        return list(rng.normal(size=(DIFFERENT, 1, latent_dim)).astype(np.float32))
    return list(rng.random((DIFFERENT, 1, columns)).astype(np.float32))


def train(folder: pathlib.Path) -> None:
    """A model of each size, and its exports."""
    from fastvae import VAE
    from fastvae.export import to_numpy, to_onnx

    for name, (columns, arguments) in SIZES.items():
        X = np.random.default_rng(0).random((500, columns)).astype(np.float32)
        vae = VAE(**arguments, epochs=1, random_state=0).fit(X)
        stem = "m" + name.replace("-", "_")
        vae.save(folder / f"{stem}.npz")
        to_numpy(vae, folder / f"{stem}_numpy")
        if not missing("onnxruntime"):
            to_onnx(vae, folder / stem)


def missing(implementation: str) -> str | None:
    """Why it cannot be measured here."""
    needed = {"onnxruntime": ("onnx", "onnxruntime"), "torch": ("torch",), "torch.compile": ("torch",)}
    for module in needed.get(implementation, ()):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    return compiler_missing() if implementation == "torch.compile" else None


# ---- the process of one implementation ------------------------------------------------------------------------------


def functions(implementation: str, folder: pathlib.Path, stem: str, threads: int | None) -> dict:
    """Its functions of arrays."""
    if implementation == "numpy export":
        sys.path.insert(0, str(folder))
        module = importlib.import_module(f"{stem}_numpy")
        return {"transform": module.encode, "decode": module.decode, "score_samples": module.score}
    if implementation == "onnxruntime":
        return of_onnx(folder / stem, threads)
    from fastvae import VAE

    vae = VAE.load(folder / f"{stem}.npz")
    if implementation == "fastvae":
        return {name: getattr(vae, name) for name in FUNCTIONS}
    from benchmarks.torch_serving import functions as of_torch
    from fastvae.export.portable import portable

    return of_torch(portable(vae), implementation == "torch.compile")


def of_onnx(stem: pathlib.Path, threads: int | None) -> dict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    found = {}
    for name, file, given in (
        ("transform", "encoder", "x"), ("decode", "decoder", "z"), ("score_samples", "score", "x")
    ):  # fmt: skip
        path = str(stem.with_name(f"{stem.name}.{file}.onnx"))
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found[name] = lambda x, run=session.run, given=given: run(None, {given: x})[0]
    return found


def serve(implementation: str, folder: str, threads: str, clock_name: str) -> None:
    """Answer lines of "SIZE FUNCTION CALLS": nanoseconds of each call; with 0 calls, what a call gives."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not get among the answers
    known, clock = {}, getattr(time, clock_name)
    if implementation.startswith("torch") and int(threads):
        import torch

        torch.set_num_threads(int(threads))
    for line in sys.stdin:
        size, function, calls = line.split()
        columns, arguments = SIZES[size]
        if size not in known:
            stem = "m" + size.replace("-", "_")
            known[size] = functions(implementation, pathlib.Path(folder), stem, int(threads) or None)
        call, given = known[size][function], rows(columns, arguments["latent_dim"], function)
        if not int(calls):
            found = call(given[3])
            found = found[0] if isinstance(found, tuple) else found
            print(json.dumps(np.asarray(found, np.float64).ravel().tolist()), file=answers, flush=True)
            continue
        times = []
        for i in range(-WARM_UP, int(calls)):
            x = given[i % DIFFERENT]
            started = clock()
            call(x)
            times.append(clock() - started)
        print(json.dumps(times[WARM_UP:]), file=answers, flush=True)


# ---- the process that asks ------------------------------------------------------------------------------------------


class Asked:
    """The process of one implementation."""

    def __init__(self, implementation: str, folder: pathlib.Path, threads: int | None, clock: str):
        settings = dict.fromkeys((*THREAD_SETTINGS, "OPENBLAS_NUM_THREADS"), str(threads)) if threads else {}
        words = [sys.executable, __file__, "--serve", implementation, str(folder), str(threads or 0), clock]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=os.environ | settings)
        self._name = implementation

    def ask(self, size: str, function: str, calls: int) -> list:
        """One line to it, and its answer."""
        self._process.stdin.write(f"{size} {function} {calls}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self._name} ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def measure(by: list[str], folder: pathlib.Path, threads: int | None, calls: int, clock: str) -> None:
    """Print the table of so many threads."""
    asked = {name: Asked(name, folder, threads, clock) for name in by}
    print(f"\nthreads of each: {threads or 'what it chooses'}\n")
    print("| size | function | by | p50, us | p99, us | p50 / fastvae |\n|---|---|---|---|---|---|")
    for size in SIZES:
        for function in FUNCTIONS:
            expected = None
            for name in by:
                found = np.array(asked[name].ask(size, function, 0))
                expected = found if expected is None else expected
                if not np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max():
                    raise AssertionError(f"{function} of {name} differs from {by[0]}'s at {size}")
            times: dict[str, list[int]] = {name: [] for name in by}
            for i in range(ROUNDS):
                for name in by if i % 2 else reversed(by):
                    times[name] += asked[name].ask(size, function, -(-calls // ROUNDS))
            ours = np.median(times[by[0]])
            for name in by:
                middle, late = np.percentile(times[name], [50, 99]) / 1e3
                ratio = f"{np.median(times[name]) / ours:.2f}"
                print(f"| {size} | {function} | {name} | {middle:.1f} | {late:.1f} | {ratio} |", flush=True)
    for one in asked.values():
        one.close()


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--by", nargs="+", default=list(IMPLEMENTATIONS), choices=IMPLEMENTATIONS, help="default: all")
    parser.add_argument("--calls", type=int, default=5000, help="of each function; default: %(default)s")
    parser.add_argument("--threads", type=int, help="default: 1, then what each chooses itself")
    parser.add_argument(
        "--cpu", action="store_true", help="the processor's time of the calling thread; one thread each"
    )
    chosen = parser.parse_args()
    clock, chosen.threads = ("thread_time_ns", 1) if chosen.cpu else ("perf_counter_ns", chosen.threads)
    about = machine.describe_machine()
    print(
        f"{about['processor']}, {about['cores']} cores, Python {about['python']}; {machine.busy() or 'idle otherwise'}"
    )
    for name in IMPLEMENTATIONS:
        if reason := missing(name):
            print(f"without {name}: {reason}")
    by = [name for name in IMPLEMENTATIONS if name in chosen.by and not missing(name)]
    packages = ("numpy", "numba", "onnxruntime", "torch")
    print(machine.versions(*(package for package in packages if importlib.util.find_spec(package))))
    with tempfile.TemporaryDirectory() as path:
        train(pathlib.Path(path))
        for threads in [chosen.threads] if chosen.threads else [1, None]:
            measure(by, pathlib.Path(path), threads, chosen.calls, clock)


if __name__ == "__main__":
    main()
