"""Links to pages that may not be built: `{page}`words <howto/gaps>`` leads there where there is such a page.

So a page stands by itself while others are written, and where only some are built.
"""

import logging
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


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    words = "toctree glob pattern"  # a kind of pages of which there is none: Sphinx has no name for this warning
    logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda record: words not in str(record.msg))
    app.add_role("page", PageRole())
    app.connect("config-inited", some_pages)
    app.connect("html-page-context", one_tree, priority=400)  # before the theme's
    return {"parallel_read_safe": True, "parallel_write_safe": True}
