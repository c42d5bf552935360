"""Links to pages that may not be built: `{page}`words <howto/imputation>`` leads there where there is such a page.

So a page stands by itself while others are written, and where only some are built.
"""

import logging
import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import ReferenceRole


class PageRole(ReferenceRole):
    """Words, which are a link where the page is built."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Make a reference as that of `doc`, or the words alone."""
        if self.target not in self.env.found_docs:
            return [nodes.inline(self.rawtext, self.title, classes=["no-page"])], []
        options = {"refdomain": "std", "reftype": "doc", "refexplicit": True, "refwarn": True}
        reference = addnodes.pending_xref(self.rawtext, reftarget=f"/{self.target}", refdoc=self.env.docname, **options)
        reference += nodes.inline(self.rawtext, self.title, classes=["doc"])
        return [reference], []


def some_pages(app: Any, config: Any) -> None:
    """Where only some pages are built, references to the others lead nowhere, which is no mistake of theirs."""
    if config.include_patterns != ["**"]:
        config.nitpicky = False
        config.suppress_warnings = [*config.suppress_warnings, "toc", "ref", "myst.xref_missing"]


def one_tree(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Pages of sources have one list of contents for each depth of folders: to make it takes longer than the rest."""
    if page.startswith("_modules/"):
        trees, toctree = vars(app).setdefault("trees_by_depth", {}), context["toctree"]

        def kept(**options: Any) -> str:
            key = page.count("/"), *sorted(options.items())
            if key not in trees:
                trees[key] = toctree(**options)
            return str(trees[key])

        context["toctree"] = kept


HEADINGS_AND_FIGURES = re.compile(
    r"<h[1-6]>(?P<heading>.*?)</h[1-6]>"
    r'|<img alt="(?P<alt>[^"]*)" src="(?P<src>[^"]*_images/[^"]*)"(?P<rest>[^>]*)>',
    re.DOTALL,
)


def whole_figures(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """A figure that a cell has drawn leads to itself, where it can be looked at in its size, and is called by the
    heading above it, where it has no other words."""
    heading = ""

    def replaced(found: re.Match[str]) -> str:
        nonlocal heading
        if found["heading"]:
            heading = re.sub("<[^>]*>", "", found["heading"]).removesuffix("¶").strip()
            return found[0]
        words = heading if found["alt"] == found["src"] else found["alt"]
        image = f'<img alt="{words}" src="{found["src"]}"{found["rest"]}>'
        return f'<a class="figure" href="{found["src"]}" title="The figure by itself">{image}</a>'

    if context.get("body"):
        context["body"] = HEADINGS_AND_FIGURES.sub(replaced, context["body"])


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    words = "toctree glob pattern"  # a kind of pages of which there is none: Sphinx has no name for this warning
    logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda record: words not in str(record.msg))
    app.add_role("page", PageRole())
    app.connect("config-inited", some_pages)
    app.connect("html-page-context", whole_figures)
    app.connect("html-page-context", one_tree, priority=400)  # before the theme's
    return {"parallel_read_safe": True, "parallel_write_safe": True}
