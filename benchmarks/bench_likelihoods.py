"""The likelihoods with their gradient, a sigma of each column, and the sigmoid that turns logits into means."""

import functools

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours


def inputs(s):
    """x in [0, 1] and the decoder's outputs, (B, D) each."""
    return s.data(), s.normals(s.B, s.D)


def loss_fastvae(op, numbers, on, s):
    """Either likelihood, as a mean over the batch."""
    x, outputs = inputs(s)
    nll, gradient = np.empty(s.B, np.float32), np.empty_like(x)
    program = on.program(op, x, outputs, *numbers, 1 / s.B, nll, gradient)
    return on.case(program, lambda: [nll.sum() / s.B, gradient])


bernoulli_fastvae = functools.partial(loss_fastvae, "bernoulli_forward_backward", ())
squared_error_fastvae = functools.partial(loss_fastvae, "squared_error_forward_backward", (0.0, 1.0))  # sigma is 1


continuous_fastvae = functools.partial(loss_fastvae, "continuous_bernoulli_forward_backward", ())


def continuous_numpy(s):
    x, a = inputs(s)
    nll, d_a = np.empty(s.B, np.float32), np.empty_like(x)

    def step():
        y = np.maximum(np.abs(a.astype(np.float64)), 1e-6)
        e = -np.expm1(-y)
        nll[:] = np.sum(np.log(e / y) + np.maximum(a, 0) - x * a, axis=1)
        rest = 1 / y - (1 - e) / e
        d_a[:] = np.where(a < 0, rest, 1 - rest) - x
        np.multiply(d_a, 1 / s.B, out=d_a)

    return Case(step, lambda: [nll.sum() / s.B, d_a])


