"""Threads that share a batch: each number once, errors handed on, nobody left behind."""

import threading

import pytest

from fastvae import blas, workers
from fastvae.workers import Workers, shares_for


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_number_runs_once_in_a_thread_of_its_own(count):
    with Workers(count) as team:
        for _ in range(50):
            calls = []
            team.run(lambda number, calls=calls: calls.append((number, threading.get_ident())))
            assert sorted(n for n, _ in calls) == list(range(count))
            assert len({thread for _, thread in calls}) == count


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_reaches_the_caller_and_the_team_goes_on(bad):
    def work(number):
        if number == bad:
            raise KeyError(number)

    with Workers(3) as team:
        with pytest.raises(KeyError, match=str(bad)):
            team.run(work)
        calls = []
        team.run(calls.append)
        assert sorted(calls) == [0, 1, 2]


def test_threads_end_with_the_context():
    def ours():
        return sorted(t.name for t in threading.enumerate() if t.name.startswith("fastvae-"))

    with Workers(4):
        assert ours() == ["fastvae-1", "fastvae-2", "fastvae-3"]
    assert ours() == []


def test_shares_depend_on_sizes_and_processors_alone(monkeypatch):
    if blas.threads() is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    monkeypatch.setenv("FASTVAE_THREADS", "4")
    assert shares_for(128, 1e6) == 1
    assert shares_for(128, 1e9) == 2
    assert shares_for(4096, 1e9) == 4
    assert shares_for(32, 1e9) == 1
    monkeypatch.setattr(blas, "threads", lambda: None)
    assert shares_for(4096, 1e9) == 1


@pytest.mark.parametrize("value", ["0", "-1", "two", ""])
def test_a_wrong_number_of_threads_is_named(monkeypatch, value):
    monkeypatch.setenv("FASTVAE_THREADS", value)
    with pytest.raises(ValueError, match=f"FASTVAE_THREADS='{value}' must be a whole number"):
        workers.processors()
