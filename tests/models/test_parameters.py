"""One flat buffer, named views into it."""

import numpy as np
import pytest

from fastvae.parameters import Parameters

SHAPES = {"mu.weight": (3, 6), "mu.bias": (4,), "log_sigma": (1,), "last": (2, 1, 2)}
SIZE = 32 + 16 + 16 + 4  # each on lines of 16 numbers of its own


def test_flat_buffers():
    parameters = Parameters(SHAPES)
    for flat in (parameters.values, parameters.gradients):
        assert flat.shape == (SIZE,)
        assert flat.ctypes.data % 64 == 0
        assert flat.dtype == np.float32
        assert not flat.any()
    assert not np.shares_memory(parameters.values, parameters.gradients)


def test_views_lie_one_after_the_other_in_order():
    parameters = Parameters(SHAPES)
    parameters.values[:] = np.arange(SIZE)
    parameters.gradients[:] = -np.arange(SIZE)
    assert list(parameters.named_values()) == list(parameters.named_gradients()) == list(SHAPES)
    np.testing.assert_array_equal(parameters.value("mu.weight"), np.arange(18).reshape(3, 6))
    np.testing.assert_array_equal(parameters.value("mu.bias"), [32, 33, 34, 35])
    np.testing.assert_array_equal(parameters.value("log_sigma"), [48])
    np.testing.assert_array_equal(parameters.gradient("last"), -np.arange(64, 68).reshape(2, 1, 2))
    for view in parameters.named_values().values():
        assert view.flags.c_contiguous
        assert view.ctypes.data % 64 == 0


def test_where_some_of_them_begin():
    """An optimizer's part for what no layer holds: from there to the end."""
    parameters = Parameters(SHAPES)
    assert parameters.start(["last", "log_sigma"]) == 48
    assert parameters.start([]) == SIZE


def test_writing_into_a_view_writes_into_the_buffer():
    parameters = Parameters(SHAPES)
    parameters.value("mu.bias")[2] = 7
    parameters.gradient("log_sigma")[0] = 8
    assert parameters.values[34] == 7
    assert parameters.gradients[48] == 8
    assert parameters.values.sum() == 7
    assert parameters.gradients.sum() == 8


def test_views_of_another_buffer():
    """An optimizer's moments: views into it, in the same order."""
    parameters, flat = Parameters(SHAPES), np.zeros(SIZE, np.float32)
    views = parameters.views(flat)
    assert {name: view.shape for name, view in views.items()} == SHAPES
    flat[:] = np.arange(SIZE)
    assert [view.ravel()[0] for view in views.values()] == [0, 32, 48, 64]
    for view in views.values():
        assert view.flags.c_contiguous
        view[...] = 1
    assert (flat == 1).sum() == 18 + 4 + 1 + 4
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


def test_more_than_memory_holds():
    with pytest.raises(ValueError, match=r"a model of 1,000,000,000,000 parameters takes 8,000 GB, .*smaller layers"):
        Parameters({"weight": (10**6, 10**6)})
