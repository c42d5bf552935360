"""The peer of a JAX user who wants no Python between the steps: many of them are one compiled loop."""

import functools

import jax
import numpy as np

from benchmarks.jax_vae import JaxVAE, advance, advance_randomly


@functools.partial(jax.jit, donate_argnums=0)
def scan_given(state, x, noise):
    """A step for each of `noise` (steps, B, Z)."""
    return jax.lax.scan(lambda state, eps: advance(state, x, eps), state, noise)


@functools.partial(jax.jit, donate_argnums=0, static_argnums=3)
def scan_drawn(state, x, key, steps):
    return jax.lax.scan(lambda state, _: advance_randomly(state, x, key), state, length=steps)


class JaxScanVAE(JaxVAE):
    """Trains in calls of many steps."""

    def steps(self, x, count=None, noise=None):
        """`count` steps on x (B, D), or one for each of `noise` (count, B, Z); return their losses."""
        if noise is None:
            self.state, losses = scan_drawn(self.state, x, self.key, count)
        else:
            self.state, losses = scan_given(self.state, x, noise)
        return np.asarray(losses)
