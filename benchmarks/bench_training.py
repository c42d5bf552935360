"""One whole training step: forward, backward, Adam, and the loss read back as a float. Bernoulli, ReLU.

From the same weights and with the same noise, the losses of the first steps must agree. fastvae does the steps as its
`fit` does, several small ones in one call, each with its rows read from the data set; so does jax_scan, without the
reading. Beside it, the products that a step consists of, alone.
"""

import functools

import numpy as np

from benchmarks.cases import IMPLEMENTATIONS, OURS, Case, Op, model
from benchmarks.fastvae_vae import team
from fastvae.kernels import cpu
from fastvae.kernels.cpu.workers import Workers, shares_for
from fastvae.kernels.formulas import IDENTITY
from fastvae.kernels.slots import Slots

SIZES = ("XS", "S", "M", "L")  # where --size does not say
CHECKED, CHECKED_LARGE, LARGE = 4, 1, 5e9  # steps, steps of a large size, and its operations
SCANNED_FLOPS, SCANNED = 4e9, (2, 100)  # of one call of jax_scan: so much work, and in what range of steps


def noises(s):
    """eps of the checked steps, (B, Z) each."""
    return [s.normals(s.B, s.Z, seed=i) for i in range(CHECKED if s.step_flops < LARGE else CHECKED_LARGE)]


def step(implementation, s):
    vae = model(implementation, s)
    vae.begin()
    x = vae.on_device(s.data())
    first = [vae.step(x, vae.on_device(noise)) for noise in noises(s)]
    return Case(lambda: vae.step(x), lambda: [np.array(first)])


def step_fastvae(implementation, s):
    vae = model(implementation, s)
    vae.begin()
    first = [vae.first_step(noise) for noise in noises(s)]
    return Case(vae.steps, lambda: [np.array(first)], repeats=vae.ahead)


def step_jax_scan(s):
    vae = model("jax_scan", s)
    vae.begin()
    x, noise = vae.on_device(s.data()), vae.on_device(np.stack(noises(s)))
    first = vae.steps(x, noise=noise)
    steps = int(np.clip(SCANNED_FLOPS / s.step_flops, *SCANNED))
    return Case(lambda: vae.steps(x, steps), lambda: [first], repeats=steps)


def products_numpy(s):
    """All products of a step by NumPy's BLAS: forward, back into the inputs, and the gradients of the weights."""
    w = {name: values for name, values in s.weights().items() if name.endswith("weight")}
    encoder, mu, logvar, decoder, output = w.values()
    x, h, z, g, a = s.data(), s.normals(s.B, s.H), s.normals(s.B, s.Z), s.normals(s.B, s.H), s.normals(s.B, s.D)
    narrow, wide, rows = np.empty_like(z), np.empty_like(h), np.empty_like(a)
    d = {name: np.empty_like(values) for name, values in w.items()}
    d_encoder, d_mu, d_logvar, d_decoder, d_output = d.values()

    def step():
        np.matmul(x, encoder, out=wide)
        np.matmul(h, mu, out=narrow)
        np.matmul(h, logvar, out=narrow)
        np.matmul(z, decoder, out=wide)
        np.matmul(g, output, out=rows)
        np.matmul(g.T, a, out=d_output)
        np.matmul(a, output.T, out=wide)
        np.matmul(z.T, g, out=d_decoder)
        np.matmul(g, decoder.T, out=narrow)
        np.matmul(h.T, z, out=d_mu)
        np.matmul(z, mu.T, out=wide)
        np.matmul(h.T, z, out=d_logvar)
        np.matmul(z, logvar.T, out=wide)
        np.matmul(x.T, h, out=d_encoder)

    return Case(step, lambda: [*d.values()])


def products_fastvae(s):
    """The same by fastvae's own products, cut among its threads as a step cuts them."""
    w = s.weights()
    pairs = [(w[f"{n}.weight"], w[f"{n}.bias"]) for n in ("encoder.0", "mu", "logvar", "decoder.0", "decoder.1")]
    inputs = [s.data(), s.normals(s.B, s.H), s.normals(s.B, s.H), s.normals(s.B, s.Z), s.normals(s.B, s.H)]
    outputs = [s.normals(s.B, s.H), *(s.normals(s.B, s.Z) for _ in range(2)), s.normals(s.B, s.H), s.normals(s.B, s.D)]
    threads = team(Workers(shares_for(s.B, 2 * s.B * s.D * s.H)))
    slots, parts = Slots(), threads.count
    over_rows, over_weights = ([cpu.Program(slots) for _ in range(parts)] for _ in range(2))
    gradients = [np.empty_like(weight) for weight, _ in pairs]
    for i, (rows, weights) in enumerate(zip(over_rows, over_weights, strict=True)):
        cut = slice(s.B * i // parts, s.B * (i + 1) // parts)
        for (weight, bias), x, out, d_weight in zip(pairs, inputs, outputs, gradients, strict=True):
            scratch, d_x, d_bias = np.empty_like(out[cut]), np.empty_like(x[cut]), np.empty_like(bias)
            rows.add("dense_forward", x[cut], weight, bias, IDENTITY, scratch, scratch)
            if x is not inputs[0]:
                rows.add("dense_backward_input", out[cut], weight, IDENTITY, out[cut], 0, d_x)
            first, last = len(weight) * i // parts, len(weight) * (i + 1) // parts
            weights.add("dense_backward_weight", x, out, first, last, 0, d_weight, d_bias)

    def step():
        threads.run_programs(over_rows)
        threads.run_programs(over_weights)

    return Case(step, lambda: gradients)


OPS = {
    "step": Op(
        "flop",
        lambda s: s.step_flops,
        {name: functools.partial(step, name) for name in IMPLEMENTATIONS}
        | {name: functools.partial(step_fastvae, name) for name, i in IMPLEMENTATIONS.items() if i.module == OURS}
        | {"jax_scan": step_jax_scan},
        tolerance=1e-4,
    ),
    "products": Op("flop", lambda s: s.step_flops, {"numpy": products_numpy, "fastvae": products_fastvae}),
}


def test_training(measure):
    measure()
