"""Many threads that ask one model at once: every answer bit for bit that of one thread, and what memory does.

    python benchmarks/serving.py --threads 64 --seconds 60

Each thread asks for the next thing by its own drawing: codes, scores, decoded codes, samples of a seed, log p(x) by
importance sampling, of different numbers of rows. Answers are compared with those that one thread got before.

Memory is what the process holds (VmRSS) once the C library has given back what it keeps free, which is more with every
thread. Before the time begins all threads ask each thing at once, so that there are buffers for all of them; growth is
the mean of the last tenth of the time less that of the tenth after the first fifth.
"""

import argparse
import contextlib
import ctypes
import pathlib
import random
import sys
import threading
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

import numpy as np

from benchmarks import machine
from fastvae import VAE

D, HIDDEN, Z = 64, 128, 8
ROWS = (1, 2, 7, 64, 300)
WARM, TENTH = 0.2, 0.1
SAMPLES = 50  # of z, for log p(x) of a row
LOOKS, MB = 60, 1 << 20


def model() -> tuple[VAE, np.ndarray]:
    """A fitted model, and rows to ask it about."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(2000, 6)) @ rng.normal(size=(6, D)) + 0.3 * rng.normal(size=(2000, D))).astype(np.float32)
    vae = VAE(Z, (HIDDEN,), likelihood="gaussian", activation="silu", epochs=2, random_state=0)
    return vae.fit(X), X


def questions(vae: VAE, X: np.ndarray) -> dict[str, object]:
    """Name to what gives the answer as bytes."""
    codes, found = np.random.default_rng(1).normal(size=(max(ROWS), Z)).astype(np.float32), {}
    for n in ROWS:
        found[f"transform of {n}"] = lambda n=n: vae.transform(X[:n])
        found[f"score_samples of {n}"] = lambda n=n: vae.score_samples(X[n : 2 * n])
        found[f"decode of {n}"] = lambda n=n: vae.decode(codes[:n])
        found[f"sample of {n}"] = lambda n=n: vae.sample(n, random_state=n, noise=True)
    for n in ROWS[:3]:
        found[f"evaluate of {n}"] = lambda n=n: vae.evaluate(X[:n], n_samples=SAMPLES, random_state=3).values
    return {name: (lambda ask=ask: np.asarray(ask()).tobytes()) for name, ask in found.items()}


def resident() -> int:
    """Bytes of memory that this process holds and needs."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("this system does not tell")


@dataclass
class Found:
    """Answers of each kind, those that were wrong, errors, and the memory (seconds, bytes) over the time."""

    seconds: float
    answers: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)

    def between(self, first: float, last: float) -> float:
        """The mean of the memory between two parts of the time."""
        return float(np.mean([held for at, held in self.memory if first <= at / self.seconds <= last]))

    @property
    def growth(self) -> float:
        """Bytes."""
        return self.between(1 - TENTH, 1) - self.between(WARM, WARM + TENTH)


def serve(threads: int, seconds: float) -> Found:
    """Have so many threads ask for so long."""
    warnings.simplefilter("ignore")  # that importance sampling is rough with few samples
    vae, X = model()
    asked = questions(vae, X)
    expected = {name: ask() for name, ask in asked.items()}
    found, lock, names = Found(seconds), threading.Lock(), list(asked)
    begin, together, end = threading.Barrier(threads + 1), threading.Barrier(threads), [0.0]

    def work(number: int) -> None:
        drawn, own, wrong = random.Random(number), Counter(), []

        def ask(name: str) -> None:
            try:
                if asked[name]() != expected[name]:
                    wrong.append(f"{name}: other bits")
            except Exception as error:
                wrong.append(f"{name}: {type(error).__name__}: {error}")

        for name in names:
            together.wait()
            ask(name)
        begin.wait()
        while time.perf_counter() < end[0]:
            name = drawn.choice(names)
            ask(name)
            own[name.split(" of ")[0]] += 1
        with lock:
            found.answers.update(own)
            found.wrong.extend(wrong)

    crew = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for thread in crew:
        thread.start()
    end[0] = float("inf")
    begin.wait()
    started = time.perf_counter()
    end[0] = started + seconds
    while time.perf_counter() < end[0]:
        found.memory.append((time.perf_counter() - started, resident()))
        time.sleep(seconds / LOOKS)
    for thread in crew:
        thread.join()
    found.wrong += [f"{name}, afterwards: other bits" for name, ask in asked.items() if ask() != expected[name]]
    return found


def main() -> int:
    """Measure and print; 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=64, help="that ask; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=60, help="default: %(default)s")
    chosen = parser.parse_args()
    found = serve(chosen.threads, chosen.seconds)
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(found.answers.items()))
    print(f"{machine.processor_name()}, {machine.cores()} cores; {D}-{HIDDEN}-{Z}, {chosen.threads} threads")
    print(f"{sum(found.answers.values()):,} answers in {chosen.seconds:g} s ({counts}), {len(found.wrong)} wrong")
    tenths = [found.between(i / 10, (i + 1) / 10) / MB for i in range(10)]
    print(f"memory, MB, tenth by tenth of the time: {', '.join(f'{held:.0f}' for held in tenths)}")
    print(f"growth after the first fifth: {found.growth / MB:+.1f} MB")
    print("\n".join(found.wrong[:10]))
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
