"""The page of a model in a headless Chromium: time per frame, size, and values against Python.

python benchmarks/page.py                                                  a model of the digits, trained for it
python benchmarks/page.py --model runs/mnist --data mnist                  of a run
python benchmarks/page.py --model runs/mnist --data mnist --pictures DIR   and screenshots: light, dark, phone

A frame is all that a new z changes: the decoder, the picture, the sliders. Needs playwright and a Chromium.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks.machine import describe_machine
from fastvae import VAE
from fastvae.data import loading
from fastvae.models.registry import load
from fastvae.page import network
from fastvae.page.build import write_page
from fastvae.sample import model_path
from tests.page.browser import PHONE, launched, opened

FRAMES = 400
DRAG = """(frames) => {
  const { decoding, state, model } = window.fastvae, times = [];
  for (let i = 0; i < frames; i++) {
    state.z[model.order[0]] = 3 * Math.sin(i / 20);
    if (model.order.length > 1) state.z[model.order[1]] = 3 * Math.cos(i / 31);
    const before = performance.now();
    decoding.show();
    times.push(performance.now() - before);
  }
  return times;
}"""
VALUES = """() => {
  const { network, model } = window.fastvae, { D, C } = network, found = [];
  for (let i = 0; i < model.codes.length; i++) {
    const c = C ? model.conditions.subarray(i * C, (i + 1) * C) : null;
    const u = network.toModel(model.rows.subarray(i * D, (i + 1) * D)), { mu, logvar } = network.encode(u, c);
    found.push({ mu: [...mu], logvar: [...logvar], x: [...network.decode(mu, c)] });
  }
  return found;
}"""


def main() -> int:
    """Print the figures."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", help="a model.npz, or the folder of a run")
    p.add_argument("--data", default="digits")
    p.add_argument("--pictures", type=pathlib.Path, help="a folder for screenshots")
    arguments = p.parse_args()
    data = loading.load(arguments.data, None, None)
    X, labels = data.X, data.labels
    if data.X_heldout is not None:
        X, labels = data.X_heldout, data.labels_heldout
    if arguments.model:
        model = load(model_path(arguments.model), device="cpu")
    else:
        model = VAE(3, hidden=(400,), likelihood="bernoulli", scale=(0, 16), epochs=30, random_state=0).fit(X)
        model.metadata_["image_shape"] = data.image_shape
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "report.html")
        written = write_page(path, model, X, labels)
        machine = describe_machine()
        costs = f"{written.elbo:.4f} nats, in the page {written.rounded_elbo:.4f}"
        print(f"{machine['processor']}, {machine['cores']} cores")
        print(f"{written.size:,} bytes, weights in {written.bits} bits")
        print(f"ELBO of {written.rows} rows: {costs}; largest change of a row {written.worst:.3f}")
        with launched() as browser:
            with opened(browser, path) as page:
                page.wait_for_selector("html[data-ready=true]", state="attached")
                while not page.evaluate("window.fastvae.jobs.idle"):
                    page.wait_for_timeout(50)
                times = np.array(page.evaluate(DRAG, FRAMES)[FRAMES // 10 :])
                found = page.evaluate(VALUES)
                places = page.evaluate("window.fastvae.spec.places")
                half, most = np.quantile(times, [0.5, 0.95])
                print(f"a frame: median {half:.2f} ms, 95% {most:.2f}, most {times.max():.2f}")
                print(f"{browser.version}, against float64 NumPy, {len(found)} rows: largest difference "
                      f"{_difference(written.model, X[places], found):.1e}")  # fmt: skip
            for name, settings in (("light", {}), ("dark", {"color_scheme": "dark"}), ("phone", PHONE)):
                if arguments.pictures is None:
                    break
                with opened(browser, path, **settings) as page:
                    page.wait_for_selector("html[data-ready=true]", state="attached")
                    page.wait_for_timeout(3000)
                    page.screenshot(path=arguments.pictures / f"{name}.png", full_page=True)
    return 0


def _difference(m, X, found):
    """Of mu, logvar and the decoded rows, in the model's units."""
    u = network.model_units(m, X)
    _, mu, logvar = network.encode(m, u, None)
    pairs = {
        "mu": mu,
        "logvar": np.clip(logvar, -30, 20),
        "x": network.means(m, mu, None),
    }
    scale = {"x": m.units.scale}
    return max(
        float(np.abs((np.array([row[name] for row in found]) - wanted) / scale.get(name, 1.0)).max())
        for name, wanted in pairs.items()
    )


if __name__ == "__main__":
    sys.exit(main())
