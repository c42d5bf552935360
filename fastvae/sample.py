"""Draw new examples from a trained model; only its decoder is read.

python -m fastvae.sample runs/digits/model.npz -n 64 --out samples.png
"""

import argparse
import os
import pathlib
import sys

from fastvae.atomic import check_writable, save_array
from fastvae.command_line import Parser, run, say
from fastvae.models.vae import VAE
from fastvae.runs import RunFolder

MOST_IN_A_PICTURE = 2500


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = Parser("sample", "Draw new examples from a trained model.")
    p.add_argument("model", help="a model.npz, or the folder of a run")
    p.add_argument("-n", type=int, default=64, help="how many")
    p.add_argument("--out", default="samples.png", help=".png for a picture, .npy for the numbers")
    p.add_argument("--noise", action="store_true", help="draw x from p(x|z) too, instead of taking its mean")
    p.add_argument("--seed", type=int, default=0, help="of the draws")
    p.add_argument("--device", default="auto", help="auto (the CPU), cpu, or cuda")
    arguments = p.parse_args(argv)
    return run("sample", lambda: _sample(arguments), arguments.traceback)


def model_path(text: str) -> pathlib.Path:
    """The model file that is meant: `text` itself, or the one in the run folder of that name."""
    path = pathlib.Path(text)
    return path / "model.npz" if path.is_dir() else path


def check_output(out: pathlib.Path, *read: str | pathlib.Path) -> None:
    """Refuse an output that is one of the files that are read, by whatever name, or what a run continues from, or that
    cannot be written."""
    if out.exists():
        if any(out.samefile(path) for path in read if os.path.exists(path)):
            raise ValueError(f"--out {out}: that is what is read; give another name")
        run = RunFolder(out.resolve().parent)
        if run.holds_a_run() and out.resolve() in (run.model.resolve(), run.checkpoint.resolve()):
            raise ValueError(f"--out {out}: that is a file of the run in {run.path}; give another name")
    check_writable(out)


def _check_memory(count: int, columns: int) -> None:
    """Refuse more numbers than the machine has memory for: the system might only notice when it kills the process."""
    needed = count * columns * 4
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not every system says
        there = sys.maxsize
    if needed > there:
        amount = f"{needed / 1e9:,.0f} GB" if needed < 1e15 else "more than a million GB"
        raise ValueError(
            f"-n {count}: so many samples of {columns} values take {amount}, this machine has {there / 1e9:,.0f} GB of "
            "memory: draw fewer at a time, each time with another --seed"
        )


def _sample(arguments: argparse.Namespace) -> int:
    out = pathlib.Path(arguments.out)
    if out.suffix not in (".png", ".npy"):
        raise ValueError(f"--out {arguments.out}: the ending {out.suffix!r} is not known; valid: .png, .npy")
    if arguments.n < 1:
        raise ValueError(f"-n {arguments.n}: must be at least 1")
    if out.suffix == ".png" and arguments.n > MOST_IN_A_PICTURE:
        raise ValueError(f"-n {arguments.n}: a picture shows at most {MOST_IN_A_PICTURE}; write them to a .npy")
    check_output(out, model_path(arguments.model))
    model = VAE.load(model_path(arguments.model), decoder_only=True, device=arguments.device)
    _check_memory(arguments.n, model.network_.architecture.inputs + model.latent_dim)
    samples = model.sample(arguments.n, random_state=arguments.seed, noise=arguments.noise)
    if out.suffix == ".png":
        try:
            from fastvae import report
        except ImportError:
            raise ValueError(
                f"--out {arguments.out}: a picture needs matplotlib: pip install matplotlib; "
                "--out samples.npy works without"
            ) from None
        report.write_samples(out, model, samples, "draws from p(x|z)" if arguments.noise else "means of p(x|z)")
    else:
        save_array(out, samples)
    say(f"{out}: {len(samples)} samples of {samples.shape[1]} values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
