"""Dense and MLP over buffers: against the reference, at any depth, on fewer rows than were allocated."""

import math

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels.formulas import ACTIVATIONS
from fastvae.kernels.scalars import ADAM_STEP, BETA1, BETA2, EPSILON, LEARNING_RATE, WEIGHT_DECAY, Scalars
from fastvae.layers import MLP, Dense, Linear
from fastvae.parameters import Parameters
from tests.support.tolerances import check

SEED = np.uint64(2**63 + 1)


def bound(kernels, *layers, seed=SEED):
    """Parameters of these layers, drawn; the biases too, which start at 0."""
    shapes = {}
    for layer in layers:
        shapes |= layer.shapes()
    parameters = Parameters(shapes)
    for position, layer in enumerate(layers):
        layer.bind(parameters, kernels)
        layer.initialise(seed, position)
    return parameters


def forward(kernels, layer, x, buffers):
    """Write the forward pass of a layer or of several down, and run it; return its result."""
    program = kernels.Program(Scalars())
    y = layer.forward(program, x, buffers)
    program.run()
    return y


def backward(kernels, layer, x, buffers, d_x, parts=1):
    """The same of the backward pass, and of the parameters' gradients, in so many parts."""
    several, program = hasattr(layer, "layers"), kernels.Program(Scalars())
    layer.backward(program, buffers, d_x)
    for one, given, its_buffers in layer.with_inputs(x, buffers) if several else [(layer, x, buffers)]:
        for part in range(parts):
            one.gradients(program, given, its_buffers, part, parts)
    program.run()


def float64(parameters):
    return {name: value.astype(float) for name, value in parameters.named_values().items()}


# ---- Dense -------------------------------------------------------------------------------------------------------


def test_dense_names_and_shapes():
    assert Dense("mu", 3, 5).shapes() == {"mu.weight": (3, 5), "mu.bias": (5,)}


def test_dense_refuses_an_unknown_activation():
    with pytest.raises(ValueError, match="did you mean 'relu'"):
        Dense("mu", 3, 5, "rellu")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense(kernels, activation):
    rng = np.random.default_rng(0)
    layer = Dense("d", 5, 7, activation)
    parameters = bound(kernels, layer)
    layer.bias[:] = rng.normal(size=7)
    x, upstream = rng.normal(size=(6, 5)).astype(np.float32), rng.normal(size=(6, 7)).astype(np.float32)
    buffers, d_x = layer.buffers(6), np.full((6, 5), np.nan, np.float32)
    y = forward(kernels, layer, x, buffers)
    assert y is buffers.out
    weight, bias = float64(parameters).values()
    check(y, reference.dense_forward(x.astype(float), weight, bias, activation), "dense", 6)
    buffers.d_out[...] = upstream
    backward(kernels, layer, x, buffers, d_x)
    expected = reference.dense_backward(x.astype(float), weight, bias, activation, upstream.astype(float))
    for found, e in zip((d_x, *parameters.named_gradients().values()), expected, strict=True):
        check(found, e, "model", np.abs(e) + 1)
    assert np.shares_memory(layer.weight, parameters.values)


def test_dense_buffers():
    for activation in ACTIVATIONS:
        buffers = Dense("d", 5, 7, activation).buffers(6)
        assert buffers.out.shape == buffers.d_out.shape == buffers.saved.shape == (6, 7)
        assert (buffers.saved is buffers.out) == (activation != "silu")
        assert not np.shares_memory(buffers.out, buffers.d_out)


def test_rows_are_views():
    buffers = Dense("d", 5, 7, "silu").buffers(6)
    for start, stop in [(0, 4), (2, 6), (5, 6), (0, 6)]:
        fewer = buffers.rows(start, stop)
        for name in ("out", "saved", "d_out"):
            whole, part = getattr(buffers, name), getattr(fewer, name)
            assert part.shape == (stop - start, 7)
            assert part.flags.c_contiguous
            assert part.ctypes.data == whole.ctypes.data + start * 7 * 4


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fewer_rows(kernels, activation):
    """A short batch amid the buffers of a long one: the same numbers, and nothing beside it written."""
    layer = Dense("d", 5, 7, activation)
    parameters = bound(kernels, layer)
    x, upstream = (np.random.default_rng(i).normal(size=(4, n)).astype(np.float32) for i, n in ((0, 5), (1, 7)))
    found = []
    for buffers, start in ((layer.buffers(4), 0), (layer.buffers(9), 3)):
        for array in (buffers.out, buffers.saved, buffers.d_out):
            array[...] = 77
        part = buffers.rows(start, start + 4)
        forward(kernels, layer, x, part)
        y = part.out.copy()
        part.d_out[...] = upstream
        backward(kernels, layer, x, part, None)
        found.append((y, parameters.gradients.copy()))
        for array in (buffers.out, buffers.saved, buffers.d_out):
            assert (array[:start] == 77).all()
            assert (array[start + 4 :] == 77).all()
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- Linear ------------------------------------------------------------------------------------------------------


