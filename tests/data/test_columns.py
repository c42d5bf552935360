"""Columns of mixed tables: what is told of their kinds, what they become, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from fastvae.data.columns import Columns
from fastvae.data.frame import Table
from fastvae.data.table_values import written_columns

ROWS = 40
RNG = np.random.default_rng(0)


def kinds(X, types=None):
    return [column.kind for column in Columns.learn(X, types).columns]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (RNG.normal(size=ROWS), "gaussian"),
        (RNG.normal(size=ROWS).astype(np.float32), "gaussian"),
        (np.arange(ROWS) + 1990, "gaussian"),  # years
        (np.arange(ROWS, dtype=np.uint8), "negative_binomial"),
        (RNG.poisson(1, ROWS), "negative_binomial"),
        (RNG.poisson(3.0, ROWS).astype(float), "gaussian"),  # floats are numbers
        (RNG.integers(0, 2, ROWS), "bernoulli"),
        (RNG.random(ROWS) < 0.3, "bernoulli"),
        (np.array(["a", "b"] * (ROWS // 2)), "categorical"),
        (np.array(["a", "b", None, "c"] * (ROWS // 4), object), "categorical"),
        (pd.Categorical([1, 2] * (ROWS // 2)), "categorical"),
        (pd.array([1, None] * (ROWS // 2), dtype="Int64"), "gaussian"),
        (pd.array([0, 1, 7, None] * (ROWS // 4), dtype="Int64"), "negative_binomial"),
        (pd.array([True, None] * (ROWS // 2), dtype="boolean"), "bernoulli"),
        (np.array([True, False, None, True] * (ROWS // 4), object), "bernoulli"),
        (np.array([1.5, None] * (ROWS // 2), object), "gaussian"),
        (np.array([0, 1, 7, None] * (ROWS // 4), object), "negative_binomial"),
    ],
    ids=str,
)
def test_a_kind_is_told_by_the_dtype(values, kind):
    assert kinds(pd.DataFrame({"x": values})) == [kind]


def test_types_that_are_asked_for():
    X = np.column_stack([RNG.poisson(3, ROWS), RNG.random(ROWS), RNG.integers(0, 3, ROWS)])
    asked = {"0": "count", "1": "fraction", "2": "category"}
    assert kinds(X, asked) == ["negative_binomial", "continuous_bernoulli", "categorical"]
    assert kinds(X, ["poisson", "number", "gaussian"]) == ["poisson", "gaussian", "gaussian"]
    assert kinds(X, "number") == ["gaussian"] * 3
    assert kinds({"a": ["1", "2"] * 4, "b": [1, 2] * 4}, {"a": "binary", "b": "binary"}) == ["bernoulli"] * 2


@pytest.mark.parametrize("container", ["pandas", "polars", "dict", "Table"])
def test_there_and_back(container):
    if container in ("pandas", "polars"):
        container = pytest.importorskip(container, reason=f"{container} is not installed").DataFrame
    else:
        container = {"dict": dict, "Table": Table}[container]
    columns = {
        "x": [1.5, None, -2.0, 0.25],
        "site": ["fen", "bog", None, "fen"],
        "yes": [True, False, None, True],
        "n": [0, 3, None, 9],
    }
    if container in (dict, Table):
        columns = {name: np.array(values, float if name in "xn" else object) for name, values in columns.items()}
    X = container(columns)
    known = Columns.learn(X)
    rows = known.encode(X)
    np.testing.assert_array_equal(rows[:, 1], [1, 0, np.nan, 1])
    again = known.encode(known.decode(np.asarray(rows)))
    np.testing.assert_array_equal(again, rows)


@pytest.mark.parametrize(
    ("X", "types", "message"),
    [
        ({"x": [np.nan, np.nan]}, None, "'x' whose values are all missing"),
        ({"x": [None, None]}, None, "'x' whose values are all missing"),
        ({"x": [1.0, np.inf]}, None, r"'x' with a value that is no finite float32 \(inf\)"),
        ({"x": [1.0, 1e39]}, None, "no finite float32"),
        ({"x": [1, -1]}, {"x": "count"}, "'x' of counts with a value -1"),
        ({"x": [1.5, 1]}, {"x": "count"}, "counts with a value 1.5.*'number'"),
        ({"x": [0.5, 1.5]}, {"x": "fraction"}, r"fractions with a value 1.5: they lie in \[0, 1\]"),
        ({"x": [0, 1, 2]}, {"x": "binary"}, "'x' that is to be yes or no, and has 3 values"),
        ({"x": ["a", "b"]}, {"x": "number"}, "column_types says is 'gaussian'.*no numbers.*'a'"),
        ({"x": [1.0]}, {"y": "number"}, "names the column 'y', which X has not"),
        ({"length": [1.0]}, {"lenght": "number"}, "did you mean 'length'"),
        ({"x": [1.0]}, {"x": "nuber"}, "did you mean 'number'"),
        ({"x": [1.0]}, ["number", "number"], "2 entries; X has 1 columns"),
        ({"x": [1.0, 2.0], "y": [1.0]}, None, "different lengths: 'x' has 2 rows, 'y' has 1"),
        ({"x": [f"name {i}" for i in range(200)]}, None, "200 different values in 200 rows.*leave it out"),
        ({}, None, "0 feature"),
        ({"x": []}, None, "0 sample"),
        (np.zeros(4), None, "Reshape your data"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), None, "two columns of the name 'a'"),
        ({"x": np.zeros((2, 2))}, None, r"column 'x' has shape \(2, 2\)"),
    ],
    ids=str,
)
def test_what_cannot_be_learned_from(X, types, message):
    with pytest.raises(ValueError, match=message):
        Columns.learn(X, types)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"x": np.array(["2020-01-01", "2021-01-01"], "datetime64[D]")}, "dates or durations.*timedelta64"),
        ({"x": [{"a": 1}, {"a": 2}]}, "a value of type dict"),
        (np.ones((2, 2), complex), "Complex data not supported"),
        ("table.csv", "pass a frame"),
        (None, "pass a frame"),
        (3, "pass a frame"),
    ],
    ids=str,
)
def test_what_is_no_table(X, message):
    with pytest.raises(TypeError, match=message):
        Columns.learn(X)


FITTED = Columns.learn({"x": [1.0, 2.0, None], "site": ["bog", "fen", "bog"], "n": np.array([0, 1, 9])})


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"x": [1.0], "site": ["moor"], "n": [1]}, "'site' with a value 'moor' at row 0.*valid: 'bog', 'fen'; or None"),
        ({"x": [1.0], "site": ["bog"]}, "lacks the column 'n'"),
        ({"x": [1.0], "sit": ["bog"], "n": [1]}, "lacks the column 'site'.*is it 'sit'"),
        ({"x": [1.0], "site": ["bog"], "n": [1], "more": [1]}, "has the column 'more', which the model was not fitted"),
        ({"x": [1.0], "site": ["bog"], "n": [-1]}, "counts with a value -1"),
        ({"x": [np.inf], "site": ["bog"], "n": [1]}, "no finite float32"),
        (np.ones((2, 2)), "2 features, but TableVAE is expecting 3 features"),
    ],
    ids=str,
)
def test_rows_that_do_not_fit(X, message):
    with pytest.raises(ValueError, match=message):
        FITTED.encode(X)
    with pytest.raises(TypeError, match="no numbers"):
        FITTED.encode({"x": ["a"], "site": ["bog"], "n": [1]})


def test_whole_numbers_and_constants():
    known = Columns.learn(pd.DataFrame({"year": [1999, 2004], "one": ["a", "a"]}))
    back = known.decode(np.array([[2000.4, 0.0]]))
    assert back["year"].tolist() == [2000]
    assert back["year"].dtype == np.int64
    assert back["one"].tolist() == ["a"]


def test_a_frame_has_its_categories_and_labels_again():
    """Their order too, and categories that no row has; as a file has them as well."""
    sizes = pd.Categorical(["mid", "small", None], categories=["small", "mid", "large"], ordered=True)
    frame = pd.DataFrame({0: [0.5, 1.0, 2.0], 7: sizes})
    known = Columns.learn(frame)
    for columns in (known, Columns.from_json(json.loads(json.dumps(known.to_json())))):
        back = columns.decode(np.asarray(columns.encode(frame)))
        pd.testing.assert_frame_equal(back, frame)
    stored = known.to_json()
    stored["columns"][1]["categories"] = ["small"]
    with pytest.raises(ValueError, match="categories lack some of the levels"):
        Columns.from_json(stored)


def test_polars_has_its_categories_again():
    pl = pytest.importorskip("polars", reason="polars is not installed: pip install polars")
    frame = pl.DataFrame({"size": pl.Series(["mid", "small", None], dtype=pl.Enum(["small", "mid", "large"]))})
    known = Columns.learn(frame)
    assert known.decode(np.asarray(known.encode(frame))).equals(frame)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "Int8", "UInt8", "uint64", "int64"])
def test_whole_numbers_stay_within_their_dtype(dtype):
    """Those that a model makes do; those of another table are kept."""
    known = Columns.learn(pd.DataFrame({"x": pd.Series([3, 5], dtype=dtype)}))
    ends = np.iinfo(dtype.lower())
    made = known.decode(known.limited(np.array([[-1e25], [2.4], [1e25]])))["x"]
    assert str(made.dtype) == dtype
    assert made[0] == ends.min
    assert made[1] == 2
    assert ends.max - 2048 <= made[2] <= ends.max
    if dtype.lower().endswith("8"):
        assert known.decode(np.array([[300.0], [4.0]]))["x"].tolist() == [300, 4]


def test_a_gap_in_a_list_of_words_is_no_word():
    columns = {"site": ["bog", float("nan"), "fen"], "n": [1, 2, 3]}
    known = Columns.learn(columns)
    assert known.columns[0].levels == ("bog", "fen")
    np.testing.assert_array_equal(known.encode(columns)[:, 0], [0, np.nan, 1])


def test_gaps_among_whole_numbers_are_gaps_in_a_file_and_whole_numbers_as_objects_stay_such():
    kinds = {"Int64": "Int64", "Float64": "Float64", "object": "object", "boolean": "boolean"}
    frame = pd.DataFrame({kind: pd.Series([1, None, 0], dtype=dtype) for kind, dtype in kinds.items()})
    for values in written_columns(frame):
        assert pd.isna(values).tolist() == [False, True, False]
    frame = pd.DataFrame({"n": np.array([1, None, 9], object)})
    known = Columns.learn(frame)
    back = known.decode(np.array([[2.0], [np.nan], [4.0]]))["n"]
    assert back.tolist() == [2, None, 4]
    assert isinstance(back[0], int)
