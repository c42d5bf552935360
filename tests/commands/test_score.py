"""The command that ranks rows: its table, p-values, threshold, and what it says where something is missing."""

import json
import pathlib

import numpy as np
import pytest

from fastvae import VAE, score, train
from fastvae.data.loading import load, load_table
from fastvae.evaluation.contributions import contributions
from fastvae.evaluation.observer import InterruptibleObserver
from fastvae.evaluation.oddity import auc, known_anomalies, mahalanobis, rank_correlation

NAMES = ("a", "b", "c")
SMALL = ["--latent-dim", "2", "--hidden", "4", "--epochs", "2", "--early-stopping", "none", "--quiet"]


def rows_of(count, seed):
    """x = z W + noise, of one source."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, 1))
    return (10 + z * [1, 2, -1] + 0.3 * rng.normal(size=(count, 3))).round(4)


def write(path, X, names=NAMES, **beside):
    """A table of X with names of rows, and other columns."""
    columns = {"name": [f"r{i}" for i in range(len(X))], **dict(zip(NAMES, X.T.tolist(), strict=True)), **beside}
    order = ["name", *names, *beside]
    lines = [",".join(order), *(",".join(str(columns[n][i]) for n in order) for i in range(len(X)))]
    pathlib.Path(path).write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """t.csv of 300 rows, 99 of which the run held out."""
    folder = tmp_path_factory.mktemp("scores")
    table = write(folder / "t.csv", rows_of(300, 0))
    out = ["--id", "name", "--heldout", "0.33", "--out", str(folder / "run")]
    assert train.main(["--data", table, *out, *SMALL]) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(score, "PICTURE", "no.png")


@pytest.fixture(autouse=True)
def _without_what_takes_long(request, monkeypatch):
    if "picture" not in request.node.name:
        monkeypatch.setattr("fastvae.evaluation.score_figure.write_scores", lambda *_: None)
    if "rivals" not in request.node.name:
        monkeypatch.setattr(score, "forest", lambda *_: None)


def run(folder, table, *words):
    try:
        return score.main([str(w) for w in (table, "--model", folder / "run", "--samples", 100, *words)])
    except SystemExit as end:
        return end.code


def ranked(path="ranked.csv"):
    return load_table(path)


def test_new_rows_by_their_oddity(folder, capsys):
    X = rows_of(50, 1)
    X[7, 1] += 9
    assert run(folder, write("new.csv", X), "--false-alarms", 0.05, "--json", "s.json") == 0
    found, model = ranked(), VAE.load(folder / "run/model.npz")
    values = contributions(model, model.examples(X), n_samples=100, seed=0).values
    assert found["row"][0] == 8
    assert found["name"][0] == "r7"
    assert found["flagged"][0] == "yes"
    np.testing.assert_array_equal(found["log_p"], np.sort(values))
    np.testing.assert_array_equal(found["row"], np.argsort(values) + 1)
    assert set(found["status"]) == {"new"}
    # p-values by hand: against the rows held out
    data = load(folder / "t.csv", columns=list(NAMES))
    split = score.RunData.beside(folder / "run/model.npz").split(data, model.metadata_["fingerprint"], None)
    held = contributions(model, model.examples(split.held_out), n_samples=100, seed=1)
    expected = [(1 + (held.values <= s).sum()) / 100 for s in found["log_p"]]
    np.testing.assert_allclose(found["p_value"], expected, rtol=1e-12)
    # the contributions add up to how far log p(x) is from its mean there
    parts = [found[f"nats from {name}"] for name in (*NAMES, "code")]
    np.testing.assert_allclose(np.sum(parts, axis=0), found["log_p"] - held.mean, atol=1e-9)
    assert np.argmin([part[0] for part in parts]) in (0, 1, 2)
    figures = json.loads(pathlib.Path("s.json").read_text())
    assert figures["threshold"] == np.sort(held.values)[4]
    assert figures["flagged"] == (found["flagged"] == "yes").sum() == (found["log_p"] < figures["threshold"]).sum()
    assert figures["oddest"][0]["row"] == 8
    out = capsys.readouterr().out
    for words in ("where p <= 0.05, of new rows log p(x) < ", "99 held-out rows", "one Gaussian (Mahalanobis)", "r7",
                  "that the training held out of", "at most 5% are flagged"):  # fmt: skip
        assert words in out, words


def test_false_alarms_from_one_end_to_the_other(folder):
    """2,000 new rows: the rate is that asked for, within four deviations of 99 held-out rows' quantile."""
    assert run(folder, write("new.csv", rows_of(2000, 2)), "--false-alarms", 0.1, "--method", "elbo") == 0
    rate = (ranked()["flagged"] == "yes").mean()
    assert abs(rate - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 99)


