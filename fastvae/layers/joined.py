"""Columns side by side: how a network is given a condition."""

import numpy as np

from fastvae.passes import Backprop, Pass


def joined(p: Pass, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Backprop]:
    """Write a (B, D) and b (N, C) side by side, (B, D + C): row i K + k of a, where B = N K, beside row i of b.

    Returns
    -------
    out, back
        `back(d_out)` writes the gradient of a, (B, D); b is taken for data, and has none.
    """
    out = p.beside(a, a.shape[1] + b.shape[1])
    p.add("concatenate", a, b, out)

    def backprop(d_out: np.ndarray) -> np.ndarray:
        d_a = p.beside(a, a.shape[1])
        p.add("concatenate_backward", d_out, d_a)
        return d_a

    return out, backprop
