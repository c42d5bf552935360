"""The graphs of trainings: what the models' own steps say of them, that they follow the settings, where boxes lie."""

import sys
from itertools import combinations, pairwise

import numpy as np
import pytest

from fastvae import compare
from fastvae.backend import select
from fastvae.comparison.entries import ALL
from fastvae.comparison.flow import Trace
from fastvae.comparison.graph import Edge, Graph, Node, graph_of
from fastvae.comparison.graphs import (
    WIDTH,
    graphs_of,
    graphs_picture,
    measured,
    roughly,
    rows_of,
    sizes_of,
    words,
)
from fastvae.comparison.layered import columns_of, layout, levels_of
from fastvae.comparison.rules import RULES
from fastvae.comparison.subject import subject_of
from fastvae.comparison.values import COST, DATA, KINDS, LAYER
from fastvae.data.loading import load
from fastvae.models.registry import estimator

X = (np.random.default_rng(0).random((40, 6)) < 0.4).astype(np.float32)
LABELS = np.arange(40) % 3


def graph(name, X=X, condition=None, **settings):
    """Of an estimator that has begun with few rows."""
    model = estimator(name)(random_state=0, **settings)
    model.initialize(X, **({} if condition is None else {"condition": condition}))
    return graph_of(model)


def lines(found, title):
    (node,) = [node for node in found.nodes if node.title == title]
    return node.lines


def edges(found):
    return {(edge.source, edge.target) for edge in found.edges}


@pytest.fixture(scope="module")
def entries():
    """The graph of each entry, on digits."""
    subject = subject_of(load("digits"), "fixed", 0)

    def begun(entry):
        model = entry.make(subject, 0)
        model.initialize(subject.train[:60], **({"condition": subject.labels[:60]} if entry.conditional else {}))
        return model

    return graphs_of(ALL, {}, begun)


# ---- what the steps say -------------------------------------------------------------------------------------------


def test_the_data_reach_each_cost_of_each_entry(entries):
    """The generator's loss too, through the discriminator."""
    assert list(entries) == [entry.title for entry in ALL.values()]
    for title, found in entries.items():
        assert found.costs, title
        assert {node.kind for node in found.nodes} <= set(KINDS), title
        names = [node.name for node in found.nodes]
        assert len(set(names)) == len(names), title
        assert {name for edge in found.edges for name in (edge.source, edge.target)} == set(names), title
        for cost in found.costs:
            assert any(found.reaches(node.name, cost.name) for node in found.nodes if node.kind == DATA), title


def test_the_kl_is_in_the_vaes_alone(entries):
    for name, entry in ALL.items():
        marked = [node for node in entries[entry.title].nodes if node.kl]
        assert len(marked) == (1 if name in ("vae", "iwae", "cvae") else 0), name
        assert all(node.kind == COST for node in marked)
    assert lines(entries["VAE"], "KL divergence") == ("KL(q(z|x) ‖ p(z))",)
    assert lines(entries["conditional VAE"], "KL divergence") == ("KL(q(z|x, c) ‖ p(z))",)
    assert lines(entries["conditional VAE"], "reconstruction")[0] == "−log p(x|z, c)"


def test_a_vae_is_an_autoencoder_with_noise_and_a_kl():
    """Of the very same widths: what it has more is exactly that."""
    settings = {"hidden": (5, 4), "latent_dim": 2, "likelihood": "bernoulli"}
    vae, ae = graph("VAE", **settings), graph("Autoencoder", **settings)
    assert edges(ae) == {
        ("x", "encoder"), ("encoder", "h"), ("h", "decoder"), ("decoder", "x̂"), ("x̂", "reconstruction"),
        ("x", "reconstruction"),
    }  # fmt: skip
    assert edges(vae) == {
        ("x", "encoder"), ("encoder", "μ, log σ²"), ("μ, log σ²", "z"), ("ε ~ N(0, I)", "z"), ("z", "decoder"),
        ("decoder", "x̂"), ("x̂", "reconstruction"), ("x", "reconstruction"), ("μ, log σ²", "KL divergence"),
    }  # fmt: skip
    assert lines(vae, "encoder")[0] == "6 – 5 – 4"
    assert lines(ae, "encoder")[0] == "6 – 5 – 4 – 2"
    assert lines(vae, "decoder")[0] == lines(ae, "decoder")[0] == "2 – 4 – 5 – 6"


