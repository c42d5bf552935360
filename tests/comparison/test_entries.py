"""The models of a comparison: that one does what it is there for, as the measures see it."""

import warnings

import numpy as np
import pytest

from fastvae.comparison.entries import ALL
from fastvae.comparison.measures import Subjected, corrupted, reconstruction
from fastvae.comparison.subject import subject_of
from fastvae.data.dataset import DataSet
from fastvae.data.loading import load

pytestmark = pytest.mark.long
RNG = np.random.default_rng(0)


def by_regression(subject, noisy):
    """The best linear map from corrupted rows to the rows, found on many corruptions of those that are trained on."""
    seen = np.tile(subject.seen, (10, 1))
    shown = np.concatenate([corrupted(subject, subject.seen, seed) for seed in range(1, 11)])
    with_one = [np.c_[rows, np.ones(len(rows))].astype(float) for rows in (shown, noisy)]
    square = with_one[0].T @ with_one[0] + 1e-2 * np.eye(with_one[0].shape[1])
    return with_one[1] @ np.linalg.solve(square, with_one[0].T @ seen)


def trained(subject, epochs):
    model = ALL["dae"].make(subject, 0)
    model.epochs = epochs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it would still improve
        return model.fit(subject.seen)


def test_a_denoising_autoencoder_denoises_images():
    """A fifth of the pixels is replaced by coins: better than the best linear map, on rows that it has not seen."""
    subject = subject_of(load("digits"), "fixed", 0)
    found = reconstruction(Subjected(trained(subject, 120), subject), 0)
    linear = by_regression(subject, corrupted(subject, subject.test, 0))
    assert found["denoised_l2"] < np.square(linear - subject.test).sum(axis=1).mean()
    assert found["denoised_l2"] < 0.55 * found["corrupted_l2"]


def test_and_real_numbers():
    """Of columns that depend on each other as those of a table do: near the best linear map, which is the best of all
    where all is normal."""
    roots = RNG.normal(size=(13, 13)) * np.linspace(1, 0.1, 13)
    subject = subject_of(DataSet.from_arrays("table", RNG.normal(size=(180, 13)) @ roots.T), "fixed", 0)
    found = reconstruction(Subjected(trained(subject, 300), subject), 0)
    linear = by_regression(subject, corrupted(subject, subject.test, 0))
    assert found["denoised_l2"] < 1.25 * np.square(linear - subject.test).sum(axis=1).mean()
    assert found["denoised_l2"] < 0.8 * found["corrupted_l2"]
