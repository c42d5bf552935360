"""Train the models beside each other, each for the same time, and compare what they can do and how well.

python -m fastvae.compare                                      the embedded digits, in three minutes
python -m fastvae.compare --data mnist --out runs/mnist-compared
python -m fastvae.compare --data table.csv --models vae,made --budget 20
"""

import argparse
import json
import math
import pathlib
import sys
import time
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file
from fastvae.command_line import FAILED, INTERRUPTED, Parser, any_seed, one_of, run, say
from fastvae.comparison.baselines import baselines
from fastvae.comparison.budget import BudgetError, plan
from fastvae.comparison.entries import Entry, chosen, latent_dim
from fastvae.comparison.graphs import graphs_of, graphs_picture
from fastvae.comparison.interruption import SOON, Interruption, Stopped, TrainingProgress
from fastvae.comparison.measures import Subjected, measure, measure_baseline
from fastvae.comparison.page import write_page
from fastvae.comparison.pictures import samples_picture
from fastvae.comparison.subject import BINARIZATIONS, DYNAMIC, FIXED, NOT, Subject, subject_of
from fastvae.comparison.table import lines
from fastvae.data import loading
from fastvae.data.tables import HEADERS
from fastvae.errors import DataFileError, DivergenceError, counted
from fastvae.models.registry import estimator
from fastvae.models.settings import LARGEST_SEED, check_number
from fastvae.runs import RunFolder, fingerprint
from fastvae.version import VERSION

BUDGETS = {"digits": 6.0, "mnist": 150.0}  # seconds a model, where --budget is not given; other data: 30
TABLE_SAMPLES = 500  # of each model, to be looked at
SEEDS = 100  # beside the one that is given, which a comparison draws by
LATE = 1.5  # budgets, after which a training is ended wherever its schedule is


def parser() -> Parser:
    """The options."""
    p = Parser("compare", "Train the models beside each other, each for the same time, and compare them.")
    add = p.add_argument
    add("--data", default="digits", help="digits, mnist, or a file: IDX, .npy, .npz, .csv")
    add("--array", help="which array of an .npz")
    add("--labels", help="labels, for the conditional model: an array of the .npz, or a column of the .csv")
    add("--header", default="auto", type=one_of(HEADERS), help="whether the .csv's first line names columns")
    add("--models", metavar="NAME,NAME", help=f"of {', '.join(chosen(None))}; default: all")
    add("--budget", type=float, help="seconds of training by the clock for each model; default: 6 for digits, 150 for "
        "mnist, else 30")  # fmt: skip
    add("--binarize", type=one_of(BINARIZATIONS), help="of images: fixed, drawn once; or dynamic, anew in each step. "
        "Default: dynamic for mnist, else fixed")  # fmt: skip
    add("--seed", type=any_seed, default=0, help="of all that is random")
    add("--out", help="a folder; what is finished there is not done again. Default: runs/NAME-compared")
    add("--quiet", action="store_true", help="no progress")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return run("compare", lambda: _compare(arguments), arguments.traceback)


def _compare(arguments: argparse.Namespace) -> int:
    entries = chosen(arguments.models)
    if arguments.seed > LARGEST_SEED - SEEDS:
        raise ValueError(f"--seed {arguments.seed} is too large for those beside it: take one below 2**63, say")
    budget = BUDGETS.get(arguments.data, 30.0) if arguments.budget is None else arguments.budget
    check_number("--budget", budget, 0, inclusive=False)
    if arguments.out is not None and not arguments.out.strip():
        raise ValueError("--out is empty: name a folder")
    out = arguments.out or f"runs/{pathlib.Path(arguments.data).stem}-compared"
    folder = RunFolder(out)
    with folder.claimed():
        if folder.holds_a_run():
            raise ValueError(f"--out {out}: holds a run of fastvae.train; name another folder")
        data = loading.load(arguments.data, arguments.array, arguments.labels, header=arguments.header)
        binarize = arguments.binarize or (DYNAMIC if data.name == "mnist" else FIXED)
        subject = subject_of(data, binarize, arguments.seed)
        if arguments.binarize and subject.binarize == NOT:
            raise ValueError(f"--binarize {binarize} is for grey images, and {data.name} has none: leave it out")
        settings = {
            "data": fingerprint(subject.train), "binarize": subject.binarize, "budget": budget, "seed": arguments.seed,
        }  # fmt: skip
        return Comparison(folder.path, subject, settings, arguments.quiet).run(entries)


