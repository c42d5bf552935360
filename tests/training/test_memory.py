"""Where arrays begin; and training from a memory-mapped file: the anonymous memory of the process stays small.

With 4 GB: `pytest -m slow -s`.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from fastvae.kernels.memory import empty, zeros

ROOT = pathlib.Path(__file__).resolve().parents[2]
WATCHED = """
import re, sys, threading, time
from fastvae import train
peak = 0
def watch():
    global peak
    while True:
        found = re.search(r"RssAnon:\\s+(\\d+) kB", open("/proc/self/status").read())
        peak = max(peak, int(found[1]))
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
code = train.main(sys.argv[1:])
print(peak)
sys.exit(code)
"""


def peak_megabytes(tmp_path, megabytes, columns, *words):
    """Train on a file of that size, written in pieces; return the largest RssAnon seen, in MB."""
    path = tmp_path / "data.npy"
    rows = megabytes * 1_000_000 // (4 * columns)
    data = np.lib.format.open_memmap(path, "w+", np.float32, (rows, columns))
    piece = np.random.default_rng(0).random((4096, columns), np.float32)
    for start in range(0, rows, len(piece)):
        data[start : start + len(piece)] = piece[: rows - start]
    data.flush()
    del data
    result = subprocess.run(
        [sys.executable, "-c", WATCHED, "--data", str(path), "--out", str(tmp_path / "run"), "--quiet", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    path.unlink()
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-1]) / 1000


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads RssAnon from /proc")
def test_a_mapped_file_is_not_copied(tmp_path):
    words = ["--hidden", "8", "--latent-dim", "2", "--epochs", "1", "--batch-size", "4096"]
    peak = peak_megabytes(tmp_path, 600, 500, *words)
    print(f"peak RssAnon {peak:.0f} MB for a file of 600 MB")
    assert peak < 400


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads RssAnon from /proc")
def test_four_gigabytes_train_in_600_megabytes(tmp_path):
    words = ["--hidden", "64", "--latent-dim", "8", "--epochs", "1", "--batch-size", "512"]
    peak = peak_megabytes(tmp_path, 4000, 784, *words)
    print(f"peak RssAnon {peak:.0f} MB for a file of 4,000 MB")
    assert peak < 600


def test_arrays_begin_on_lines_of_the_cache():
    kept = []
    for shape in ((1,), (7, 33), (2, 1, 5), (300, 500)):
        for make in (empty, zeros):
            array = make(*shape)
            kept.append(array)
            assert array.shape == shape
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
            assert array.ctypes.data % 64 == 0
            array[...] = 7  # the next zeros may get the same memory
        assert not zeros(*shape).any()
        kept.pop()
