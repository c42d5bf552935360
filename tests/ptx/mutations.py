"""Programs with one fault put in, to see whether tests notice.

    for mutant in mutants(ptx, kinds=("barrier", "comparison")):
        ...  # run mutant.text; the tests should fail

Mutants come in the order of the lines, for each line in the order of `KINDS`; the same text gives the same mutants.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A program's text with one line changed.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    line : int
        The line's number, from 1.
    before, after : str
        The line as it was and as it is.
    text : str
        The whole program.
    """

    kind: str
    line: int
    before: str
    after: str
    text: str

    def __str__(self):
        return f"{self.kind}, line {self.line}: {self.before.strip()} -> {self.after.strip()}"


OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "le": "gt", "gt": "le"}
OPPOSITE |= {"lo": "hs", "hs": "lo", "ls": "hi", "hi": "ls"}
OPPOSITE |= {"equ": "ne", "neu": "eq", "ltu": "ge", "leu": "gt", "gtu": "le", "geu": "lt"}
NEIGHBOUR = {"lt": "le", "le": "lt", "gt": "ge", "ge": "gt", "lo": "ls", "ls": "lo", "hi": "hs", "hs": "hi"}
NEIGHBOUR |= {"ltu": "leu", "leu": "ltu", "gtu": "geu", "geu": "gtu"}


def dropped_barrier(line):
    """Without the block's or the warp's barrier, or without the wait for asynchronous copies."""
    if re.search(r"\b(bar|barrier)\.(cta\.)?(sync|warp\.sync)\b|cp\.async\.wait_", line):
        yield _comment(line)


def flipped_comparison(line):
    """The opposite comparison, and the one that differs in equality alone."""
    found = re.search(r"\bsetp\.(\w+)", line)
    if found:
        for table in (OPPOSITE, NEIGHBOUR):
            if found[1] in table:
                yield _replace(line, found.span(1), table[found[1]])


def moved_offset(line):
    """An address 4 bytes further."""
    found = re.search(r"\b(?:ld|st|atom|red|cp)\b\.?.*\[\s*([%\w$]+)\s*(?:\+\s*(-?\d+)\s*)?\]", line)
    if found and ".param" not in line:
        moved = int(found[2] or 0) + 4
        start = found.end(1)
        yield f"{line[:start]}+{moved}{line[line.index(']', start) :]}"


def changed_shuffle(line):
    """A shuffle from another lane, and one with half a mask."""
    found = re.search(r"\bshfl\.sync\.\w+\.b32\s+[^,]+,\s*[^,]+,\s*([^,]+),\s*([^,]+),\s*([^;]+);", line)
    if not found:
        return
    if re.fullmatch(r"\d+", found[1]):
        yield _replace(line, found.span(1), str(int(found[1]) ^ 1))
    else:
        yield _replace(line, found.span(1), "1")
    yield _replace(line, found.span(3), "65535")


def dropped_address_term(line):
    """A sum of 64-bit integers, or a multiply-add, without one of its terms."""
    found = re.search(r"\badd\.[su]64\s+([^,]+),\s*([^,]+),\s*([^;]+);", line)
    if found:
        for kept in (2, 3):
            if found[kept].strip().startswith("%"):
                yield _replace(line, found.span(), f"mov.u64 {found[1]}, {found[kept].strip()};")
        return
    found = re.search(r"\bmad\.(lo|wide)\.([su]\d+)\s+([^,]+),\s*([^,]+),\s*([^,]+),\s*([^;]+);", line)
    if found:
        half, kind, target, a, b, _ = found.groups()
        yield _replace(line, found.span(), f"mul.{half}.{kind} {target}, {a}, {b};")


def fma_without_sum(line):
    """A multiplication where there was a multiply-add."""
    found = re.search(r"\bfma\.(\S+)\s+([^,]+),\s*([^,]+),\s*([^,]+),\s*([^;]+);", line)
    if found:
        rounding, target, a, b, _ = found.groups()
        yield _replace(line, found.span(), f"mul.{rounding} {target}, {a}, {b};")


def inverted_predicate(line):
    """An instruction done where it was not to be, and the other way round."""
    found = re.match(r"\s*@(!?)%", line)
    if found:
        yield _replace(line, found.span(1), "" if found[1] else "!")


KINDS = {
    "barrier": dropped_barrier,
    "comparison": flipped_comparison,
    "offset": moved_offset,
    "shuffle": changed_shuffle,
    "address": dropped_address_term,
    "fma": fma_without_sum,
    "predicate": inverted_predicate,
}


def mutants(text, kinds=tuple(KINDS)):
    """All mutants of a program of the given kinds.

    Parameters
    ----------
    text : str
    kinds : iterable of str

    Yields
    ------
    Mutant
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        code = line.split("//")[0]
        for kind in KINDS:
            if kind not in kinds:
                continue
            for changed in KINDS[kind](code):
                whole = "\n".join([*lines[:number], changed, *lines[number + 1 :]])
                yield Mutant(kind, number + 1, line, changed, whole)


def _replace(line, span, by):
    return line[: span[0]] + by + line[span[1] :]


def _comment(line):
    """The line without its instruction, a brace that closes a scope kept."""
    return "// " + line.strip() if "}" not in line else "}"
