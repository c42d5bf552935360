"""Layers of one's own: functions over arrays, which become ops, and what writes them in a pass."""

import inspect
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastvae.kernels import philox
from fastvae.kernels.cpu.compiler import as_part, kernel
from fastvae.kernels.formulas import f32
from fastvae.kernels.ops import OPS, Op, Operand
from fastvae.kernels.row_losses import function_of
from fastvae.layers import LAYERS
from fastvae.own.differences import check_layer
from fastvae.own.formulas import Formula
from fastvae.own.grids import check_activation
from fastvae.own.ops import OWN, add_op, array_op, check_new, remove_op
from fastvae.parameters import Parameters, Shape
from fastvae.passes import ROW, Backprop, Pass

NOISES, STREAM = ("uniform", "normal"), 1 << 30  # streams of noise from there on
ADDED = "own_added"  # the op that adds arrays, which exists once a layer needs it


class Layer:
    """A layer of one's own: functions over arrays of float32, which numba compiles.

        @register
        class LayerNorm(Layer):
            NAME, ROW, START = "layer_norm", "x:B,D gain:D shift:D -> out:B,D", {"gain": 1.0}

            @staticmethod
            def forward(x, gain, shift, out): ...

            @staticmethod
            def backward(x, gain, shift, out, d_out, d_x): ...

            @staticmethod
            def gradient(x, gain, shift, out, d_out, d_gain, d_shift): ...

        VAE(hidden=(64, "layer_norm", 64))

    `forward` writes the outputs, `backward` d_x, the gradient of x from that of the first output, and `gradient` those
    of the parameters, summed over the rows. Each must treat a row of x by itself but for these sums: threads share the
    rows. d_out, x and the outputs must be left as they are.

    Attributes
    ----------
    NAME
        What users call it: in `hidden`, where it has as many outputs as inputs.
    ROW
        The operands of `forward` in the notation of `kernels/ops.py`: x (B, D), parameters by the letters of their
        shape, in D, inputs, and H, outputs; behind the arrow the output (B, D) or (B, H), and what else the backward
        needs, with B first.
        An operand noise:B,D or noise:B,H is no parameter: it is drawn anew in each step, see `NOISE`.
    START
        Name to start of a parameter, 0 by default: a number, or a function of a generator of NumPy and the shape.
    NOISE
        What `noise` is: "uniform", in (0, 1], or "normal", N(0, 1).
    TRAINING_ONLY
        Whether passes that train nothing leave the layer out, as they do dropout.

    Parameters
    ----------
    name
        Of this one: names of its parameters begin so.
    inputs, outputs
        D and H; as many as inputs by default.
    """

    NAME: ClassVar[str]
    ROW: ClassVar[str]
    START: ClassVar[dict[str, Any]] = {}
    NOISE: ClassVar[str] = "uniform"
    TRAINING_ONLY: ClassVar[bool] = False
    OPERANDS: ClassVar[Op]  # set by `register`
    PROBE: ClassVar[list[float]]  # what it computes of some numbers: files tell it by that

    def __init__(self, name: str, inputs: int, outputs: int | None = None):
        if type(self).NAME not in LAYERS:
            raise TypeError(f"{type(self).__qualname__} is not registered: put @register before the class")
        self.name, self.inputs, self.outputs = name, inputs, inputs if outputs is None else outputs
        self._sizes = {"D": inputs, "H": self.outputs}
        main = next(operand for operand in self.OPERANDS.operands if operand.output)
        if main.shape == ("B", "D") and self.outputs != inputs:
            raise ValueError(f"layer {name!r} ({self.NAME}) has as many outputs as inputs, {inputs}, not {outputs}")
        self._params = parameters_of(self.OPERANDS)
        self._outs = [operand for operand in self.OPERANDS.operands if operand.output]

    # ---- what one brings ----------------------------------------------------------------------------------------

    @staticmethod
    def forward(*arrays: np.ndarray) -> None:
        """Write the outputs, from x and the parameters: operands as `ROW` has them. Must be there."""
        raise NotImplementedError

    @staticmethod
    def backward(*arrays: np.ndarray) -> None:
        """Write d_x, last, from the operands of `forward` and the gradient d_out of the first output. Must be there."""
        raise NotImplementedError

    @staticmethod
    def gradient(*arrays: np.ndarray) -> None:
        """Write the parameters' gradients, d_NAME each, last, from the operands of `forward` and d_out. Must be there
        where there are parameters."""
        raise NotImplementedError

    # ---- what a network asks for: see `passes.Owner` ---------------------------------------------------------------

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of the parameters."""
        return {
            f"{self.name}.{operand.name}": tuple(self._sizes[letter] for letter in operand.shape or ())
            for operand in self._params
        }

    def bind(self, parameters: Parameters, kernels: Any) -> None:
        """Take the views."""
        if not kernels.ON_HOST:
            raise ValueError(f"layer {self.NAME!r} is compiled for the CPU alone: use device='cpu'")
        self.parameters = parameters
        self._values = [parameters.value(name) for name in self.shapes()]

    def initialise(self, seed: np.uint64, position: int, gain: float | np.ndarray = 1.0) -> None:
        """Start from what `START` says; `position` is the layer's place in the model."""
        for number, (operand, value) in enumerate(zip(self._params, self._values, strict=True)):
            start = self.START.get(operand.name, 0.0)
            if callable(start):
                counter = [0, number, position, philox.INITIALISATION]
                start = start(np.random.Generator(np.random.Philox(key=int(seed), counter=counter)), value.shape)
            value[...] = start

    def __call__(self, p: Pass, x: np.ndarray) -> tuple[np.ndarray, Backprop]:
        """Write the outputs; return the first, and what writes the backward."""
        if self.TRAINING_ONLY and not p.backward:
            return x, lambda d_out, inputs=True, add_to=None: d_out
        outs = [p.beside(x, *(self._sizes[letter] for letter in (operand.shape or ())[1:])) for operand in self._outs]
        p.outputs[self.name] = outs[0]
        values = iter(self._values)
        inputs = [
            self._noise(p, x, operand) if operand.name == "noise" else next(values)
            for operand in self.OPERANDS.operands[1:]
            if not operand.output
        ]
        given = x, *inputs, *outs
        p.add(f"{self.NAME}_forward", *given)

        def backprop(d_out: np.ndarray, inputs: bool = True, add_to: np.ndarray | None = None) -> np.ndarray | None:
            if self._params:
                p.gradient(self, (*given, d_out))
            if not inputs:
                return None
            d_x = p.beside(d_out, self.inputs)
            p.add(f"{self.NAME}_backward", *given, d_out, d_x)
            if add_to is None:
                return d_x
            p.add(_adding(), d_x, add_to)
            return add_to

        return outs[0], backprop

    def _noise(self, p: Pass, x: np.ndarray, operand: Operand) -> np.ndarray:
        """Write the noise of a step for rows x, or K for each of the pass: one that is drawn by the pass's own rows, so
        that it does not matter how these are cut."""
        columns = self._sizes[(operand.shape or ())[1]]
        drawn = p.empty(len(x) // max(p.rows, 1) * columns)
        stream = STREAM | (zlib.crc32(self.name.encode()) + p.mark()) % STREAM  # of each use its own
        p.add(f"{self.NOISE}_noise", p.seed, stream, p.step, ROW, drawn)
        return p.cut(drawn.reshape(len(x), columns))

    def write_gradient(self, program: Any, use: Any, part: int, parts: int, accumulate: bool) -> None:
        """All of them in the first part: their sums over the rows are one function's."""
        if part > 0:
            return
        gradients = [self.parameters.gradient(name) for name in self.shapes()]
        made = [np.zeros_like(gradient) for gradient in gradients] if accumulate else gradients
        program.add(f"{self.NAME}_gradient", *use, *made)
        for gradient, more in zip(gradients, made, strict=True):
            if accumulate:  # a step of -1 along it
                flat, step = gradient.reshape(-1), more.reshape(-1)
                program.add("sgd_inplace", flat, step, np.zeros_like(step), -1.0, 0.0, 0.0, 0.0, 1.0)

    def ranges(self, part: int, parts: int) -> list[tuple[int, int]]:
        """All of them in the first part."""
        if part > 0:
            return []
        starts = ((self.parameters.start([name]), int(np.prod(shape))) for name, shape in self.shapes().items())
        return [(start, start + size) for start, size in starts]

    # ---- what it is not -----------------------------------------------------------------------------------------

    @property
    def weight(self) -> np.ndarray:
        """A layer of one's own has no weight that others know."""
        raise ValueError(
            f"layer {self.name!r} is a {self.NAME!r}, a layer of one's own, which no format of others knows: "
            "save the model with save(path)"
        )


def parameters_of(op: Op) -> list[Operand]:
    """The operands of a layer's forward that are parameters."""
    return [operand for operand in op.operands[1:] if not operand.output and operand.name != "noise"]


def _adding() -> str:
    """The op that adds the gradient of a layer's input to what stands there."""
    if ADDED not in OPS:

        def own_added(x: np.ndarray, out: np.ndarray) -> None:
            """out += x."""
            for i in range(x.shape[0]):
                for j in range(x.shape[1]):
                    out[i, j] += x[i, j]

        array_op(ADDED, "x:B,D -> out:B,D", own_added, own_added, f"op {ADDED!r}")
    return ADDED


class Activation(Layer):
    """An activation of one's own: a formula of one number, in plain NumPy, with its derivative.

        @register
        class Gelu(Activation):
            NAME = "gelu"

            @staticmethod
            def formula(a):
                ...
                return value, slope

        VAE(activation="gelu")

    How formulas are compiled says `fastvae.own.Likelihood`.
    """

    ROW = "x:B,D -> out:B,D"

    @staticmethod
    def formula(a: Any) -> Any:
        """The activation of one number, and its derivative. Must be there."""
        raise NotImplementedError


FORWARD = """
def {name}_forward(x, out):
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = formula(x[i, j])[0]
"""
BACKWARD = """
def {name}_backward(x, out, d_out, d_x):
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            d_x[i, j] = d_out[i, j] * f32(formula(x[i, j])[1])
"""


def register_layer(kind: type[Layer]) -> None:
    """Check a class, and make its ops; see `Layer`. `LAYERS` has it from then on."""
    where = kind.__qualname__
    if getattr(kind, "NAME", None) is None:
        raise TypeError(f"{where} has no NAME: what users are to call it, NAME = 'layer_norm' say")
    check_new(kind.NAME, "layer", kind, LAYERS)
    if issubclass(kind, Activation):
        if kind.formula is Activation.formula:
            raise TypeError(f"{where} lacks formula(a), a @staticmethod: the activation of one number and its slope")
        formula = Formula(kind.formula, f"{where}.formula")
        formula.check_parameters(["a"])
        kind.PROBE = check_activation(formula)
        kind.OPERANDS = Op(kind.NAME, kind.ROW)
        scope = {"formula": formula.compiled, "f32": f32, "__name__": __name__}
        for way, source, row in (("forward", FORWARD, kind.ROW), ("backward", BACKWARD, _backward_row(kind))):
            op = f"{kind.NAME}_{way}"
            work = as_part(kernel(function_of(source.format(name=kind.NAME), op, scope)))
            add_op(op, row, work, kind, kind.__doc__ or f"The activation {kind.NAME!r}.", formula.where, formula.digest)
    else:
        kind.OPERANDS = _operands(kind)
        functions = _functions(kind)
        kind.PROBE = check_layer(kind)
        for way, function in functions.items():
            row = {"forward": kind.ROW, "backward": _backward_row(kind), "gradient": _gradient_row(kind)}[way]
            array_op(f"{kind.NAME}_{way}", row, function, kind, f"{where}.{way}")
    LAYERS[kind.NAME] = kind


def _operands(kind: type[Layer]) -> Op:
    where = f"{kind.__qualname__}.ROW"
    if not isinstance(getattr(kind, "ROW", None), str):
        raise TypeError(f"{where} is missing: the operands of forward, 'x:B,D gain:D -> out:B,D' say")
    found = Op(kind.NAME, kind.ROW)
    for operand in found.operands:
        shape = operand.shape or ()
        if operand.optional or not shape or any(letter not in "BDH" for letter in shape):
            raise ValueError(f"{where}: {operand.name}:{operand.kind} must be an array, by the letters B, D and H")
        is_noise = operand.name == "noise" and not operand.output and kind.NOISE in NOISES
        if is_noise and shape[0] == "B" and len(shape) == 2:
            continue
        if operand.output != (shape[0] == "B" and operand is not found.operands[0]):
            raise ValueError(f"{where}: {operand.name}: parameters have no B, and outputs have it first")
    first, outs = found.operands[0], [operand for operand in found.operands if operand.output]
    if first.shape != ("B", "D") or not outs or outs[0].shape not in (("B", "D"), ("B", "H")):
        raise ValueError(f"{where}: {kind.ROW!r} must begin with an input x:B,D, and write out:B,D or out:B,H first")
    return found


def _words(kind: type[Layer]) -> list[str]:
    return kind.ROW.replace("->", "").split()


def _backward_row(kind: type[Layer]) -> str:
    first = next(operand for operand in kind.OPERANDS.operands if operand.output)
    x = kind.OPERANDS.operands[0].name
    return f"{' '.join(_words(kind))} d_{first.name}:{','.join(first.shape or ())} -> d_{x}:B,D"


def _gradient_row(kind: type[Layer]) -> str:
    params = parameters_of(kind.OPERANDS)
    before = _backward_row(kind).split(" ->")[0]
    return f"{before} -> " + " ".join(f"d_{param.name}:{','.join(param.shape or ())}" for param in params)


def _functions(kind: type[Layer]) -> dict[str, Callable[..., Any]]:
    """Those that a class has; a `TypeError` that names what it lacks, or takes otherwise."""
    rows = {"forward": kind.ROW, "backward": _backward_row(kind)}
    if parameters_of(kind.OPERANDS):
        rows["gradient"] = _gradient_row(kind)
    found = {}
    for way, row in rows.items():
        given = getattr(kind, way)
        names = [operand.name for operand in Op(way, row).operands]
        where = f"{kind.__qualname__}.{way}"
        if given is getattr(Layer, way):
            what = " ".join((getattr(Layer, way).__doc__ or "").split()).split(". Must")[0].split(": ")[0]
            raise TypeError(
                f"{kind.__qualname__} lacks {way}({', '.join(names)}), a @staticmethod: {what[0].lower()}{what[1:]}"
            )
        taken = list(inspect.signature(given).parameters)
        if taken != names:
            said_self = "; make it a @staticmethod" if taken[:1] == ["self"] else ""
            raise TypeError(f"{where} takes ({', '.join(taken)}); by ROW it must take ({', '.join(names)}){said_self}")
        found[way] = given
    for name in kind.START:
        if name not in [operand.name for operand in parameters_of(kind.OPERANDS)]:
            raise ValueError(f"{kind.__qualname__}.START: {name!r} is no parameter in ROW")
    return found


def unregister_layer(name: str) -> None:
    """Take it away again."""
    for way in ("forward", "backward", "gradient"):
        if f"{name}_{way}" in OWN:
            remove_op(f"{name}_{way}")
    del LAYERS[name]
