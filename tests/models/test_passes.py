"""Passes: how ops are cut into shares and phases, where their buffers lie, gradients that add up, optimizers."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastvae import reference
from fastvae.backend import Backend
from fastvae.data.minibatches import Examples
from fastvae.data.scaling import Units
from fastvae.engine import Network
from fastvae.kernels import cpu
from fastvae.kernels.cpu.workers import Workers
from fastvae.kernels.formulas import IDENTITY
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slot
from fastvae.layers import Dense
from fastvae.likelihoods import Bernoulli
from fastvae.optimizers import SGD, Adam
from fastvae.parameters import Parameters
from fastvae.passes import ROW, Arena, Row, Whole, joined
from tests.support.passes import Reconstruction, new_pass, run
from tests.support.tolerances import check, check_same

RNG = np.random.default_rng(0)
CUTS = [(0, 2), (2, 4), (4, 7)]  # of 7 rows into 3 shares


class Written:
    """A program that keeps what is added."""

    def __init__(self, slots, precision):
        self.calls, self.sources = [], []

    def add(self, op, *operands):
        OPS[op].check(operands)
        self.calls.append((op, *operands))


PAPER = SimpleNamespace(Program=Written, ON_HOST=True, KEEPS_NOISE=False)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def calls(p, phase=0):
    """What the programs of a phase have, a list for each share."""
    return [program.calls for program in p.phases[phase]]


def same_memory(a, b):
    return (a.ctypes.data, a.shape, a.strides) == (b.ctypes.data, b.shape, b.strides)


# ---- shares ------------------------------------------------------------------------------------------------------


def test_rows_are_cut_for_each_share():
    """The weights are not, nor what is a number."""
    p = new_pass(PAPER, 7, 3)
    x, weight, bias, out = p.cut(normal(7, 4)), normal(4, 5), normal(5), p.empty(5)
    p.add("dense_forward", x, weight, bias, IDENTITY, out, out)
    for [call], (start, stop) in zip(calls(p), CUTS, strict=True):
        assert call[0] == "dense_forward"
        for found, expected in zip(call[1:], (x[start:stop], weight, bias, None, *[out[start:stop]] * 2), strict=True):
            assert found == IDENTITY if expected is None else same_memory(found, expected)


def test_row_is_the_first_of_the_share():
    """Counted from the first row of the pass, which may be one of a longer array."""
    p = new_pass(PAPER, 7, 3)
    p.add("normal_noise", p.seed, 3, p.step, ROW, p.empty(2))
    p.add("normal_noise", p.seed, 3, p.step, Row(1000), p.empty(2))
    place = p.slots.whole("first row").place
    for two, (start, _) in zip(calls(p), CUTS, strict=True):
        assert [call[4] for call in two] == [Slot(place, start), Slot(place, start + 1000)]
        assert all(call[1:4] == (p.seed, 3, p.step) for call in two)


def test_noise_does_not_depend_on_the_shares(kernels):
    found = []
    for shares in (1, 2, 3):
        p = new_pass(kernels, 7, shares)
        x = p.empty(3)
        p.add("normal_noise", p.seed, 3, p.step, Row(5), x)
        run(p, seed=9, step=4, **{"first row": 100})
        found.append(x.copy())
    check_same(found[1], found[0])
    check_same(found[2], found[0])
    check(found[0], reference.normals(9, 3, 4, 105, (7, 3)), "normal", 5)


def test_whole_and_each():
    """What all shares read as a whole; and an array of its own for each share."""
    p = new_pass(PAPER, 7, 3)
    x, a, lowest, scales = p.cut(normal(7, 4)), p.empty(4), normal(4), (p.each(4), p.each(4))
    p.add("sigma_optimal", Whole(x), Whole(a), lowest, *scales)
    for i, [call] in enumerate(calls(p)):
        expected = x, a, lowest, scales[0][i], scales[1][i]
        assert all(same_memory(*pair) for pair in zip(call[1:], expected, strict=True))
    assert len(scales[0]) == 3
    assert not any(np.shares_memory(scales[0][i], other) for i in range(3) for other in (*scales[0][:i], *scales[1]))


def test_more_shares_than_rows():
    p = new_pass(PAPER, 2, 5)
    x = p.empty(3)
    p.add("sigmoid_inplace", x)
    assert sum(len(call[1]) for [call] in calls(p)) == 2


# ---- phases ------------------------------------------------------------------------------------------------------


def names(p):
    return [[call[0] for call in program.calls] for program in [phase[0] for phase in p.phases]]


def test_phases():
    """Ops follow each other in one phase, until threads must meet; an update stands between two meetings."""
    p, layer = new_pass(PAPER, 7, 2), Dense("d", 3, 3)
    parameters = Parameters(layer.shapes())
    layer.bind(parameters, PAPER)
    x = p.cut(normal(7, 3))
    p.meet()  # before anything there is nothing to wait for
    p.add("sigmoid_inplace", x)
    a, back = layer(p, x)
    p.meet(), p.meet()
    nll, d_a = Bernoulli().loss(p, x, a, 1.0)
    p.loss(first=(nll, p.slots.real("weight")))
    back(d_a)
    p.update(Adam(parameters, PAPER), [layer])
    p.add("sigmoid_inplace", a)
    p.loss(second=(nll, 2.0))
    assert names(p) == [
        ["sigmoid_inplace", "dense_forward"],
        ["bernoulli_forward_backward", "dense_backward_input"],
        ["dense_adam_inplace"],
        ["sigmoid_inplace"],
    ]
    assert [len(phase) for phase in p.phases] == [2] * 4
    assert [(loss.values is nll, loss.phase) for loss in p.losses.values()] == [(True, 1), (True, 3)]
    assert p.losses["first"].weight == p.slots.real("weight")
    assert p.slots.reals[p.losses["second"].weight.place] == 2
    assert p.programs == [program for phase in p.phases for program in phase]


def test_an_update_takes_each_part_of_a_weight_once():
    p, layer = new_pass(PAPER, 4, 3), Dense("d", 5, 2)
    parameters = Parameters(layer.shapes())
    layer.bind(parameters, PAPER)
    p.gradient(layer, (p.cut(normal(4, 5)), p.cut(normal(4, 2))))
    p.update(None, [layer])
    found = [call[3:5] for [call] in calls(p)]
    assert found == [(0, 1), (1, 3), (3, 5)]
    assert all(call[1].shape == (4, 5) for [call] in calls(p))  # of all rows


def test_ranges_that_lie_side_by_side_are_one():
    assert joined([(32, 40), (0, 20), (20, 31)]) == [(0, 40)]
    assert joined([(0, 10), (26, 30)]) == [(0, 10), (26, 30)]  # somebody's lie between
    assert joined([]) == []


# ---- buffers -----------------------------------------------------------------------------------------------------


def test_buffers_of_one_arena():
    """The n-th of a pass over fewer rows lies where the n-th of another does, whatever its columns; a pass that runs
    needs no other memory, and its own do not overlap."""
    arena = Arena(9)
    long, short = new_pass(PAPER, 9, arena=arena), new_pass(PAPER, 4, arena=arena)
    first = [long.empty(5), long.empty(), long.empty(2, 3)]
    second = [short.empty(5), short.empty(), short.empty(3)]
    assert [array.shape for array in first + second] == [(9, 5), (9,), (9, 2, 3), (4, 5), (4,), (4, 3)]
    for a, b in zip(first, second, strict=True):
        assert a.ctypes.data == b.ctypes.data
    assert not any(np.shares_memory(a, b) for i, a in enumerate(first) for b in first[:i])
    assert all(array.dtype == np.float32 and array.ctypes.data % 64 == 0 for array in first)
    assert (long.largest, short.largest, short.rows) == (9, 9, 4)


def test_a_wider_buffer_leaves_the_earlier_one_alive():
    arena = Arena(4)
    narrow = new_pass(PAPER, 4, arena=arena).empty(2)
    narrow[...] = 7
    wide = new_pass(PAPER, 4, arena=arena).empty(100)
    wide[...] = 1
    assert (narrow == 7).all()
    assert same_memory(new_pass(PAPER, 4, arena=arena).empty(2), wide.reshape(-1)[:8].reshape(4, 2))


def test_without_an_arena_a_pass_has_memory_of_its_own():
    assert not np.shares_memory(new_pass(PAPER, 4).empty(2), new_pass(PAPER, 4).empty(2))


def test_rewind():
    p = new_pass(PAPER, 4)
    kept = p.empty(3)
    mark = p.mark()
    first = [p.empty(3), p.empty(2)]
    p.rewind(mark)
    again = [p.empty(3), p.empty(2), p.empty()]
    assert all(same_memory(*pair) for pair in zip(first, again, strict=False))
    assert not any(np.shares_memory(kept, array) for array in again)


# ---- inputs ------------------------------------------------------------------------------------------------------


def test_inputs_have_names():
    """Each is written by whoever knows how it is read."""
    x, labels = normal(4, 3), normal(4, 1)
    p = new_pass(PAPER, 4, 2, inputs={"x": lambda p: p.cut(x), "labels": lambda p: p.cut(labels)})
    assert p.input("x") is x
    assert p.input("labels") is labels
    p.add("sigmoid_inplace", p.input("labels"))
    assert [len(call[1]) for [call] in calls(p)] == [2, 2]
    with pytest.raises(KeyError, match="condition"):
        p.input("condition")


# ---- wrong operands ----------------------------------------------------------------------------------------------


def test_wrong_operands_are_refused_where_they_are_written(kernels):
    p = new_pass(kernels, 4, 2)
    x, out = p.cut(normal(4, 3)), p.empty(5)
    for error, message, operands in (
        (TypeError, r"dense_accumulate takes 3 operands \(x, weight, out\), not 2", (x, out)),
        (ValueError, r"out has shape \(2, 5\); \(B, H\) needed, where weight has H = 6", (x, normal(3, 6), out)),
        (ValueError, r"weight has shape \(4, 5\); \(D, H\) needed, where x has D = 3", (x, normal(4, 5), out)),
        (ValueError, r"weight has shape \(3, 5, 1\); \(D, H\) needed", (x, normal(3, 5, 1), out)),
        (TypeError, "weight is float64", (x, np.ones((3, 5)), out)),
        (TypeError, "weight is float32, strides .* a C-contiguous array of float32", (x, normal(5, 3).T, out)),
        (TypeError, "x is None; a C-contiguous array", (None, normal(3, 5), out)),
        (
            ValueError,
            r"out has shape \(4, 5\); \(B, H\) needed, where x has B = 2",
            (x, normal(3, 5), Whole(out)),
        ),
    ):
        with pytest.raises(error, match=message):
            p.add("dense_accumulate", *operands)
    with pytest.raises(TypeError, match=r"normal_noise: seed is array\("):
        p.add("normal_noise", np.zeros(2), 3, 1, ROW, out)
    with pytest.raises(KeyError, match="dense_forwards"):
        p.add("dense_forwards", x)


@pytest.mark.parametrize("shares", [1, 2])
def test_an_array_that_every_share_would_write_is_refused(kernels, shares):
    """With any number of threads: nobody should find that with many only."""
    p = new_pass(kernels, 4, shares)
    x, out = p.cut(normal(4, 3)), np.empty((4, 5), np.float32)
    with pytest.raises(ValueError, match=r"dense_accumulate: every share would write the whole out \(4, 5\)"):
        p.add("dense_accumulate", x, normal(3, 5), out)
    p.add("dense_accumulate", x, normal(3, 5), p.cut(out))


# ---- gradients ---------------------------------------------------------------------------------------------------


def bound(kernels, *layers):
    shapes = {}
    for layer in layers:
        shapes |= layer.shapes()
    parameters = Parameters(shapes)
    for layer in layers:
        layer.bind(parameters, kernels)
    for values in parameters.named_values().values():
        values[...] = np.random.default_rng(1).normal(size=values.shape)
    return parameters


def thrice(kernels, layer, p, x, target, optimizer=None):
    """Write |tanh layer of tanh layer of tanh layer of x - target|^2 / 2, one layer used three times; return nll."""
    h, backs = x, []
    for _ in range(3):
        h, back = layer(p, h)
        backs.append(back)
    nll, d = p.empty(), p.empty(h.shape[1])
    p.add("squared_error_forward_backward", target, h, 0.0, 1.0, 0.5, nll, d)
    for back in reversed(backs[1:]):
        d = back(d)
    backs[0](d, inputs=False)
    p.update(optimizer, [layer])
    return nll


@pytest.mark.parametrize("shares", [1, 2, 3])
def test_several_uses_of_one_weight_add_up(kernels, shares):
    """Against central differences of the definition in float64; with an optimizer, its step along the same gradient."""
    layer = Dense("d", 4, 4, "tanh")
    parameters = bound(kernels, layer)
    x, target = (np.random.default_rng(i).normal(size=(7, 4)).astype(np.float32) for i in (2, 3))
    p = new_pass(kernels, 7, shares)
    nll = thrice(kernels, layer, p, p.cut(x), p.cut(target))
    before = parameters.values.copy()
    parameters.gradients[:] = np.nan
    run(p)
    np.testing.assert_array_equal(parameters.values, before)

    def loss(weight, bias):
        h = x.astype(float)
        for _ in range(3):
            h = np.tanh(h @ weight + bias)
        return ((h - target) ** 2).sum(axis=1) / 2 + 4 * np.log(2 * np.pi) / 2

    values = [array.astype(float) for array in parameters.named_values().values()]
    check(nll, loss(*values), "model", 10)
    for k, (name, gradient) in enumerate(parameters.named_gradients().items()):
        for i in np.ndindex(gradient.shape):
            losses = []
            for step in (1e-5, -1e-5):
                moved = [array.copy() for array in values]
                moved[k][i] += step
                losses.append(0.5 * loss(*moved).sum())
            assert gradient[i] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5, abs=2e-5), (name, i)

    views = {name: gradient.copy() for name, gradient in parameters.named_gradients().items()}
    for clip_norm in (None, 0.01):
        parameters.values[:] = before
        optimizer = Adam(parameters, kernels, 0.03, clip_norm)
        p = new_pass(kernels, 7, shares)
        thrice(kernels, layer, p, p.cut(x), p.cut(target), optimizer)
        run(p, optimizer)
        norm = np.sqrt(sum((g.astype(float) ** 2).sum() for g in views.values()))
        factor = 1.0 if clip_norm is None else clip_norm / norm
        for name, gradient in views.items():
            start = parameters.views(before)[name].astype(float)
            expected = reference.adam(start, factor * gradient.astype(float), 0.0, 0.0, 1, 0.03)
            check(parameters.value(name), expected[0], "model", 1)
            check(parameters.views(optimizer.state["first_moment"])[name], expected[1], "model")


def test_the_bits_of_several_uses_do_not_depend_on_the_shares(kernels):
    found = []
    for shares in (1, 2, 5):
        layer = Dense("d", 4, 4, "silu")
        parameters = bound(kernels, layer)
        p = new_pass(kernels, 7, shares)
        x, target = (p.cut(np.random.default_rng(i).normal(size=(7, 4)).astype(np.float32)) for i in (2, 3))
        optimizer = SGD(parameters, kernels, 0.03, nesterov=True)
        nll = thrice(kernels, layer, p, x, target, optimizer)
        run(p, optimizer)
        found.append((nll, parameters.values, parameters.gradients))
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            check_same(a, b)


@pytest.mark.parametrize("kind", [Adam, SGD])
def test_an_owner_without_a_gradient_stays_where_it_is(kernels, kind):
    """One that others are trained through, too, whose gradients are dropped."""
    first, second, third = Dense("a", 3, 3), Dense("b", 3, 3), Dense("c", 3, 3)
    parameters = bound(kernels, first, second, third)
    p, before = new_pass(kernels, 5, 2), parameters.values.copy()
    h, back_h = first(p, p.cut(normal(5, 3)))
    _, back_y = second(p, h)
    back_h(back_y(p.cut(normal(5, 3))), inputs=False)
    p.drop_gradients([second])
    optimizer = kind(parameters, kernels, 0.1)
    p.update(optimizer, [first, second, third])
    run(p, optimizer)
    moved = {
        name: (values != parameters.views(before)[name]).any() for name, values in parameters.named_values().items()
    }
    assert moved == {"a.weight": True, "a.bias": True, "b.weight": False, "b.bias": False, "c.weight": False,
                     "c.bias": False}  # fmt: skip


def test_what_comes_at_the_end_is_done_once(kernels):
    """By one thread, in the phase of the step, and in a training alone."""
    for optimizer_is_there in (True, False):
        layer = Dense("d", 3, 3)
        parameters = bound(kernels, layer)
        p, seen, average = new_pass(kernels, 5, 3), normal(9), np.zeros(9, np.float32)
        optimizer = SGD(parameters, kernels, 0.1) if optimizer_is_there else None
        layer(p, p.cut(normal(5, 3)))[1](p.cut(normal(5, 3)), inputs=False)
        p.at_end("average_inplace", seen, 0.25, average)
        p.update(optimizer, [layer])
        assert len(p.phases) == (3 if optimizer_is_there else 2)
        before = layer.weight.copy()
        run(p, optimizer)
        assert (layer.weight != before).any() == optimizer_is_there
        np.testing.assert_allclose(average, 0.25 * seen * optimizer_is_there, rtol=1e-6)


# ---- two optimizers in one step ----------------------------------------------------------------------------------


class Adversaries(Network):
    """A generator and a discriminator, each with an optimizer of its own (Goodfellow et al. 2014): first D learns to
    tell x from G(z), then G to have its draws taken for data by the new D."""

    inputs = {"x": 3}  # noqa: RUF012
    STREAM = 5

    def describe(self, architecture, complete):
        super().describe(architecture, complete)
        self.generator, self.discriminator = Dense("G", 2, 3, "tanh"), Dense("D", 3, 1)

    def __init__(self, threads=1, backend=None):
        super().__init__(None, backend or Backend("cpu", cpu))
        self.workers = self.backend.workers() if backend else Workers(threads)
        for values in self.parameters.named_values().values():
            values[...] = np.random.default_rng(0).normal(size=values.shape)

    def owners(self):
        return [self.generator, self.discriminator]

    def step(self, p, optimizers):
        weight, bernoulli = p.slots.real("weight"), Bernoulli()
        zeros, ones = (p.cut(np.full((p.rows, 1), label, np.float32)) for label in (0, 1))
        x, z = p.input("x"), p.empty(2)
        p.add("normal_noise", p.seed, self.STREAM, p.step, ROW, z)
        drawn, back_drawn = self.generator(p, z)
        for label, rows, name in ((ones, x, "true"), (zeros, drawn, "false")):
            a, back = self.discriminator(p, rows)
            nll, d_a = bernoulli.loss(p, label, a, weight)
            back(d_a, inputs=False)
            p.loss(**{name: (nll, weight)})
        p.update(optimizers[0], [self.discriminator])
        a, back = self.discriminator(p, drawn)
        nll, d_a = bernoulli.loss(p, ones, a, weight)
        p.loss(taken=(nll, weight))
        back_drawn(back(d_a), inputs=False)
        p.drop_gradients([self.discriminator])
        p.update(optimizers[1], [self.generator])

    def numbers(self, rows, progress, steps):
        return {"weight": np.full(len(progress), 1 / rows)}

    def report(self, sums, rows, progress):
        return {"loss": sum(sums.values()) / rows} | {name: values / rows for name, values in sums.items()}


def adversaries(threads, steps, X, order, names=("D", "G"), backend=None, **of_generator):
    network = Adversaries(threads, backend)
    kernels = network.backend.kernels
    optimizers = (
        Adam(network.parameters, kernels, 0.02, clip_norm=0.4, name=names[0]),
        SGD(network.parameters, kernels, 0.1, momentum=0.7, name=names[1], **of_generator),
    )
    examples, found = Examples(X, np.zeros(3), np.ones(3), network.seed, kernels), []
    with network.workers:
        network.allocate(order.shape[1], optimizers, examples, np.empty(order.shape[1], np.int64))
        while len(found) < len(order):
            chosen = order[len(found) : len(found) + steps]
            found += network.steps(len(found) + 1, chosen, np.zeros(len(chosen)))
    return network, optimizers, found


def plain_adversaries(X, order):
    """The same in float64."""
    network = Adversaries()
    p = {name: values.astype(float) for name, values in network.parameters.named_values().items()}
    moments, velocity, found = {}, {}, []
    for step, rows in enumerate(order, start=1):
        n, losses, gradients = len(rows), {}, {"D.weight": 0.0, "D.bias": 0.0}
        z = reference.normals(0, Adversaries.STREAM, step, 0, (n, 2))
        drawn = np.tanh(z @ p["G.weight"] + p["G.bias"])
        for name, label, x in (("true", 1.0, X[rows].astype(float)), ("false", 0.0, drawn)):
            a = x @ p["D.weight"] + p["D.bias"]
            nll, d_a = reference.bernoulli_forward_backward(np.full((n, 1), label), a)
            losses[name] = nll.mean()
            gradients["D.weight"] += x.T @ d_a / n
            gradients["D.bias"] += d_a.sum(axis=0) / n
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        for name, g in gradients.items():
            m, v = moments.get(name, (0.0, 0.0))
            p[name], *moments[name] = reference.adam(p[name], g * min(1.0, 0.4 / norm), m, v, step, 0.02)
        a = drawn @ p["D.weight"] + p["D.bias"]
        nll, d_a = reference.bernoulli_forward_backward(np.ones((n, 1)), a)
        losses["taken"] = nll.mean()
        d = d_a / n @ p["D.weight"].T * (1 - drawn**2)
        for name, g in (("G.weight", z.T @ d), ("G.bias", d.sum(axis=0))):
            velocity[name] = 0.7 * velocity.get(name, 0.0) + g
            p[name] = p[name] - 0.1 * velocity[name]
        found.append({"loss": sum(losses.values())} | losses)
    return p, found


def test_two_optimizers_in_one_step():
    """Many steps in one call or one at a time, by any number of threads: the same bits, and the plain training's."""
    X = np.random.default_rng(4).normal(size=(50, 3)).astype(np.float32)
    order = np.random.default_rng(5).integers(0, 50, (30, 9))
    network, optimizers, found = adversaries(1, 30, X, order)
    # D takes all gradients, their norm, a step; then the new D, all gradients, a step
    assert len(network._pass(9).phases) == 1 + 3 + 1 + 2
    assert [optimizer.step_count for optimizer in optimizers] == [30, 30]
    for threads, steps in ((1, 1), (2, 30), (3, 4)):
        other, _, others_found = adversaries(threads, steps, X, order)
        check_same(other.parameters.values, network.parameters.values)
        assert threads > 1 or others_found == found
    p, expected = plain_adversaries(X, order)
    for step, plain in zip(found, expected, strict=True):
        assert step == pytest.approx(plain, rel=1e-4)
    for name, values in network.parameters.named_values().items():
        np.testing.assert_allclose(values, p[name], rtol=0, atol=5e-5)
    assert not network.parameters.views(optimizers[0].state["first_moment"])["G.weight"].any()
    assert not network.parameters.views(optimizers[1].state["velocity"])["D.weight"].any()


