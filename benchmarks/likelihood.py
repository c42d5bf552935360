"""The test set of MNIST by importance sampling: fastvae beside PyTorch, batched and as a loop over examples.

    python benchmarks/likelihood.py                                    all 10,000 images, 5,000 samples: some minutes
    python benchmarks/likelihood.py --images 500 --samples 1000 --rounds 3 --threads 1

Each runs in processes of their own that take turns, with the weights of one model (784-200-200-50, tanh), trained a
little. What is printed: seconds of the clock and of the processors, products per second, the share of what the products
alone reach, and the most memory beyond what was there before. PyTorch does `--share` of the images, and its time is
scaled up. Where other programs run, processor time says more than the clock.
"""

import argparse
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks import machine  # noqa: E402

WHO = ("fastvae", "torch", "torch_loop")
HIDDEN, LATENT_DIM = (200, 200), 50
TRAINED_ON, EPOCHS = 60_000, 10
OURS = WHO[0]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=int, default=10_000)
    p.add_argument("--samples", type=int, default=5000)
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--share", type=float, default=0.05, help="of the images, for the peers")
    p.add_argument("--threads", type=int, default=machine.cores())
    p.add_argument("--who", nargs="+", default=WHO, choices=WHO)
    p.add_argument("--worker", choices=WHO, help=argparse.SUPPRESS)
    p.add_argument("--model", help="of these widths; without, one is trained")
    arguments = p.parse_args()
    if arguments.worker:
        print(json.dumps(work(arguments)))
        return
    print("; ".join(f"{key}: {value}" for key, value in machine.describe_machine().items() if key != "features"))
    if warning := machine.busy():
        print(warning)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.model or str(pathlib.Path(folder) / "model.npz")
        if arguments.model is None:
            train(path)
        found: dict[str, list[dict]] = {who: [] for who in arguments.who}
        for _ in range(arguments.rounds):
            for who in arguments.who:
                found[who].append(in_process(who, path, arguments))
                print(shown(who, found[who][-1]), flush=True)
    if OURS in found:
        for who in arguments.who:
            if who != OURS:
                pairs = list(zip(found[OURS], found[who], strict=True))
                for clock in ("seconds", "cpu_seconds"):
                    ratios = sorted(theirs[clock] / ours[clock] for ours, theirs in pairs)
                    words = "clock" if clock == "seconds" else "processor time"
                    middle, least, most = ratios[len(ratios) // 2], ratios[0], ratios[-1]
                    print(f"{who} / fastvae, {words}: {middle:.2f} ({least:.2f} ... {most:.2f})")


def images(part: str, count: int) -> np.ndarray:
    """The first images of a part, in {0, 1}."""
    from fastvae.data.loading import load

    data = load("mnist")
    X = data.X if part == "train" else data.X_heldout
    return (np.asarray(X[:count]) > 127).astype(np.float32)


def train(path: str) -> None:
    """Write a model that has learned something."""
    from fastvae import VAE

    settings = {"activation": "tanh", "epochs": EPOCHS, "early_stopping": False, "random_state": 0}
    VAE(LATENT_DIM, HIDDEN, **settings).fit(images("train", TRAINED_ON)).save(path)


def in_process(who: str, path: str, arguments: argparse.Namespace) -> dict:
    """What a worker finds, scaled to all images."""
    count = arguments.images if who == OURS else max(1, round(arguments.share * arguments.images))
    words = ["--worker", who, "--model", path, "--images", count, "--samples", arguments.samples]
    threads = str(arguments.threads)
    names = ("FASTVAE_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, threads)
    command = [sys.executable, __file__, *map(str, words), "--threads", threads]
    found = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    scale = arguments.images / count
    return found | {name: scale * found[name] for name in ("seconds", "cpu_seconds")} | {"scale": scale}


def work(arguments: argparse.Namespace) -> dict:
    """One implementation, in this process."""
    from fastvae import VAE

    X, model = images("test", arguments.images), VAE.load(arguments.model)
    run = runner(arguments.worker, model, X, arguments)
    run(X[: min(len(X), 300)], min(arguments.samples, 400))  # compiles, and starts threads
    machine.reset_peak_memory()
    before = machine.peak_memory() or 0
    clock, processors = time.perf_counter(), time.process_time()
    found = run(X, arguments.samples)
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - processors
    peak = (machine.peak_memory() or 0) - before
    record = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak": peak,
        "flop": flop(model, len(X), arguments.samples),
    }
    if arguments.worker == OURS:
        record |= {"flop": flop(model, len(X), arguments.samples + pilot(arguments.samples))}
        record |= {
            "mean": found.mean,
            "mcse": float(np.nanmean(found.mcse)),
            "unreliable": float(found.unreliable.mean()),
        }
        record |= {"ess": float(found.ess.mean()), "products": products(model, arguments.threads)}
    else:
        record |= {"mean": float(found.mean())}
    return record


def pilot(samples: int) -> int:
    from fastvae.evaluation.widening import pilot_samples

    return pilot_samples(samples)


def runner(who: str, model, X: np.ndarray, arguments: argparse.Namespace):
    """What takes rows and a number of samples."""
    if who == OURS:
        return lambda rows, samples: model.evaluate(rows, n_samples=samples)
    import torch

    from benchmarks.peer_likelihoods import Torch

    torch.set_num_threads(arguments.threads)
    peer = Torch(model.parameters())
    return peer.batched if who == "torch" else peer.loop


def flop(model, rows: int, samples: int) -> float:
    """Of the decoder's products."""
    widths = (LATENT_DIM, *HIDDEN, 784)
    return 2.0 * rows * samples * sum(a * b for a, b in itertools.pairwise(widths))


def products(model, threads: int) -> dict[str, float]:
    """The decoder's products alone, by the same kernels and threads: per second of the clock, and of the processors."""
    from fastvae import backend
    from fastvae.kernels.slots import Slots
    from fastvae.passes import Pass

    rows, repeats = 512 * threads, 40
    p = Pass(backend.select(), Slots(), rows, {}, threads, backward=False)
    z = p.empty(LATENT_DIM)
    z[:] = np.random.default_rng(0).normal(size=z.shape)
    code = 0
    for _ in range(repeats):
        x = z
        mark = p.mark()
        for layer in model.network_.decoder.layers:
            out = p.empty(layer.outputs)
            p.add("dense_forward", x, layer.weight, layer.bias, code, out, out)
            x = out
        p.rewind(mark)
    with p.backend.passing(threads) as workers:
        p.run(workers)
        clock, processors = time.perf_counter(), time.process_time()
        for _ in range(3):
            p.run(workers)
        clock, processors = time.perf_counter() - clock, time.process_time() - processors
    total = 3 * repeats * flop(model, rows, 1)
    return {"per_second": total / clock, "per_cpu_second": total / processors}


def shown(who: str, found: dict) -> str:
    """A line."""
    total = found["flop"] * found["scale"]
    line = (
        f"{who:<11} {found['seconds']:8.1f} s, {found['cpu_seconds']:8.1f} s of processors; "
        f"{total / found['seconds'] / 1e9:6.1f} GFLOP/s, {total / found['cpu_seconds'] / 1e9:5.1f} a processor second; "
        f"{found['peak'] / 1e6:5.0f} MB; log p {found['mean']:.3f}"
    )
    if who == OURS:
        p = found["products"]
        shares = (total / found["seconds"] / p["per_second"], total / found["cpu_seconds"] / p["per_cpu_second"])
        line += f" (mcse {found['mcse']:.4f}, ESS {found['ess']:.0f}, {found['unreliable']:.2%} unreliable)\n"
        line += (
            f"{'':<11} products alone {p['per_second'] / 1e9:.1f} GFLOP/s, {p['per_cpu_second'] / 1e9:.1f} a processor "
        )
        line += f"second: shares {shares[0]:.0%} and {shares[1]:.0%}"
    return line


if __name__ == "__main__":
    main()
