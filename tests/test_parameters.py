"""One flat buffer, named views into it."""

import numpy as np
import pytest

from fastvae.parameters import Parameters

SHAPES = {"mu.weight": (3, 4), "mu.bias": (4,), "log_sigma": (1,), "last": (2, 1, 2)}


def test_flat_buffers():
    parameters = Parameters(SHAPES)
    for flat in (parameters.values, parameters.gradients):
        assert flat.shape == (12 + 4 + 1 + 4,)
        assert flat.dtype == np.float32
        assert not flat.any()
    assert not np.shares_memory(parameters.values, parameters.gradients)


def test_views_lie_one_after_the_other_in_order():
    parameters = Parameters(SHAPES)
    parameters.values[:] = np.arange(21)
    parameters.gradients[:] = -np.arange(21)
    assert list(parameters.named_values()) == list(parameters.named_gradients()) == list(SHAPES)
    np.testing.assert_array_equal(parameters.value("mu.weight"), np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(parameters.value("mu.bias"), [12, 13, 14, 15])
    np.testing.assert_array_equal(parameters.value("log_sigma"), [16])
    np.testing.assert_array_equal(parameters.gradient("last"), -np.arange(17, 21).reshape(2, 1, 2))
    for view in parameters.named_values().values():
        assert view.flags.c_contiguous


def test_writing_into_a_view_writes_into_the_buffer():
    parameters = Parameters(SHAPES)
    parameters.value("mu.bias")[2] = 7
    parameters.gradient("log_sigma")[0] = 8
    assert parameters.values[14] == 7
    assert parameters.gradients[16] == 8
    assert parameters.values.sum() == 7
    assert parameters.gradients.sum() == 8


def test_views_of_another_buffer():
    """An optimizer's moments: views into it, in the same order."""
    parameters, flat = Parameters(SHAPES), np.zeros(21, np.float32)
    views = parameters.views(flat)
    assert {name: view.shape for name, view in views.items()} == SHAPES
    flat[:] = np.arange(21)
    np.testing.assert_array_equal(np.concatenate([view.ravel() for view in views.values()]), np.arange(21))
    for view in views.values():
        assert view.flags.c_contiguous
        view[...] = 1
    np.testing.assert_array_equal(flat, 1)
    assert not parameters.values.any()
    assert not parameters.gradients.any()


def test_the_names_given_out_are_a_copy():
    parameters = Parameters(SHAPES)
    parameters.named_values().clear()
    parameters.named_gradients().clear()
    assert list(parameters.named_values()) == list(parameters.named_gradients()) == list(SHAPES)


def test_nothing_at_all():
    parameters = Parameters({})
    assert parameters.values.shape == parameters.gradients.shape == (0,)
    assert parameters.named_values() == {}


def test_an_unknown_name():
    with pytest.raises(KeyError):
        Parameters(SHAPES).value("sigma")
