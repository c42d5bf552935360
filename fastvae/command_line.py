"""What the commands share: a parser and an exit that speak in one line.

Exit codes: 0 done; 1 training diverged; 2 wrong arguments, data or files; 130 interrupted (143 by SIGTERM).
"""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import NoReturn

from fastvae.errors import DivergenceError, closest

FAILED, WRONG, INTERRUPTED = 1, 2, 128 + signal.SIGINT


class Parser(argparse.ArgumentParser):
    """argparse with one line on standard error for a wrong argument, and no abbreviations."""

    def __init__(self, module: str, description: str):
        super().__init__(
            prog=f"python -m fastvae.{module}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        self.add_argument("--traceback", action="store_true", help="show where in the code an error arose")

    def spellings(self) -> dict[str, list[str]]:
        """Name of each option to the words that give it."""
        return {action.dest: list(action.option_strings) for action in self._actions}

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(WRONG, f"{self.prog}: {_one_line(message)} (--help lists the options)\n")


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """An argparse type: one of the names; the message for any other has the nearest."""
    valid = list(names)

    def convert(text: str) -> str:
        if text not in valid:
            raise argparse.ArgumentTypeError(f"{text!r} is not known: {closest(text, valid)}")
        return text

    return convert


def say(line: str) -> None:
    """A line for a person, on standard error: standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def run(program: str, action: Callable[[], int], traceback: bool) -> int:
    """Return the action's exit code; an error becomes one line on standard error and an exit code, a warning a line."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(f"note: {_one_line(str(message))}")
            return action()
    except KeyboardInterrupt:
        say(f"python -m fastvae.{program}: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ValueError, TypeError, OSError, DivergenceError, MemoryError) as error:
        if traceback:
            raise
        message = _one_line(str(error)) or type(error).__name__
        if isinstance(error, MemoryError):
            message = f"not enough memory: {message}"
        say(f"python -m fastvae.{program}: {message}")
        return FAILED if isinstance(error, DivergenceError) else WRONG


def _one_line(text: str) -> str:
    return " ".join(text.split())
