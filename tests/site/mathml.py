"""Formulas as MathML, made when the site is built: a page needs neither a script nor a network to show them.

What latex2mathml does not know it would print as it stands, with its backslash: here that is a warning, and so an error
of the build, as is LaTeX that cannot be read.
"""

import html
import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
LONG = 60  # letters of LaTeX from which an inline formula may scroll by itself where the page is narrow
ALIGNED = r"\\(begin|end)\{(?:align|aligned|alignat|gather|gathered|equation|eqnarray|multline)\*?\}"
MENDS = [  # what browsers make of latex2mathml's elements otherwise
    (r"<mo( movablelimits=\"true\")?>([^<&]*\w{2,}[^<]*)</mo>", r"<mi\1>\2</mi>"),  # names of functions
    (
        r"(<mi(?: movablelimits=\"true\")?>[A-Za-z]{2,}</mi>)(?=<(?:mi|mn|msub|msup|mfrac|mover|mtext|msqrt))",
        r"\1<mspace width='0.17em' />",
    ),
    (r"<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>"),  # \sim
    (r"<mi>&#x02016;</mi>", '<mo fence="true">&#x02016;</mo>'),  # \Vert
    (r"<mtd columnalign=\"(\w+)\"", r'<mtd style="text-align: \1"'),  # of MathML Core only styles are left
    (r"<mi mathvariant=\"bold-italic\">([A-Za-z])</mi>", lambda found: f"<mi>{_bold(found[1])}</mi>"),
]


def mathml(latex: str, display: bool) -> str:
    """The formula as an element <math>, which keeps its LaTeX for whoever copies it.

    Raises
    ------
    ValueError
        It cannot be read, or has a command that is not known.
    """
    latex = " ".join(latex.split())
    if len(re.findall(r"(?<!\\)\{", latex)) != len(re.findall(r"(?<!\\)\}", latex)):
        raise ValueError(f"`{latex}` is no LaTeX for latex2mathml: its braces do not match")
    try:
        element = convert(_lines(latex), display="block" if display else "inline")
    except Exception as error:  # it has classes of errors of its own, and lets others through
        raise ValueError(f"`{latex}` is no LaTeX that latex2mathml reads: {type(error).__name__} {error}") from error
    unknown = re.findall(r">\s*(\\\w+|&(?=<))", element)
    if unknown:
        raise ValueError(f"`{latex}`: latex2mathml does not know {', '.join(unknown)}")
    for pattern, mended in MENDS:
        element = re.sub(pattern, mended, element)
    return element.replace("<math ", f'<math alttext="{html.escape(latex)}" ', 1)


def _lines(latex: str) -> str:
    r"""Environments of lines by the one that is known; lines without any, that end in \\, in it too."""
    latex = re.sub(ALIGNED, r"\\\1{split}", latex)
    bare = re.sub(r"\\begin\{(\w+\*?)\}.*\\end\{\1\}", "", latex)
    return rf"\begin{{split}}{latex}\end{{split}}" if r"\\" in bare or re.search(r"(?<!\\)&", bare) else latex


def _bold(letter: str) -> str:
    """A letter among Unicode's bold italic ones."""
    return chr(0x1D482 + ord(letter) - ord("a") if letter.islower() else 0x1D468 + ord(letter) - ord("A"))


def _converted(node: nodes.Element, display: bool) -> str:
    try:
        return mathml(node.astext(), display)
    except ValueError as error:
        LOGGER.warning("%s", error, location=node, type="mathml")
        return f"<code>{html.escape(node.astext())}</code>"


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write an inline formula."""
    long = " long" if len(node.astext()) > LONG else ""
    self.body.append(f'<span class="formula{long}">{_converted(node, display=False)}</span>')
    raise nodes.SkipNode


def visit_display(self: Any, node: nodes.math_block) -> None:
    """Write a formula with a line to itself, and its number where it has a label."""
    number = f'<span class="number">({node["number"]})</span>' if node.get("number") else ""
    self.body.append(f'<div class="formula" tabindex="0" role="group">{_converted(node, display=True)}{number}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer `mathml` with Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
