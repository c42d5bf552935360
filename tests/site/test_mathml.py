"""Formulas: what becomes of LaTeX, and what is refused."""

from xml.etree import ElementTree

import pytest

pytest.importorskip("latex2mathml", reason="latex2mathml is not installed: pip install -e '.[docs]'")
pytest.importorskip("sphinx", reason="sphinx is not installed: pip install -e '.[docs]'")
from tests.site.mathml import mathml


def parsed(latex, display=False):
    return ElementTree.fromstring(mathml(latex, display).replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))


def test_a_formula_keeps_its_latex():
    assert parsed(r"\frac{a}{b} < c").get("alttext") == r"\frac{a}{b} < c"
    assert parsed("x", display=True).get("display") == "block"


@pytest.mark.parametrize("name", ["aligned", "align", "align*", "gather", "split"])
def test_lines_stand_below_each_other(name):
    found = parsed(rf"\begin{{{name}}} a &= b \\ &= c \end{{{name}}}")
    assert len(found.findall(".//mtr")) == 2
    assert [cell.get("style") for cell in found.findall(".//mtd")][:2] == ["text-align: right", "text-align: left"]


def test_bare_lines_are_aligned_and_those_of_cases_are_not():
    assert len(parsed(r"a &= b \\ &= c").findall(".//mtr")) == 2
    assert len(parsed(r"a = \begin{cases} 1 & x \\ 2 & y \end{cases}").findall(".//mtable")) == 1


def test_names_of_functions_stand_apart_from_what_follows():
    assert parsed(r"\log p").find(".//mspace") is not None
    assert parsed(r"\log(p)").find(".//mspace") is None
    assert parsed(r"\operatorname{KL}(q)").find(".//mi").text == "KL"


@pytest.mark.parametrize("latex", [r"\foo", r"\frac{a", r"a & b \unknown"])
def test_what_is_not_known_is_refused(latex):
    with pytest.raises(ValueError, match="latex2mathml"):
        mathml(latex, False)
