"""The sparse autoencoder of one layer each way: its loss, and the gradient by every parameter."""

import numpy as np

from fastvae.reference.activations import ACTIVATIONS
from fastvae.reference.likelihoods import bernoulli_forward_backward, divergence_forward_backward


def sparse_loss_and_gradients(V, c, W, b, x, penalty, rho, weight):
    """h = act(x V + c), logits h W + b: the mean over the batch of the Bernoulli nll, plus `weight` times the penalty;
    the loss, the penalty, and gradients of V, c, W, b.

    "kl": sum_j KL[rho || mean of h_j over the batch], with act the sigmoid; "l1": the mean of sum_j h_j, with relu.
    """
    act, slope = ACTIVATIONS["sigmoid" if penalty == "kl" else "relu"]
    rows, a = len(x), x @ V + c
    h = act(a)
    nll, d_out = bernoulli_forward_backward(x, h @ W + b)
    if penalty == "kl":
        value, d_mean = divergence_forward_backward(np.full((1, h.shape[1]), rho), h.mean(axis=0, keepdims=True))
        value = value[0]
    else:
        value, d_mean = np.abs(h).sum(axis=1).mean(), np.sign(h)
    d_a = (d_out / rows @ W.T + weight * d_mean / rows) * slope(a)
    return nll.mean() + weight * value, value, (x.T @ d_a, d_a.sum(axis=0), h.T @ d_out / rows, d_out.mean(axis=0))
