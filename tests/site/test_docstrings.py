"""Docstrings as reStructuredText: what is markup in them, and what is not."""

import pytest

from tests.site.docstrings import converted, escaped, source_of

DOCSTRING = """\
The sum a*b |x| of sigma_ and `fit`, see `sigma_`s and `x + 1`.

    kl = 1/2 (exp(l) - 1)
    nll = x_j `weight`

Rows: as they are.

Parameters
----------
X : (N, D)
    Rows.

    More of them.
low, high
    Ends.
check : bool

Raises
------
ValueError, TypeError
    Wrong.

Examples
--------
>>> 1 + 1
2
"""


def test_a_docstring_as_it_is_meant():
    assert converted(DOCSTRING.splitlines()) == [
        "The sum a\\*b \\|x\\| of sigma\\_ and :py:obj:`fit`, see :py:obj:`sigma\\_ <sigma_>`\\ s and ``x + 1``.",
        "", "", "| kl = 1/2 (exp(l) - 1)", "| nll = x\\_j :py:obj:`weight`", "",
        "Rows: as they are.", "",
        "", ".. rubric:: Parameters", "   :class: section", "",
        "``X`` : (N, D)", "   Rows.", "", "   More of them.", "",
        "``low, high``", "   Ends.", "",
        "``check`` : bool", "   \\ ", "",
        "", ".. rubric:: Raises", "   :class: section", "",
        "``ValueError, TypeError``", "   Wrong.", "",
        "", ".. rubric:: Examples", "   :class: section", "",
        "", ">>> 1 + 1", "2", "",
    ]  # fmt: skip


def test_code_and_tables_stand_as_they_are():
    assert ".. code-block:: python" in converted(["", "    model = fit(x)"])
    assert ".. code-block:: none" in converted(["", "    one      two", "    three    four"])


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("1. no list", "1\\. no list"),
        ("- x", "\\- x"),
        ("a:: b", "a\\:: b"),
        ("``a b`` c", "``a b`` c"),
        ("(`a`)", "(:py:obj:`a`)"),
        ("non`a`", "non\\ :py:obj:`a`"),
    ],
)
def test_what_is_escaped(text, made):
    assert escaped(text) == made


def test_the_source_of_a_function_without_its_docstring():
    assert source_of(test_what_is_escaped).startswith("@pytest.mark.parametrize(")
    assert '"""' not in source_of(escaped)
