"""The contract in `kernels/__init__.py`: each backend has every op under the described parameters, and each op does
on awkward shapes what the reference does. A new op needs a line in the contract and a function here.

`Program`, the one class of the contract, has a file of its own: test_program.py.
"""

import inspect
import math

import numpy as np
import pytest

import fastvae.kernels
from fastvae import reference
from fastvae.kernels import philox
from fastvae.kernels.formulas import ACTIVATIONS, SILU
from tests.support.tolerances import check

SHAPES = [(1, 1), (7, 33), (3, 4), (5, 17), (2, 64), (129, 31)]
SEED, STEP, FIRST_ROW = np.uint64(2**63 + 2**31 + 17), 12, 1000


def described():
    """Name to parameter names, for every `name(parameter shape, ...)` that opens a paragraph of the contract; of a
    class, the constructor's."""
    found, lines = {}, fastvae.kernels.__doc__.splitlines()
    text = "\n".join(lines)
    for start in [i for i in range(len(text)) if text.startswith("\n    ", i) and text[i + 5].isalpha()]:
        name = text[start + 5 :].split("(")[0]
        stop = start
        while name.isidentifier() and stop >= 0:
            depth, parameters, stop = 0, [""], text.index("(", stop)
            while True:
                letter = text[stop]
                depth += (letter in "([") - (letter in ")]")
                if depth == 0:
                    break
                if letter == "," and depth == 1:
                    parameters.append("")
                elif depth > 1 or letter != "(":
                    parameters[-1] += letter
                stop += 1
            found[name] = [p.split()[0] for p in parameters]
            following = text[stop + 1 :]
            stop += 1
            if not following.startswith(", "):  # two ops on one line
                break
            name = following[2:].split("(")[0]
    return found


def parameters(function):
    return list(inspect.signature(getattr(function, "py_func", function)).parameters)


def test_every_op_is_described(kernels):
    contract = described()
    assert set(kernels.__all__) == set(contract)
    for name in kernels.__all__:
        assert parameters(getattr(kernels, name)) == contract[name], name


def test_what_the_contract_says_of_a_program_is_there(kernels):
    assert parameters(kernels.Program.add)[:2] == ["self", "op"]
    assert parameters(kernels.Program.run) == ["self"]


# ---- every op on every backend -----------------------------------------------------------------------------------


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def garbage(*shape):
    """An output that was not written to shows."""
    return np.full(shape, np.nan, np.float32)


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


def outputs_for(columns):
    return 2 * columns // 3 + 1


def layers(kernels, rng, shape):
    """For each activation: its name, its number, the layer's x, weight, bias, what the forward has saved, its result,
    and the sizes that its result's rounding scales with."""
    rows, columns = shape
    outputs = outputs_for(columns)
    for name, code in ACTIVATIONS.items():
        x, weight, bias = normal(rng, rows, columns), normal(rng, columns, outputs), normal(rng, outputs)
        out = garbage(rows, outputs)
        saved = garbage(rows, outputs) if code == SILU else out
        kernels.dense_forward(x, weight, bias, code, out, saved)
        x64, weight64, bias64 = wide(x, weight, bias)
        yield name, code, (x, weight, bias), saved, out, np.abs(x64) @ np.abs(weight64) + np.abs(bias64)


def dense_forward(kernels, rng, shape):
    for name, _, layer, _, out, terms in layers(kernels, rng, shape):
        check(out, reference.dense_forward(*wide(*layer), name), "dense", terms)


def dense_accumulate(kernels, rng, shape):
    """Twice, so that what stands there first is kept both times."""
    columns, outputs = shape[1], outputs_for(shape[1])
    x, weight, out = normal(rng, *shape), normal(rng, columns, outputs), normal(rng, shape[0], outputs)
    x64, weight64, out64 = wide(x, weight, out)
    for times in (1, 2):
        kernels.dense_accumulate(x, weight, out)
        size = np.abs(out64) + times * (np.abs(x64) @ np.abs(weight64))
        check(out, out64 + times * (x64 @ weight64), "dense", size)