def bound_linear(kernels, rng, inputs=5, outputs=3, activation="tanh"):
    """An MLP with a linear path, nothing of it 0."""
    mlp = MLP("m", (inputs, 6, outputs), activation, "identity", linear=True)
    shapes = {}
    for layer in (*mlp.layers, mlp.linear):
        shapes |= layer.shapes()
    parameters = Parameters(shapes)
    for layer in (*mlp.layers, mlp.linear):
        layer.bind(parameters, kernels)
    for values in parameters.named_values().values():
        values[...] = rng.normal(size=values.shape)
    return mlp, parameters


def test_linear_names_and_shapes():
    assert Linear("mu.linear", 3, 5).shapes() == {"mu.linear.weight": (3, 5)}


def test_where_there_is_a_linear_path():
    """Beside several layers: one linear layer is a linear path itself."""
    for widths, there in (((4,), False), ((4, 3), False), ((4, 6, 3), True), ((4, 6, 5, 3), True)):
        mlp = MLP("m", widths, "tanh", "identity", linear=True)
        assert (mlp.linear is not None) == there
        if there:
            assert mlp.linear.shapes() == {"m.linear.weight": (4, 3)}
        assert MLP("m", widths, "tanh", "identity").linear is None


@pytest.mark.parametrize("parts", [1, 2, 9])
def test_mlp_with_a_linear_path(kernels, parts):
    """out = layers(x) + x W, and d_x has both; the gradients in so many parts."""
    rng = np.random.default_rng(0)
    mlp, parameters = bound_linear(kernels, rng)
    x, upstream = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)
    buffers, d_x = mlp.buffers(7), np.full((7, 5), np.nan, np.float32)
    y = forward(kernels, mlp, x, buffers)
    assert y is buffers[-1].out
    buffers[-1].d_out[...] = upstream
    parameters.gradients[:] = np.nan
    backward(kernels, mlp, x, buffers, d_x, parts)
    p, x64, d = float64(parameters), x.astype(float), upstream.astype(float)
    h = reference.dense_forward(x64, p["m.0.weight"], p["m.0.bias"], "tanh")
    expected = reference.dense_forward(h, p["m.1.weight"], p["m.1.bias"], "identity") + x64 @ p["m.linear.weight"]
    check(y, expected, "model", np.abs(expected) + 5)
    d_h, *last = reference.dense_backward(h, p["m.1.weight"], p["m.1.bias"], "identity", d)
    from_layers, *first = reference.dense_backward(x64, p["m.0.weight"], p["m.0.bias"], "tanh", d_h)
    truth = dict(zip(p, [*first, *last, x64.T @ d], strict=True))
    for name, gradient in truth.items():
        check(parameters.gradient(name), gradient, "model", np.abs(gradient) + 5)
    check(d_x, from_layers + d @ p["m.linear.weight"].T, "model", 20)


@pytest.mark.parametrize("parts", [1, 2, 9])
def test_adam_of_a_linear_path(kernels, parts):
    rng = np.random.default_rng(0)
    mlp, parameters = bound_linear(kernels, rng)
    x, buffers = rng.normal(size=(7, 5)).astype(np.float32), mlp.buffers(7)
    m, v = rng.random((2, parameters.values.size), np.float32)
    buffers[-1].d_out[...] = 1
    name, w = "m.linear.weight", parameters.value("m.linear.weight")
    start = [views[name].astype(float) for views in map(parameters.views, (parameters.values, m, v))]
    gradient = x.astype(float).T @ buffers[-1].d_out.astype(float)
    expected = reference.adam(start[0], gradient, *start[1:], 2, 0.02, epsilon=1e-3)
    program, before = kernels.Program(Scalars()), parameters.values.copy()
    program.scalars.integers[ADAM_STEP] = 2
    program.scalars.reals[[LEARNING_RATE, BETA1, BETA2, EPSILON]] = 0.02, 0.9, 0.999, 1e-3
    for part in range(parts):
        mlp.linear.adam(program, x, buffers[-1], part, parts, m, v)
    program.run()
    for found, e in zip((w, parameters.views(m)[name], parameters.views(v)[name]), expected, strict=True):
        check(found, e, "model", np.abs(e) + 1)
    own = parameters.start([name])
    np.testing.assert_array_equal(parameters.values[:own], before[:own])


