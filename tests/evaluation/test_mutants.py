"""Some forty faults put into the estimators of log p(x) on purpose: the certificate notices each. Of
annealed importance sampling there are more in `test_annealed_mutants`.

pytest -m slow tests/evaluation/test_mutants.py
"""

import importlib
import importlib.abc
import importlib.util
import pathlib
import shutil
import sys

import pytest

from tests.support.commands import ROOT, python

pytestmark = pytest.mark.slow
ROOM = "fastvae.evaluation"
TRIAL = {"latent_dim": 8, "replicates": 400, "samples": 2000, "models": 6}

MUTANTS = {
    # what weights say
    "a lost log K": ("accumulator", "log_sum - math.log(K)", "log_sum"),
    "log K of another number": ("accumulator", "log_sum - math.log(K)", "log_sum - math.log(K + 1)"),
    "mean of logarithms": ("accumulator", "groups = log_mean_of_pairs(", "groups = 0.5 * np.add("),
    "squares that are not shifted": ("accumulator", "self._squares * kept**2", "self._squares * kept"),
    "no degree of freedom less": ("accumulator", "0.0) / (K - 1))", "0.0) / K)"),
    "an error without the root of K": ("accumulator", "np.maximum(K / ess[known] - 1.0, 0.0) / (K - 1)",
                                       "np.maximum(K / ess[known] - 1.0, 0.0)"),
    "a group that waits is forgotten": ("accumulator", "groups[:, -1:].copy() if groups.shape[1] % 2 else None",
                                        "None"),
    "the bounds of all samples": ("accumulator", "block[:, : self._nested - before]", "block"),
    "an error whatever the tail": ("accumulator", "known = shape <= threshold(K)", "known = shape < 9"),
    "the tail of the smallest weights": ("accumulator", "np.partition(tail, excess, axis=1)[:, excess:]",
                                         "np.partition(tail, -excess, axis=1)[:, :-excess]"),
    # k-hat
    "a shape with the other sign": ("pareto", "k = np.log1p(-mean * x).mean(axis=1)",
                                    "k = -np.log1p(-mean * x).mean(axis=1)"),
    "excesses over nothing": ("pareto", "weights[:, 1:] - weights[:, :1]", "weights[:, 1:]"),
    "a prior as heavy as the weights": ("pareto", "PRIOR_SHAPE, PRIOR_WEIGHT = 0.5, 10.0",
                                        "PRIOR_SHAPE, PRIOR_WEIGHT = 0.5, 200.0"),
    "another threshold": ("pareto", "math.log10(samples), 0.7)", "math.log10(samples), 1.2)"),
    # importance sampling
    "p(x|z) with the other sign": ("weights", "np.subtract(log_ratio, nll, dtype", "np.add(log_ratio, nll, dtype"),
    "no log p(z) - log q(z|x)": ("weights", "np.subtract(log_ratio, nll, dtype", "np.negative(nll, dtype"),
    "the same draws in each block": ("weights", "first + start), (", "start), ("),
    "the same draws for each group": ("weights", "p.step + start, ROW", "p.step, ROW"),
    "the same noise in each piece": ("weights", '("first row", self.first)', '("first row", 0)'),
    "the first rows in each piece": ("weights", "np.arange(first, first + rows", "np.arange(rows"),
    "half of the last piece": ("weights", "range(0, count, rows)", "range(0, count - rows // 2, rows)"),
    "no units": ("weights", "some) - network.log_jacobian)", "some))"),
    "units the wrong way": ("weights", "some) - network.log_jacobian)", "some) + network.log_jacobian)"),
    "the pilot's draws used again": ("importance", "import PROPOSAL", "import PILOT as PROPOSAL"),
    "the worst factor": ("widening", "moments.argmin(axis=1)", "moments.argmax(axis=1)"),
    "weights of s in the place of those of r": ("widening", "2.0 * log_w[:, k : k + 1] + log_ratios", "-log_ratios"),
    # the others
    "z from a prior that is moved": ("naive", "propose(0.0, 0.0)", "propose(1.0, 0.0)"),
    "a KL with the other sign": ("elbo", "reconstruction - kl.sum(axis=1)", "reconstruction + kl.sum(axis=1)"),
    "half of a KL": ("elbo", "reference.kl_terms(mu, logvar)", "0.5 * reference.kl_terms(mu, logvar)"),
    "an ELBO without units": ("elbo", "/ n_samples) - network.log_jacobian", "/ n_samples)"),
    "a window without its constant": ("parzen", "math.log(h) + 0.5 * math.log(2.0 * math.pi)", "math.log(h)"),
    "a window of another width": ("parzen", "squares / (-2.0 * h * h)", "squares / (-h * h)"),
    "the mean's error over N": ("result", "math.sqrt(len(self)))", "len(self))"),
    "an interval of one deviation": ("result", "INTERVAL = 1.959963984540054", "INTERVAL = 1.0"),
    # annealed importance sampling
    "the schedule's ends swapped": ("chains", "np.arange(count + 1) / count", "1.0 - np.arange(count + 1) / count"),
    "no Metropolis step": ("hmc", "np.log(uniform) < change", "change > -np.inf"),
}  # fmt: skip

