"""Dense and MLP in a pass: against the reference, at any depth, on fewer rows than the largest batch."""

import math

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels.formulas import ACTIVATIONS
from fastvae.layers import MLP, Dense, Linear
from fastvae.optimizers import Adam
from fastvae.parameters import Parameters
from fastvae.passes import Arena
from tests.support.passes import new_pass, run
from tests.support.tolerances import check, check_same

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


def owners(layer):
    return list(layer.owners()) if isinstance(layer, MLP) else [layer]


def forward_backward(kernels, layer, x, upstream, shares=1, inputs=True, optimizer=None, arena=None):
    """Write a step of a layer or of several with this gradient of their output, and run it; return the output, d_x,
    and the gradients of the parameters, copies."""
    p = new_pass(kernels, len(x), shares, arena)
    out, back = layer(p, p.cut(x))
    d_x = back(p.cut(upstream.copy()), inputs)
    p.update(optimizer, owners(layer))
    layers = owners(layer)
    if layers and optimizer is None:
        layers[0].parameters.gradients[:] = np.nan
    run(p, optimizer)
    return out, d_x, layers[0].parameters.named_gradients() if layers else {}


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
    y, d_x, _ = forward_backward(kernels, layer, x, upstream)
    weight, bias = float64(parameters).values()
    check(y, reference.dense_forward(x.astype(float), weight, bias, activation), "dense", 6)
    expected = reference.dense_backward(x.astype(float), weight, bias, activation, upstream.astype(float))
    for found, e in zip((d_x, *parameters.named_gradients().values()), expected, strict=True):
        check(found, e, "model", np.abs(e) + 1)
    assert np.shares_memory(layer.weight, parameters.values)