def test_a_gan_has_a_loss_of_each_network():
    found = graph("GAN", hidden=(4,), latent_dim=2, label_smoothing=0.0)
    assert [cost.title for cost in found.costs] == ["loss of the discriminator", "loss of the generator"]
    assert lines(found, "loss of the discriminator") == ("−log D(x)", "−log(1 − D(x′))")
    assert lines(found, "loss of the generator") == ("−log D(x′)",)
    assert {("x", "discriminator"), ("x′", "discriminator"), ("generator", "x′")} <= edges(found)
    smooth = graph("GAN", hidden=(4,), latent_dim=2, label_smoothing=0.2, instance_noise=0.5)
    assert lines(smooth, "loss of the discriminator")[:2] == ("−0.8 log D(x̃)", "−0.2 log(1 − D(x̃))")
    assert {("x", "corrupted x"), ("x′", "corrupted x"), ("corrupted x", "discriminator")} <= edges(smooth)


def test_boltzmann_machines_hold_data_and_chains_against_each_other():
    rbm, dbm = graph("RBM", hidden=4, chains=64), graph("DBM", hidden=(4, 3), chains=64)
    assert [cost.title for cost in rbm.costs] == ["free-energy difference"]
    assert lines(rbm, "free-energy difference") == ("E(x, h) − E(v′, h′)",)
    assert lines(dbm, "energy difference") == ("E(x, h₁, h₂) − E(v′, h₁′, h₂′)",)
    assert {("x", "h"), ("chains", "v′"), ("v′", "h′"), ("h′", "chains")} == edges(rbm) - {
        (unit, "free-energy difference") for unit in ("x", "h", "v′", "h′")
    }
    assert not rbm.reaches("x", "v′")
    contrastive = graph("RBM", hidden=4, k=3, persistent=False)
    assert contrastive.reaches("x", "v′")
    assert Edge("h′", "v′", 2) in contrastive.edges
    assert all(node.title != "chains" for node in contrastive.nodes)
    persistent = graph("RBM", hidden=4, k=3, chains=64)
    assert {Edge("h′", "v′", 2), Edge("h′", "chains", 1, True)} <= set(persistent.edges)
    assert len(persistent.nodes) == len(rbm.nodes)


def test_autoregressive_networks_are_exact():
    for name, title in (("MADE", "masked network"), ("NADE", "hidden units")):
        found = graph(name, **({"hidden": (7,)} if name == "MADE" else {"hidden": 7}))
        assert lines(found, title)[0] == "6 – 7 – 6"
        assert lines(found, "exact likelihood")[0] == "−Σ log p(xᵢ | x₁ … xᵢ₋₁)"
    several = graph("MADE", hidden=(7,), orderings=3)
    assert [node.title for node in several.nodes if node.title.startswith("masked")] == [
        f"masked network {k}" for k in (1, 2, 3)
    ]
    assert "mean of 3" in lines(several, "exact likelihood")
    assert [node.title for node in several.nodes].count("ordering") == 2  # the first is that of the columns
    assert [node.title for node in graph("NADE", hidden=3, order="random").nodes].count("ordering") == 1


# ---- the picture follows the settings -----------------------------------------------------------------------------


def vae(**settings):
    return graph("VAE", **({"hidden": (4,), "latent_dim": 2, "likelihood": "bernoulli"} | settings))


def test_widths_and_weights_are_those_of_the_model():
    assert lines(vae(hidden=(3, 9, 5)), "encoder") == ("6 – 3 – 9 – 5", "relu")
    assert "7 units" in lines(vae(latent_dim=7), "z")
    assert lines(vae(beta=0.25), "KL divergence")[0] == "0.25 × KL(q(z|x) ‖ p(z))"
    assert lines(vae(beta=4, kl_warmup_epochs=30), "KL divergence")[0] == "4 × KL(q(z|x) ‖ p(z))"
    assert lines(vae(free_bits=0.5), "KL divergence")[1:] == ("0.5 nats a dimension free",)
    assert all(not node.kl for node in vae(beta=0).nodes)
    assert all(node.title != "encoder" for node in vae(hidden=()).nodes)


def test_samples_and_objectives():
    found = vae(n_samples=3)
    assert "K = 3 draws" in lines(found, "z")
    assert lines(found, "reconstruction")[0] == "−log p(x|z)"  # a mean over the draws: its weight is 1
    found = vae(objective="iwae", n_samples=4)
    assert "K = 4 weights" in lines(found, "bound")
    assert {("KL by draws", "bound"), ("reconstruction", "bound")} <= edges(found)
    assert [node.title for node in found.nodes if node.kl] == ["KL by draws"]
    assert vae(objective="dreg", n_samples=4) == found  # another gradient of the same loss


def test_a_condition_feeds_encoder_and_decoder():
    found = vae(condition=LABELS)
    assert {("c", "encoder"), ("c", "decoder")} <= edges(found)
    assert lines(found, "encoder")[0] == "9 – 4"
    assert edges(found) - {("c", "encoder"), ("c", "decoder")} == edges(vae())


