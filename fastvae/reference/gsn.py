"""The generative stochastic network: the loss of its walkback, and the gradient by every parameter."""

import numpy as np

from fastvae.reference.activations import ACTIVATIONS, sigmoid
from fastvae.reference.likelihoods import bernoulli_forward_backward


def gsn_loss_and_gradients(weights, biases, x, seen, before, after, activation):
    """Loss = mean over the batch and over steps k of the nll of x under x^_k; gradients by weights and biases.

    `weights` W_1 ... W_L lead from u_{i-1} to u_i; `biases` are b_0 ... b_L. Step k first makes the even layers above
    x, but for k = 0; then the odd ones; then x^_k. `seen[k]` is a function of x^_{k-1}, for k = 0 of x, that gives u_0:
    it draws, and has no gradient. `before[k, i]` and `after[k, i]` are the noise of u_i in step k, before and after
    its activation. Bengio, Thibodeau-Laufer, Alain and Yosinski 2014.
    """
    act, slope = ACTIVATIONS[activation]
    L, steps, rows = len(weights), len(seen), len(x)
    u, tape, xhat, loss = [None] + [np.zeros((rows, W.shape[1])) for W in weights], [], x, 0.0
    for k in range(steps):
        u[0] = seen[k](xhat)
        layers = ([*range(2, L + 1, 2)] if k else []) + [*range(1, L + 1, 2)]
        for i in layers:
            a = u[i - 1] @ weights[i - 1] + biases[i] + before[k, i]
            if i < L:
                a = a + u[i + 1] @ weights[i].T
            tape.append((i, a, u[i - 1], u[i + 1] if i < L else None))
            u[i] = act(a) + after[k, i]
        logits = u[1] @ weights[0].T + biases[0]
        nll, d_logits = bernoulli_forward_backward(x, logits)
        tape.append((0, d_logits / (rows * steps), None, u[1]))
        xhat, loss = sigmoid(logits), loss + nll.mean() / steps

    d_weights, d_biases = [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]
    d_u = [np.zeros((rows, len(b))) for b in biases]
    for i, a, below, above in reversed(tape):
        d_a = a if i == 0 else d_u[i] * slope(a)
        d_u[i] = np.zeros_like(d_u[i])  # what u_i was before
        d_biases[i] += d_a.sum(axis=0)
        if above is not None:
            d_weights[i] += d_a.T @ above
            d_u[i + 1] = d_u[i + 1] + d_a @ weights[i]
        if below is not None:
            d_weights[i - 1] += below.T @ d_a
            d_u[i - 1] = d_u[i - 1] + d_a @ weights[i - 1].T
    return loss, d_weights, d_biases
