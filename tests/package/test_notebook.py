"""What a notebook shows: HTML of estimators and results, all text escaped, and bars."""

import sys
import types
from html.parser import HTMLParser

import numpy as np
import pytest

from fastvae import GAN, RBM, VAE, TableVAE, notebook, progress
from fastvae.evaluation.diagnosis import diagnose

X = np.random.default_rng(0).normal(size=(80, 4))
EVIL = "<script>alert('&\")</script>"


class Page(HTMLParser):
    """The tags that are open, and all words."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(html)
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def value(self, name):
        return self.words[self.words.index(name) + 1]


@pytest.fixture(scope="module")
def trained():
    return VAE(2, (4,), likelihood="gaussian", epochs=6, early_stopping=True, random_state=0).fit(X)


def test_of_an_estimator_that_is_not_fitted_the_arguments_that_differ_are_shown():
    page = Page(VAE(latent_dim=7, beta=2.0)._repr_html_())
    assert page.words == ["VAE, not fitted", "latent_dim", "7", "beta", "2.0"]
    assert Page(GAN()._repr_html_()).words == ["GAN, not fitted", "arguments", "the defaults"]


def test_of_a_fitted_one_what_was_learned_and_its_curves(trained):
    page = Page(trained._repr_html_())
    assert page.value("columns") == "4"
    assert page.value("latent dimensions") == "2"
    assert page.value("training").startswith("6 epochs, ")
    assert float(page.value("held-out ELBO")) == pytest.approx(trained._state.best_elbo, rel=1e-5)
    lines = [attrs["points"].split() for tag, attrs in page.tags if tag == "polyline"]
    assert [len(points) for points in lines] == [6, 6]
    heights = [[float(point.split(",")[1]) for point in points] for points in lines]
    loss, held = trained.history_["loss"], -trained.history_["heldout_elbo"]
    assert np.corrcoef(np.concatenate(heights), np.concatenate([loss, held]))[0, 1] < -0.999  # y counts downwards
    for model in (
        GAN(2, epochs=1, scale="minmax", random_state=0),
        RBM(3, "gaussian", epochs=1, warmup_steps=0, random_state=0),
    ):
        Page(model.fit(X)._repr_html_())


def test_all_text_is_escaped():
    rows = {EVIL: X[:, 0], "kind": np.where(X[:, 1] > 0, EVIL, "b")}
    labels = np.where(X[:, 2] > 0, EVIL, "other")
    model = TableVAE(2, epochs=2, random_state=0).fit(rows, condition=labels)
    page = Page(model._repr_html_())
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert EVIL in page.value("columns")
    assert not Page(VAE(activation=EVIL)._repr_html_()).tags[0][1].get("script")
    assert "<script" not in VAE(activation=EVIL)._repr_html_()


def test_of_results_the_figures_are_shown(trained):
    found = trained.evaluate(X[:20], n_samples=200)
    page = Page(found._repr_html_())
    assert page.words[0] == "LogLikelihood: importance"
    assert float(page.value("mean log p(x)").split()[0]) == pytest.approx(found.mean, rel=1e-5)
    assert Page(trained.score_samples(X[:5], return_result=True)._repr_html_()).value("examples") == "5"
    assert "serious findings" in Page(diagnose(trained, X)._repr_html_()).words[0]
    rows = {"a": X[:, 0].copy(), "b": X[:, 1]}
    rows["a"][:7] = np.nan
    result = TableVAE(2, epochs=2, random_state=0).fit(rows).impute(rows, return_result=True, n_samples=50)
    assert Page(result._repr_html_()).value("values filled in") == "7, in 7 rows"


def test_curves_have_gaps_and_few_points():
    epochs, values = np.arange(1, 3001), np.linspace(3, 1, 3000)
    values[1000:1500] = np.nan
    tags = Page(notebook.curves(epochs, {"a": values, "b": np.full(3000, np.nan)}, "nats", 2000)).tags
    assert [len(attrs["points"].split()) < 500 for tag, attrs in tags if tag == "polyline"] == [True, True]
    assert notebook.curves(epochs[:1], {"a": values[:1]}, "nats") == ""


def test_the_ends_of_curves_that_hardly_fall_differ():
    values = np.linspace(26.8475, 26.8447, 6)
    words = Page(notebook.curves(np.arange(1, 7), {"a": values}, "nats")).words
    assert {"26.8475", "26.8447"} <= set(words)


def test_a_pipeline_of_scikit_learn_still_shows_itself(trained):
    pipeline = pytest.importorskip("sklearn.pipeline")
    from sklearn.preprocessing import StandardScaler

    html = pipeline.make_pipeline(StandardScaler(), VAE(likelihood="gaussian"))._repr_html_()
    assert "StandardScaler" in html
    assert "VAE" in html


# ---- progress ---------------------------------------------------------------------------------------------------


class Kernel:
    config = {"IPKernelApp": {}}  # noqa: RUF012


def in_a_notebook(monkeypatch, widgets):
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = Kernel
    module = types.ModuleType("tqdm.notebook")
    module.IProgress, module.tqdm = widgets, "the bar of notebooks"
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.notebook", module)


def test_a_notebook_has_a_bar_where_it_can_show_one(monkeypatch):
    in_a_notebook(monkeypatch, object())
    assert progress.notebook_bar() == "the bar of notebooks"
    assert progress.ProgressObserver()._kind_of_bar() == "the bar of notebooks"
    in_a_notebook(monkeypatch, None)
    assert progress.notebook_bar() is None
    assert progress.ProgressObserver()._kind_of_bar() is None


def test_without_ipython_there_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", None)
    assert progress.notebook_bar() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert progress.notebook_bar() is None
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: None  # imported, and not running
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert progress.notebook_bar() is None