def test_likelihoods_and_linear_paths():
    real = np.random.default_rng(0).normal(size=(40, 6))
    for sigma, said in ((0.5, "(Gaussian)"), ("learned", "(Gaussian, σ learned)")):
        assert lines(vae(X=real, likelihood="gaussian", sigma=sigma), "reconstruction")[1] == said
    assert "σ of the batch" in lines(vae(X=real, likelihood="gaussian", sigma="optimal"), "reconstruction")[1]
    with_path, without = (vae(X=real, likelihood="gaussian", linear=linear) for linear in (True, False))
    assert edges(with_path) - edges(without) == {("x", "μ, log σ²")}
    assert "linear path" in lines(with_path, "decoder")
    counts = vae(X=np.floor(4 * np.abs(real)), likelihood="poisson")
    assert {("x", "log(1 + x)"), ("log(1 + x)", "encoder"), ("x", "reconstruction")} <= edges(counts)


def test_penalties_and_corruptions():
    sparse = graph("SparseAutoencoder", latent_dim=5, rho=0.1, weight=3.0)
    assert lines(sparse, "sparsity penalty") == ("3 × KL(ρ ‖ mean), ρ = 0.1",)
    assert ("h", "mean over the batch") in edges(sparse)
    assert lines(graph("SparseAutoencoder", penalty="l1", weight=2.0), "penalty") == ("2 × sum of h",)
    noisy = graph("DenoisingAutoencoder", corruption="masking", amount=0.25)
    assert lines(noisy, "corrupted x") == ("masking", "25% of columns")
    assert {("x", "corrupted x"), ("corrupted x", "encoder"), ("x", "reconstruction")} <= edges(noisy)
    assert ("x", "encoder") in edges(graph("DenoisingAutoencoder", amount=0.0))


def test_the_walkback_of_a_gsn_is_a_loop():
    for steps in (1, 2, 5):
        found = graph("GSN", hidden=(5, 4), walkback=steps)
        back = {(edge.source, edge.target): edge.loops for edge in found.edges if edge.loops}
        assert back == ({} if steps == 1 else {("x′", "corrupted x"): steps - 1, ("hidden 2", "hidden 1"): steps - 1})
        assert (f"mean of {steps}" in lines(found, "reconstruction")) == (steps > 1)
    found = graph("GSN", hidden=(5, 4, 3), walkback=3)
    assert {edge.source: edge.target for edge in found.edges if edge.loops} == {
        "x′": "corrupted x", "hidden 2": "hidden 1", "hidden 3": "hidden 2",
    }  # fmt: skip
    assert "noise N(0, 0.7²)" in lines(graph("GSN", hidden=(5, 4), noise=0.7), "hidden 2")
    assert lines(graph("DBM", hidden=(4, 3), mean_field_steps=5, chains=64), "h₂")[0] == "4 – 3"
    (back,) = [
        edge
        for edge in graph("DBM", hidden=(4, 3), mean_field_steps=5, chains=64).edges
        if edge.loops and not edge.kept
    ]
    assert back == Edge("h₂", "h₁", 4)


def test_an_op_without_a_rule_is_shown_under_its_name(monkeypatch):
    """So that a model with a new op is not drawn without it."""
    model = estimator("Autoencoder")(hidden=(4,), latent_dim=2, likelihood="poisson")
    model.initialize(X)
    monkeypatch.delitem(RULES, "log1p")
    assert {("x", "log1p"), ("log1p", "encoder")} <= edges(graph_of(model))


def test_what_is_followed_changes_no_model():
    model = estimator("RBM")(hidden=4, chains=64)
    model.initialize(X)
    network = model.network_
    before = network.parameters.values.copy(), {name: array.copy() for name, array in network.state.items()}
    graph_of(model)
    np.testing.assert_array_equal(network.parameters.values, before[0])
    for name, array in before[1].items():
        np.testing.assert_array_equal(network.state[name], array)
    assert not Trace(network).phases
    assert select("cpu").name == network.backend.name


# ---- where boxes lie ----------------------------------------------------------------------------------------------


def test_layers_by_the_longest_path(entries):
    for title, found in entries.items():
        levels = levels_of(found)
        for edge in found.edges:
            if not edge.loops:
                assert levels[edge.source] < levels[edge.target], (title, edge)
        assert all(levels[node.name] == 0 for node in found.nodes if node.kind == DATA), title


def laid_out(entries, measure):
    sizes = {title: sizes_of(found, measure) for title, found in entries.items()}
    return {title: layout(found, sizes[title], 6.2) for title, found in entries.items()}


