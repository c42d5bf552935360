"""Contract cases of noise, and of how data are read."""

import numpy as np

from fastvae import reference
from fastvae.contract_cases.case import KEY, ROW, SIGMA, STEP, Case, Compared, garbage, normal
from fastvae.kernels import philox
from fastvae.kernels.formulas import ALL_CORRUPTIONS

# ---- noise --------------------------------------------------------------------------------------------------------


def _normal_noise(rng, shape, precision):
    rows, columns, _ = shape
    out = garbage(rows, columns)
    word = reference.words(KEY, philox.PRIOR, STEP, ROW, (rows, columns + columns % 2))
    radius = np.sqrt(-2 * np.log(reference.uniform(word[:, 0::2]))).repeat(2, axis=1)[:, :columns]
    expected = reference.normals(KEY, philox.PRIOR, STEP, ROW, (rows, columns))
    yield Case("normal_noise", (KEY, philox.PRIOR, STEP, ROW, out), [Compared(out, expected, radius)])


def _uniform_noise(rng, shape, precision):
    out = garbage(*shape[:2])
    expected = reference.uniforms(KEY, philox.PRIOR, STEP, ROW, out.shape)
    yield Case("uniform_noise", (KEY, philox.PRIOR, STEP, ROW, out), [Compared(out, expected, 0.0)])


def _binarize_inplace(rng, shape, precision):
    x = rng.random(shape[:2], np.float32)
    expected = reference.words(KEY, reference.BINARIZATION, STEP, ROW, x.shape) // 256 / 2.0**24 < x
    yield Case("binarize_inplace", (x, KEY, STEP, ROW), [Compared(x, expected, 0.0)])


def _corrupt(rng, shape, precision):
    """Where a word decides, 0 and 1 are exact, and all else is x."""
    amount = np.float32(SIGMA).astype(np.float64)  # as the op compares it with a word
    words = reference.words(KEY, philox.PRIOR, STEP, ROW, shape[:2])
    normals = reference.normals(KEY, philox.PRIOR, STEP, ROW, shape[:2])
    for name, code in ALL_CORRUPTIONS.items():
        x, out = normal(rng, *shape[:2]), garbage(*shape[:2])
        expected = reference.corrupted(x.astype(np.float64), name, amount, words, normals)
        size = np.abs(x) + SIGMA * (1 + np.abs(normals)) if name == "gaussian" else 0.0
        operands = x, code, SIGMA, KEY, philox.PRIOR, STEP, ROW, out
        yield Case("corrupt", operands, [Compared(out, expected, size)])


def _threshold_inplace(rng, shape, precision):
    x = rng.random(shape[:2], np.float32)
    expected = x > np.float32(SIGMA)
    yield Case("threshold_inplace", (x, SIGMA), [Compared(x, expected, 0.0)])


# ---- data ---------------------------------------------------------------------------------------------------------


def _gather(rng, shape, precision):
    """Bytes under float32, and numbers that float32 would not tell apart under float64."""
    rows, columns, _ = shape
    indices, offset = rng.integers(0, rows, rows), normal(rng, columns)
    scale = np.float32(0.5) + rng.random(columns, np.float32)
    pixels = rng.integers(0, 256, (rows, columns)).astype(np.uint8)
    times = pixels + 1.7e9, offset.astype(np.float64) + 1.7e9, scale.astype(np.float64)
    for data, low, by in ((pixels, offset, scale), times):
        out, chosen = garbage(rows, columns), data[indices].astype(np.float64)
        expected = (chosen - low) / by
        size = np.abs(expected) if low.dtype == np.float64 else (chosen + np.abs(low)) / by
        compared = [Compared(out, expected, size)]
        yield Case("gather", (data, indices, low, by, out), compared)


def _read_rows(rng, shape, precision):
    """Also from a view of which neither rows nor columns lie side by side."""
    rows, columns, _ = shape
    offset, scale = normal(rng, columns), np.float32(0.5) + rng.random(columns, np.float32)
    lowest, highest = -5.0, 7.5
    whole = rng.integers(-9, 9, (2 * rows, 3 * columns)).astype(np.int16)
    for data in (whole[:rows, :columns].copy(), whole[::2, ::-3]):
        out, exact = garbage(rows, columns), (data.astype(np.float64) - offset) / scale
        size = (np.abs(data) + np.abs(offset)) / scale

        def compare(left, out=out, exact=exact, size=size):
            outside = np.float64(((out < lowest) | (out > highest)).sum())
            return [Compared(out, exact, size), Compared(np.float64(left), outside, 0.0)]

        yield Case("read_rows", (data, offset, scale, lowest, highest, None, out), compare)


CASES = {
    "normal_noise": _normal_noise,
    "uniform_noise": _uniform_noise,
    "binarize_inplace": _binarize_inplace,
    "corrupt": _corrupt,
    "threshold_inplace": _threshold_inplace,
    "gather": _gather,
    "read_rows": _read_rows,
}
