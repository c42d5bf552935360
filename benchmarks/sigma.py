"""Whether sigma, learned or optimal, is what it should be: the root of the mean squared residual.

    FASTVAE_DATA=folder python benchmarks/sigma.py                     # Frey faces: frey_faces.npz, array images
    python benchmarks/sigma.py --digits --epochs 60

At its best, sigma^2 = E_x E_q(z|x) mean_D (x - f(z))^2, the gradient by log sigma being 0 there (Rybkin, Daniilidis and
Levine 2021). One line a training, in the model's units (pixels from 0 to 1): sigma; the root of the mean squared
residual of the training rows over draws of z, to which sigma belongs; the same at the mean of q(z|x), which is less, as
it leaves out what z varies by; and how much sigma differs from the first.
"""

import argparse
import json
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks.density_data import MissingDataError
from fastvae import VAE
from fastvae.data.digits import load_digits

CHOICES = ("learned", "optimal")
DRAWS = 16  # of z, an example


def frey_faces() -> np.ndarray:
    """(1965, 560) float32, grey levels from 0 to 255."""
    folder = os.environ.get("FASTVAE_DATA")
    path = pathlib.Path(folder or ".") / "frey_faces.npz"
    if not folder or not path.exists():
        raise MissingDataError("set FASTVAE_DATA to a folder that holds frey_faces.npz, or pass --digits")
    with np.load(path, allow_pickle=False) as file:
        images = file["images"]
    return images.reshape(len(images), -1).astype(np.float32)


def residuals(model: VAE, X: np.ndarray, seed: int = 1) -> tuple[float, float]:
    """Roots of the mean squared residual of rows in the model's units: over draws of z from q(z|x), and at its mean."""
    rng = np.random.default_rng(seed)
    mu, logvar = model.encode(X)
    x, deviation = (X - model.offset_) / model.scale_, np.exp(0.5 * logvar)

    def mean_square(z: np.ndarray) -> float:
        return float(np.square(x - (model.decode(z) - model.offset_) / model.scale_).mean())

    drawn = [mean_square(mu + deviation * rng.standard_normal(mu.shape, np.float32)) for _ in range(DRAWS)]
    return float(np.sqrt(np.mean(drawn))), float(np.sqrt(mean_square(mu)))


def measure(X: np.ndarray, sigma: str, epochs: int, high: float, seed: int = 0, **settings: object) -> dict[str, float]:
    """Train with this sigma on X, whose values lie in 0 ... `high`; return what the module's text says."""
    defaults = {"latent_dim": 10, "hidden": (200,), "schedule": "cosine", "batch_size": 100, "early_stopping": False}
    fixed = {"likelihood": "gaussian", "sigma": sigma, "sigma_per_column": False, "scale": (0, high)}
    model = VAE(**(defaults | fixed | settings), epochs=epochs, random_state=seed).fit(X)
    drawn, at_mean = residuals(model, X)
    found = {"sigma": float(model.sigma_), "residual": drawn, "residual_at_mean": at_mean}
    return found | {"difference": found["sigma"] / drawn - 1, "elbo": float(model.elbo(X).mean())}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", action="store_true", help="the digits that come with the package")
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        X = load_digits().X.astype(np.float32) if options.digits else frey_faces()
    except MissingDataError as error:
        print(error, file=sys.stderr)
        return 2
    print("sigma     seed  sigma    residual of z  at the mean  difference  ELBO", file=sys.stderr)
    for seed in range(options.seeds):
        for sigma in CHOICES:
            found = measure(X, sigma, options.epochs, 16.0 if options.digits else 255.0, seed)
            if options.json:
                print(json.dumps({"choice": sigma, "seed": seed} | found), flush=True)
            else:
                print(
                    f"{sigma:8}  {seed:4}  {found['sigma']:.5f}  {found['residual']:13.5f}  "
                    f"{found['residual_at_mean']:11.5f}  {found['difference']:+10.2%}  {found['elbo']:.2f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