@pytest.mark.parametrize("width", [0.0, 5.7, 6.2])
def test_each_line_has_a_last_piece_that_points_at_its_box(entries, width):
    """The head of its arrow lies along that piece: one of no length, but for rounding, may point anywhere."""
    for title, found in entries.items():
        for path in layout(found, sizes_of(found), width).paths:
            for (ax, ay), (bx, by) in pairwise(path.points):
                assert max(abs(ax - bx), abs(ay - by)) > 1e-6, (title, path.edge)


def crosses(box, a, b):
    """Whether a straight line between points has a point within a box."""
    at = np.linspace(0, 1, 60)[:, None]
    points = np.asarray(a) + at * (np.asarray(b) - np.asarray(a))
    inside = (abs(points[:, 0] - box.x) < box.width / 2 - 1e-6) & (abs(points[:, 1] - box.y) < box.height / 2 - 1e-6)
    return bool(inside.any())


def test_no_boxes_overlap_and_no_line_crosses_one(entries):
    for title, laid in laid_out(entries, roughly).items():
        for (one, box), (other, beside) in combinations(laid.boxes.items(), 2):
            assert not box.overlaps(beside), (title, one, other)
        for box in laid.boxes.values():
            assert box.left >= 0, title
            assert box.right <= laid.width + 1e-9, title
            assert box.bottom >= -1e-9, title
            assert box.top <= laid.height + 1e-9, title
        for path in laid.paths:
            for a, b in zip(path.points, path.points[1:], strict=False):
                for name, box in laid.boxes.items():
                    ends = name in (path.edge.source, path.edge.target)
                    assert not crosses(box, a, b) or (ends and path.edge.loops), (title, path.edge, name)


def test_a_wide_graph_is_laid_out_as_well():
    """Of more places in a layer than all of whose orders are tried, with an edge back over all layers."""
    many = [Node(f"n{i}", LAYER, f"layer {i}") for i in range(9)]
    nodes = (Node("x", DATA, "x"), *many, Node("end", COST, "cost"))
    found = Graph(nodes, (
        *[Edge("x", node.name) for node in many], *[Edge(node.name, "end") for node in many], Edge("x", "end"),
        Edge("n3", "x", 1),
    ))  # fmt: skip
    laid = layout(found, sizes_of(found))
    assert not any(a.overlaps(b) for a, b in combinations(laid.boxes.values(), 2))
    assert laid.width == pytest.approx(sum(map(sum, columns_of(found, sizes_of(found)))))


def test_rows_have_room_for_their_panels():
    least = {"a": 6.0, "b": 8.0, "c": 6.0, "d": 4.0, "e": 20.0}
    rows = rows_of(least)
    assert rows == [["a", "c"], ["b", "d"], ["e"]]
    assert all(sum(least[title] for title in row) <= WIDTH for row in rows if len(row) > 1)


@pytest.mark.long
def test_a_picture_has_all_words_in_their_boxes(entries, tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib import image

    graphs_picture(tmp_path / "graphs.png", entries)
    drawn = image.imread(tmp_path / "graphs.png")
    assert abs(drawn.shape[1] - 1500) < 60
    for title, laid in laid_out(entries, measured).items():
        assert not any(a.overlaps(b) for a, b in combinations(laid.boxes.values(), 2)), title
        for node in entries[title].nodes:
            wide = max(measured(*line) for line in words(node))
            assert wide <= laid.boxes[node.name].width, (title, node)
            assert wide <= max(roughly(*line) for line in words(node)), (title, node)


def test_one_that_cannot_begin_is_left_out():
    def begun(entry):
        if entry.title == "GAN":
            raise ValueError("too few rows")
        model = estimator(entry.estimator)(hidden=(4,), latent_dim=2)
        model.initialize(X)
        return model

    fitted = begun(ALL["ae"])
    found = graphs_of({name: ALL[name] for name in ("vae", "gan", "ae")}, {"ae": fitted, "vae": None}, begun)
    assert list(found) == ["VAE", "autoencoder"]
    assert found["autoencoder"] == graph_of(fitted)


def test_without_matplotlib_nothing_is_written(entries, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        graphs_picture(tmp_path / "graphs.png", entries)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_command_draws_them_and_shows_them(tmp_path):
    """Also of a model that is refused by its own entry: it is left out."""
    pytest.importorskip("matplotlib")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 3)))
    words = "--data", tmp_path / "x.npy", "--models", "ae,nade", "--budget", 0.1, "--out", tmp_path / "c", "--quiet"
    assert compare.main([str(word) for word in words]) == 0
    assert (tmp_path / "c" / "graphs.png").read_bytes().startswith(b"\x89PNG")
    assert "<h2>What each model is trained by" in (tmp_path / "c" / "report.html").read_text("utf-8")
