"""One browser for the tests of a module."""

import pytest

from tests.page.browser import launched


@pytest.fixture(scope="module")
def browser():
    with launched() as each:
        yield each
