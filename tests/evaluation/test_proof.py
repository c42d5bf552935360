"""The certificate: all claims hold for the estimators as they are. That each can fail: `test_mutants`."""

import signal

import pytest

from fastvae.evaluation import proof, weights
from fastvae.evaluation.proof import Trial, claims

COMPACT = Trial(latent_dim=8, replicates=400, samples=2000, models=6)


@pytest.mark.parametrize("check", proof.CHECKS, ids=lambda check: check.__name__)
def test_the_claims_hold(check):
    found = list(check(COMPACT))
    assert found
    for claim in found:
        assert claim.passed, claim


def test_models_of_hundreds_of_dimensions_get_fewer_replicates():
    assert Trial(20).coverage_replicates() == 2000
    assert 200 <= Trial(1000).coverage_replicates() < 2000


def test_all_checks_are_made(monkeypatch):
    monkeypatch.setattr(proof, "CHECKS", (proof.figures, proof.windows))
    assert [claim.name for claim in claims(COMPACT)] == ["figures", "bounds", "errors of the mean", "Parzen window"]


@pytest.mark.slow
def test_2000_replicates_of_5000_samples():
    """As a user has it: D = 100, Z = 20, a gap of 0.97 nats."""
    for claim in claims(Trial(20)):
        assert claim.passed, claim


def test_what_cannot_be_tried_is_no_pass(monkeypatch):
    def broken(trial):
        yield proof.Claim("one", "", "", True)
        raise ValueError("operands do\nnot fit")

    monkeypatch.setattr(proof, "CHECKS", (broken, proof.windows))
    found = list(claims(COMPACT))
    assert [claim.passed for claim in found] == [True, False, True]
    assert found[1].found == "ValueError: operands do not fit"


@pytest.mark.parametrize("error", [AttributeError, AssertionError, RuntimeError, ValueError])
def test_whatever_a_fault_raises_is_a_claim_that_fails(error, monkeypatch):
    def broken(trial):
        raise error("a fault")

    monkeypatch.setattr(proof, "CHECKS", (broken,))
    (claim,) = proof.claims(proof.Trial(2))
    assert not claim.passed
    assert "a fault" in claim.found


def test_a_certificate_that_was_interrupted_is_none(monkeypatch):
    """No estimate inside takes Ctrl-C as a request to stop with what is done."""

    def interrupted(trial):
        linear = trial.mild(2, 5)
        model = linear.estimator()
        original = weights.Weights.log_weights

        def once(self, *given):
            signal.raise_signal(signal.SIGINT)
            return original(self, *given)

        monkeypatch.setattr(weights.Weights, "log_weights", once)
        proof._estimate(proof.importance, model, linear.draw(3, 0), 300, 1)
        yield

    monkeypatch.setattr(proof, "CHECKS", (interrupted,))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(proof.claims(proof.Trial(2)))
    finally:
        signal.signal(signal.SIGINT, before)
