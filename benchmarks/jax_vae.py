"""The peer that a JAX user would write: the whole step, Adam included, is one compiled function."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8

jax.config.update("jax_platforms", "cpu")


def linear(p, name, x):
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def encode(p, x):
    return linear(p, "mu", jax.nn.relu(linear(p, "encoder.0", x)))


def decode_logits(p, z):
    return linear(p, "decoder.1", jax.nn.relu(linear(p, "decoder.0", z)))


@jax.jit
def decode(p, z):
    return jax.nn.sigmoid(decode_logits(p, z))


@functools.partial(jax.jit, static_argnums=2)
def sample(p, key, n):
    return decode(p, jax.random.normal(key, (n, len(p["mu.bias"]))))


def loss_of(p, x, noise):
    h = jax.nn.relu(linear(p, "encoder.0", x))
    mu, logvar = linear(p, "mu", h), jnp.clip(linear(p, "logvar", h), -30, 20)
    logits = decode_logits(p, mu + jnp.exp(0.5 * logvar) * noise)
    nll = jnp.sum(jax.nn.softplus(logits) - x * logits)
    kl = 0.5 * jnp.sum(jnp.exp(logvar) + mu * mu - 1 - logvar)
    return (nll + kl) / len(x)


def advance(state, x, noise):
    """One step: the state after it, and the loss before it. `state` is parameters, both moments and the count."""
    p, m, v, count = state
    loss, g = jax.value_and_grad(loss_of)(p, x, noise)
    count = count + 1
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
    rate, correction = RATE / (1 - BETA1**count), (1 - BETA2**count) ** -0.5
    p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) * correction + EPSILON), p, m, v)
    return (p, m, v, count), loss


def advance_randomly(state, x, key):
    """The same with noise of its own."""
    p, count = state[0], state[3]
    noise = jax.random.normal(jax.random.fold_in(key, count), (len(x), len(p["mu.bias"])))
    return advance(state, x, noise)


class JaxVAE:
    """Encoder and decoder with one ReLU layer each; `weights` as `sizes.Size.weights` names them."""

    given = staticmethod(jax.jit(advance, donate_argnums=0))
    drawn = staticmethod(jax.jit(advance_randomly, donate_argnums=0))
    encode = staticmethod(jax.jit(encode))

    def __init__(self, size, weights):
        self.p = {name: jnp.array(values) for name, values in weights.items()}
        self.key = jax.random.key(0)

    def begin(self):
        zeros = [jax.tree.map(jnp.zeros_like, self.p) for _ in range(2)]
        # the steps give the memory of their arguments back, so `p` is theirs from now on
        self.state = (self.p, *zeros, jnp.zeros((), jnp.int32))

    def on_device(self, x):
        return jax.device_put(x)

    def step(self, x, noise=None):
        """One step of training on x (B, D), on the device; return the loss before it."""
        if noise is None:
            self.state, loss = self.drawn(self.state, x, self.key)
        else:
            self.state, loss = self.given(self.state, x, noise)
        return float(loss)

    def transform(self, x):
        return np.asarray(self.encode(self.p, x))

    def decode(self, z):
        return np.asarray(decode(self.p, z))

    def sample(self, n):
        self.key, key = jax.random.split(self.key)
        return np.asarray(sample(self.p, key, n))
