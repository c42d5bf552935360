"""All measures side by side."""

import math

import numpy as np
import pytest

from fastvae.evaluation.quality import Measure, panel, table

RNG = np.random.default_rng(0)
SAMPLES, HELD, TRAIN = RNG.normal(size=(120, 4)) + 0.3, RNG.normal(size=(300, 4)), RNG.normal(size=(400, 4))


def test_every_figure_stands_beside_that_of_real_data():
    found = panel(SAMPLES, HELD, TRAIN, permutations=99)
    assert len({m.name for m in found}) == len(found)
    for m in found:
        assert isinstance(m, Measure)
        assert math.isfinite(m.value)
        assert math.isfinite(m.real)
        assert m.p_value is None or 0 < m.p_value <= 1
        assert math.isfinite(m.error) or m.p_value is not None
        assert m.sizes["samples"] == 120
        assert m.sizes["real"] == (120 if m.name == "classifier" else 180)  # it takes pairs
        assert m.larger


def test_the_same_arguments_give_the_same_figures():
    a, b, c = (panel(SAMPLES, HELD, TRAIN, permutations=49, seed=seed) for seed in (1, 1, 2))
    assert a == b
    assert a != c


def test_more_samples_than_half_the_held_out_rows():
    for m in panel(np.concatenate([SAMPLES] * 3), HELD[:201], permutations=9):
        assert (m.sizes["samples"], m.sizes["real"]) == (100, 100 if m.name == "classifier" else 101)


def test_the_table():
    lines = table(panel(SAMPLES, HELD, TRAIN, permutations=99))
    assert lines[0].split()[:3] == ["samples", "real", "data"]
    assert all("  " in line for line in lines)
    one = Measure("figure", 0.012345, 0.00456, 0.031, {}, "worse", real=0.5, real_error=0.01)
    assert table([one])[1] == "figure  0.0123 (0.0046)  0.500 (0.010)  0.031  worse"


def test_what_is_refused():
    with pytest.raises(ValueError, match="held_out has 3 rows; at least 4"):
        panel(SAMPLES, HELD[:3])
    with pytest.raises(ValueError, match="train has 3 columns"):
        panel(SAMPLES, HELD, TRAIN[:, :3])
    with pytest.raises(ValueError, match="samples has 1 row"):
        panel(SAMPLES[:1], HELD)
    with pytest.raises(ValueError, match="samples has 120 entries"):
        panel(np.where(np.arange(4) == 1, np.nan, SAMPLES), HELD)
