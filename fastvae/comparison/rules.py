"""What each op of a training step makes of the values that its arrays hold: a rule for an op.

Ops are those of forward passes; gradients are ops of the same kinds, or have no rule, and no cost is made of them.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from fastvae.comparison.formulas import TARGETS, likelihood_of, number, posterior_of
from fastvae.comparison.values import BESIDE, COST, LATENT, LAYER, NOISE, OUTPUT, WATCHED, Value, ancestors
from fastvae.kernels.formulas import ACTIVATIONS, CORRUPTIONS, GAUSSIAN_NOISE
from fastvae.kernels.ops import INPLACE, OPS
from fastvae.kernels.philox import OBSERVATION
from fastvae.kernels.row_losses import ROW_LOSSES
from fastvae.kernels.slots import Slot

ACTIVATION_NAMES = {code: name for name, code in ACTIVATIONS.items()}
CORRUPTION_NAMES = {code: name.replace("_", " ") for name, code in CORRUPTIONS.items()}
LOSSES = {f"{loss.name}_{way}": loss for loss in ROW_LOSSES for way in ("forward", "forward_backward")}
OF_LIKELIHOOD = {"squared_error": "gaussian"}  # losses that have another name than their likelihood


class Rules:
    """The values of arrays, op by op.

    Parameters
    ----------
    role
        See `engine.Network.role`.
    parameters
        Name to array.
    """

    def __init__(self, role: Callable[[str, bool], str], parameters: dict[str, np.ndarray]):
        self._role, self._born = role, count()
        self._parameters = {address(array): name for name, array in parameters.items()}
        self._values: dict[int, Value] = {}
        self._outputs: dict[int, Value] = {}  # of a layer's value, by its id: what a likelihood compares with x
        self._sigma = ""
        self._alive: list[Any] = []  # arrays are told by their addresses, as values are by their ids

    def apply(self, op: str, operands: dict[str, Any]) -> None:
        """Work out what an op writes."""
        self._alive.append(operands)
        if op in LOSSES:
            self._row_loss(op, operands)
        elif op in INPLACE:
            self._activate(op.removesuffix("_inplace"), operands["x"])
        elif op in RULES:
            RULES[op](self, operands)
        else:
            self._unknown(op, operands)

    # ---- values ---------------------------------------------------------------------------------------------------

    def value(self, array: np.ndarray) -> Value | None:
        """What an array holds; None for constants and parameters."""
        value = self.held(array)
        return None if value is None else self._outputs.get(id(value), value)

    def held(self, array: np.ndarray) -> Value | None:
        """The same, where layers are not followed by the output that they give."""
        return self._values.get(address(array))

    def put(self, array: np.ndarray, kind: str, key: Hashable, title: str, sources: Sequence[Value | None] = (),
             **more: Any) -> None:  # fmt: skip
        """Have an array hold a new value."""
        flat: list[Value] = []
        for source in sources:
            if source is not None:
                flat += source.sources if source.kind == BESIDE else [source]
        self.hold(array, Value(kind, key, title, tuple(flat), born=next(self._born), **more))

    def hold(self, array: np.ndarray, value: Value | None) -> None:
        """Have an array hold a value, of another array say; None: a constant."""
        self._alive += [array, value]
        if value is None:
            self._values.pop(address(array), None)
        else:
            self._values[address(array)] = value

    def _extend(self, array: np.ndarray, old: Value, source: Value | None = None, activation: str = "",
                line: str = "") -> None:  # fmt: skip
        """Have an array hold what a layer makes, with more beside it."""
        more = () if source is None else source.sources if source.kind == BESIDE else (source,)
        lines = dict.fromkeys([*old.lines, *[line] * bool(line)])
        activations = (*old.activations, activation) if activation else old.activations
        self.hold(array, replace(
            old, born=next(self._born), sources=old.sources + more, lines=tuple(lines), activations=activations,
        ))  # fmt: skip

    def _layer(self, array: np.ndarray, name: str, downwards: bool, source: Value | None, widths: tuple[int, ...],
               activation: str = "identity", *lines: str, ordered: bool = False) -> None:  # fmt: skip
        role = self._role(name.rpartition(".")[0], downwards)
        activations = () if activation == "identity" else (activation,)
        key = (name, downwards)
        how = {"lines": lines, "widths": widths, "activations": activations, "role": role, "ordered": ordered}
        self.put(array, LAYER, key, role, (source,), **how)

    # ---- rules: what each op makes --------------------------------------------------------------------------------

    def _forward(self, o: dict[str, Any]) -> None:
        x, name = self.value(o["x"]), self._parameters.get(address(o["weight"]))
        if name is not None:
            lines = ("each column sees", "those before it") if "depths" in o else ()
            activation = ACTIVATION_NAMES[o["activation"]]
            self._layer(o["out"], name, False, x, o["weight"].shape, activation, *lines, ordered="depths" in o)
        elif x is not None:  # a product with numbers
            self.put(o["out"], LAYER, ("sum", x.key), f"sum of {x.title}", (x,), widths=o["weight"].shape)
        else:
            self.hold(o["out"], None)

    def _accumulate(self, o: dict[str, Any]) -> None:
        self._add_to(o["out"], self.value(o["x"]), o["weight"], False)

    def _downwards(self, o: dict[str, Any]) -> None:
        """A product with the weight's transpose: a gradient, or a layer that is used the other way."""
        if o["d_x"] is None:
            return
        if not o["accumulate"]:
            self.hold(o["d_x"], None)
        self._add_to(o["d_x"], self.value(o["d_out"]), o["weight"], True)

    def _add_to(self, out: np.ndarray, source: Value | None, weight: np.ndarray, downwards: bool) -> None:
        old, name = self.held(out), self._parameters.get(address(weight))
        if source is None:
            return
        if old is None and name is not None:
            self._layer(out, name, downwards, source, weight.shape[::-1] if downwards else weight.shape)
        elif old is None:
            self.put(out, LAYER, ("sum", source.key), f"sum of {source.title}", (source,))
        else:
            linear = "linear path" if name is not None and name.endswith(".linear.weight") else ""
            self._extend(out, old, source, line=linear)

    def _prefix(self, o: dict[str, Any]) -> None:
        name = self._parameters[address(o["weight"])]
        columns, units = o["weight"].shape
        lines = "carried from column", "to column, in order"
        self._layer(o["logits"], name, False, self.value(o["x"]), (columns, units, columns), "sigmoid", *lines,
                    ordered=True)  # fmt: skip

    def _mean_over_rows(self, o: dict[str, Any]) -> None:
        """A product of rows by shares of 1: a mean over the batch; otherwise a gradient."""
        source = self.value(o["d_a"])
        title, key = "mean over the batch", None if source is None else ("mean", source.key)
        self.put(o["d_weight"], LAYER, key, title, (source,), widths=o["d_a"].shape[-1:])

    def _join(self, o: dict[str, Any]) -> None:
        self.put(o["out"], BESIDE, None, "", [self.value(o["a"]), self.value(o["b"])])

    def _copy(self, o: dict[str, Any]) -> None:
        self.hold(o["d_a"], self.value(o["d_out"]))

    def _arrange(self, o: dict[str, Any]) -> None:
        key = "ordering", o["order"].tobytes()
        lines = ("columns in a", "random order")
        self.put(o["out"], LAYER, key, "ordering", [self.value(o["x"])], lines=lines)

    def _log(self, o: dict[str, Any]) -> None:
        self.put(o["out"], LAYER, ("log1p",), "log(1 + x)", [self.value(o["x"])])

    def _activate(self, name: str, x: np.ndarray) -> None:
        """A function of each number: the activation of a layer, or the mean that its outputs stand for."""
        old = self.held(x)
        if old is not None and old.kind == LAYER:
            self._extend(x, old, activation=name)
            if id(old) in self._outputs:
                self._outputs[id(self._values[address(x)])] = self._outputs[id(old)]

    def _corrupt(self, o: dict[str, Any]) -> None:
        source, kind, amount = self.value(o["x"]), o["kind"], o["amount"]
        said = "σ" if isinstance(amount, Slot) else number(amount)  # one that changes from step to step
        if not isinstance(amount, Slot) and not amount:
            self.hold(o["out"], source)
        elif source is None:
            self.hold(o["out"], None)
        elif o["stream"] == OBSERVATION:
            self._draw(source, o["out"])
        elif source.kind == LAYER:
            self._extend(o["out"], source, line=f"noise N(0, {said}²)")
        else:
            much = f"{'some' if isinstance(amount, Slot) else f'{100 * amount:.3g}%'} of columns"
            lines = (f"+ {said} N(0, I)",) if kind == GAUSSIAN_NOISE else (CORRUPTION_NAMES[kind], much)
            title, symbol = f"corrupted {source.letter}", f"{source.letter[0]}\N{COMBINING TILDE}{source.letter[1:]}"
            self.put(o["out"], NOISE, ("corrupted", kind, amount), title, (source,), lines=lines, symbol=symbol)

    def _noise(self, o: dict[str, Any]) -> None:
        columns = o["out"].shape[-1]
        self.put(o["out"], NOISE, ("noise", o["stream"]), "z ~ N(0, I)", lines=(f"{columns} numbers",))

    def _binarize(self, o: dict[str, Any]) -> None:
        source = self.value(o["x"])
        if source is not None:
            self._draw(source, o["x"])

    def _draw(self, source: Value, out: np.ndarray) -> None:
        title = "x′" if source.kind == OUTPUT else source.title
        lines = (f"drawn by {source.title}",)
        self.put(out, LATENT, ("drawn", source.key), title, (source,), lines=lines, drawn=True, role=source.role)

    def _posterior(self, z: np.ndarray, o: dict[str, Any], *lines: str) -> tuple[Value | None, Value | None]:
        """Have z hold a draw from q; return mu and logvar."""
        mu, logvar, columns = self.value(o["mu"]), self.value(o["logvar"]), z.shape[-1]
        noise = Value(NOISE, ("noise", "latent"), "ε ~ N(0, I)", lines=(f"{columns} numbers",), born=next(self._born))
        self.put(z, LATENT, ("z",), "z", (mu, logvar, noise), lines=("μ + σ ε", *lines), widths=(columns,))
        return mu, logvar

    def _latent(self, o: dict[str, Any]) -> None:
        self._put_kl(o["kl"], *self._posterior(o["z"], o))

    def _latent_samples(self, o: dict[str, Any]) -> None:
        rows = len(o["z"]) // len(o["mu"])
        mu, logvar = self._posterior(o["z"], o, *[f"K = {rows} draws"] * (rows > 1))
        lines = f"log q({posterior_of(mu)})", "− log p(z)"
        sources = mu, logvar, self.value(o["z"])
        self.put(o["log_ratio"], COST, ("ratio",), "KL by draws", sources, lines=lines, kl=True)

    def _put_kl(self, array: np.ndarray, mu: Value | None, logvar: Value | None, *lines: str, counts: bool = True
                ) -> None:  # fmt: skip
        words = "KL divergence", f"KL(q({posterior_of(mu)}) ‖ p(z))"
        self.put(array, COST, ("kl",), words[0], (mu, logvar), lines=(words[1], *lines), kl=True, counts=counts)

    def _kl(self, o: dict[str, Any]) -> None:
        self._put_kl(o["kl"], self.value(o["mu"]), self.value(o["logvar"]))

    def _free_bits(self, o: dict[str, Any]) -> None:
        line = f"{number(o['least'])} nats a dimension free"
        self._put_kl(o["lacking"], self.value(o["mu"]), self.value(o["logvar"]), line, counts=False)

    def _bound(self, o: dict[str, Any]) -> None:
        samples = len(o["weights"]) // len(o["bound"])
        lines = "−log of the mean of", f"K = {samples} weights", "p(x|z) p(z) / q(z|x)"
        self.put(o["bound"], COST, ("bound",), "bound", (self.value(o["log_ratio"]), self.value(o["nll"])), lines=lines)

    def _row_loss(self, op: str, o: dict[str, Any]) -> None:
        loss = LOSSES[op]
        x, a, trains = self.value(o["x"]), self.held(o[loss.output]), op.endswith("_backward")
        if trains:
            self.hold(o[f"d_{loss.output}"], a)  # a gradient; or, of squared errors, a difference
        if a is None or not trains or (x is None and loss.name not in TARGETS):
            kind = WATCHED if a is not None or x is not None else None
            self.put(o["nll"], kind, None, "", (x, a)) if kind else self.hold(o["nll"], None)
            return
        if x is None:
            title, lines = TARGETS[loss.name](float(o["x"].flat[0]), a)
            self.put(o["nll"], COST, (loss.name, a.key), title, (a,), lines=lines)
            return
        if a.kind == LAYER:
            given_by = self._outputs[id(a)] = Value(
                OUTPUT, ("output", a.key), "x\N{COMBINING CIRCUMFLEX ACCENT}", (a,), (), a.widths[-1:],
                born=next(self._born),
            )  # fmt: skip
            a = given_by
        kind = OF_LIKELIHOOD.get(loss.name, loss.name)
        lines = likelihood_of(x, a), f"({kind.capitalize()}{self._sigma})"
        title = "exact likelihood" if any(value.ordered for value in ancestors(a)) else "reconstruction"
        self.put(o["nll"], COST, (title,), title, (x, a), lines=lines)

    def _learned(self, o: dict[str, Any]) -> None:
        self._sigma = ", σ learned"

    def _optimal(self, o: dict[str, Any]) -> None:
        self._sigma = ", σ of the batch"

    def _constants(self, o: dict[str, Any]) -> None:
        """Weights of gradients, and figures that are watched: no cost is made of them."""

    def _unknown(self, op: str, o: dict[str, Any]) -> None:
        """An op without a rule stands in the graph under its own name, between all that it reads and writes."""
        outputs = {operand.name for operand in OPS[op].operands if operand.output}
        sources = [self.value(value) for name, value in o.items()
                   if name not in outputs and isinstance(value, np.ndarray)]  # fmt: skip
        for name in outputs:
            if isinstance(o[name], np.ndarray) and any(sources):
                self.put(o[name], LAYER, (op, name), op, sources, widths=o[name].shape[-1:])


def address(array: np.ndarray) -> int:
    """Where an array's memory begins."""
    return int(array.__array_interface__["data"][0])


RULES: dict[str, Callable[[Rules, dict[str, Any]], None]] = {
    "dense_forward": Rules._forward,
    "masked_forward": Rules._forward,
    "dense_accumulate": Rules._accumulate,
    "masked_accumulate": Rules._accumulate,
    "dense_backward_input": Rules._downwards,
    "masked_backward_input": Rules._downwards,
    "dense_backward_weight": Rules._mean_over_rows,
    "prefix_forward": Rules._prefix,
    "concatenate": Rules._join,
    "concatenate_backward": Rules._copy,
    "take_columns": Rules._arrange,
    "log1p": Rules._log,
    "corrupt": Rules._corrupt,
    "normal_noise": Rules._noise,
    "binarize_inplace": Rules._binarize,
    "latent_forward": Rules._latent,
    "latent_samples_forward": Rules._latent_samples,
    "importance_weights": Rules._bound,
    "kl_forward": Rules._kl,
    "free_bits": Rules._free_bits,
    "sigma_forward": Rules._learned,
    "sigma_optimal": Rules._optimal,
    "scale_rows_inplace": Rules._constants,
    "threshold_inplace": Rules._constants,
}
