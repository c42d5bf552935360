"""All commands under one name: `fastvae train` and `python -m fastvae train` are `python -m fastvae.train`.

fastvae train --data mnist
fastvae completion bash        what a shell needs to know to complete commands, options and file names
fastvae --version
"""

import importlib
import pathlib
import sys

from fastvae.command_line import CALLED, COMMANDS, WRONG, check_imports, say
from fastvae.errors import closest
from fastvae.version import VERSION


def described() -> dict[str, str]:
    """Name of each command to what it does."""
    return {name: importlib.import_module(module).parser().description for name, module in COMMANDS.items()}


def usage(name: str) -> str:
    """The help."""
    found = described()
    width = max(map(len, found))
    lines = [f"usage: {name} COMMAND ...   ({name} COMMAND --help lists the options of one; --version)", ""]
    return "\n".join(lines + [f"  {command:<{width}}  {text}" for command, text in found.items()])


def main(argv: list[str] | None = None) -> int:
    """Run the command that is named first; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    own = "python -m fastvae" if pathlib.Path(sys.argv[0]).stem == "__main__" else "fastvae"
    if words[:1] in (["--version"], ["-V"]):
        print(f"fastvae {VERSION}")
        return 0
    if words[:1] in (["--help"], ["-h"]):
        print(usage(own))
        return 0
    if not words:
        say(usage(own))
        return WRONG
    if words[0] not in COMMANDS:
        say(f"{own}: {words[0]!r} is no command: {closest(words[0], COMMANDS)}")
        return WRONG
    check_imports()
    token = CALLED.set(f"{own} ")
    try:
        return int(importlib.import_module(COMMANDS[words[0]]).main(words[1:]))
    finally:
        CALLED.reset(token)


if __name__ == "__main__":
    sys.exit(main())
