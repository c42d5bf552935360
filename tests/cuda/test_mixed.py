"""Mixed tables on the device: training, scores, codes and imputation, executed from their PTX."""

import numpy as np
import pytest

from tests.fake_driver import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae import TableVAE
from fastvae.kernels.cuda.driver import using
from tests.cuda.ptx_device import for_models
from tests.cuda.test_models import check_same


def table(rows=24):
    rng = np.random.default_rng(0)
    columns = {
        "length": rng.normal(size=rows) + 3,
        "eggs": rng.poisson(2, rows).astype(float),
        "alive": rng.integers(0, 2, rows).astype(float),
        "site": np.array(["bog", "fen", None], object)[rng.integers(0, 3, rows)],
        "cover": rng.random(rows),
    }
    for name in ("length", "eggs", "alive", "cover"):
        columns[name][rng.random(rows) < 0.2] = np.nan
    return columns


TYPES = {"eggs": "count", "alive": "binary", "cover": "fraction"}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"hide": 0.3}, id="hiding"),
        pytest.param({"objective": "iwae", "n_samples": 2}, marks=pytest.mark.long, id="iwae"),
    ],
)
def test_training(settings, monkeypatch):
    """Parameters, scores, codes and what is filled in, as on the CPU."""
    X = table()
    with using(for_models(monkeypatch)):
        settings = {"latent_dim": 2, "hidden": (5,), "column_types": TYPES, "early_stopping": False} | settings
        settings |= {
            "batch_size": 8,
            "epochs": 1,
            "random_state": 0,
            "linear": False,
        }  # else some gradients are rounding
        found, expected = TableVAE(device="cuda", **settings).fit(X), TableVAE(**settings).fit(X)
        check_same(found.parameters(), expected.parameters(), 1e-3)
        np.testing.assert_allclose(found.score_samples(X), expected.score_samples(X), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.transform(X), expected.transform(X), rtol=1e-3, atol=1e-4)
        filled = [model.impute(X, n_samples=8, random_state=1) for model in (found, expected)]
        for name, values in filled[1].items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(filled[0][name], values, rtol=1e-3)
        assert found.sample(3, random_state=1)["site"].shape == (3,)