def test_the_training_s_own_table_says_what_was_trained_on(folder, capsys):
    assert run(folder, folder / "t.csv", "--false-alarms", 0.05) == 0
    found, out = ranked(), capsys.readouterr().out
    status = found["status"]
    assert ((status == "held out").sum(), (status == "trained on").sum()) == (99, 201)
    assert "201 rows were trained on: their p-values promise nothing" in out
    # held-out rows are compared with the others of them: each p once
    held = np.sort(found["p_value"][status == "held out"])
    np.testing.assert_allclose(held, np.arange(1, 100) / 99, rtol=1e-9)
    # rows of another table are recognised by their values
    part = write("part.csv", np.concatenate([load(folder / "t.csv", columns=list(NAMES)).X[:100], rows_of(20, 5)]))
    assert run(folder, part) == 0
    again = ranked()
    assert (again["status"] == "new").sum() == 20
    by_row = dict(zip(found["row"], status, strict=True))
    assert all(by_row[row] == kind for row, kind in zip(again["row"], again["status"], strict=True) if row <= 100)


def test_rows_of_one_s_own_that_say_what_is_ordinary(folder, capsys):
    held, new = write("held.csv", rows_of(40, 7)), write("new.csv", rows_of(5, 8), names=("c", "a", "b"))
    assert run(folder, new, "--heldout", held, "--false-alarms", 0.05, "--out", "r.csv.gz") == 0
    out, error = capsys.readouterr()
    assert "ordinary are the 40 rows of held.csv" in out
    assert "in the order of the model's training" in error
    assert (ranked("r.csv.gz")["p_value"] * 41).tolist() == (ranked("r.csv.gz")["p_value"] * 41).round().tolist()
    assert run(folder, new, "--heldout", folder / "t.csv", "--false-alarms", 0.05) == 0
    assert "201 rows of them were trained on" in capsys.readouterr().out


def test_too_few_held_out_rows(folder, capsys):
    assert run(folder, write("new.csv", rows_of(5, 1)), "--false-alarms", 0.001) == 0
    out = capsys.readouterr().out
    assert "no threshold: false alarms of 0.001 take 999 held-out rows, there are 99" in out
    assert "the least that can be asked for is 0.01" in out
    assert set(ranked()["flagged"]) == {"no"}


def test_a_model_that_knows_no_run(folder, capsys):
    pathlib.Path("alone.npz").write_bytes((folder / "run/model.npz").read_bytes())
    new = write("new.csv", rows_of(5, 1))
    assert score.main([new, "--model", "alone.npz", "--samples", "50"]) == 0
    out = capsys.readouterr().out
    assert "no threshold: no rows are known" in out
    assert "--heldout TABLE" in out
    assert "p_value" not in ranked()
    assert ranked()["nats from code"].sum() == pytest.approx(0, abs=1e-9)


