"""Paths of the files that are exported to."""

import os
import pathlib


def named(path: str | os.PathLike[str], ending: str, what: str) -> pathlib.Path:
    """The path with that ending, which it may lack; a `ValueError` where it has another one, or is a folder."""
    target = pathlib.Path(path)
    if target.suffix not in ("", ending):
        raise ValueError(f"{target}: a file of {what} ends in {ending}, not in {target.suffix}")
    if not target.name or (target.is_dir() and not target.suffix):
        raise ValueError(f"{target} is a folder: give the name of a file in it, NAME{ending}")
    return target.with_name(target.name.removesuffix(ending) + ending)
