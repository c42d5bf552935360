"""What a test registers is taken away again: the tables are the whole process's."""

import pytest

from fastvae.layers import LAYERS
from fastvae.likelihoods import LIKELIHOODS
from fastvae.own import unregister
from fastvae.own.ops import OWN


@pytest.fixture(autouse=True)
def tables():
    layers, likelihoods = dict(LAYERS), dict(LIKELIHOODS)
    yield
    for before, table in ((layers, LAYERS), (likelihoods, LIKELIHOODS)):
        for name in set(table) - set(before):
            unregister(table[name])
    for name in list(OWN):
        unregister(name)
