"""How `fastvae.train --resume` goes on: with the options that the run was started with, and those that may change."""

import argparse
import contextlib
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from fastvae import backend
from fastvae.command_line import Parser, say
from fastvae.data.columns import Columns
from fastvae.data.minibatches import Examples
from fastvae.errors import DataFileError, FileAccessError
from fastvae.models.settings import check_integer, plain
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae import VAE
from fastvae.runs import RunFolder, fingerprint

CHANGEABLE = {"data", "epochs", "early_stopping", "checkpoint_seconds", "device"}
NOT_PART_OF_THE_RUN = ("out", "resume", "json", "quiet", "traceback")
# options that a checkpoint holds too, under this name
IN_THE_MODEL = {name: name for name in ("latent_dim", "hidden", "decoder_hidden", "activation", "likelihood", "sigma")}
IN_THE_MODEL |= {name: name for name in ("init", "beta", "kl_warmup_epochs", "batch_size", "learning_rate")}
IN_THE_MODEL |= {name: name for name in ("objective", "n_samples", "free_bits")}
IN_THE_MODEL |= {"hide": "hide"}
IN_THE_MODEL |= {"clip_norm": "clip_norm", "precision": "precision", "seed": "random_state"}


def options_of_the_run(
    folder: RunFolder,
    parser: Parser,
    arguments: argparse.Namespace,
    words: list[str],
    config: dict[str, Any],
    scale: Callable[[Any], Any],
) -> argparse.Namespace:
    """The options in `config`, where only `CHANGEABLE` may be changed by what the command line gives."""
    given = {name for name, spellings in parser.spellings().items() if any(_is_one_of(w, spellings) for w in words)}
    stored = _checked(folder.config, parser, config["options"])
    stored.scale = scale(stored.scale)
    for name in sorted(given - {*NOT_PART_OF_THE_RUN, *CHANGEABLE}):
        value, earlier = plain(getattr(arguments, name)), plain(getattr(stored, name))
        if value != earlier:
            raise ValueError(
                f"{_option(name)} {value!r} is not what the run was started with ({earlier!r}): leave it out to "
                "continue, or start anew in another folder"
            )
    kept = {*NOT_PART_OF_THE_RUN, *(given & CHANGEABLE)}
    return argparse.Namespace(**vars(stored) | {name: getattr(arguments, name) for name in kept})


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_one_of(word: str, spellings: list[str]) -> bool:
    return any(word == spelling or word.startswith(spelling + "=") for spelling in spellings)


def _checked(path: pathlib.Path, parser: Parser, options: Any) -> argparse.Namespace:
    """The options of a config.json, read as if they stood on the command line."""

    def refuse(message: str) -> NoReturn:
        raise DataFileError(f"{path}: {message}; put back what was there, or start anew in another folder")

    names = set(parser.spellings()) - {"help", *NOT_PART_OF_THE_RUN}
    if not isinstance(options, dict):
        refuse("the options are no set of names with values")
    words: list[str] = []
    for name, value in options.items():
        if name not in names:
            refuse(f"the option {name!r} is not known to this version")
        several = isinstance(value, list)
        words_can_say = (type(one) in (int, str) or _is_number(one) for one in (value if several else [value]))
        if value is not None and not all(words_can_say):
            refuse(f"{_option(name)} cannot be {value!r}")
        if several:
            words += [_option(name), *map(_word, value)]
        elif value is not None:
            words.append(f"{_option(name)}={_word(value)}")
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(words)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _word(value: int | float | str) -> str:
    """A number without an exponent, which argparse would take for an option after a minus."""
    return np.format_float_positional(value, trim="0") if isinstance(value, float) else str(value)


@contextlib.contextmanager
def data_may_have_moved(moved: bool) -> Iterator[None]:
    """Say what helps where the data of a run that is continued cannot be found."""
    try:
        yield
    except FileAccessError as error:
        if not moved:
            raise
        raise ValueError(f"{error}; if the data of the run are elsewhere now, name them: --data PATH") from None


def continued(
    folder: RunFolder,
    options: argparse.Namespace,
    X: np.ndarray,
    config: dict[str, Any],
    condition: np.ndarray | None = None,
    table: Columns | None = None,
) -> tuple[VAE, Examples]:
    """The model of the checkpoint, to be trained on the same data, of a mixed table on the same columns; a stop that is
    asked to be none is taken back."""
    try:
        backend.select(options.device, options.precision)  # a run does not change its precision on the way
    except ValueError as error:
        raise ValueError(
            f"the run in {folder.path} (--device {options.device}): {error}; --device changes it"
        ) from None
    kind = TableVAE if "column_types" in config.get("chosen", {}) else VAE
    model = kind.load_checkpoint(folder.checkpoint, options.device)
    if (model.columns_ if isinstance(model, TableVAE) else None) != table:
        raise _other_data(folder, options)
    for name, argument in IN_THE_MODEL.items():
        value, found = config["options"].get(name), plain(getattr(model, argument, None))
        if value is not None and plain(getattr(options, name)) != found:
            raise DataFileError(
                f"{folder.config}: {_option(name)} is {value!r}, in {folder.checkpoint.name} {found!r}; put back what "
                "was there, or start anew in another folder"
            )
    examples = model.examples(X, "the data", options.binarize, condition)
    if model.metadata_.get("fingerprint") != fingerprint(X, examples.condition_rows):
        raise _other_data(folder, options)
    earlier = epochs = int(model.epochs)
    if options.epochs is not None:
        model.epochs = epochs = check_integer("--epochs", options.epochs, 1)
        if earlier != epochs < model.n_epochs_:
            raise ValueError(f"--epochs {epochs}: {folder.path} has {model.n_epochs_} already; ask for more")
    other_patience = options.early_stopping != config["options"].get("early_stopping")
    if model.stopped_early_ and epochs > model.n_epochs_ and (epochs > earlier or other_patience):
        model.take_back_early_stop()
        model.save_checkpoint(folder.checkpoint)  # before the new options are: a command given twice asks for no more
        say(
            f"the run had stopped early after epoch {model.n_epochs_}: it goes on from there, to epoch {epochs} "
            f"at most; --early-stopping {options.early_stopping} counts from here, the best epoch stays kept"
        )
    return model, examples


def _other_data(folder: RunFolder, options: argparse.Namespace) -> ValueError:
    return ValueError(
        f"--resume: the data are not those that the run in {folder.path} was started with ({options.data})"
    )


def progress_of(folder: RunFolder, model: VAE) -> str:
    """How far a run has come, and what asks for more."""
    epochs = int(model.epochs)
    done = f"{folder.path} is complete: {model.n_epochs_} epochs"
    if model.stopped_early_:
        return (
            f"{done}, stopped early; --epochs above {max(epochs, model.n_epochs_)} or another --early-stopping goes on"
        )
    if model.n_epochs_ >= epochs:
        return f"{done}; --epochs asks for more"
    return f"continuing {folder.path} after {model.n_steps_} steps, in epoch {model.n_epochs_ + 1} of {epochs}"
