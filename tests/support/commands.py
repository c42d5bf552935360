"""What the tests share that start processes: running a command or a script, and reading what a run has left."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

from fastvae import VAE

ROOT = pathlib.Path(__file__).resolve().parents[2]
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


def python(script, *arguments, timeout=240, cwd=None, **environment):
    """What a script prints in a process of its own. When it hangs it is killed, with all processes that it started."""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | environment
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        cwd=cwd,
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, error = process.communicate()
        raise AssertionError(f"still running after {timeout} s; it has printed:\n{out}{error}") from None
    assert process.returncode == 0, error
    assert error == ""
    return out


def metrics(folder):
    return [json.loads(line) for line in pathlib.Path(folder, "metrics.jsonl").read_text().splitlines()]


def parameters(folder):
    return VAE.load(pathlib.Path(folder, "model.npz")).network_.parameters.values