FORMULAS = {
    "no log v in log q": ("formulas.py", "HALF * ((eps - z) * (eps + z) + limited)", "HALF * ((eps - z) * (eps + z))"),
    "eps^2 with the other sign": ("formulas.py", "(eps - z) * (eps + z) + limited", "-(eps * eps + z * z) + limited"),
    "half of log 2 pi": ("cpu/row_losses.py", "HALF_LOG_TWO_PI = 0.5 *", "HALF_LOG_TWO_PI = 0.25 *"),
}


class Fault(importlib.abc.MetaPathFinder):
    """Finds one module with its text changed, and all others of the room as they are."""

    def __init__(self, module, old, new):
        self._name, self._old, self._new = f"{ROOM}.{module}", old, new

    def find_spec(self, name, path=None, target=None):
        if name != self._name:
            return None
        spec = importlib.util.spec_from_file_location(
            name, ROOT / "fastvae" / "evaluation" / f"{name.split('.')[-1]}.py"
        )
        loader, source = spec.loader, spec.loader.get_source(name)
        assert self._old in source, f"{name} has no {self._old!r}: the mutant is out of date"
        loader.get_code = lambda name: compile(source.replace(self._old, self._new), spec.origin, "exec")
        return spec


@pytest.fixture
def proof(monkeypatch):
    """What imports the certificate anew with a fault in it; all is undone at the end."""

    def imported(module, old, new):
        for name in [name for name in sys.modules if name == ROOM or name.startswith(f"{ROOM}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Fault(module, old, new), *sys.meta_path])
        found = importlib.import_module(f"{ROOM}.proof")
        assert f"{ROOM}.{module}" in sys.modules
        return found

    before = {name: module for name, module in sys.modules.items() if name.startswith(ROOM)}
    room = sys.modules["fastvae"].__dict__.get("evaluation")
    yield imported
    for name in [name for name in sys.modules if name.startswith(ROOM)]:
        del sys.modules[name]
    sys.modules.update(before)
    if room is not None:
        sys.modules["fastvae"].evaluation = room


def failures(proof):
    """Names of the claims that fail, until one does."""
    for claim in proof.claims(proof.Trial(**TRIAL)):
        if not claim.passed:
            return [claim.name]
    return []


def test_the_certificate_holds_without_a_fault(proof):
    assert failures(proof("naive", "log 1/K", "log 1/K")) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_is_noticed(proof, name):
    assert failures(proof(*MUTANTS[name])) != []


PROVE = f"""
    from fastvae.evaluation.proof import Trial, claims
    print([claim.name for claim in claims(Trial(**{TRIAL})) if not claim.passed])
"""


@pytest.mark.parametrize("name", FORMULAS)
def test_a_fault_in_a_kernel_is_noticed(tmp_path, name):
    """In a copy of the sources, compiled anew."""
    for folder in ("fastvae", "kernels"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    file, old, new = FORMULAS[name]
    path = pathlib.Path(tmp_path / "kernels" / file)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert python(PROVE, cwd=tmp_path, PYTHONPATH=str(tmp_path), timeout=1000).strip() != "[]"
