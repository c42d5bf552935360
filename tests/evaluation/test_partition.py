"""Annealed importance sampling of log Z, both ways: against the reference, cut anyhow, stopped anywhere."""

import numpy as np
import pytest

from fastvae import RBM
from fastvae.evaluation import partition as module
from fastvae.evaluation.bipartite import Bipartite, GaussianBipartite
from fastvae.evaluation.partition import ANNEALING, OfPartition, Partition, partition
from fastvae.kernels import cpu, philox
from fastvae.reference.boltzmann import bipartite_path
from tests.support import threads as threads_of

S, T, SEED = 13, 7, np.uint64(11)


def machine(made=Bipartite, size=0.8, seed=0):
    rng = np.random.default_rng(seed)
    weight = (size * rng.normal(size=(S, T))).astype(np.float32)
    return made(weight, *(rng.normal(size=n) for n in (S, T, S, T)))


def uniforms(n, transitions):
    """In the order of use."""
    for k, size in enumerate([S] + [T, S] * transitions):
        out = np.empty((n, size), np.float32)
        cpu.uniform_noise(SEED, philox.CHAIN, ANNEALING + k, 0, out)
        yield out.astype(float)


def followed(whole, path, blocks, pieces=1):
    """(s, log weights) of chains that are cut into blocks, and their path into pieces."""
    found, row = [], 0
    for n in blocks:
        chains = whole.CHAINS(whole, n, SEED, ANNEALING, row)
        for part in np.array_split(np.arange(len(path) - 1), pieces):
            chains.follow(path[part[0] : part[-1] + 2])
        found.append((chains.s, chains.log_weights))
        row += n
    return tuple(np.concatenate(arrays) for arrays in zip(*found, strict=True))


def test_chains_are_those_of_the_reference():
    """300 transitions, so that the products are made anew in between."""
    whole, path = machine(), np.linspace(0, 1, 302)
    s, log_weights = followed(whole, path, [5])
    params = {"W": whole.weight.astype(float)} | {
        name: getattr(whole, name) for name in ("a", "b", "a_first", "b_first")
    }
    wanted = bipartite_path(params, path, uniforms(5, 300))
    np.testing.assert_array_equal(s, wanted[0])
    np.testing.assert_allclose(log_weights, wanted[1], atol=2e-4)
    assert np.ptp(wanted[1]) > 0.1


@pytest.mark.parametrize("made", [Bipartite, GaussianBipartite])
def test_how_chains_and_paths_are_cut_changes_nothing(made):
    whole, path = machine(made), np.linspace(0, 1, 151)
    one, other = followed(whole, path, [9]), followed(whole, path, [2, 7], 4)
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], rtol=0 if made is Bipartite else 1e-12)


def test_neither_threads_nor_memory_change_a_bit(monkeypatch):
    found = []
    for threads, at_once in (("1", 1024), ("2", 1024), ("2", 8)):
        threads_of.use(monkeypatch, threads)
        monkeypatch.setattr(module, "AT_ONCE", at_once)
        found.append(partition(machine(), 20, 30, SEED))
    assert found[0] == found[1] == found[2]
    assert found[0].complete
    assert found[0].chains == 20


class Until:
    """Stops once so many steps are done."""

    def __init__(self, steps):
        self.steps, self.seen = steps, []

    def progressed(self, done, count, unit):
        self.seen.append((done, count))

    def stop_requested(self):
        return self.seen[-1][0] >= self.steps


def test_a_stop_leaves_what_is_known(monkeypatch):
    """60 chains, 32 at a time: forwards 120 steps, backwards 239."""
    monkeypatch.setattr(module, "AT_ONCE", 32)
    whole, each = machine(), 120 + 239
    with pytest.raises(KeyboardInterrupt, match="stopped after 50 of 120 temperatures"):
        partition(whole, 60, 120, SEED, observer=Until(10))
    one_way = partition(whole, 60, 120, SEED, observer=Until(130))
    assert (one_way.chains, one_way.complete, np.isnan(one_way.reverse)) == (32, False, True)
    assert one_way.middle == one_way.largest == (one_way.log_z, one_way.mcse)
    part = partition(whole, 60, 120, SEED, observer=Until(each + 10))
    assert (part.chains, part.complete, np.isfinite(part.reverse)) == (32, False, True)
    assert part.log_z == one_way.log_z
    watcher = Until(2 * each)
    assert partition(whole, 60, 120, SEED, observer=watcher) == partition(whole, 60, 120, SEED)
    assert watcher.seen[-1] == (2 * each, 2 * each)


def test_what_is_said_of_rows():
    values, both = np.array([1.0, 3.0]), Partition(10.0, 0.3, 20.0, 11.0, 0.4, 15.0, 50, 100)
    bracket = OfPartition.made("annealed", "bracket", values, both, 1.0)
    np.testing.assert_allclose(bracket.values, values - 10.5)
    assert bracket.mcse == pytest.approx([0.25, 0.25])
    np.testing.assert_allclose(
        bracket.interval - values[:, None], [[-11 - 1.96 * 0.4, -10 + 1.96 * 0.3]] * 2, atol=1e-4
    )
    bound = OfPartition.made("mean field", "lower bound", values, both, 1.0)
    np.testing.assert_allclose(bound.values, values - 11)
    assert bound.mean_mcse == pytest.approx(0.4)
    for result in (bracket, bound):
        np.testing.assert_allclose(result.lower, values - 11)
        np.testing.assert_allclose(result.upper, values - 10)
        assert (result.details["mean_by_annealing"], result.details["mean_by_reverse"]) == (-8, -9)
    nan = float("nan")
    stopped = Partition(10.0, 0.3, 20.0, nan, nan, nan, 50, 100, False)
    for kind in ("bracket", "lower bound"):
        result = OfPartition.made("annealed", kind, values, stopped, 1.0)
        assert (result.kind, result.complete, result.details["mean_by_reverse"]) == ("estimate", False, None)
        np.testing.assert_allclose(result.values, values - 10)
        np.testing.assert_allclose(
            result.interval - values[:, None], [[-10 - 1.96 * 0.3, -10 + 1.96 * 0.3]] * 2, atol=1e-4
        )


def test_scores_say_where_their_level_is_not_known(monkeypatch):
    """A machine of many modes, through few temperatures."""
    rows = (np.random.default_rng(1).random((40, 12)) < 0.5).astype(np.float32)
    found = RBM(hidden=24, random_state=0, epochs=1, chains=40, batch_size=40)
    found.initialize(rows)
    found.parameters()["hidden.weight"][...] = 4 * np.random.default_rng(2).normal(size=(12, 24))
    monkeypatch.setattr("fastvae.models.boltzmann.SCORE_TEMPERATURES", 5)
    with pytest.warns(
        UserWarning, match="log Z is .* by annealed importance sampling and .* by its reverse, through 5"
    ):
        score = found.score_samples(rows)
    result = found.evaluate(rows, temperatures=5)
    np.testing.assert_allclose(score, result.values)
    assert abs(result.details["reverse"] - result.details["log_z"]) > 1
