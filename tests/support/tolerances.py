"""How near a result must come to `fastvae.reference`: one table, by the dtype of the result and by the op.

A tolerance is a multiple of the *magnitude* of the result: the sum of the absolute values of the terms that were
added up for it, which is what rounding errors scale with. Where none is given it is the result's own absolute value,
and the tolerance is a relative error. Measured errors stand below the numbers by a factor of 2 to 4, so that a
constant that is wrong in its sixth digit fails.
"""

import numpy as np

from fastvae.kernels.cpu import processor

TOLERANCES = {
    "float32": {
        "product": 9e-7,  # sums in order, over up to a thousand terms
        "dense": 6e-7,  # the products' rounding, over at most some hundred terms
        "prefix": 6e-7,  # the same, and that of a sum of weights, whose exponential is a product of theirs
        "derivative": 6e-7,  # by an activation's value: (1 - y) (1 + y) of a rounded y
        "latent": 6e-7,
        "kl": 8e-7,
        "likelihood": 8e-7,
        "adam": 5e-7,
        "normal": 4e-7,  # of the radius
        "model": 2e-6,  # a whole network, forward and backward
    },
    "float64": {
        "difference": 1e-7,  # central differences
        "exact": 1e-12,  # another form of the same formula
    },
}


def check(actual, expected, op, magnitude=None):
    """Fail unless |actual - expected| <= tolerance * magnitude everywhere; NaN only where NaN is expected."""
    actual, expected = np.asarray(actual), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (op, actual.shape, expected.shape)
    size = np.abs(expected) if magnitude is None else np.broadcast_to(np.asarray(magnitude, float), expected.shape)
    allowed = TOLERANCES[actual.dtype.name][op] * size + 1e-37
    wrong = ~(np.abs(actual - expected) <= allowed) & ~(np.isnan(actual) & np.isnan(expected))
    if wrong.any():
        i = tuple(np.argwhere(wrong)[0])
        raise AssertionError(
            f"{op}: {wrong.sum()} of {wrong.size} wrong, first at {i}: {actual[i]!r} for {expected[i]!r}, "
            f"off by {abs(actual[i] - expected[i]):.3g} where {allowed[i]:.3g} is allowed"
        )


def check_same(actual, expected):
    """Fail unless the bits are the same, however work was cut; where a BLAS does the products, unless they are near."""
    if processor.CHOSEN == processor.BLAS:
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5)
    else:
        np.testing.assert_array_equal(actual, expected)
