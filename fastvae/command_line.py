"""What the commands share: a parser and an exit that speak in one line.

Exit codes: 0 done; 1 training diverged; 2 wrong arguments, data or files; 130 interrupted (143 by SIGTERM).
"""

import argparse
import contextlib
import difflib
import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, NoReturn

from fastvae.errors import DivergenceError, closest
from fastvae.standard_error import say

FAILED, WRONG, INTERRUPTED, TERMINATED = 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM
SEED_BITS = 64
UNKNOWN = "unrecognized arguments: "  # as argparse says it


COMMANDS = {  # name to module, whose `parser` says what it does
    name: f"fastvae.{name}"
    for name in (
        *("train", "sample", "encode", "impute", "evaluate", "score", "report", "compare", "export", "selfcheck"),
        "completion",
    )
}
CALLED = ContextVar("CALLED", default="python -m fastvae.")  # what stands before a command's name, as it was called


def called(command: str) -> str:
    """A command as a person calls it: by its module, or by `fastvae` or `python -m fastvae` where it came that way."""
    return CALLED.get() + command


class Parser(argparse.ArgumentParser):
    """argparse with one line on standard error for a wrong argument, and no abbreviations."""

    def __init__(self, module: str, description: str):
        super().__init__(
            prog=called(module),
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        self.add_argument("--traceback", action="store_true", help="show where in the code an error arose")

    def spellings(self) -> dict[str, list[str]]:
        """Name of each option to the words that give it."""
        return {action.dest: list(action.option_strings) for action in self._actions}

    def error(self, message: str) -> NoReturn:
        """Print one line, with the nearest option for one that there is not, and exit with 2."""
        if message.startswith(UNKNOWN + "--"):
            option = message.removeprefix(UNKNOWN).split()[0].split("=")[0]
            near = difflib.get_close_matches(option, [o for o in self._option_string_actions if o[:2] == "--"], n=1)
            message = f"there is no option {option}" + (f": did you mean {near[0]}?" if near else "")
        self.exit(WRONG, f"{self.prog}: {_one_line(message)} (--help lists the options)\n")


def add_table_options(p: Parser, columns: str = "those that are learned from; default: all others") -> None:
    """Add the options that choose columns of a table; `columns`: what those are for."""
    p.add_argument("--columns", nargs="+", metavar="NAME", help=f"of a table, by name or number from 1: {columns}")
    p.add_argument("--drop", nargs="+", metavar="NAME", help="of a table: columns that are left out")
    p.add_argument("--id", metavar="NAME", help="of a table: a column that names the rows, which no model sees")


def table_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What these options say, as `fastvae.data.loading.load` takes it."""
    return {"columns": arguments.columns, "drop": arguments.drop or (), "ids": arguments.id}


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """An argparse type: one of the names; the message for any other has the nearest."""
    valid = list(names)

    def convert(text: str) -> str:
        if text not in valid:
            raise argparse.ArgumentTypeError(f"{text!r} is not known: {closest(text, valid)}")
        return text

    return convert


def any_seed(text: str) -> int:
    """An argparse type: a seed."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << SEED_BITS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0 to 2**{SEED_BITS} - 1")
    return value


def check_imports() -> None:
    """Import what every command computes with; where that cannot be had, exit with one line instead of a traceback."""
    try:
        importlib.import_module("fastvae.models.vae")
    except Exception as error:  # NumPy or numba: not there, too old for each other, or broken in ways of their own
        if "--traceback" in sys.argv:
            raise
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        mend = f": pip install {error.name}" if isinstance(error, ModuleNotFoundError) else ""
        say(f"fastvae: {kind}{_one_line(str(error))}{mend}")
        sys.exit(WRONG)
    except KeyboardInterrupt:
        say("fastvae: interrupted")
        sys.exit(INTERRUPTED)


class Terminated(BaseException):
    """SIGTERM, raised where it arrives: files half written are removed on the way, as after Ctrl-C."""


def terminate(number: int, frame: Any) -> NoReturn:
    """Raise `Terminated`: a handler of signals."""
    raise Terminated


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run(program: str, action: Callable[[], int], traceback: bool) -> int:
    """Return the action's exit code; an error becomes one line on standard error and an exit code, a warning a line."""
    try:
        with _terminable(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return action()
    except KeyboardInterrupt:
        say(f"{called(program)}: interrupted")
        return INTERRUPTED
    except Terminated:
        say(f"{called(program)}: terminated")
        return TERMINATED
    except BrokenPipeError:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there may be no standard output
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ValueError, TypeError, OSError, DivergenceError, MemoryError) as error:
        if traceback:
            raise
        message = _one_line(str(error)) or type(error).__name__
        if isinstance(error, MemoryError):
            message = f"not enough memory: {message}"
        if modules := getattr(error, "modules", ()):
            first = f"import {', '.join(modules)}; from fastvae.{program} import main; main()"
            message = f'{message}: python -c "{first}" and what followed {called(program)}'
        say(f"{called(program)}: {message}")
        return FAILED if isinstance(error, DivergenceError) else WRONG


def _show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    say(f"note: {_one_line(str(message))}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
