"""Lines for a person, on standard error: standard output is for results.

There may be none (pythonw, a windowed program, a service), a closed one, or an object that can only `write`. What
cannot be said there is lost; it ends no training.
"""

import sys
from typing import Any


def say(line: str, stream: Any = None) -> None:
    """Write a line on `stream`, or else on standard error, if there is one that takes it."""
    stream = sys.stderr if stream is None else stream
    try:
        try:
            stream.write(line + "\n")
        except UnicodeEncodeError:
            stream.write(line.encode("ascii", "backslashreplace").decode() + "\n")
        stream.flush()
    except Exception:  # closed, full, None, or of another library
        return


def is_terminal(stream: Any) -> bool:
    """Whether somebody sees at once what is written there."""
    try:
        return bool(stream.isatty())
    except Exception:
        return False
