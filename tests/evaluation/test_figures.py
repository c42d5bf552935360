"""Pictures of an evaluation: what they need, which are made, and that the weights drawn are those of the estimate."""

import json
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from fastvae import VAE, TableVAE
from fastvae.data.digits import load_digits
from fastvae.evaluation import figures, latent_figures
from fastvae.evaluation.annealed import bracket
from fastvae.evaluation.diagnosis import diagnose
from fastvae.evaluation.importance import importance
from fastvae.evaluation.naive import naive
from fastvae.evaluation.result import LogLikelihood
from fastvae.evaluation.row_weights import importance_weights_of
from fastvae.pictures.latent import kl_figure
from tests.support.figures import said, texts_apart

pytestmark = pytest.mark.long

DIGITS = (load_digits().X[:200] / np.float32(16)).astype(np.float32)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def images():
    model = VAE(2, (16,), epochs=5, random_state=0, early_stopping=False).fit(DIGITS)
    model.metadata_["image_shape"] = (8, 8)
    return model


@pytest.fixture(scope="module")
def conditional():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(80, 5)), np.arange(80) % 3
    model = VAE(3, (8,), likelihood="gaussian", epochs=3, random_state=0, early_stopping=False)
    model.fit(X, condition=labels)
    return model, model.examples(X, condition=labels)


def size(path):
    """Width and height of a PNG."""
    head = path.read_bytes()[:24]
    assert head[:8] == PNG
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is saved is looked at: no text lies on another."""
    found = []

    def look(path, figure, save=figures.save):
        texts_apart(figure)
        found.append(figure)
        save(path, figure)

    monkeypatch.setattr(figures, "save", look)
    monkeypatch.setattr(latent_figures, "save", look)
    return found


def test_all_pictures_of_a_model_of_images(images, tmp_path, drawn):
    examples = images.examples(DIGITS[:60])
    results = {"naive": naive(images, examples, 256, seed=0), "importance": importance(images, examples, 256, seed=0)}
    found = bracket(images, 6, n_temperatures=10, n_chains=2)
    written, failures = figures.write_all(tmp_path, images, examples, results, diagnose(images, examples), found)
    assert failures == []
    assert set(written) == {p.name for p in tmp_path.iterdir()}
    expected = ("convergence", "weights", "kl", "bracket", "aggregated", "traversals", "identity")
    assert set(written) == {f"{name}.png" for name in expected}
    assert all(min(size(tmp_path / name)) > 150 and max(size(tmp_path / name)) < 2000 for name in written)
    assert len(drawn) == 7


def test_a_conditional_table_has_those_that_need_no_code_alone(conditional, tmp_path, drawn):
    model, examples = conditional
    results = [importance(model, examples, 64, seed=0)]
    written, failures = figures.write_all(tmp_path, model, examples, results, diagnose(model, examples))
    assert failures == []
    assert set(written) == {"convergence.png", "weights.png", "kl.png", "aggregated.png"}


OF_TABLES = {"aggregated.png", "traversals.png", "marginals.png", "pairs.png", "correlations.png"}


def test_a_conditional_table_has_all_with_the_condition_of_its_rows(conditional, tmp_path, drawn):
    model, examples = conditional
    written, failures = figures.write_all(tmp_path, model, examples, condition=np.arange(80) % 3)
    assert failures == []
    assert set(written) == OF_TABLES


def test_a_mixed_table_has_pictures_of_its_rows(tmp_path, drawn):
    """Its examples are numbers, those of words and gaps too, which no user's table has."""
    rng = np.random.default_rng(0)
    rows = {"length": rng.normal(size=60), "site": rng.choice(["fen", "bog", "heath"], 60), "eggs": rng.poisson(2, 60)}
    rows["length"][::9] = np.nan
    model = TableVAE(3, epochs=2, early_stopping=False, random_state=0).fit(rows)
    written, failures = figures.write_all(tmp_path, model, model.examples(rows))
    assert failures == []
    assert set(written) == OF_TABLES
    assert "length (12% missing)" in [axes.get_title() for figure in drawn for axes in figure.axes]


def test_two_dimensions_stand_in_their_order(tmp_path, drawn):
    mu = np.random.default_rng(0).normal(size=(50, 2)) * [1, 3]  # the second is further from N(0, 1)
    latent_figures.write_aggregated(tmp_path / "a.png", mu, np.zeros((50, 2)))
    axes = drawn[-1].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_{0}$", "$z_{1}$")


