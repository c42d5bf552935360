"""How a likelihood of one's own is registered: its formulas are checked, and become ops."""

from typing import Any

import numpy as np

from fastvae.kernels.cpu.compiler import as_part, reduction
from fastvae.kernels.cpu.elementwise import _elementwise, _mapped
from fastvae.kernels.cpu.row_losses import functions_of
from fastvae.kernels.formulas import ZERO, f32, formula
from fastvae.kernels.row_losses import RowLoss, function_of
from fastvae.likelihoods import LIKELIHOODS
from fastvae.own.formulas import Formula
from fastvae.own.grids import OUTPUTS, check_function, check_known, check_normalised, check_term, points, probe
from fastvae.own.likelihood import Likelihood
from fastvae.own.ops import OWN, add_op, check_new, remove_op

TAKEN = {"x", "a", "weight", "weights", "nll", "d_a", "first", "last", "accumulate", "rows", "columns", "repeats"}
TAKEN |= {"n", "i", "j", "total", "value", "slope", "factor", "term", "constant", "slopes", "f32", "found", "by"}
PROBES = np.array([-3.7, 0.0, 1.25, 8.9, 1e3])  # where an inverse link is looked at: is it the identity?

PAIR = """
def pair({operands}):
    found = term({operands})
    return f32(found[0]), f32(found[1])
"""
SLOPES = """
def slopes({operands}):
    found = term({operands})
    return ({slopes},)
"""
GRADIENTS = """
def {name}_parameters(x, a, {params}, first, last, accumulate, weight, weights, {gradients}):
    rows, columns = a.shape
    repeats = max(rows // max(len(x), 1), 1)
    if accumulate == 0:
        for j in range(first, last):
            {zeros}
    for i in range(rows):
        factor = f32(weight)
        if weights.size > 0:
            factor *= weights[i]
        for j in range(first, last):
            by = slopes(x[i // repeats, j], a[i, j], {at})
            {sums}
"""


def register_likelihood(kind: type[Likelihood]) -> None:
    """Check a class, and make its ops; see `Likelihood`. `LIKELIHOODS` has it from then on."""
    where = kind.__qualname__
    name = getattr(kind, "NAME", None)
    if name is None:
        raise TypeError(f"{where} has no NAME: what users are to call it, NAME = 'student_t' say")
    check_new(name, "likelihood", kind, LIKELIHOODS)
    params = list(kind.PARAMETERS)
    for param in params:
        if not param.isidentifier() or param in TAKEN or param.startswith("d_"):
            raise ValueError(f"{where}.PARAMETERS: {param!r} is no name that a parameter can have: take another")
    kind.FORMULAS = formulas = _formulas(kind, params)
    term = formulas["term"]
    kind.IS_IDENTITY = _is_identity(formulas["inverse_link"])
    check_term(kind, term)
    check_function(formulas["inverse_link"], OUTPUTS, "the mean of p(x|z)", narrow=not kind.IS_IDENTITY)
    if "encoder_input" in formulas:
        check_function(formulas["encoder_input"], points(kind.SUPPORT, kind.WHOLE), "what the encoder is given of x")
    operands = ", ".join(("x", "a", *params))
    pair = formula(function_of(PAIR.format(operands=operands), "pair", _scope(term)))
    check_normalised(kind, term)
    kind.PROBE = probe(kind)
    if kind.IS_IDENTITY:
        kind.MEAN = "identity"
    if "encoder_input" in formulas and kind.SEEN == "identity":
        kind.SEEN = "own"
    for attribute, method in (("MEAN", "inverse_link"), ("SEEN", "encoder_input")):
        check_known(kind, attribute, method)
    _add_ops(kind, term, pair, params)
    LIKELIHOODS[name] = kind


