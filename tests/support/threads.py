"""Threads for batches that are so small that one would do."""

from fastvae.kernels.cpu import workers


def use(monkeypatch, count):
    """Have trainings and passes cut into shares for so many threads, however few rows and operations there are."""
    monkeypatch.setenv("FASTVAE_THREADS", str(count))
    monkeypatch.setattr(workers, "SMALL_PRODUCT", 0)
    monkeypatch.setattr(workers, "SMALLEST_SHARE", 1)
    assert workers.shares_for(16, 1.0) == int(count)
