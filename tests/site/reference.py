"""What Sphinx is given beyond its own to write the reference: members of a module, estimators, ops, commands, sources.

.. module-members:: fastvae.evaluation.importance       all that is public there, by autodoc
.. estimator:: VAE                                       a class and its methods, those of all models once
.. ops:: Latent layer                                    a group of the contract in `fastvae.kernels`
.. command:: train                                       what --help says
"""

import argparse
import functools
import importlib
import inspect
import os
import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

import fastvae
from fastvae.command_line import COMMANDS
from fastvae.errors import NotAvailableError
from fastvae.kernels.cpu.ops import FUNCTIONS
from fastvae.kernels.ops import OPS
from tests.site.docstrings import converted, escaped, source_of

INSIDE = {  # of estimators: public among the package's own modules, nothing that a user calls
    "check", "collapse_tries", "elbo_examples", "encode_examples", "examples", "fit_examples", "heldout_name",
    "history_names", "keep_best", "load_checkpoint", "plan", "remarks", "save_checkpoint", "score_examples",
    "take_back_early_stop", "take_columns",
}  # fmt: skip
ESTIMATORS = (
    *("VAE", "TableVAE", "Autoencoder", "SparseAutoencoder", "DenoisingAutoencoder", "GAN", "RBM", "DBM", "GSN"),
    *("MADE", "NADE"),
)

FIRST = (  # of an estimator's methods, in the order in which they are used
    *("fit", "partial_fit", "fit_transform", "transform", "encode", "reconstruct", "decode", "inverse_transform"),
    *("sample", "impute", "denoise", "conditionals", "score_samples", "score", "elbo", "evaluate", "save", "load"),
)


class Written(SphinxDirective):
    """A directive that stands for reStructuredText."""

    required_arguments = 1
    final_argument_whitespace = True

    def written(self) -> list[str]:
        """Its lines."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the lines in its place."""
        inside = nodes.Element()
        words = " ".join([self.name, *self.arguments])
        self.state.nested_parse(StringList(self.written(), f"{self.get_source_info()[0]} ({words})"), 0, inside)
        return inside.children


# ---- modules ---------------------------------------------------------------------------------------------------------


def public(module: Any) -> list[str]:
    """Names of the functions and classes that a module or package brings, in the order in which it has them."""
    own = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and _from(value, module) and (value.__doc__ or "").strip()
    ]
    return [name for name in own if callable(getattr(module, name))]


def _from(value: Any, module: Any) -> bool:
    """Whether a package's folder, or a module itself, defines it."""
    where, name = getattr(value, "__module__", None) or "", module.__name__
    return where == name or (hasattr(module, "__path__") and where.startswith(name + "."))


class Members(Written):
    """All that is public in a module; `:source:` prints the source of functions; `:only:` and `:without:` choose."""

    option_spec = {  # noqa: RUF012
        "source": directives.flag, "text": directives.flag, "bases": directives.flag,
        "only": str.split, "without": str.split, "from": directives.unchanged, "section": directives.unchanged,
    }  # fmt: skip

    def written(self) -> list[str]:
        name = self.arguments[0]
        module = importlib.import_module(name)
        names = self.options.get("only") or public(module)
        if "from" in self.options:
            where = f"{name}.{self.options['from']}"
            names = [each for each in names if getattr(module, each).__module__ == where] or public(
                importlib.import_module(where)
            )
            module = module if hasattr(module, names[0]) else importlib.import_module(where)
            name = module.__name__
        if "section" in self.options:
            names = [each for each in names if section_of(getattr(module, each)) == self.options["section"]]
        if not names:
            raise self.error(f"there is nothing of it in {name}")
        made = text_of(module) if "text" in self.options else [""]
        for each in names:
            if each in self.options.get("without", ()):
                continue
            value = getattr(module, each)
            if inspect.isclass(value):
                made += [f".. autoclass:: {name}.{each}"]
                made += [f"   :members: {', '.join(_methods(value))}"] if _methods(value) else []
                made += ["   :show-inheritance:", ""] if "bases" in self.options else [""]
                continue
            made += [f".. autofunction:: {name}.{each}", ""]
            if "source" in self.options:
                made += ["   .. code-block:: python", "      :class: own-source", ""]
                made += ["      " + line for line in source_of(value).splitlines()] + [""]
        return made


def text_of(module: Any) -> list[str]:
    """What a module says of itself."""
    return ["", *converted(inspect.cleandoc(module.__doc__ or "").splitlines()), ""]


def section_of(function: Any) -> str:
    """The words of the last line of the form "# ---- words ----" before a function, in its module's source."""
    function = getattr(function, "py_func", function)
    lines = inspect.getsource(inspect.getmodule(function)).splitlines()[: function.__code__.co_firstlineno]  # type: ignore[arg-type]
    return next((line.strip("#- ").partition(":")[0] for line in reversed(lines) if line.startswith("# ----")), "")