def dense_backward_input(kernels, rng, shape):
    """Through the activation, with what the forward has saved: d_a over d_out, and d_x alone, added, or not at all."""
    for name, code, (x, weight, bias), saved, _, terms in layers(kernels, rng, shape):
        x64, weight64, bias64 = wide(x, weight, bias)
        a = x64 @ weight64 + bias64
        upstream = normal(rng, *saved.shape)
        upstream[np.abs(a) < 1e-3] = 0  # a kink may lie on either side of a rounding
        expected_a = upstream * reference.ACTIVATIONS[name][1](a)
        curved = name not in ("identity", "relu", "leaky_relu")  # there a's own rounding moves the derivative
        size = np.abs(upstream.astype(np.float64)) * (1 + curved * terms)
        expected, size_x = expected_a @ weight64.T, size @ np.abs(weight64.T)
        before = normal(rng, *shape)
        for d_x, more in ((garbage(*shape), 0), (before.copy(), 1), (None, 0)):
            d_out = upstream.copy()
            kernels.dense_backward_input(saved, weight, code, d_out, more, d_x)
            check(d_out, expected_a, "derivative", size)
            if d_x is not None:
                check(d_x, expected + more * before, "derivative", size_x + more * np.abs(before))


def parts(rows):
    """Cuts of so many rows of a weight: all at once, two pieces, and single rows at both ends."""
    return [(0, rows)], [(0, rows // 2), (rows // 2, rows)], [(0, 1), (1, max(1, rows - 1)), (max(1, rows - 1), rows)]


def dense_backward_weight(kernels, rng, shape):
    columns, outputs = shape[1], outputs_for(shape[1])
    x, d_a = normal(rng, *shape), normal(rng, shape[0], outputs)
    x64, d_a64 = wide(x, d_a)
    for cut in parts(columns):
        d_weight, d_bias = garbage(columns, outputs), garbage(outputs)
        for first, last in cut:
            kernels.dense_backward_weight(x, d_a, first, last, d_weight, d_bias)
            assert np.isnan(d_weight[last:]).all()  # not this call's rows
        check(d_weight, x64.T @ d_a64, "dense", np.abs(x64.T) @ np.abs(d_a64))
        check(d_bias, d_a64.sum(axis=0), "dense", np.abs(d_a64).sum(axis=0))
        alone = garbage(columns, outputs)  # a layer without bias
        for first, last in cut:
            kernels.dense_backward_weight(x, d_a, first, last, alone, None)
        np.testing.assert_array_equal(alone, d_weight)


def dense_adam_inplace(kernels, rng, shape):
    columns, outputs = shape[1], outputs_for(shape[1])
    x, d_a = normal(rng, *shape), normal(rng, shape[0], outputs)
    x64, d_a64 = wide(x, d_a)
    gradients = x64.T @ d_a64, d_a64.sum(axis=0)
    sizes = np.abs(x64.T) @ np.abs(d_a64), np.abs(d_a64).sum(axis=0)
    settings = (3, 0.02, 0.85, 0.97, 1e-3, 0.1)
    shapes = (columns, outputs), (outputs,)
    start = [[normal(rng, *s), normal(rng, *s), np.abs(normal(rng, *s)) + np.float32(0.01)] for s in shapes]
    for cut in parts(columns):
        now = [[a.copy() for a in arrays] for arrays in start]
        for first, last in cut:
            kernels.dense_adam_inplace(x, d_a, first, last, *now[0], *now[1], *settings)
        for found, before, g, size in zip(now, start, gradients, sizes, strict=True):
            p, m, v = wide(*before)
            expected_p, expected_m, expected_v = reference.adam(p, g, m, v, *settings)
            update = np.abs(expected_p - p)
            check(found[1], expected_m, "adam", np.abs(m) + size)
            check(found[2], expected_v, "adam", v + size**2)
            # the gradient's rounding enters the update through both moments, at most as its own size by the root of v
            check(found[0], expected_p, "adam", np.abs(p) + update + 0.02 * size / np.sqrt(expected_v))
        alone = [a.copy() for a in start[0]]  # a layer without bias
        for first, last in cut:
            kernels.dense_adam_inplace(x, d_a, first, last, *alone, None, None, None, *settings)
        np.testing.assert_array_equal(alone, now[0])


def latent_inputs(rng, shape):
    mu, logvar = normal(rng, *shape), 3 * normal(rng, *shape)
    drawn = reference.normals(SEED, reference.LATENT, STEP, FIRST_ROW, shape)
    given = normal(rng, *shape)
    return mu, logvar, [(np.empty((0, 0), np.float32), drawn), (given, given.astype(np.float64))]


def latent_forward(kernels, rng, shape):
    mu, logvar, noises = latent_inputs(rng, shape)
    mu64, logvar64 = wide(mu, logvar)
    for noise, truth in noises:
        z, kl = garbage(*shape), garbage(shape[0])
        kernels.latent_forward(mu, logvar, noise, SEED, STEP, FIRST_ROW, z, kl)
        expected_z, expected_kl = reference.latent_forward(mu64, logvar64, truth)
        check(z, expected_z, "latent", np.abs(mu64) + np.exp(logvar64 / 2) * np.maximum(np.abs(truth), 1))
        check(kl, expected_kl, "kl")


def latent_backward(kernels, rng, shape):
    mu, logvar, noises = latent_inputs(rng, shape)
    d_z = normal(rng, *shape)
    mu64, logvar64, d_z64 = wide(mu, logvar, d_z)
    for noise, truth in noises:
        d_mu, d_logvar = garbage(*shape), garbage(*shape)
        kernels.latent_backward(mu, logvar, d_z, noise, SEED, STEP, FIRST_ROW, 0.37, d_mu, d_logvar)
        expected_mu, expected_logvar = reference.latent_backward(mu64, logvar64, truth, d_z64, 0.37)
        check(d_mu, expected_mu, "latent", np.abs(d_z64) + 0.37 * np.abs(mu64))
        reparameterization = np.abs(d_z64) * np.maximum(np.abs(truth), 1) * np.exp(logvar64 / 2)
        check(d_logvar, expected_logvar, "latent", reparameterization + 0.37 * np.abs(np.expm1(logvar64)))


def squared_error(kernels, rng, shape, backward):
    x, xhat = normal(rng, *shape), normal(rng, *shape)
    expected, slope = reference.squared_error_forward_backward(*wide(x, xhat), 0.3)
    nll, d_xhat = garbage(shape[0]), garbage(*shape)
    constant = abs(math.log(0.3)) + 0.5 * math.log(2 * math.pi)
    if backward:
        kernels.squared_error_forward_backward(x, xhat, 0.3, 0.37, nll, d_xhat)
        check(d_xhat, 0.37 * slope, "likelihood")
    else:
        kernels.squared_error_forward(x, xhat, 0.3, nll)
    check(nll, expected, "likelihood", np.abs(expected) + constant * shape[1])


def gaussian(kernels, rng, shape, backward):
    """Each column with another sigma."""
    x, xhat, log_sigma = normal(rng, *shape), normal(rng, *shape), normal(rng, shape[1])
    inverse = np.exp(-log_sigma.astype(np.float64)).astype(np.float32)
    x64, xhat64, log64, inverse64 = wide(x, xhat, log_sigma, inverse)
    squares = ((x64 - xhat64) * inverse64) ** 2
    expected = (squares / 2 + log64 + math.log(2 * math.pi) / 2).sum(axis=1)
    nll, d_xhat = garbage(shape[0]), garbage(*shape)
    if backward:
        kernels.gaussian_forward_backward(x, xhat, log_sigma, inverse, 0.37, nll, d_xhat)
        check(d_xhat, 0.37 * (xhat64 - x64) * inverse64**2, "likelihood")
    else:
        kernels.gaussian_forward(x, xhat, log_sigma, inverse, nll)
    check(nll, expected, "likelihood", (squares / 2 + np.abs(log64) + 1).sum(axis=1))
    np.testing.assert_allclose(  # the reference has sigma itself, which float32 does not
        expected, reference.squared_error_forward_backward(x64, xhat64, np.exp(log64))[0], rtol=1e-5, atol=1e-5
    )


def sigmas(rng, columns):
    """Parameters and lowest log sigma: one for all columns, and one a column; near their lowest, and far above."""
    for size in {1, columns}:
        yield (rng.uniform(-1.2, 0.3, size)).astype(np.float32), (rng.uniform(-9, -4, size)).astype(np.float32)


def sigma_forward(kernels, rng, shape):
    for parameter, lowest in sigmas(rng, shape[1]):
        log_sigma, inverse = garbage(shape[1]), garbage(shape[1])
        kernels.sigma_forward(parameter, lowest, log_sigma, inverse)
        expected = np.log(reference.soft_sigma(*wide(parameter, lowest))[0]) * np.ones(shape[1])
        size = 10 * np.abs(parameter) + np.abs(lowest) + 1
        check(log_sigma, expected, "likelihood", size)
        check(inverse, np.exp(-expected), "likelihood", np.exp(-expected) * size)


def sigma_backward(kernels, rng, shape):
    """As after `gaussian_forward_backward`, with a weight that is no power of two."""
    for parameter, lowest in sigmas(rng, shape[1]):
        sigma, slope = reference.soft_sigma(*wide(parameter, lowest))
        sigma = sigma * np.ones(shape[1])
        x, inverse, d_parameter = normal(rng, *shape), (1 / sigma).astype(np.float32), garbage(len(parameter))
        xhat = (x + rng.normal(size=shape) * sigma * 1.5).astype(np.float32)
        x64, xhat64, inverse64 = wide(x, xhat, inverse)
        d_xhat = (0.37 * (xhat64 - x64) * inverse64**2).astype(np.float32)
        kernels.sigma_backward(d_xhat, inverse, parameter, lowest, 0.37, d_parameter)
        each = reference.d_log_sigma(x64, xhat64, 1 / inverse64)
        squares = (((x64 - xhat64) * inverse64) ** 2).sum(axis=0)
        if len(parameter) == 1:
            each, squares = each.sum(keepdims=True), squares.sum(keepdims=True)
        size = 10 * np.abs(parameter) + np.abs(lowest) + 4  # of the argument, whose rounding the slope has
        count = x.size / len(parameter)
        check(d_parameter, 0.37 * slope * each, "likelihood", 0.37 * slope * (count + squares) * size)


def sigma_optimal(kernels, rng, shape):
    """Some columns without any error, and sigmas that would be lower than they may be."""
    for lowest in (normal(rng, 1) - 9, normal(rng, shape[1]) - 9, np.full(1, 3, np.float32)):
        x = normal(rng, *shape)
        xhat = x + normal(rng, *shape) * np.exp(normal(rng, shape[1]))
        xhat[:, ::3] = x[:, ::3]
        log_sigma, inverse = garbage(shape[1]), garbage(shape[1])
        kernels.sigma_optimal(x, xhat, lowest, log_sigma, inverse)
        expected = np.log(reference.optimal_sigma(*wide(x, xhat, lowest))) * np.ones(shape[1])
        check(log_sigma, expected, "likelihood", np.abs(expected) + 1)
        check(inverse, np.exp(-expected), "likelihood", np.exp(-expected) * (np.abs(expected) + 1))


def sigma_remember(kernels, rng, shape):
    for parameter, lowest in sigmas(rng, shape[1]):
        for step, share in ((1, 0.25), (3, 1.0), (50, 0.75)):
            seen, found = normal(rng, shape[1]), parameter.copy()
            kernels.sigma_remember(seen, share, lowest, step, found)
            old = reference.soft_sigma(*wide(parameter, lowest))[0]
            expected = reference.remembered_sigma(old, np.exp(seen[: len(old)].astype(np.float64)), step, share)
            log_sigma = np.log(reference.soft_sigma(*wide(found, lowest))[0])
            size = 10 * np.abs(parameter) + np.abs(lowest) + np.abs(np.log(expected)) + 1
            assert (np.abs(log_sigma - np.log(expected)) < 8e-7 * size).all()


def bernoulli(kernels, rng, shape, backward):
    x, logits = rng.uniform(size=shape).astype(np.float32), 4 * normal(rng, *shape)
    x[:, ::3] = np.round(x[:, ::3])
    expected, slope = reference.bernoulli_forward_backward(*wide(x, logits))
    nll, d_logits = garbage(shape[0]), garbage(*shape)
    if backward:
        kernels.bernoulli_forward_backward(x, logits, 0.37, nll, d_logits)
        s = reference.sigmoid(logits.astype(np.float64))
        check(d_logits, 0.37 * slope, "likelihood", 0.37 * ((1 - x) * s + x * (1 - s)))
    else:
        kernels.bernoulli_forward(x, logits, nll)
    check(nll, expected, "likelihood")


def sigmoid_inplace(kernels, rng, shape):
    logits = 5 * normal(rng, *shape)
    expected = reference.sigmoid(logits.astype(np.float64))
    kernels.sigmoid_inplace(logits)
    check(logits, expected, "likelihood")


def scale_inplace(kernels, rng, shape):
    x = normal(rng, *shape)
    expected = np.float32(0.37) * x
    kernels.scale_inplace(x, 0.37)
    np.testing.assert_array_equal(x, expected)


def total(kernels, rng, shape):
    values = normal(rng, math.prod(shape)) * np.float32(1e3)
    check(np.float64(kernels.total(values)), values.astype(np.float64).sum(), "exact", np.abs(values).sum())


def adam_inplace(kernels, rng, shape):
    size = math.prod(shape)
    params, grads, m = (normal(rng, size) for _ in range(3))
    v = np.abs(normal(rng, size)) + np.float32(0.01)
    settings = (3, 0.02, 0.85, 0.97, 1e-3, 0.1, 0.4)
    expected = reference.adam(*wide(params, grads, m, v), *settings)
    sizes = [np.abs(a) for a in wide(params, m, v)]
    kept = grads.copy()
    kernels.adam_inplace(params, grads, m, v, *settings)
    np.testing.assert_array_equal(grads, kept)
    for found, e, s in zip((params, m, v), expected, sizes, strict=True):
        check(found, e, "adam", s + np.abs(e))


def squared_norm(kernels, rng, shape):
    grads = normal(rng, math.prod(shape)) * np.float32(1e3)
    check(np.float64(kernels.squared_norm(grads)), (grads.astype(np.float64) ** 2).sum(), "exact")


def normal_noise(kernels, rng, shape):
    out = garbage(*shape)
    kernels.normal_noise(SEED, philox.PRIOR, STEP, FIRST_ROW, out)
    word = reference.words(SEED, philox.PRIOR, STEP, FIRST_ROW, (shape[0], shape[1] + shape[1] % 2))
    radius = np.sqrt(-2 * np.log(reference.uniform(word[:, 0::2]))).repeat(2, axis=1)[:, : shape[1]]
    check(out, reference.normals(SEED, philox.PRIOR, STEP, FIRST_ROW, shape), "normal", radius)


def uniform_noise(kernels, rng, shape):
    out = garbage(*shape)
    kernels.uniform_noise(SEED, philox.PRIOR, STEP, FIRST_ROW, out)
    np.testing.assert_array_equal(out, reference.uniforms(SEED, philox.PRIOR, STEP, FIRST_ROW, shape))


def binarize_inplace(kernels, rng, shape):
    x = rng.uniform(size=shape).astype(np.float32)
    word = reference.words(SEED, reference.BINARIZATION, STEP, FIRST_ROW, shape)
    expected = (word // 256) / 2.0**24 < x
    kernels.binarize_inplace(x, SEED, STEP, FIRST_ROW)
    np.testing.assert_array_equal(x, expected)


def threshold_inplace(kernels, rng, shape):
    x = rng.uniform(size=shape).astype(np.float32)
    expected = x > np.float32(0.3)
    kernels.threshold_inplace(x, 0.3)
    np.testing.assert_array_equal(x, expected)


def shuffled_indices(kernels, rng, shape):
    count = math.prod(shape)
    out = np.full(count, -1)
    kernels.shuffled_indices(SEED, 3, count, 0, out)
    np.testing.assert_array_equal(np.sort(out), np.arange(count))


def gather(kernels, rng, shape):
    data = rng.integers(0, 256, shape).astype(np.uint8)
    offset, scale = normal(rng, shape[1]), normal(rng, shape[1])
    indices = rng.integers(0, shape[0], 2 * shape[0])
    out = garbage(len(indices), shape[1])
    kernels.gather(data, indices, offset, scale, out)
    check(out, (data[indices] - offset.astype(float)) / scale, "likelihood", (data[indices] + 1.0) / np.abs(scale))


def read_rows(kernels, rng, shape):
    data = rng.integers(-99, 99, shape).astype(np.int16)
    offset, scale = normal(rng, shape[1]), normal(rng, shape[1])
    out, expected = garbage(*shape), (data - offset.astype(float)) / scale
    outside = kernels.read_rows(data, offset, scale, -5, 7.5, out)
    check(out, expected, "likelihood", (np.abs(data) + 1.0) / np.abs(scale))
    assert outside == ((out < -5) | (out > 7.5)).sum()


CHECKS = {
    "adam_inplace": adam_inplace,
    "bernoulli_forward": lambda *a: bernoulli(*a, backward=False),
    "bernoulli_forward_backward": lambda *a: bernoulli(*a, backward=True),
    "binarize_inplace": binarize_inplace,
    "dense_accumulate": dense_accumulate,
    "dense_adam_inplace": dense_adam_inplace,
    "dense_backward_input": dense_backward_input,
    "dense_backward_weight": dense_backward_weight,
    "dense_forward": dense_forward,
    "gather": gather,
    "gaussian_forward": lambda *a: gaussian(*a, backward=False),
    "gaussian_forward_backward": lambda *a: gaussian(*a, backward=True),
    "latent_backward": latent_backward,
    "latent_forward": latent_forward,
    "normal_noise": normal_noise,
    "read_rows": read_rows,
    "scale_inplace": scale_inplace,
    "shuffled_indices": shuffled_indices,
    "sigma_backward": sigma_backward,
    "sigma_forward": sigma_forward,
    "sigma_optimal": sigma_optimal,
    "sigma_remember": sigma_remember,
    "sigmoid_inplace": sigmoid_inplace,
    "squared_error_forward": lambda *a: squared_error(*a, backward=False),
    "squared_error_forward_backward": lambda *a: squared_error(*a, backward=True),
    "squared_norm": squared_norm,
    "threshold_inplace": threshold_inplace,
    "total": total,
    "uniform_noise": uniform_noise,
}


def test_every_op_is_checked(kernels):
    assert set(CHECKS) == set(kernels.__all__) - {"Program", "upload", "download", "forget"}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", CHECKS)
def test_op(kernels, op, shape):
    CHECKS[op](kernels, np.random.default_rng(list(shape)), shape)