def _formulas(kind: type[Likelihood], params: list[str]) -> dict[str, Formula]:
    """Those that a class has; a `TypeError` that names what it lacks."""
    needed = {"term": ["x", "a", *params], "inverse_link": ["a"], "encoder_input": ["x"], "link": ["mean"]}
    found = {}
    for method, operands in needed.items():
        given = getattr(kind, method)
        if given is getattr(Likelihood, method):
            if method in ("term", "inverse_link"):
                what = (getattr(Likelihood, method).__doc__ or "").split(". Must")[0]
                signature = f"{method}({', '.join(operands)})"
                raise TypeError(f"{kind.__qualname__} lacks {signature}, a @staticmethod: {what[0].lower()}{what[1:]}")
            continue
        found[method] = Formula(given, f"{kind.__qualname__}.{method}")
        found[method].check_parameters(operands)
    if kind.sample is not Likelihood.sample:
        Formula(kind.sample, f"{kind.__qualname__}.sample").check_parameters(["mean", "rng", *params])
    return found


def _is_identity(inverse_link: Formula) -> bool:
    found = inverse_link.over(PROBES)
    return len(found) == 1 and bool((found[0] == PROBES).all())


def _scope(term: Formula) -> dict[str, Any]:
    return {"term": term.compiled, "f32": f32, "ZERO": ZERO, "__name__": __name__}


def _add_ops(kind: type[Likelihood], term: Formula, pair: Any, params: list[str]) -> None:
    name, where = kind.NAME, kind.__qualname__
    about = (kind.__doc__ or "").strip() or f"The likelihood {name!r}."
    loss = RowLoss(name, pair, "a", tuple(params), per_column=bool(params))
    vectors = "".join(f"{param}:D " for param in params)
    rows = {f"{name}_forward": f"x:N,D a:B,D {vectors}-> nll:B"}
    rows[f"{name}_forward_backward"] = f"x:N,D a:B,D {vectors}weight:real -> nll:B d_a:B,D"
    made = [(op, rows[op], as_part(function), term, f"{where}.term") for op, function in functions_of(loss).items()]
    if params:
        made.append((*_of_parameters(name, term, params, vectors), term, f"{where}.term"))
    if not kind.IS_IDENTITY:
        op, inner = f"{name}_inverse_link_inplace", kind.FORMULAS["inverse_link"]
        made.append((op, "-> x:B,D", as_part(_elementwise(inner.compiled, op)), inner, inner.where))
    if "encoder_input" in kind.FORMULAS:
        op, inner = f"{name}_encoder_input", kind.FORMULAS["encoder_input"]
        made.append((op, "x:B,D -> out:B,D", as_part(_mapped(inner.compiled, op)), inner, inner.where))
    for op, row, work, inner, said in made:
        add_op(op, row, work, kind, about, said, inner.digest)


def _of_parameters(name: str, term: Formula, params: list[str], vectors: str) -> tuple[str, str, Any]:
    """The op of the parameters' gradients."""
    operands = ", ".join(("x", "a", *params))
    listed = ", ".join(f"f32(found[{i + 2}])" for i in range(len(params)))
    slopes = formula(function_of(SLOPES.format(operands=operands, slopes=listed), "slopes", _scope(term)))
    gap = "\n            "
    source = GRADIENTS.format(
        name=name,
        params=", ".join(params),
        gradients=", ".join(f"d_{param}" for param in params),
        zeros=gap.join(f"d_{param}[j] = ZERO" for param in params),
        at=", ".join(f"{param}[j]" for param in params),
        sums=gap.join(f"d_{param}[j] += factor * by[{i}]" for i, param in enumerate(params)),
    )
    op = f"{name}_parameters"
    made = reduction(function_of(source, op, _scope(term) | {"slopes": slopes}))
    row = f"x:N,D a:B,D {vectors}first:fixed last:fixed accumulate:fixed weight:real weights:B? -> "
    return op, row + " ".join(f"d_{param}:D" for param in params), as_part(made)


def unregister_likelihood(name: str) -> None:
    """Take it away again."""
    ops = [f"{name}{way}" for way in ("_forward", "_forward_backward", "_parameters", "_inverse_link_inplace",
                                      "_encoder_input")]  # fmt: skip
    for op in ops:
        if op in OWN:
            remove_op(op)
    del LIKELIHOODS[name]
