"""What the tests of the commands share: running one, and reading what a run has left."""

import json
import os
import pathlib
import subprocess
import sys

from fastvae import VAE

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = ["--hidden", "16", "--latent-dim", "3", "--epochs", "3"]


def command(*words, module="train", **options):
    """Run a command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, "-m", f"fastvae.{module}", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
        **options,
    )


def metrics(folder):
    return [json.loads(line) for line in pathlib.Path(folder, "metrics.jsonl").read_text().splitlines()]


def parameters(folder):
    return VAE.load(pathlib.Path(folder, "model.npz")).network_.parameters.values