class Text(Written):
    """What a module says of itself."""

    def written(self) -> list[str]:
        return text_of(importlib.import_module(self.arguments[0]))


def _methods(kind: type) -> list[str]:
    """Of a class: what it defines itself, is public and says what it is."""
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_")
        and (
            inspect.isfunction(value)
            or isinstance(value, (property, staticmethod, classmethod, functools.cached_property))
        )
        and (getattr(kind, name).__doc__ or "").strip()
    ]


# ---- estimators ------------------------------------------------------------------------------------------------------


def methods_of(name: str) -> dict[str, Any]:
    """Of an estimator: each method and property that a user calls, and what it is; those that say why they are not
    there left out."""
    kind = getattr(fastvae, name)
    found = {}
    for base in reversed(kind.__mro__[:-1]):
        for each in vars(base):
            value = inspect.getattr_static(kind, each)
            if (
                each.startswith("_")
                or each in INSIDE
                or not (inspect.isfunction(value) or isinstance(value, (property, classmethod)))
            ):
                continue
            found[each] = value
    return found


def absent_of(name: str) -> dict[str, str]:
    """Of an estimator: the methods that it does not have, and why."""
    found, kind = {}, getattr(fastvae, name)
    for each in sorted(set().union(*(methods_of(other) for other in ESTIMATORS))):
        try:
            getattr(kind, each)
        except NotAvailableError as error:
            found[each] = str(error)
        except AttributeError:
            pass
    return found


@functools.cache
def first_place(name: str) -> dict[str, str]:
    """Of an estimator: each method to the estimator that documents it, the first that has the same one."""
    return {
        each: next(
            other for other in ESTIMATORS if inspect.getattr_static(getattr(fastvae, other), each, None) is value
        )
        for each, value in methods_of(name).items()
    }


class Abilities(Written):
    """A table of what each estimator can do."""

    required_arguments = 0

    def written(self) -> list[str]:
        made = [".. list-table::", "   :header-rows: 1", "", "   * - Model", "     - Codes", "     - Gives rows back"]
        made += ["     - Samples", "     - Density", "     - ONNX, NumPy"]
        for name in ESTIMATORS:
            kind = getattr(fastvae, name)
            can = kind.ABILITIES
            made += [
                f"   * - :py:obj:`~fastvae.{name}`",
                f"     - {_yes(can.codes)}",
                f"     - {_yes(can.reconstructs)}",
            ]
            made += [
                f"     - {can.samples}",
                f"     - {can.density}",
                f"     - {_yes(vars(kind).get('PORTABLE', False))}",
            ]
        return made


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


class Estimator(Written):
    """An estimator: its class and own methods, links to those that it has from another, and what is not there."""

    def written(self) -> list[str]:
        name = self.arguments[0]
        places, kind = first_place(name), getattr(fastvae, name)
        own = [each for each, place in places.items() if place == name]
        own.sort(key=lambda each: FIRST.index(each) if each in FIRST else len(FIRST))
        made = ["", f".. autoclass:: fastvae.{name}", ""]
        for word in ("method", "property"):
            chosen = [
                each for each in own if isinstance(inspect.getattr_static(kind, each), property) == (word == "property")
            ]
            made += [line for each in chosen for line in (f"   .. auto{word}:: fastvae.{name}.{each}", "")]
        for other in ESTIMATORS:
            shared = sorted(each for each, place in places.items() if place == other != name)
            if shared:
                links = ", ".join(f":py:obj:`~fastvae.{other}.{each}`" for each in shared)
                made += [f"As of :py:obj:`~fastvae.{other}`: {links}.", ""]
        for each, why in absent_of(name).items():
            made += [f"``{each}``", f"   is not there: {escaped(why)}.", ""]
        return made


# ---- ops -------------------------------------------------------------------------------------------------------------


@functools.cache
def groups() -> dict[str, tuple[list[str], list[str]]]:
    """Of the contract: what stands above a group of ops to its first paragraph, and the names of its ops."""
    import fastvae.kernels

    found: dict[str, tuple[list[str], list[str]]] = {}
    words, head = list[str](), ""
    for line in (fastvae.kernels.__doc__ or "").splitlines():
        if line and not line.startswith(" "):
            words.append(line)
        elif line.startswith("    ") and words:
            head = " ".join(words)
            found[head] = (list(words), [])
            words = []
        if not line:
            words, head = [], ""
        if head and re.match(r"    \w+\(", line):
            found[head][1].extend(name for name in re.findall(r"(\w+)\(", line) if name in OPS)
    return found


class Contract(Written):
    """What the contract says of all ops, and what of a backend is no op."""

    required_arguments = 0

    def written(self) -> list[str]:
        import fastvae.kernels

        lines = (fastvae.kernels.__doc__ or "").splitlines()
        first = min(lines.index(head[0]) for head, _ in groups().values())
        return ["", *converted(lines[:first]), ""]


