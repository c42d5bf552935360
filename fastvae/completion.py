"""What a shell needs to know to complete `fastvae`: commands, their options, and file names.

bash    eval "$(fastvae completion bash)"        in ~/.bashrc
zsh     eval "$(fastvae completion zsh)"         in ~/.zshrc, after compinit
fish    fastvae completion fish | source         in ~/.config/fish/config.fish
"""

import argparse
import importlib
import sys
from dataclasses import dataclass

from fastvae.command_line import COMMANDS, Parser, run

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Command:
    """Its name, what it does, and its options with what they are."""

    name: str
    text: str
    options: dict[str, str]


def parser() -> Parser:
    """The options."""
    p = Parser("completion", "Print what a shell needs to know to complete commands, options and file names.")
    p.add_argument("shell", choices=SHELLS, help=f"one of {', '.join(SHELLS)}")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run("completion", lambda: _print(arguments.shell), arguments.traceback)


def _print(shell: str) -> int:
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands()))
    return 0


def commands() -> list[Command]:
    """All commands, from their parsers."""
    found = []
    for name, module in COMMANDS.items():
        p = importlib.import_module(module).parser()
        options = {
            word: _first(action)
            for action in p._actions
            for word in action.option_strings
            if word.startswith("--")
        }  # fmt: skip
        found.append(Command(name, str(p.description), options))
    return found


def _first(action: argparse.Action) -> str:
    """The first words of an option's help, without the marks of argparse."""
    return (action.help or "").replace("%%", "%").split(";")[0].split(". ")[0]


def _bash(found: list[Command]) -> str:
    cases = [f"    {command.name}) words='{' '.join(command.options)}' ;;" for command in found]
    names = " ".join(command.name for command in found)
    return "\n".join(
        [
            "_fastvae() {",
            '  local now="${COMP_WORDS[COMP_CWORD]}" words=""',
            "  if [ \"$COMP_CWORD\" -eq 1 ]; then",
            f"    COMPREPLY=($(compgen -W '{names} --help --version' -- \"$now\")); return",
            "  fi",
            '  case "${COMP_WORDS[1]}" in',
            *cases,
            "  esac",
            '  case "$now" in',
            '    -*) COMPREPLY=($(compgen -W "$words" -- "$now")) ;;',
            '    *) COMPREPLY=($(compgen -f -- "$now")) ;;',
            "  esac",
            "}",
            "complete -o filenames -F _fastvae fastvae",
        ]
    )  # fmt: skip


def _zsh(found: list[Command]) -> str:
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(found)


def _fish(found: list[Command]) -> str:
    lines = []
    for command in found:
        lines.append(f"complete -c fastvae -n __fish_use_subcommand -f -a {command.name} -d '{_plain(command.text)}'")
        seen = f"'__fish_seen_subcommand_from {command.name}'"
        lines += [
            f"complete -c fastvae -n {seen} -l {word.removeprefix('--')} -d '{_plain(text)}'"
            for word, text in command.options.items()
        ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return text.replace("'", "").replace("\\", "")


if __name__ == "__main__":
    sys.exit(main())