def test_known_anomalies_and_rivals(folder, capsys):
    X, odd = rows_of(60, 3), np.arange(60) < 6
    X[odd] += np.array([4, -4, 4])
    new = write("new.csv", X, bad=["yes" if o else "no" for o in odd])
    assert run(folder, new, "--labels", "bad", "--json", "s.json") == 0
    beside = json.loads(pathlib.Path("s.json").read_text())["beside"]
    assert beside["the model"]["auc"] == 1
    assert beside["one Gaussian (Mahalanobis)"]["auc"] == 1
    assert beside["one Gaussian (Mahalanobis)"]["rank_correlation"] > 0.9
    assert "known anomalies: 6 of 60 rows, by 'bad': true or yes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("name,a,b,c\nr,1,2,3\n", ["--false-alarms", "0"], "must lie between 0 and 1"),
        ("name,a,b,c\nr,1,2,3\n", ["--out", "r.xlsx"], "the ending '.xlsx' is not known; valid: .csv"),
        ("name,a,b,c\nr,1,2,3\n", ["--out", "x.csv"], "that is what is read"),
        ("name,a,b,c\nr,1,2,3\n", ["--samples", "0"], "--samples=0"),
        ("name,a,b,c\n", [], "holds no rows, only the header"),
        ("name,a,b,c\nr,1,,3\n", [], "line 2, column 3 ('b'): '': 1 cell is empty"),
        ("name,a,bb,c\nr,1,2,3\n", [], "'b' is missing: did you mean 'bb'?"),
        ("name,a,b,c\nr,1,2,3\n", ["--labels", "y"], "labels='y' is no column"),
        ("name,a,b,c,y\nr,1,2,3,0\n", ["--labels", "y"], "they call no row an anomaly"),
        ("name,a,b,c\nr,1,2,3\n", ["--heldout", "no.csv"], "no.csv"),
        ("name,a,b,c\nr,1e40,2,3\n", [], "not a finite float32 number"),
    ],
)
def test_what_is_refused_in_one_line(folder, text, words, message, capsys):
    pathlib.Path("x.csv").write_text(text)
    assert run(folder, "x.csv", *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert [p.name for p in pathlib.Path().iterdir()] == ["x.csv"]


def test_one_row_and_other_units(folder, capsys):
    assert run(folder, write("one.csv", 100 * rows_of(1, 1))) == 0
    assert "note: the column 'a' has a median of" in capsys.readouterr().err
    assert ranked()["flagged"].tolist() == ["yes"]


@pytest.mark.parametrize("method", ["importance", "elbo"])
def test_a_row_beyond_all_bounds_is_the_oddest(folder, method, capsys):
    """Its log p(x) is no number that float32 could work out; all others are scored as without it."""
    X = rows_of(6, 1)
    assert run(folder, write("new.csv", X[:5]), "--method", method) == 0
    expected = ranked()
    X[5, 2] = -1e30
    assert run(folder, write("new.csv", X), "--method", method, "--json", "s.json") == 0
    assert "1 row has values that the model holds for impossible" in capsys.readouterr().err
    text = pathlib.Path("ranked.csv").read_text().splitlines()
    assert text[1].startswith("1,6,r5,-inf,0.01,yes,new,,,-inf,")
    np.testing.assert_array_equal([float(line.split(",")[3]) for line in text[2:]], expected["log_p"])
    assert json.loads(pathlib.Path("s.json").read_text())["oddest"][0]["log_p"] is None


def test_ctrl_c_writes_nothing(folder, capsys, monkeypatch):
    monkeypatch.setattr(InterruptibleObserver, "progressed", lambda self, *_: self._on_signal(2, None))
    assert run(folder, write("new.csv", rows_of(5, 1))) == 130
    assert "nothing is written" in capsys.readouterr().err
    assert [p.name for p in pathlib.Path().iterdir()] == ["new.csv"]


def test_images_have_no_names_of_columns(tmp_path):
    vae = VAE(2, (8,), epochs=1, scale=(0, 16), random_state=0).fit(load("digits").X[:200])
    vae.save("d.npz")
    np.save("x.npy", load("digits").X[:6])
    assert score.main(["x.npy", "--model", "d.npz", "--samples", "20", "--out", "r.csv"]) == 0
    assert "nats from x63" in ranked("r.csv")


def test_a_picture_of_the_scores(folder):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")
    assert run(folder, folder / "t.csv", "--false-alarms", 0.05) == 0
    assert pathlib.Path("no.png").read_bytes().startswith(b"\x89PNG")


# ---- fastvae.evaluation.oddity -----------------------------------------------------------------------------------


def test_ranks_and_areas():
    rng = np.random.default_rng(0)
    scores, odd = rng.integers(0, 9, 200).astype(float), rng.uniform(size=200) < 0.3
    pairs = scores[odd][:, None] - scores[~odd]
    assert auc(scores, odd) == pytest.approx((pairs < 0).mean() + 0.5 * (pairs == 0).mean())
    stats = pytest.importorskip("scipy.stats")
    other = scores + rng.normal(size=200)
    assert rank_correlation(scores, other) == pytest.approx(stats.spearmanr(scores, other).statistic)
    assert np.isnan(rank_correlation(scores, np.ones(200)))
    assert np.isnan(auc(scores, np.zeros(200, bool)))


def test_mahalanobis():
    rng = np.random.default_rng(0)
    known, X = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + 5, rng.normal(size=(20, 3))
    apart = X - known.mean(axis=0)
    expected = -0.5 * (apart * np.linalg.solve(np.cov(known.T, bias=True), apart.T).T).sum(axis=1)
    np.testing.assert_allclose(mahalanobis(known, X), expected, rtol=1e-3)
    constant = np.column_stack([known, np.full(500, 2.0)])
    found = mahalanobis(constant, np.column_stack([X, np.full(20, 4.0)]))
    np.testing.assert_allclose(found, expected - 2.0, rtol=1e-3)


@pytest.mark.parametrize(
    ("labels", "odd"),
    [
        (np.array([0, 2, 0, -1]), [0, 1, 0, 1]),
        (np.array(["No", "yes", "no", "TRUE"]), [0, 1, 0, 1]),
        (np.array(["ok", "worn", "ok", "broken"]), [0, 1, 0, 1]),
    ],
)
def test_which_labels_are_anomalies(labels, odd):
    assert known_anomalies(labels)[0].tolist() == [bool(o) for o in odd]