class Comparison:
    """The files of one comparison, and what fills them."""

    def __init__(self, folder: pathlib.Path, subject: Subject, settings: dict[str, Any], quiet: bool):
        self.folder, self.subject, self.settings, self.quiet = folder, subject, settings, quiet
        self.path = folder / "comparison.json"
        self.rows: dict[str, dict[str, Any]] = {}
        self._check_settings()

    def _check_settings(self) -> None:
        """Refuse a folder whose models were made by other settings."""
        if not self.path.exists():
            return
        known = _read(self.path).get("settings", {})
        names = {"seed": "--seed", "binarize": "--binarize", "budget": "--budget", "data": "--data"}  # the seed splits
        for name, option in names.items():
            if known.get(name) != self.settings[name]:
                found = "other rows" if name == "data" else f"{known.get(name)}, not {self.settings[name]}"
                raise ValueError(
                    f"{self.folder} holds a comparison with {option} {found}: its models would not be comparable; take "
                    "the same settings, or name another folder with --out"
                )

    def run(self, entries: dict[str, Entry]) -> int:
        """Train and measure, write, and print the table; the exit code."""
        subject, budget, seed = self.subject, self.settings["budget"], self.settings["seed"]
        for line in subject.conventions:
            say(f"{subject.name}: {line}")
        say(f"{counted(len(entries), 'model')}, {budget:g} s of training each")
        self._write()
        last: float | None = None
        stopped = False
        for name, (title, baseline) in baselines(subject, latent_dim(subject)).items():
            with Interruption(last) as interruption:
                row = self._finished(name) or self._of_baseline(name, title, baseline, seed, interruption)
                self.rows[name] = row
        models: dict[str, Any] = {}
        for name, entry in entries.items():
            with Interruption(last) as interruption:
                try:
                    self.rows[name], models[name] = self._row(name, entry, interruption)
                except KeyboardInterrupt:
                    self.rows[name], stopped = _ended(entry.title, "interrupted", "by Ctrl-C"), True
                last = interruption.last
            self._write()
            if stopped:
                break
        for name, entry in entries.items():
            self.rows.setdefault(name, _ended(entry.title, "not begun", "the command was interrupted"))
        self._write()
        print("\n".join(lines(self.rows)), flush=True)
        if stopped:
            say(f"interrupted; go on with the same command: what is finished in {self.folder} is not done again")
            return INTERRUPTED
        self._pictures(entries, models)
        ended = {name: self.rows[name] for name in entries if self.rows[name]["status"] != "done"}
        if any(row["status"] == "interrupted" for row in self.rows.values()):
            return INTERRUPTED
        if len(ended) == len(entries):
            say(f"no model was compared: {'; '.join(row['title'] + ': ' + row['reason'] for row in ended.values())}")
            return FAILED
        return 0

    def _tell(self, progress: str) -> None:
        if not self.quiet:
            say(progress)

    # ---- one model ----------------------------------------------------------------------------------------------

    def _finished(self, name: str) -> dict[str, Any] | None:
        """The row of a model that an earlier call has finished."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None
        row = _read(path)
        return row if row.get("status") == "done" and row.get("settings") == self.settings else None

    def _of_baseline(
        self, name: str, title: str, baseline: Any, seed: int, interruption: Interruption
    ) -> dict[str, Any]:
        try:
            figures = measure_baseline(baseline, self.subject, seed, interruption, title)
        except (Stopped, KeyboardInterrupt):
            return _ended(title, "interrupted", "by Ctrl-C")
        return self._keep(name, {"title": title, "status": "done"} | figures)

    def _row(self, name: str, entry: Entry, interruption: Interruption) -> tuple[dict[str, Any], Any]:
        """The row of a model, and the model; whatever goes wrong with it is said there."""
        path, row = self.folder / f"{name}.npz", self._finished(name)
        refused = entry.refusal(self.subject)
        if refused is not None:
            return _ended(entry.title, "left out", refused), None
        try:
            trained = None if row is not None else self._trained(name)
            if row is not None or trained is not None:
                model = estimator(entry.estimator).load(path)
                if row is not None:
                    say(f"{entry.title}: finished before")
                    return row, model
            else:
                model, trained = self._train(entry, interruption)
                model.save(path)
                self._keep(name, trained | {"status": "trained"})
            began = time.perf_counter()
            self._tell(f"{entry.title}: measuring")
            figures = measure(
                model, self.subject, self.settings["budget"], self.settings["seed"], interruption, entry.title,
                entry.conditional,
            )  # fmt: skip
            figures |= {"measuring_seconds": time.perf_counter() - began}
            return self._keep(name, (trained or {}) | figures | {"status": "done"}), model
        except Stopped:
            say(f"{entry.title}: interrupted (Ctrl-C within {SOON:g} s ends the command)")
            return _ended(entry.title, "interrupted", "by Ctrl-C; the same command does it again"), None
        except DivergenceError as error:
            return _ended(entry.title, "diverged", str(error)), None
        except BudgetError as error:
            return _ended(entry.title, "not trained", str(error)), None
        except OSError:
            raise  # a folder that is full takes no other model either
        except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
            return _ended(entry.title, "failed", str(error) or type(error).__name__), None

    def _trained(self, name: str) -> dict[str, Any] | None:
        """What is known of a model that was trained and not measured."""
        path = self.folder / f"{name}.json"
        if not (path.exists() and (self.folder / f"{name}.npz").exists()):
            return None
        row = _read(path)
        return row if row.get("status") == "trained" and row.get("settings") == self.settings else None

    def _begun(self, entry: Entry) -> tuple[Any, Any, Any]:
        """A model with drawn weights, the examples, and those that its parameters are chosen by."""
        subject = self.subject
        model = entry.make(subject, self.settings["seed"])
        condition = {"condition": subject.labels} if entry.conditional else {}
        examples = model.initialize(subject.train, DYNAMIC if subject.binarize == DYNAMIC else None, **condition)
        model.metadata_ |= {"image_shape": subject.image_shape, "data": subject.name}
        if not entry.chooses:
            return model, examples, None
        condition = {"condition": subject.validation_labels} if entry.conditional else {}
        return model, examples, model.examples(subject.validation, "the validation rows", **condition)

    def _train(self, entry: Entry, interruption: Interruption) -> tuple[Any, dict[str, Any]]:
        budget = self.settings["budget"]
        model, examples, held = self._begun(entry)
        planned = plan(model, examples, held, budget, interruption)
        model, examples, held = self._begun(entry)
        model.epochs = planned.epochs
        self._tell(f"{entry.title}: {counted(planned.epochs, 'epoch')} of {len(examples):,} rows, about {budget:g} s")
        began, processor = time.perf_counter(), time.process_time()
        watch = TrainingProgress(interruption, began + LATE * budget)
        watch.quiet = self.quiet
        patience = None if held is None else planned.epochs + 1
        model.fit_examples(examples, planned.epochs, int(model.batch_size), held, patience, watch)
        interruption.check()
        model.keep_best()
        seconds = time.perf_counter() - began
        remarks = [] if model.n_epochs_ == planned.epochs else [
            f"ended after {model.n_epochs_} of {planned.epochs} epochs, when {LATE:g} budgets were over"
        ]  # fmt: skip
        if entry.remarks:
            remarks += model.remarks()
        return model, {
            "title": entry.title, "estimator": entry.estimator, "arguments": _plain_arguments(model),
            "epochs": model.n_epochs_, "steps": model.n_steps_, "training_seconds": seconds,
            "processor_seconds": time.process_time() - processor, "remarks": remarks,
            "kept_epoch": model.best_epoch_ or None,
        }  # fmt: skip

    # ---- files --------------------------------------------------------------------------------------------------

    def _keep(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        row = row | {"settings": self.settings}
        _write_json(self.folder / f"{name}.json", row)
        return row

    def _write(self) -> None:
        _write_json(
            self.path,
            {
                "settings": self.settings, "fastvae": VERSION, "numpy": np.__version__,
                "conventions": self.subject.conventions, "models": self.rows,
            },
        )  # fmt: skip

    def _pictures(self, entries: dict[str, Entry], models: dict[str, Any]) -> None:
        """samples.png and graphs.png, where matplotlib is there, and report.html."""
        pictures: dict[str, pathlib.Path] = {}
        seed = self.settings["seed"]
        drawn = {}
        for name, model in models.items():
            if model is not None and type(model).ABILITIES.samples != "none":
                used = Subjected(model, self.subject, entries[name].conditional)
                drawn[entries[name].title] = used.sample(TABLE_SAMPLES, seed + 3, self.subject.image_shape is None)
        try:
            if drawn:
                path = self.folder / "samples.png"
                samples_picture(path, self.subject, drawn)
                pictures["Samples, and the nearest rows of the training data"] = path
        except ModuleNotFoundError as error:
            say(f"no samples.png: {error}")
        fitting = {name: entry for name, entry in entries.items() if entry.refusal(self.subject) is None}
        graphs = graphs_of(fitting, models, lambda entry: self._begun(entry)[0])
        try:
            if graphs:
                path = self.folder / "graphs.png"
                graphs_picture(path, graphs)
                pictures["What each model is trained by: what feeds what, and its costs"] = path
        except ModuleNotFoundError as error:
            say(f"no graphs.png: {error}")
        report = self.folder / "report.html"
        write_page(report, self.subject.name, self.subject.conventions, self.rows, entries, pictures)
        say(f"written: {self.path}, {', '.join(str(path) for path in [*pictures.values(), report])}")


def _plain_arguments(model: Any) -> dict[str, Any]:
    return {name: repr(value) for name, value in model.get_params().items()}


def _ended(title: str, status: str, reason: str) -> dict[str, Any]:
    return {"title": title, "status": status, "reason": " ".join(reason.split())}


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except (ValueError, RecursionError):
        raise DataFileError(
            f"{path}: is damaged, or is no file of this command: remove it, or name another folder with --out"
        ) from None
    return found


def _write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
    with atomic_file(path, "w") as file:
        json.dump(value, file, indent=1, allow_nan=False, default=_number)
        file.write("\n")


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