def test_what_a_backward_needs_is_kept_only_where_there_is_one(kernels):
    """silu alone needs a second array; a forward alone needs one less."""
    x = np.ones((6, 5), np.float32)
    for activation in ACTIVATIONS:
        layer = Dense("d", 5, 7, activation)
        bound(kernels, layer)
        for backward in (True, False):
            p = new_pass(kernels, 6, backward=backward)
            out, _ = layer(p, p.cut(x))
            assert out.shape == (6, 7)
            assert p.outputs == {"d": out}
            assert p.mark() == (2 if backward and activation == "silu" else 1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fewer_rows(kernels, activation):
    """A short batch in the memory of a long one, cut into shares or whole: the same numbers, and nothing beside it
    written."""
    layer = Dense("d", 5, 7, activation)
    bound(kernels, layer)
    x, upstream = (np.random.default_rng(i).normal(size=(4, n)).astype(np.float32) for i, n in ((0, 5), (1, 7)))
    found = []
    for rows, shares in ((4, 1), (9, 1), (9, 2), (9, 3)):
        arena, wide = Arena(rows), 7 if activation == "silu" else 5  # out, what is kept beside it, d_x
        beyond = [arena.take(i, rows, (columns,))[4:] for i, columns in enumerate((7, wide, 5))]
        for array in beyond:
            array[...] = 77
        y, d_x, gradients = forward_backward(kernels, layer, x, upstream, shares, arena=arena)
        assert arena.take(0, 4, (7,)).ctypes.data == y.ctypes.data
        found.append([y.copy(), d_x.copy(), *(g.copy() for g in gradients.values())])
        for array in beyond:
            assert (array == 77).all()
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            check_same(a, b)


# ---- Linear ------------------------------------------------------------------------------------------------------


def adam(kernels, parameters, rng, rate, **settings):
    """Adam after one step, with moments."""
    optimizer = Adam(parameters, kernels, rate, **settings)
    for array in optimizer.state.values():
        array[:] = rng.random(array.size, np.float32)
    optimizer.step_count = 1
    return optimizer


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
    y, d_x, _ = forward_backward(kernels, mlp, x, upstream, parts)
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
    """Alone: nothing else moves."""
    rng = np.random.default_rng(0)
    mlp, parameters = bound_linear(kernels, rng)
    x, upstream = rng.normal(size=(7, 5)).astype(np.float32), np.ones((7, 3), np.float32)
    optimizer = adam(kernels, parameters, rng, 0.02, epsilon=1e-3)
    name, flat = "m.linear.weight", [parameters.values, *optimizer.state.values()]
    start = [parameters.views(array)[name].astype(float) for array in flat]
    expected = reference.adam(start[0], x.astype(float).T @ upstream, *start[1:], 2, 0.02, epsilon=1e-3)
    p, before = new_pass(kernels, 7, parts), parameters.values.copy()
    p.gradient(mlp.linear, (p.cut(x), p.cut(upstream)))
    p.update(optimizer, [mlp.linear])
    run(p, optimizer)
    for found, e in zip([parameters.views(array)[name] for array in flat], expected, strict=True):
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
    x, d = np.ones((3, 5), np.float32), np.ones((3, 5), np.float32)
    p = new_pass(kernels, 3)
    out, back = mlp(p, x)
    assert out is x
    assert back(d) is d
    assert p.phases == []


@pytest.mark.parametrize("widths", [(4, 3), (4, 6, 3), (4, 6, 5, 3)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus"])
def test_mlp(kernels, widths, activation):
    mlp = MLP("m", widths, activation, "identity")
    parameters = bound(kernels, *mlp.layers)
    rng = np.random.default_rng(0)
    for layer in mlp.layers:
        layer.bias[:] = rng.normal(size=layer.outputs)
    x, upstream = rng.normal(size=(7, 4)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)
    y, d_x, _ = forward_backward(kernels, mlp, x, upstream)
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
    x, ones, found = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32), np.ones((7, 3), np.float32), []
    for count in (1, parts):
        gradients = forward_backward(kernels, mlp, x, ones, count, inputs=False)[2]
        assert list(gradients) == list(parameters.named_values())
        found.append(np.concatenate([g.ravel() for g in gradients.values()]))
    assert found[0].all()
    check_same(*found)


@pytest.mark.parametrize("parts", [1, 2, 3, 9])
def test_adam_takes_the_step_of_the_gradients(kernels, parts):
    """In parts, against the reference's step with the gradients that are left where there is no optimizer."""
    mlp, rng = MLP("m", (4, 6, 1, 3), "tanh"), np.random.default_rng(0)
    parameters = bound(kernels, *mlp.layers)
    x, ones = rng.normal(size=(7, 4)).astype(np.float32), np.ones((7, 3), np.float32)
    optimizer = adam(kernels, parameters, rng, 0.02, weight_decay=0.1)
    forward_backward(kernels, mlp, x, ones)
    flat = [parameters.values, *optimizer.state.values()]
    start = [a.astype(float) for a in (parameters.values, parameters.gradients, *flat[1:])]
    expected = reference.adam(*start, 2, 0.02, weight_decay=0.1)
    forward_backward(kernels, mlp, x, ones, parts, optimizer=optimizer)
    assert optimizer.step_count == 2
    for found, e in zip(flat, expected, strict=True):
        for name, view in parameters.views(found).items():
            truth = parameters.views(e)[name]
            check(view, truth, "model", np.abs(truth) + 1)


@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_two_layers_of_one_input(kernels, activation):
    """As mu and logvar are: the gradient of the second is added to that of the first."""
    layers = Dense("mu", 5, 3, activation), Dense("logvar", 5, 2, activation)
    parameters = bound(kernels, *layers)
    rng, d_x = np.random.default_rng(0), None
    x, expected = rng.normal(size=(6, 5)).astype(np.float32), 0
    p = new_pass(kernels, 6, 2)
    p.cut(x)
    for layer in layers:
        d_out = rng.normal(size=(6, layer.outputs)).astype(np.float32)
        weight, bias = (float64(parameters)[f"{layer.name}.{kind}"] for kind in ("weight", "bias"))
        expected += reference.dense_backward(x.astype(float), weight, bias, activation, d_out.astype(float))[0]
        d_x = layer(p, x)[1](p.cut(d_out), add_to=d_x)
    run(p)
    check(d_x, expected, "model", np.abs(expected) + 1)


@pytest.mark.parametrize("linear", [False, True])
def test_mlp_backward_without_d_x(kernels, linear):
    mlp = MLP("m", (4, 6, 3), "tanh", "identity", linear)
    parameters = bound(kernels, *mlp.owners())
    x, ones = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32), np.ones((7, 3), np.float32)
    gradients = []
    for inputs in (True, False):
        d_x = forward_backward(kernels, mlp, x, ones, inputs=inputs)[1]
        assert (d_x is None) != inputs
        gradients.append(parameters.gradients.copy())
    np.testing.assert_array_equal(*gradients)
