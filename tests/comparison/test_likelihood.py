"""log p(x) of Boltzmann machines in a comparison: its kind, and both ends."""

import numpy as np
import pytest

from fastvae import DBM, RBM
from fastvae.comparison.interruption import Interruption, Stopped
from fastvae.comparison.measures import Subjected, _all, log_likelihood
from fastvae.comparison.subject import FIXED, subject_of
from fastvae.comparison.table import _log_likelihood
from fastvae.data.dataset import DataSet

ROWS = (np.random.default_rng(0).random((80, 9)) < 0.3).astype(np.float32)


def started(made, hidden):
    """The model, not trained, and the rows."""
    subject = subject_of(DataSet("rows", ROWS), FIXED, 0)
    model = made(hidden=hidden, random_state=0)
    model.initialize(subject.train)
    return Subjected(model, subject)


@pytest.mark.parametrize(("made", "hidden", "kind", "method"), [
    (RBM, 5, "exact", "exact"), (RBM, 24, "bracket", "annealed"), (DBM, (5, 3), "bound", "mean field"),
    (DBM, (24, 3), "bracket of the bound", "mean field"),
])  # fmt: skip
def test_its_kind(made, hidden, kind, method):
    used, seen = started(made, hidden), []

    class Watcher:
        def progressed(self, done, count, unit):
            seen.append(done)

        def stop_requested(self):
            return False

    figures = log_likelihood(used, 0.001, 0, Watcher(), made.ABILITIES.density)
    assert (figures["log_likelihood_kind"], figures["log_likelihood_method"]) == (kind, method)
    assert figures["log_likelihood_rows"] == len(used.subject.test)
    cell = _log_likelihood(figures)
    if kind.startswith("bracket"):
        details = figures["log_likelihood_details"]
        lower, upper = sorted(details[f"mean_by_{way}"] for way in ("annealing", "reverse"))
        assert cell.startswith(f"{lower:.2f} ... {upper:.2f} (")
        assert seen[-1] == 2 * details["temperatures"] + details["temperatures"] - 1
    else:
        assert cell.startswith(f"{figures['log_likelihood']:.2f} (0, ")
        assert seen == []


def test_ctrl_c_ends_it():
    used = started(RBM, 24)
    with Interruption() as interruption:
        interruption.interrupted = 2
        with pytest.raises((Stopped, KeyboardInterrupt)):
            _all([lambda watcher: log_likelihood(used, 0.001, 0, watcher, "bracket")], interruption, "RBM")