# ---- initialisation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_variance_of_the_initial_weights(kernels, activation):
    """He: 2 / inputs before a rectifier; Glorot: 2 / (inputs + outputs). Within 4 standard errors; biases 0."""
    layer = Dense("d", 300, 200, activation)
    bound(kernels, layer)
    expected = 2 / 300 if activation in ("relu", "leaky_relu", "silu") else 2 / 500
    weight = layer.weight.astype(float)
    assert abs(weight.var() / expected - 1) < 4 * math.sqrt(2 / weight.size)
    assert abs(weight.mean()) < 4 * math.sqrt(expected / weight.size)
    np.testing.assert_array_equal(layer.bias, 0)


def test_initial_weights_belong_to_seed_and_position(kernels):
    layers = [Dense(f"d{i}", 20, 30) for i in range(3)]
    bound(kernels, *layers)
    first, second, again = (layer.weight.copy() for layer in layers)
    assert not (first == second).any()
    layers[2].initialise(SEED, 0)
    np.testing.assert_array_equal(layers[2].weight, first)
    layers[2].initialise(np.uint64(5), 2)
    assert not (layers[2].weight == again).any()
    expected = reference.normals(SEED, reference.INITIALISATION, 1, 0, (20, 30)) * math.sqrt(2 / 50)
    np.testing.assert_allclose(second, expected, atol=1e-6)


def test_initial_weights_have_a_gain(kernels):
    """A number, or one an output."""
    layer = Dense("d", 20, 3)
    bound(kernels, layer)
    drawn = layer.weight.copy()
    for gain in (0.3, np.array([0.1, 1.0, 7.0])):
        layer.initialise(SEED, 0, gain)
        np.testing.assert_allclose(layer.weight, gain * drawn, rtol=3e-7)


def test_initialisation_resets_the_bias(kernels):
    layer = Dense("d", 2, 3)
    bound(kernels, layer)
    layer.bias[:] = 5
    layer.initialise(SEED, 0)
    np.testing.assert_array_equal(layer.bias, 0)


# ---- MLP ---------------------------------------------------------------------------------------------------------


def test_mlp_layers():
    mlp = MLP("decoder", (2, 5, 4, 3), "tanh", "identity")
    assert [(d.name, d.inputs, d.outputs, d.activation) for d in mlp.layers] == [
        ("decoder.0", 2, 5, "tanh"), ("decoder.1", 5, 4, "tanh"), ("decoder.2", 4, 3, "identity")
    ]  # fmt: skip
    assert mlp.outputs == 3
    assert [d.activation for d in MLP("e", (2, 5, 4), "relu").layers] == ["relu", "relu"]


def test_an_empty_mlp_is_the_identity(kernels):
    mlp = MLP("encoder", (5,), "relu")
    assert mlp.layers == []
    assert mlp.outputs == 5
    assert mlp.buffers(3) == []
    x = np.ones((3, 5), np.float32)
    assert forward(kernels, mlp, x, []) is x
    backward(kernels, mlp, x, [], None)
    np.testing.assert_array_equal(x, 1)


