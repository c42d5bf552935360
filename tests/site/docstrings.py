r"""Docstrings as reStructuredText: plain text, written for `help`, in which only numpydoc's sections are markup.

So what reStructuredText would read into them, in a*b, |x| or sigma_, is escaped. A name between backticks is code, and
leads to where it is documented. Lines that are indented behind an empty one stand as they are, as code or as formulas.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Sequence

SECTIONS = ("Parameters", "Returns", "Raises", "Warns", "Attributes", "Examples", "Notes", "Yields")
ITEMS = ("Parameters", "Returns", "Raises", "Warns", "Attributes", "Yields")
INDENT = "   "


def converted(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring, without its indentation, as those of reStructuredText."""
    lines, made, place = [line.rstrip() for line in lines], list[str](), 0
    starts = [i for i in range(len(lines) - 1) if lines[i] in SECTIONS and re.fullmatch("-{3,}", lines[i + 1])]
    for start, end in zip([-1, *starts], [*starts, len(lines)], strict=True):
        if start < 0:
            made += _text(lines[:end])
            continue
        name, inside = lines[start], lines[start + 2 : end]
        made += ["", f".. rubric:: {name}", "   :class: section", ""]
        made += _items(inside) if name in ITEMS else _text(inside)
        place = end
    assert place <= len(lines)
    return made


def _items(lines: list[str]) -> list[str]:
    """`name : type` and what is indented below, as a list of definitions."""
    made = list[str]()
    for head, below in _entries(lines):
        if not below and " : " not in head and not re.fullmatch(r"[\w., *]+", head):  # a sentence in an item's place
            made += [*_text([head]), ""]
            continue
        name, _, kind = head.partition(" : ")
        made.append(f"``{name}``" + (f" : {escaped(kind)}" if kind else ""))
        made += [INDENT + line if line else "" for line in _text(below) or ["\\ "]]
        made.append("")
    return made


def _entries(lines: list[str]) -> list[tuple[str, list[str]]]:
    found = list[tuple[str, list[str]]]()
    for line in lines:
        if line and not line.startswith(" "):
            found.append((line, []))
        elif found:
            found[-1][1].append(line)
    return [
        (head, textwrap.dedent("\n".join(below)).strip("\n").split("\n") if any(below) else []) for head, below in found
    ]


def _text(lines: list[str]) -> list[str]:
    """Paragraphs, lists, examples and blocks."""
    made, place = list[str](), 0
    while place < len(lines):
        line, end = lines[place], place + 1
        if not line:
            made.append("")
        elif line.startswith(">>> "):
            while end < len(lines) and lines[end]:
                end += 1
            made += ["", *lines[place:end], ""]
        elif line.startswith(" "):
            while end < len(lines) and (not lines[end] or lines[end].startswith(" ")):
                end += 1
            made += ["", *_block(lines[place:end]), ""]
        elif re.match(r"- ", line):
            while end < len(lines) and lines[end].startswith("  "):
                end += 1
            first, *rest = [line[2:], *(each[2:] for each in lines[place + 1 : end])]
            made += ["- " + escaped(first), *("  " + escaped(each) for each in rest)]
        else:
            while end < len(lines) and lines[end] and not lines[end].startswith((" ", "- ", ">>> ")):
                end += 1
            made += escaped("\n".join(lines[place:end])).split("\n")
            if end < len(lines) and lines[end].startswith(" "):
                made.append("")
        place = end
    return made


def _block(lines: list[str]) -> list[str]:
    """Indented lines: code where Python reads them as such; a table or figure as it stands; formulas as lines."""
    text = textwrap.dedent("\n".join(lines)).strip("\n")
    if _is_code(text):
        return [".. code-block:: python", "", *(INDENT + line for line in text.split("\n"))]
    if re.search(r"\S {3,}\S", text):
        return [".. code-block:: none", "", *(INDENT + line for line in text.split("\n"))]
    return [f"| {escaped(line)}" if line else "|" for line in text.split("\n")]


def _is_code(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    return any(
        isinstance(node, (ast.Call, ast.Import, ast.ImportFrom, ast.FunctionDef)) for node in ast.walk(tree)
    ) and ("`" not in text)


def escaped(text: str) -> str:
    """Text in which only backticks mean something: a name that may lead somewhere, or code."""
    pieces = re.split(r"``([^`]+)``|`([^`]+)`", text)
    made = ""
    for place in range(0, len(pieces), 3):
        plain = re.sub(r"([\\*|_`])", r"\\\1", pieces[place])
        plain = re.sub(r"(?m)^(\(?\w{1,3})([.)])(\s)", r"\1\\\2\3", plain)  # no enumeration
        plain = re.sub(r"(?m)^([-+•:]|\.\.)(?=\s|\w)", r"\\\1", plain).replace("::", "\\::")
        made += plain
        code = next((piece for piece in pieces[place + 1 : place + 3] if piece), None)
        if code is not None:
            before = "" if not made or re.search(r"[\s(\[{'\"/-]$", made) else "\\ "
            after = pieces[place + 3][:1]
            made += before + _code(code) + ("\\ " if after and (after.isalnum() or after in "_(") else "")
    return made


def _code(code: str) -> str:
    if re.fullmatch(r"[A-Za-z][\w.]*", code):
        return f":py:obj:`{code}`" if not code.endswith("_") else f":py:obj:`{code[:-1]}\\_ <{code}>`"
    return f"``{code}``"


def source_of(function: object) -> str:
    """The source of a function, compiled or not, without its docstring."""
    source = textwrap.dedent(inspect.getsource(getattr(function, "py_func", function)))  # type: ignore[arg-type]
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    text, lines = node.body[0], source.splitlines()
    if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and len(node.body) > 1:
        del lines[text.lineno - 1 : text.end_lineno]
    return "\n".join(lines)
