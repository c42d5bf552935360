"""What a program consists of: operands, instructions, variables."""

from dataclasses import dataclass, field

from .errors import PtxError


@dataclass(frozen=True)
class Register:
    """A register by its number in `Program.registers`; a predicate may be negated."""

    index: int
    negated: bool = False


@dataclass(frozen=True)
class Special:
    """A read-only register of the machine, %tid.x and its like."""

    name: str


@dataclass(frozen=True)
class Literal:
    """A number, as written: its value depends on the type that it is read with."""

    text: str


@dataclass(frozen=True)
class Symbol:
    """A variable's address, or a parameter."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Address:
    """What stands in brackets: a base (register, symbol or literal) and a number of bytes."""

    base: object
    offset: int


@dataclass(frozen=True)
class Vector:
    """`{a, b, c, d}`."""

    items: tuple


@dataclass(frozen=True)
class Pair:
    """`a|b`: the two results of one instruction."""

    first: object
    second: object


@dataclass
class Label:
    """A place in the code; `target` is the number of the instruction after it.

    `outer` is the label of that name in the scope around it, for a branch that leaves its scope.
    """

    name: str
    target: int = -1
    outer: "Label | None" = None

    def resolve(self):
        """The instruction to go on with."""
        label = self
        while label.target < 0 and label.outer:
            label = label.outer
        if label.target < 0:
            raise PtxError(f"no label {self.name}")
        return label.target


class Sink:
    """`_`: a result that nobody wants."""


@dataclass
class Instruction:
    """One instruction: `@guard opcode.modifiers operands`, and where it stands in the text."""

    opcode: str
    modifiers: tuple
    operands: tuple
    guard: Register | None
    line: int
    text: str
    number: int = 0  # its place in the program

    def __str__(self):
        return f"line {self.line}: {self.text}"


@dataclass
class Area:
    """Variables of one state space, laid out one after the other."""

    size: int = 0
    offsets: dict = field(default_factory=dict)

    def add(self, name, size, align):
        self.size = -(-self.size // align) * align
        self.offsets[name] = self.size
        self.size += size


@dataclass
class Parameter:
    """A kernel's parameter: its type, and bytes where it is an array of them."""

    name: str
    type: str
    size: int