def test_two_optimizers_of_one_name_are_refused():
    """Their numbers would be the same."""
    X, order = np.zeros((5, 3), np.float32), np.zeros((2, 4), np.int64)
    with pytest.raises(ValueError, match="need names of their own; these have 'both', 'both'"):
        adversaries(1, 1, X, order, ("both", "both"))


def test_a_norm_is_taken_of_parameters_that_lie_side_by_side(kernels):
    first, second, third = Dense("a", 8, 8), Dense("b", 8, 8), Dense("c", 8, 8)
    parameters, p = bound(kernels, first, second, third), new_pass(kernels, 5)
    for layer in (first, third):
        p.gradient(layer, (p.cut(normal(5, 8)), p.cut(normal(5, 8))))
    with pytest.raises(ValueError, match="clip_norm: the parameters of own must lie side by side, not in 2 parts"):
        p.update(Adam(parameters, kernels, clip_norm=1.0, name="own"), [first, third])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_the_step_before_the_update_after_it(bad):
    X = np.random.default_rng(4).normal(size=(8, 3)).astype(np.float32)
    X[5, 1] = bad
    network = Adversaries()
    before = network.parameters.values.copy()
    optimizers = Adam(network.parameters, cpu, 0.02, name="D"), SGD(network.parameters, cpu, 0.1, name="G")
    network.allocate(4, optimizers, Examples(X, np.zeros(3), np.ones(3), network.seed, cpu), np.empty(4, np.int64))
    found = network.steps(1, np.array([[4, 5, 6, 7], [0, 1, 2, 3]]), np.zeros(2))
    assert len(found) == 1
    assert not np.isfinite(found[0]["loss"])
    assert [optimizer.step_count for optimizer in optimizers] == [0, 0]
    np.testing.assert_array_equal(network.parameters.values, before)