class Ops(Written):
    """The ops of a group of the contract, which is named by its first words."""

    def written(self) -> list[str]:
        (head,) = [head for head in groups() if head.startswith(self.arguments[0])]
        made = ["", escaped(head + "."), ""]
        for name in groups()[head][1]:
            made += [f".. autofunction:: fastvae.kernels.cpu.{name}", ""]
        return made


# ---- commands --------------------------------------------------------------------------------------------------------


def help_of(command: str) -> str:
    """What `--help` prints, at 84 columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "84"
    try:
        parser: argparse.ArgumentParser = importlib.import_module(COMMANDS[command]).parser()
        return parser.format_help()
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


class Commands(SphinxDirective):
    """The help of each command, made by its parser: a section each."""

    def run(self) -> list[nodes.Node]:
        """Run the parsers."""
        found = list[nodes.Node]()
        for command in COMMANDS:
            text = help_of(command)
            section = nodes.section("", nodes.title(command, command), names=[nodes.fully_normalize_name(command)])
            section += nodes.literal_block(text, text, language="none", classes=["help"])
            self.state.document.note_implicit_target(section, section)
            found.append(section)
        return found


# ---- sources ---------------------------------------------------------------------------------------------------------


@functools.cache
def elsewhere() -> dict[str, tuple[str, str]]:
    """What is documented under a name that its source does not have: module of the source, and the name there."""
    found = {}
    for name in ESTIMATORS:
        for each, value in methods_of(name).items():
            function = getattr(value, "fget", None) or getattr(value, "__func__", value)
            found[f"fastvae.{name}.{each}"] = function.__module__, function.__qualname__
    for op in OPS:
        function = FUNCTIONS[op].py_func
        module, place = function.__module__, function.__qualname__
        if place not in _analyzed(module)[1]:  # one that a table makes
            place = next(each for each in ("functions_of", "_mapped", "_elementwise") if each in _analyzed(module)[1])
        found[f"fastvae.kernels.cpu.{op}"] = module, place
    return found


@functools.cache
def _analyzed(module: str) -> tuple[str, dict[str, Any]]:
    analyzer = ModuleAnalyzer.for_module(module)
    analyzer.analyze()
    return analyzer.code, analyzer.tags


def follow(app: Any, module: str, name: str) -> str | None:
    """For viewcode: the module in which the source stands."""
    return elsewhere().get(f"{module}.{name}", (None,))[0]


def find_source(app: Any, module: str) -> tuple[str, dict[str, Any]] | None:
    """For viewcode: a module's source, and where in it stands what is documented, under its documented names."""
    if not module.startswith("fastvae"):
        return None
    code, tags = _analyzed(module)
    others = {full: place for full, (where, place) in elsewhere().items() if where == module}
    named = {
        full.removeprefix("fastvae.kernels.cpu.").removeprefix("fastvae."): tags[at] for full, at in others.items()
    }
    return code, tags | named


def other_names(target: str) -> list[str]:
    """Other names of what is called so: where it is defined, what that module's packages call it, and of a method the
    estimator that documents it."""
    words, found = target.split("."), list[str]()
    value: Any = fastvae
    for place, word in enumerate(words[1:], 1):
        try:
            value = getattr(value, word)
        except AttributeError:
            try:
                value = importlib.import_module(".".join(words[: place + 1]))
            except ImportError:
                return []
    if len(words) == 3 and words[1] in ESTIMATORS and words[2] in first_place(words[1]):
        found.append(f"fastvae.{first_place(words[1])[words[2]]}.{words[2]}")
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    while module and name:
        found.append(f"{module}.{name}")
        module = module.rpartition(".")[0]
    return found


def resolve(app: Any, env: Any, node: Any, words: Any) -> Any:
    """For references that lead nowhere: to the same thing under another of its names."""
    target = node.get("reftarget", "")
    if node.get("refdomain") == "py" and target.startswith("fastvae."):
        objects = env.get_domain("py").objects
        for name in other_names(target):
            if name in objects:
                return make_refnode(
                    app.builder, node["refdoc"], objects[name].docname, objects[name].node_id, words, name
                )
    return None


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """For autodoc: a docstring."""
    lines[:] = converted(lines)


def signature(app: Any, what: str, name: str, obj: Any, *rest: Any) -> tuple[str, str] | None:
    """For autodoc: the constructor's arguments, where a base takes any."""
    if what != "class" or not name.startswith("fastvae.") or getattr(fastvae, obj.__name__, None) is not obj:
        return None
    own = inspect.signature(obj)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in own.parameters.values()]
    return str(own.replace(parameters=bare, return_annotation=inspect.Signature.empty)), ""


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    found: dict[str, type[Directive]] = {
        "module-members": Members, "module-text": Text, "estimator": Estimator, "abilities": Abilities, "ops": Ops,
        "contract": Contract, "commands": Commands,
    }  # fmt: skip
    for name, directive in found.items():
        app.add_directive(name, directive)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", process)
    app.connect("missing-reference", resolve)
    app.connect("viewcode-follow-imported", follow)
    app.connect("viewcode-find-source", find_source)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
