"""What steps carry on beside the parameters, and steps with several optimizers: in copies, checkpoints, and threads.

The model is a denoising autoencoder whose encoder sees a chain, which takes a step of noise in each step of training,
beside the row; the decoder is trained by SGD of its own.
"""

import pickle

import numpy as np
import pytest

from fastvae.kernels.philox import CORRUPTION
from fastvae.models.denoising import CORRUPTIONS, DenoisingAutoencoder, DenoisingNetwork
from fastvae.models.registry import ESTIMATORS, estimator
from fastvae.optimizers import SGD, Adam, Several
from fastvae.passes import ROW
from fastvae.training import Observer
from tests.support import threads as threads_of
from tests.support.models import StopAfter

X = np.random.default_rng(3).normal(size=(90, 6)).astype(np.float32)
ROWS = 16


class ChainNetwork(DenoisingNetwork):
    """Its chain is (ROWS, D)."""

    def state_shapes(self):
        return {"chain": (ROWS, self.architecture.inputs)}

    def step(self, p, optimizers):
        x, weight = p.input("x"), p.slots.real("example weight")
        chain = p.cut(self._state["chain"][: p.rows])
        seen = p.empty(self.architecture.inputs)
        p.add("corrupt", chain, CORRUPTIONS["gaussian"], 0.3, p.seed, CORRUPTION, p.step, ROW, seen)
        p.add("corrupt", seen, CORRUPTIONS["gaussian"], 0.0, p.seed, CORRUPTION, p.step, ROW, chain)  # a copy
        h, back_h = self.encoder(p, seen)
        out, back_out = self.decoder(p, h)
        nll, d_out = self.likelihood.loss(p, x, out, weight)
        p.loss(loss=(nll, weight))
        back_h(back_out(d_out), inputs=False)
        p.update(optimizers[0], self.encoder.layers)
        p.update(optimizers[-1], [*self.decoder.layers, self.likelihood])


class Chain(DenoisingAutoencoder):
    NAME, NETWORK = "Chain", ChainNetwork

    def _make_optimizer(self):
        network, average = self.network_, 1 if self.average else None
        of = network.parameters, network.kernels, self.learning_rate
        return Several(
            Adam(*of, name="encoder", average_from=average),
            SGD(*of, name="decoder", momentum=0.5, average_from=average),
        )


def model(**settings):
    given = {"latent_dim": 3, "hidden": (5,), "likelihood": "gaussian", "epochs": 3, "batch_size": ROWS}
    return Chain(**given | {"random_state": 1, "early_stopping": False} | settings)


def continued(model_, first):
    """Trained for so many steps, then as it comes."""
    examples = model_.initialize(X)
    model_.fit_examples(examples, 3, ROWS, None, None, StopAfter(first))
    return model_


def finish(model_):
    model_.fit_examples(model_.examples(X), 3, ROWS, None, None, Observer())
    model_.keep_best()
    return model_.network_.parameters.values.copy(), model_.network_.state["chain"]


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_a_run_that_is_continued_ends_in_the_same_bits(average, tmp_path):
    whole = model(average=average).fit(X)
    values, chain = whole.network_.parameters.values, whole.network_.state["chain"]
    assert np.abs(chain).max() > 0.5
    half = continued(model(average=average), 7)
    half.save_checkpoint(tmp_path / "checkpoint.npz")
    loaded = Chain.load_checkpoint(tmp_path / "checkpoint.npz")
    copied = pickle.loads(pickle.dumps(half))
    for other in (loaded, copied, half):
        found, moved = finish(other)
        np.testing.assert_array_equal(found, values)
        np.testing.assert_array_equal(moved, chain)
    assert sorted(half._optimizer.state)[:2] == (
        ["decoder.average", "decoder.velocity"] if average else ["decoder.velocity", "encoder.first_moment"]
    )


def test_a_model_from_a_checkpoint_generates(tmp_path):
    half = continued(model(), 5)
    half.save_checkpoint(tmp_path / "checkpoint.npz")
    half.save(tmp_path / "model.npz")
    for name in ("checkpoint", "model"):
        other = Chain.load(tmp_path / f"{name}.npz")
        np.testing.assert_array_equal(other.transform(X), half.transform(X))
        assert not other.network_.state["chain"].any()


def test_a_checkpoint_without_its_chain_is_refused(tmp_path):
    from fastvae import persistence
    from fastvae.errors import ModelFileError

    half = continued(model(), 5)
    header, arrays = half._checkpoint_contents()
    del arrays["state.chain"]
    persistence.write_container(tmp_path / "bad.npz", "checkpoint", header, arrays)
    with pytest.raises(ModelFileError, match=r"array 'state.chain' should have shape \(16, 6\)"):
        Chain.load_checkpoint(tmp_path / "bad.npz")


def test_losses_and_gradients_of_other_rows_leave_the_chain_alone():
    half = continued(model(), 5)
    before = half.network_.state["chain"].copy()
    half.network_.loss_and_gradients(X[:7].copy(), 3, 0.0)
    np.testing.assert_array_equal(half.network_.state["chain"], before)


def test_no_result_depends_on_the_threads(monkeypatch):
    found = []
    for threads in ("1", "2"):
        threads_of.use(monkeypatch, threads)
        fitted = model().fit(X)
        found.append((fitted.network_.parameters.values.copy(), fitted.network_.state["chain"]))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_optimizer_changes_its_own_parameters():
    fitted = model(learning_rate=1e-3).fit(X)
    state = fitted._optimizer.state
    moved = fitted.network_.parameters.views(state["encoder.first_moment"])
    assert moved["encoder.0.weight"].any()
    assert not moved["decoder.0.weight"].any()
    velocity = fitted.network_.parameters.views(state["decoder.velocity"])
    assert velocity["decoder.0.weight"].any()
    assert not velocity["encoder.0.weight"].any()


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_every_estimator_says_what_it_can(name):
    kind = estimator(name)
    assert kind.__name__ == name == kind.NAME
    assert kind.ABILITIES.density in ("exact", "bracket", "bound", "none")
