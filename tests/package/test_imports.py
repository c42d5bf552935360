"""Who imports whom inside the package: nobody in a circle, not even by an import within a function."""

import ast
import graphlib

import pytest

from tests.support.commands import ROOT

TYPES_ONLY: set[tuple[str, str]] = set()  # imports under TYPE_CHECKING that would close a circle


def sources(root):
    """The text of every module of the package by its name; `kernels` lies in it once it is installed."""
    for name, folder in (("fastvae", root / "fastvae"), ("fastvae.kernels", root / "kernels")):
        for file in sorted(folder.rglob("*.py")):
            words = file.relative_to(folder).with_suffix("").parts
            yield ".".join((name, *words)).removesuffix(".__init__"), file.read_text()


def imported(text, modules):
    """Which of these modules a text imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import: {ast.unparse(node)}"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name in modules)


def check_for_circles(texts):
    """Raise `graphlib.CycleError`, whose message names the modules, where imports go round in a circle."""
    graph = {name: {m for m in imported(text, texts) if (name, m) not in TYPES_ONLY} for name, text in texts.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_no_imports_in_a_circle():
    texts = dict(sources(ROOT))
    assert "fastvae.kernels.cpu.tile" in texts
    assert "fastvae.data.dataset" in texts
    check_for_circles(texts)


CLOSING = [
    "import fastvae.a",
    "from fastvae import a",
    "from fastvae.a import x",
    "def f():\n    from fastvae.a import x",
]


@pytest.mark.parametrize("closing", CLOSING)
def test_a_circle_is_found(closing):
    texts = {"fastvae": "", "fastvae.a": "import fastvae.b, os", "fastvae.b": "from fastvae.c import x"}
    check_for_circles(texts | {"fastvae.c": "import os"})
    with pytest.raises(graphlib.CycleError, match=r"'fastvae.a', 'fastvae.c', 'fastvae.b'"):
        check_for_circles(texts | {"fastvae.c": closing})


def test_kernels_import_nothing_from_the_rooms_above():
    texts = dict(sources(ROOT))
    for name, text in texts.items():
        if name.startswith("fastvae.kernels"):
            assert [m for m in imported(text, texts) if not m.startswith("fastvae.kernels")] == [], name