def test_a_pass_over_data_may_have_several_phases():
    """What threads have written is read in the next phase."""
    network, data = Reconstruction(3), np.arange(30, dtype=np.float32).reshape(10, 3)
    network.prepare(np.uint64(0), Units(np.zeros(3), np.ones(3)))

    def write(p):
        x, out = p.input("x"), p.empty(3)
        p.meet()
        p.add("log1p", x, out)
        return p.returns(out)

    found = np.empty((10, 3), np.float32)

    def keep(start, stop, out):
        found[start:stop] = out

    network.over(data, "log1p", write, keep)
    np.testing.assert_allclose(found, np.log1p(data), rtol=1e-6)


def test_a_loss_without_ops_is_refused():
    p = new_pass(cpu, 3)
    with pytest.raises(ValueError, match="a loss comes after the ops that write its values"):
        p.loss(nll=(p.empty(), 1.0))


def test_several_rows_an_example_are_cut_with_it():
    """(B K, columns): the share of an example has all its rows."""
    p = new_pass(cpu, 3, 2)
    out = p.empty(4, repeats=2)
    p.add("normal_noise", np.uint64(1), 0, 0, 0, out)
    assert out.shape == (6, 4)
    assert [len(p._of_share(out, share)) for share in (0, 1)] == [2, 4]
    with pytest.raises(ValueError, match="array of 4 rows cannot be cut with a batch of 3"):
        p.cut(np.ones((4, 1), np.float32))
