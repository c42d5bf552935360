"""What the panel notices, on real data: digits, 449 samples against 449 held-out rows."""

import numpy as np
import pytest

from fastvae.data.digits import load_digits
from fastvae.evaluation.quality import panel
from fastvae.evaluation.quality.kernel_mmd import kernel_mmd

DIGITS = load_digits()
ORDER = np.random.default_rng(0).permutation(1797)
X, LABELS = DIGITS.X[ORDER] / 16.0, DIGITS.labels[ORDER]
TRAIN, HELD, SAMPLES = X[:449], X[449:1347], X[1347:1796]


def p_values(samples):
    return {m.name: m.p_value for m in panel(samples, HELD, TRAIN, permutations=299) if m.p_value is not None}


def test_real_data_are_not_accused():
    assert min(p_values(SAMPLES).values()) > 0.01


@pytest.mark.parametrize("left_out", [0, 7])
def test_a_class_that_is_left_out(left_out):
    """Of 810 samples or so against 899 rows; 3, 5, 8 and 9 have p = .01 to .08 with so few."""
    assert kernel_mmd(X[:898][LABELS[:898] != left_out], X[898:]).p_value < 0.01


@pytest.mark.parametrize("clipped", [False, True])
def test_noise_on_the_pixels(clipped):
    noisy = SAMPLES + 0.05 * np.random.default_rng(1).normal(size=SAMPLES.shape)
    assert p_values(np.clip(noisy, 0, 1) if clipped else noisy)["classifier"] < 0.01


def test_copies_of_training_rows():
    copied = SAMPLES.copy()
    copied[:9] = TRAIN[:9]  # 2%
    found = p_values(copied)
    assert found["copies by distance"] < 0.01
    assert found["copies by ratio"] < 0.01
    assert found["kernel MMD^2"] > 0.01
    assert found["classifier"] > 0.01