@pytest.mark.parametrize("widths", [(4, 3), (4, 6, 3), (4, 6, 5, 3)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus"])
def test_mlp(kernels, widths, activation):
    mlp = MLP("m", widths, activation, "identity")
    parameters = bound(kernels, *mlp.layers)
    rng = np.random.default_rng(0)
    for layer in mlp.layers:
        layer.bias[:] = rng.normal(size=layer.outputs)
    x, upstream = rng.normal(size=(7, 4)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)
    buffers, d_x = mlp.buffers(7), np.full((7, 4), np.nan, np.float32)
    y = forward(kernels, mlp, x, buffers)
    assert y is buffers[-1].out
    buffers[-1].d_out[...] = upstream
    backward(kernels, mlp, x, buffers, d_x)

    p, inputs, h = float64(parameters), [], x.astype(float)
    functions = [activation] * (len(widths) - 2) + ["identity"]
    for i, function in enumerate(functions):
        inputs.append(h)
        h = reference.dense_forward(h, p[f"m.{i}.weight"], p[f"m.{i}.bias"], function)
    check(y, h, "model", np.abs(h) + 1)
    d = upstream.astype(float)
    for i in reversed(range(len(functions))):
        arguments = inputs[i], p[f"m.{i}.weight"], p[f"m.{i}.bias"], functions[i], d
        d, d_weight, d_bias = reference.dense_backward(*arguments)
        check(parameters.gradient(f"m.{i}.weight"), d_weight, "model", np.abs(d_weight) + 1)
        check(parameters.gradient(f"m.{i}.bias"), d_bias, "model", np.abs(d_bias) + 1)
    check(d_x, d, "model", np.abs(d) + 1)


@pytest.mark.parametrize("parts", [2, 3, 9])
def test_parts_of_the_gradients_are_the_whole(kernels, parts):
    """However many threads share the layers, narrow ones among them: the same bits."""
    mlp = MLP("m", (4, 6, 1, 3), "tanh")
    parameters = bound(kernels, *mlp.layers)
    x, buffers, found = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32), mlp.buffers(7), []
    for count in (1, parts):
        parameters.gradients[:] = np.nan
        forward(kernels, mlp, x, buffers)
        buffers[-1].d_out[...] = 1
        backward(kernels, mlp, x, buffers, None, count)
        found.append(parameters.gradients.copy())
    assert found[0].all()
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("parts", [1, 2, 3, 9])
def test_adam_takes_the_step_of_the_gradients(kernels, parts):
    """`adam` in parts, against the reference's step with the gradients that `gradients` gives."""
    mlp = MLP("m", (4, 6, 1, 3), "tanh")
    parameters = bound(kernels, *mlp.layers)
    x, buffers = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32), mlp.buffers(7)
    m, v = np.random.default_rng(1).random((2, parameters.values.size), np.float32)
    forward(kernels, mlp, x, buffers)
    buffers[-1].d_out[...] = 1
    backward(kernels, mlp, x, buffers, None)
    start = [a.astype(float) for a in (parameters.values, parameters.gradients, m, v)]
    expected = reference.adam(*start, 2, 0.02, weight_decay=0.1)
    program = kernels.Program(Scalars())
    numbers = {LEARNING_RATE: 0.02, BETA1: 0.9, BETA2: 0.999, EPSILON: 1e-8, WEIGHT_DECAY: 0.1}
    program.scalars.integers[ADAM_STEP] = 2
    for place, number in numbers.items():
        program.scalars.reals[place] = number
    for layer, given, its_buffers in mlp.with_inputs(x, buffers):
        for part in range(parts):
            layer.adam(program, given, its_buffers, part, parts, m, v)
    program.run()
    for found, e in zip((parameters.values, m, v), expected, strict=True):
        for name, view in parameters.views(found).items():
            truth = parameters.views(e)[name]
            check(view, truth, "model", np.abs(truth) + 1)


@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_two_layers_of_one_input(kernels, activation):
    """As mu and logvar are: the gradient of the second is added to that of the first."""
    layers = Dense("mu", 5, 3, activation), Dense("logvar", 5, 2, activation)
    parameters = bound(kernels, *layers)
    rng, d_x = np.random.default_rng(0), np.full((6, 5), np.nan, np.float32)
    x, expected = rng.normal(size=(6, 5)).astype(np.float32), 0
    for i, layer in enumerate(layers):
        buffers = layer.buffers(6)
        forward(kernels, layer, x, buffers)
        buffers.d_out[...] = rng.normal(size=buffers.d_out.shape)
        weight, bias = (float64(parameters)[f"{layer.name}.{kind}"] for kind in ("weight", "bias"))
        expected += reference.dense_backward(x.astype(float), weight, bias, activation, buffers.d_out.astype(float))[0]
        program = kernels.Program(Scalars())
        layer.backward(program, buffers, d_x, more=i == 1)
        program.run()
    check(d_x, expected, "model", np.abs(expected) + 1)


def test_mlp_backward_without_d_x(kernels):
    mlp = MLP("m", (4, 6, 3), "tanh")
    parameters = bound(kernels, *mlp.layers)
    x = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    buffers, gradients = mlp.buffers(7), []
    for d_x in (np.empty((7, 4), np.float32), None):
        forward(kernels, mlp, x, buffers)
        buffers[-1].d_out[...] = 1
        backward(kernels, mlp, x, buffers, d_x)
        gradients.append(parameters.gradients.copy())
    np.testing.assert_array_equal(*gradients)