def test_examples_are_named_by_their_place_in_the_data_too(images, tmp_path, drawn):
    examples, places = images.examples(DIGITS[100:130]), np.arange(100, 130)
    results = [importance(images, examples, 64, seed=0)]
    figures.write_all(tmp_path, images, examples, results, places=places)
    worst = int(np.argmax(results[0].khat))
    texts = [text for figure in drawn for text in said(figure)]
    assert any(text.startswith(f"row {worst + 100}, example {worst}: k-hat") for text in texts)
    titles = [axes.get_title().split("\n")[0] for axes in drawn[-1].axes]
    assert len(titles) == 3
    assert all(f"row {int(t.split()[-1]) + 100}, example" in t for t in titles)


def test_no_legend_lies_on_curves(images, tmp_path, drawn):
    """Beside or above the axes, wherever the curves run."""
    examples = images.examples(DIGITS[:30])
    figures.write_all(tmp_path, images, examples, [importance(images, examples, 64, seed=0)])
    for figure in drawn:
        figure.draw_without_rendering()
        for axes in figure.axes:
            legend = axes.get_legend()
            if legend is not None and axes.get_ylabel().startswith(("share of the sum", "mean log p(x)")):
                assert not legend.get_window_extent().overlaps(axes.get_window_extent())


def test_curves_hold_the_means_of_the_bounds(images, tmp_path, drawn):
    examples = images.examples(DIGITS[:50])
    results = [naive(images, examples, 64, seed=0), importance(images, examples, 64, seed=0)]
    figures.write_convergence(tmp_path / "c.png", results)
    for line, result in zip(drawn[-1].axes[0].get_lines(), results, strict=False):
        np.testing.assert_array_equal(line.get_xdata(), sorted(result.bounds))
        np.testing.assert_allclose(line.get_ydata(), [result.bounds[k].mean() for k in sorted(result.bounds)])
    bare = LogLikelihood("parzen", "estimate", *[np.zeros(3)] * 4, 5, 0.0)
    with pytest.raises(ValueError, match="no result has bounds"):
        figures.write_convergence(tmp_path / "c.png", [bare])


def test_weights_are_those_of_the_estimate(images, conditional):
    """log of their mean is what `importance` has found, of whatever rows, for a model with a condition too."""
    for model, examples in ((images, images.examples(DIGITS, binarize="dynamic")), conditional):
        result = importance(model, examples, 400, seed=5)
        rows = [70, 0, 3]
        logs = importance_weights_of(model, examples, rows, 400, seed=5)
        most = logs.max(axis=1)
        found = most + np.log(np.exp(logs - most[:, None]).mean(axis=1))
        np.testing.assert_allclose(found, result.values[rows], atol=1e-4)
        weights = np.exp(logs - most[:, None])
        np.testing.assert_allclose(
            weights.sum(axis=1) ** 2 / np.square(weights).sum(axis=1), result.ess[rows], rtol=1e-3
        )
    with pytest.raises(IndexError, match="rows 200"):
        importance_weights_of(images, images.examples(DIGITS), 200, 10)


def test_bars_are_in_order_and_active_ones_set_off():
    kl, active = np.array([0.1, 2.0, 0.0, 1.0]), np.array([True, True, False, True])
    axes = kl_figure(kl, active).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [2.0, 1.0, 0.1, 0.0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "3", "0", "2"]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[1] == colours[2] != colours[3]


@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_identity_is_drawn_with_densities_that_are_normalised(dimensions, tmp_path, drawn):
    model = VAE(dimensions, (8,), activation="tanh", epochs=2, random_state=0, early_stopping=False).fit(DIGITS)
    latent_figures.write_identity(tmp_path / "i.png", model, model.examples(DIGITS), rows=[4, 9])
    assert [axes.get_title().split("\n")[0] for axes in drawn[-1].axes] == ["row 4", "row 9"]
    if dimensions == 1:
        for line in drawn[-1].axes[1].get_lines():
            assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(1, abs=1e-3)


def test_a_picture_that_fails_is_said_and_the_others_are_made(images, tmp_path, monkeypatch):
    def fails(*given):
        raise RuntimeError("no\nink")

    monkeypatch.setattr(figures, "write_aggregated", fails)
    written, failures = figures.write_all(tmp_path, images, images.examples(DIGITS[:20]))
    assert failures == ["no aggregated.png: RuntimeError: no ink"]
    assert set(written) == {"traversals.png", "identity.png"}


def test_without_matplotlib_it_says_what_to_install(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    written, failures = figures.write_all(tmp_path, images, images.examples(DIGITS[:20]))
    assert written == []
    assert all("pip install matplotlib" in line for line in failures)
    assert json.dumps(failures)


def test_a_bracket_takes_importance_on_its_own_examples_only(images, tmp_path):
    found = bracket(images, 4, n_temperatures=5, n_chains=2)
    with pytest.raises(ValueError, match="importance has 10 examples, the bracket 4"):
        figures.write_bracket(tmp_path / "b.png", found, importance(images, images.examples(DIGITS[:10]), 16))
