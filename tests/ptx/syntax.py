"""PTX text to a `Program`: declarations laid out in memory, instructions with resolved operands.

Only what a compiler emits is read: one module, one kernel picked from it. A name is resolved where it stands, so
registers and labels that inline assembly declares in a scope of its own do not meet those outside.
"""

import bisect
import re

import numpy as np

from .errors import PtxError
from .nodes import Address, Area, Instruction, Label, Literal, Pair, Parameter, Register, Sink, Special, Symbol, Vector
from .scalars import dtype_of


class Program:
    """One kernel of a module, ready to be decoded.

    Attributes
    ----------
    name : str
    parameters : list of Parameter
    registers : list of str
        The type of each register.
    instructions : list of Instruction
    shared, local : Area
    constants : dict of str to uint8 array
        Module-level `.global` and `.const` variables with their first values.
    dynamic_shared : str or None
        The name of the shared array whose size the launch gives.
    """

    def __init__(self, text, entry=None):
        text = re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
        self._newlines = [m.start() for m in re.finditer("\n", text)]
        self.registers, self.instructions, self.parameters = [], [], []
        self.shared, self.local = Area(), Area()
        self.constants, self.dynamic_shared = {}, None
        self.name, parameters, start, end = self._entry(text, entry)
        for part in filter(str.strip, parameters.split(",")):
            self.parameters.append(_parameter(part))
        outside = re.sub(r"\.(?:entry|func)\b[^{;]*", "", _without_bodies(text))
        for statement in outside.split(";"):
            self._declare(statement.strip())
        self._scope(text, start, end, Scope(None))

    def _entry(self, text, entry):
        name = re.escape(entry) if entry else r"[\w$]+"
        found = re.search(rf"\.entry\s+({name})\s*\(([^)]*)\)[^{{;]*{{", text)
        if not found:
            raise PtxError(f"no kernel {entry or ''}".rstrip())
        return found[1], found[2], found.end(), _closing(text, found.end())

    def _line(self, position):
        return bisect.bisect_left(self._newlines, position) + 1

    def _declare(self, statement):
        """Lay out a `.shared`, `.local`, `.global` or `.const` variable; anything else is none of ours."""
        found = re.search(
            r"\.(shared|global|const|local)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)"
            r"\s*((?:\[\d*\])*)\s*(?:=\s*(.*))?$",
            statement,
            re.S,
        )
        if not found:
            return
        space, align, kind, name, dimensions, first = found.groups()
        item = dtype_of(kind)
        counts = [int(n) if n else 0 for n in re.findall(r"\[(\d*)\]", dimensions)]
        size = int(np.prod(counts, dtype=np.int64)) * item.itemsize
        align = int(align or item.itemsize)
        if space == "shared" and size == 0:
            self.dynamic_shared = name
        elif space in ("shared", "local"):
            getattr(self, space).add(name, size, align)
        else:
            numbers = re.findall(r"[\w.+-]+", first or "")
            if all(re.fullmatch(r"-?\d+|0x[0-9a-fA-F]+", n) for n in numbers):
                values = np.array([int(n, 0) for n in numbers] or [0]).astype(item).view(np.uint8)
                self.constants[name] = np.zeros(max(size, values.size), np.uint8)
                self.constants[name][: values.size] = values

    def _scope(self, text, position, end, scope):
        """Read the statements between two braces."""
        pending, started = "", position
        tokens = re.compile(r"[{};:]|[^{};:]+")
        while position < end:
            token = tokens.match(text, position, end)[0]
            if not pending.strip():
                started = position + len(token) - len(token.lstrip())
            if token == "{" and not pending.strip():
                closing = _closing(text, position + 1)
                self._scope(text, position + 1, closing, Scope(scope))
                position = closing + 1
                continue
            position += len(token)
            if token == ";":
                self._statement(pending.strip(), self._line(started), scope)
                pending = ""
            elif token == ":" and re.fullmatch(r"\s*[\w$]+\s*", pending):
                scope.label(pending.strip()).target = len(self.instructions)
                pending = ""
            else:
                pending += token
        for label in scope.labels.values():
            if label.target < 0 and scope.parent:
                label.outer = scope.parent.label(label.name)

    def _statement(self, statement, line, scope):
        if statement.startswith(".reg"):
            kind, names = re.match(r"\.reg\s+\.(\w+)\s+(.*)", statement, re.S).groups()
            for name in names.split(","):
                count = re.fullmatch(r"\s*([%\w$]+)<(\d+)>\s*", name)
                for each in [f"{count[1]}{i}" for i in range(int(count[2]))] if count else [name.strip()]:
                    scope.registers[each] = len(self.registers)
                    self.registers.append(kind)
        elif statement.startswith("."):
            self._declare(statement)
        elif statement:
            instruction = _instruction(statement, line, scope)
            instruction.number = len(self.instructions)
            self.instructions.append(instruction)