def bernoulli_numpy(s):
    x, logits = inputs(s)
    nll, d_logits, e = np.empty(s.B, np.float32), np.empty_like(x), np.empty_like(x)

    def step():
        np.abs(logits, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.sum(np.maximum(logits, 0) - x * logits + np.log1p(e), axis=1, out=nll)
        np.divide(np.where(logits < 0, e, 1), 1 + e, out=d_logits)
        np.subtract(d_logits, x, out=d_logits)
        np.multiply(d_logits, 1 / s.B, out=d_logits)

    return Case(step, lambda: [nll.sum() / s.B, d_logits])


def bernoulli_torch(s):
    import torch
    from torch.nn import functional

    x, logits = map(torch.from_numpy, inputs(s))
    logits.requires_grad_()

    def step():
        loss = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / s.B
        return loss.detach().numpy(), torch.autograd.grad(loss, logits)[0].numpy()

    return Case(step, lambda: list(step()))


def means(s):
    """Two arrays of means of Bernoullis, (B, D) each."""
    x = np.float32(0.01) + np.float32(0.98) * s.data()
    return x, x[::-1].copy()


def divergence_fastvae(on, s):
    x, mean = means(s)
    nll, gradient = np.empty(s.B, np.float32), np.empty_like(x)
    program = on.program("divergence_forward_backward", x, mean, 1 / s.B, nll, gradient)
    return on.case(program, lambda: [nll.sum() / s.B, gradient])


def divergence_numpy(s):
    x, mean = means(s)
    nll, d_mean = np.empty(s.B, np.float32), np.empty_like(x)

    def step():
        np.sum(x * np.log(x / mean) + (1 - x) * np.log((1 - x) / (1 - mean)), axis=1, out=nll)
        np.divide(mean - x, mean * (1 - mean), out=d_mean)
        np.multiply(d_mean, 1 / s.B, out=d_mean)

    return Case(step, lambda: [nll.sum() / s.B, d_mean])


def squared_error_numpy(s):
    x, xhat = inputs(s)
    nll, d_xhat = np.empty(s.B, np.float32), np.empty_like(x)

    def step():
        np.subtract(xhat, x, out=d_xhat)
        np.einsum("bd,bd->b", d_xhat, d_xhat, out=nll)
        np.multiply(nll, 0.5, out=nll)
        np.add(nll, 0.5 * s.D * np.log(2 * np.pi), out=nll)
        np.multiply(d_xhat, 1 / s.B, out=d_xhat)

    return Case(step, lambda: [nll.sum() / s.B, d_xhat])


def squared_error_torch(s):
    import torch
    from torch.nn import functional

    x, xhat = map(torch.from_numpy, inputs(s))
    xhat.requires_grad_()
    constant = 0.5 * s.D * np.log(2 * np.pi)

    def step():
        loss = functional.mse_loss(xhat, x, reduction="sum") / (2 * s.B) + constant
        return loss.detach().numpy(), torch.autograd.grad(loss, xhat)[0].numpy()

    return Case(step, lambda: list(step()))


def of_columns(s):
    """log sigma and 1 / sigma (D,)."""
    log_sigma = s.normals(s.D, seed=5) / 4
    return log_sigma, np.exp(-log_sigma)


def gaussian_fastvae(on, s):
    (x, xhat), nll = inputs(s), np.empty(s.B, np.float32)
    d_xhat = np.empty_like(x)
    program = on.program("gaussian_forward_backward", x, xhat, *of_columns(s), 1 / s.B, nll, d_xhat)
    return on.case(program, lambda: [nll.sum() / s.B, d_xhat])


def gaussian_numpy(s):
    (x, xhat), (log_sigma, inverse) = inputs(s), of_columns(s)
    nll, d_xhat = np.empty(s.B, np.float32), np.empty_like(x)

    def step():
        np.subtract(xhat, x, out=d_xhat)
        np.multiply(d_xhat, inverse, out=d_xhat)
        np.einsum("bd,bd->b", d_xhat, d_xhat, out=nll)
        np.multiply(nll, 0.5, out=nll)
        np.add(nll, log_sigma.sum() + 0.5 * s.D * np.log(2 * np.pi), out=nll)
        np.multiply(d_xhat, inverse / s.B, out=d_xhat)

    return Case(step, lambda: [nll.sum() / s.B, d_xhat])


def gaussian_torch(s):
    import torch

    x, xhat, log_sigma = map(torch.from_numpy, (*inputs(s), of_columns(s)[0]))
    xhat.requires_grad_()
    constant = 0.5 * s.D * np.log(2 * np.pi)

    def step():
        scaled = (xhat - x) * torch.exp(-log_sigma)
        loss = (scaled.square() / 2).sum() / s.B + log_sigma.sum() + constant
        return loss.detach().numpy(), torch.autograd.grad(loss, xhat)[0].numpy()

    return Case(step, lambda: list(step()))


def learned(s):
    """d_xhat (B, D), and the parameters of the sigmas with their lowest, (D,) each."""
    return s.normals(s.B, s.D) / s.B, s.normals(s.D, seed=5) / 40, np.full(s.D, -9, np.float32)


def sigma_backward_fastvae(on, s):
    (d_xhat, parameter, lowest), gradient = learned(s), np.empty(s.D, np.float32)
    operands = d_xhat, of_columns(s)[1], parameter, lowest, 1 / s.B, None, gradient
    return on.case(on.program("sigma_backward", *operands), lambda: [gradient])


def sigma_backward_numpy(s):
    (d_xhat, parameter, lowest), (_, inverse), gradient = learned(s), of_columns(s), np.empty(s.D, np.float32)

    def step():
        np.einsum("bd,bd->d", d_xhat, d_xhat, out=gradient)
        slope = 10 / (1 + np.exp(lowest - 10 * parameter))
        np.multiply(slope, 1 - gradient * s.B / inverse**2, out=gradient)

    return Case(step, lambda: [gradient])


def sigma_optimal_fastvae(on, s):
    lowest, (log_sigma, inverse) = np.full(s.D, -9, np.float32), np.empty((2, s.D), np.float32)
    return on.case(on.program("sigma_optimal", *inputs(s), lowest, log_sigma, inverse), lambda: [log_sigma, inverse])


def sigma_optimal_numpy(s):
    (x, xhat), (log_sigma, inverse) = inputs(s), np.empty((2, s.D), np.float32)

    def step():
        np.log(np.mean((x - xhat) ** 2, axis=0), out=log_sigma)
        np.maximum(log_sigma / 2, -9, out=log_sigma)
        np.exp(-log_sigma, out=inverse)

    return Case(step, lambda: [log_sigma, inverse])


def sigmoid_fastvae(on, s):
    logits = s.normals(s.B, s.D)
    return on.case(on.program("sigmoid_inplace", logits), lambda: [logits])


def sigmoid_numpy(s):
    logits = s.normals(s.B, s.D)

    def step():
        np.negative(logits, out=logits)
        np.exp(logits, out=logits)
        np.add(logits, 1, out=logits)
        np.reciprocal(logits, out=logits)

    return Case(step, lambda: [logits])


def sigmoid_torch(s):
    import torch

    logits = torch.from_numpy(s.normals(s.B, s.D))
    return Case(logits.sigmoid_, lambda: [logits.numpy()])


def tanh_fastvae(on, s):
    x = s.normals(s.B, s.H)
    return on.case(on.program("tanh_inplace", x), lambda: [x])


def tanh_numpy(s):
    x = s.normals(s.B, s.H)
    return Case(lambda: np.tanh(x, out=x), lambda: [x])


def tanh_torch(s):
    import torch

    x = torch.from_numpy(s.normals(s.B, s.H))
    return Case(x.tanh_, lambda: [x.numpy()])


OPS = {
    "bernoulli_forward_backward": Op(
        "byte",
        lambda s: 4 * (3 * s.B * s.D + s.B),
        {**ours(bernoulli_fastvae), "numpy": bernoulli_numpy, "torch": bernoulli_torch},
    ),
    "divergence_forward_backward": Op(
        "byte",
        lambda s: 4 * (3 * s.B * s.D + s.B),
        {**ours(divergence_fastvae), "numpy": divergence_numpy},
    ),
    "squared_error_forward_backward": Op(
        "byte",
        lambda s: 4 * (3 * s.B * s.D + s.B),
        {**ours(squared_error_fastvae), "numpy": squared_error_numpy, "torch": squared_error_torch},
    ),
    "gaussian_forward_backward": Op(
        "byte",
        lambda s: 4 * (3 * s.B * s.D + s.B + 2 * s.D),
        {**ours(gaussian_fastvae), "numpy": gaussian_numpy, "torch": gaussian_torch},
    ),
    "sigma_backward": Op(
        "byte", lambda s: 4 * (s.B * s.D + 4 * s.D), {**ours(sigma_backward_fastvae), "numpy": sigma_backward_numpy}
    ),
    "sigma_optimal": Op(
        "byte", lambda s: 4 * (2 * s.B * s.D + 3 * s.D), {**ours(sigma_optimal_fastvae), "numpy": sigma_optimal_numpy}
    ),
    "sigmoid_inplace": Op(
        "byte",
        lambda s: 4 * 2 * s.B * s.D,
        {**ours(sigmoid_fastvae), "numpy": sigmoid_numpy, "torch": sigmoid_torch},
    ),
    "continuous_bernoulli_forward_backward": Op(
        "byte",
        lambda s: 4 * (3 * s.B * s.D + s.B),
        {**ours(continuous_fastvae), "numpy": continuous_numpy},
    ),
    "tanh_inplace": Op(
        "byte", lambda s: 4 * 2 * s.B * s.H, {**ours(tanh_fastvae), "numpy": tanh_numpy, "torch": tanh_torch}
    ),
}


def test_likelihoods(measure):
    measure()