class Scope:
    """The names declared between two braces, inside those around it."""

    def __init__(self, parent):
        self.parent, self.registers, self.labels = parent, {}, {}

    def register(self, name):
        scope = self
        while scope and name not in scope.registers:
            scope = scope.parent
        return scope.registers[name] if scope else None

    def label(self, name):
        return self.labels.setdefault(name, Label(name))


def _closing(text, position):
    """Where the brace closes that was opened before `position`."""
    depth = 1
    for brace in re.compile("[{}]").finditer(text, position):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    raise PtxError("a brace is not closed")


def _without_bodies(text):
    """The module's text without the bodies of its functions."""
    parts, position = [], 0
    for found in re.finditer(r"\.(?:entry|func)\b[^{;]*{", text):
        if found.start() >= position:
            parts.append(text[position : found.start()])
            position = _closing(text, found.end()) + 1
    return "".join([*parts, text[position:]])


def _parameter(declaration):
    kind = re.search(r"\.([usbf]\d+)\b", declaration)[1]
    name, count = re.search(r"([\w$]+)\s*(?:\[(\d+)\])?\s*$", declaration).groups()
    return Parameter(name, kind, int(count or 1) * dtype_of(kind).itemsize)


def _instruction(statement, line, scope):
    found = re.match(r"(?:@(!?)([%\w$]+)\s+)?([a-z]\w*)((?:\.[\w:]+)*)\s*(.*)$", statement, re.S)
    if not found:
        raise PtxError(f"line {line}: cannot read {statement!r}")
    negated, guard, opcode, modifiers, rest = found.groups()
    if guard:
        guard = Register(_known(scope.register(guard), guard, line), negated == "!")
    if opcode == "call":
        operands = tuple(re.findall(r"[\w$]+", rest))
    elif opcode == "bra":
        operands = (scope.label(rest.strip()),)
    else:
        operands = tuple(_operand(part, line, scope) for part in _split(rest))
    text = re.sub(r"\s+", " ", statement)
    return Instruction(opcode, tuple(modifiers.split(".")[1:]), operands, guard, line, text)


def _known(index, name, line):
    if index is None:
        raise PtxError(f"line {line}: {name} is not declared")
    return index


def _split(text):
    """Operands, cut at the commas outside braces and brackets."""
    parts, depth, current = [], 0, ""
    for character in text:
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += character
    return [*parts, current.strip()] if current.strip() else parts


def _operand(text, line, scope):
    if text == "_":
        return Sink()
    if text[0] == "{":
        return Vector(tuple(_operand(part, line, scope) for part in _split(text[1:-1])))
    if text[0] == "[":
        base, offset = re.fullmatch(r"\[\s*(.+?)\s*(?:\+\s*(-?\w+)\s*)?\]", text, re.S).groups()
        return Address(_operand(base, line, scope), int(offset or "0", 0))
    if "|" in text:
        first, second = text.split("|")
        return Pair(_operand(first.strip(), line, scope), _operand(second.strip(), line, scope))
    name = text.lstrip("!")
    index = scope.register(name)
    if index is not None:
        return Register(index, text[0] == "!")
    if name[0] == "%" or name == "WARP_SZ":
        return Special(name)
    if re.match(r"-?\.?\d", name):
        return Literal(text)
    name, offset = re.fullmatch(r"([\w$]+)\s*(?:\+\s*(-?\d+))?", name).groups()
    return Symbol(name, int(offset or 0))
