"""The loop: weighting, allocation, divergence, early stopping, interruption, and continuing bit for bit."""

import math
import os
import signal
import tracemalloc

import numpy as np
import pytest

from fastvae import VAE, reference
from fastvae.data.minibatches import Examples
from fastvae.engine import Network
from fastvae.errors import DivergenceError
from fastvae.exclusion import Exclusion
from fastvae.kernels import cpu
from fastvae.kernels.cpu.workers import Workers
from fastvae.optimizers import Adam
from fastvae.parameters import Parameters
from fastvae.progress import InterruptibleObserver
from fastvae.training import Observer, Schedule, State, train
from tests.support.models import StopAfter
from tests.support.tolerances import check_same

X = np.random.default_rng(0).random((70, 6)).astype(np.float32)
RAW = {"likelihood": "gaussian", "scale": None, "linear": False, "init": "he"}
SMALL = {"latent_dim": 2, "hidden": (8,), "batch_size": 16, "random_state": 0}


class Recorder:
    """A `Trainable` that knows no VAE: its loss is the mean of the rows' numbers; it keeps what it was given, and does
    up to `most` steps in a call."""

    def __init__(self, most=1):
        self.parameters, self.exclusion, self.steps_ahead, self.most = Parameters({"w": (3,)}), Exclusion(), True, most
        self.batches = []

    def steps(self, first, order, progress):
        assert order.dtype == np.int64
        assert order.shape[0] == len(progress) >= 1
        done = [(first + i, progress[i], order[i].copy()) for i in range(min(self.most, len(order)))]
        self.batches += done
        return [{"loss": float(rows.mean()), "part": 1.0} for _, _, rows in done]

    def faults(self, rows):
        return "layer 'w'"


def recorded(count, size, epochs, most=1, observer=None, **schedule):
    model, state = Recorder(most), State()
    examples = Examples(np.zeros((count, 2), np.float32), np.zeros(2), np.ones(2), np.uint64(0), cpu)
    optimizer = Adam(model.parameters, cpu)
    train(model, examples, optimizer, Schedule(epochs, size, **schedule), state, observer or Observer())
    return model, state


@pytest.mark.parametrize(("count", "size"), [(10, 4), (8, 4), (5, 5), (7, 1), (129, 128)])
def test_every_example_once_an_epoch_and_the_short_batch_weighs_by_its_rows(count, size):
    model, state = recorded(count, size, 3)
    steps = math.ceil(count / size)
    assert [step for step, _, _ in model.batches] == list(range(1, 3 * steps + 1))
    for epoch in range(3):
        rows = np.concatenate([rows for _, _, rows in model.batches[epoch * steps : (epoch + 1) * steps]])
        assert sorted(rows) == list(range(count))
        assert state.records[epoch]["loss"] == pytest.approx((count - 1) / 2)  # not the mean of the batches' means
    assert (state.epoch, state.position, state.step) == (3, 0, 3 * steps)


def test_progress_is_in_epochs():
    model, _ = recorded(8, 4, 2)
    assert [p for _, p, _ in model.batches] == [0, 0.5, 1, 1.5]


@pytest.mark.parametrize("most", [2, 3, 1000])
def test_a_model_may_do_fewer_steps_than_it_is_given(most):
    """As one does whose helper has fallen asleep: the rest comes in the next call, on the same rows."""
    one, alone = recorded(129, 16, 3)
    several, state = recorded(129, 16, 3, most, Patient())
    assert [step for step, _, _ in several.batches] == list(range(1, 28))
    np.testing.assert_equal([b[2] for b in several.batches], [b[2] for b in one.batches])
    np.testing.assert_allclose([b[1] for b in several.batches], [b[1] for b in one.batches], rtol=1e-12)
    for record, expected in zip(state.records, alone.records, strict=True):
        assert record["loss"] == pytest.approx(expected["loss"])
    assert (state.epoch, state.position, state.step) == (3, 0, 27)


def test_epochs_are_shuffled_differently():
    model, _ = recorded(64, 64, 2)
    assert (model.batches[0][2] != model.batches[1][2]).any()


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sigma", [None, "learned", "optimal"])
def test_a_step_allocates_nothing(sigma, threads, clip_norm, monkeypatch):
    """Whole minibatches of MNIST's size, gathered, binarised, forward, backward and Adam, with clipping and without."""
    monkeypatch.setenv("FASTVAE_THREADS", str(threads))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 784)).astype(np.uint8)
    likelihood = {} if sigma is None else {"likelihood": "gaussian", "sigma": sigma}
    vae = VAE(scale=(0, 255), clip_norm=clip_norm, random_state=0, **likelihood)
    examples = vae.initialize(images, "dynamic" if sigma is None else None)
    network, optimizer = vae.network_, vae._make_optimizer()
    order, progress = np.empty((1, 128), np.int64), np.zeros(1)

    def step(number):
        examples.order(0, 0, order[0])
        network.steps(number, order, progress)

    with Workers(threads) as network.workers:
        network.allocate(128, [optimizer], examples, np.empty(128, np.int64))
        for number in (1, 2, 3):  # compiles
            step(number)
        largest, left = allocated(step, range(4, 55))
    assert optimizer.step_count == 54
    print(f"50 steps: at most {largest} bytes at once, {left} of arrays left")
    assert largest < 128 * 20 * 4 / 2  # small objects and some numbers; the smallest matrix is twice that
    assert left == 0


def allocated(step, numbers):
    """The largest number of bytes that one of these steps needs at once, and what all but the first leave in arrays."""

    def arrays():
        only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([only]).traces)

    largest = 0
    tracemalloc.start()
    try:
        step(numbers[0])
        before = arrays()
        for number in numbers[1:]:
            begun = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            step(number)
            largest = max(largest, tracemalloc.get_traced_memory()[1] - begun)
        return largest, arrays() - before
    finally:
        tracemalloc.stop()


def test_steps_leave_nothing():
    """In the long run no object of whatever kind: the interpreter keeps some to use again, and those are enough."""
    vae = VAE(2, (4,), random_state=0)
    examples = vae.initialize(X)
    network, order = vae.network_, np.arange(16)[None]
    network.allocate(16, [vae._make_optimizer()], examples, np.empty(16, np.int64))
    tracemalloc.start()
    try:
        for number in range(1, 3001):
            network.steps(number, order, np.zeros(1))
        before = tracemalloc.get_traced_memory()[0]
        for number in range(3001, 4001):
            network.steps(number, order, np.zeros(1))
        assert tracemalloc.get_traced_memory()[0] - before < 1000 * 20  # no object is as small as 20 bytes
    finally:
        tracemalloc.stop()


def test_many_steps_in_a_call_allocate_as_little(monkeypatch):
    """Their numbers and losses, some words a step, and nothing of a batch's size."""
    monkeypatch.setenv("FASTVAE_THREADS", "1")
    vae = VAE(hidden=(16,), likelihood="gaussian", sigma="optimal", clip_norm=1.0, random_state=0)
    examples = vae.initialize(np.random.default_rng(0).random((2000, 50)))
    network, order = vae.network_, np.random.default_rng(1).integers(0, 2000, (1000, 1))
    network.allocate(1, [vae._make_optimizer()], examples, np.empty(1, np.int64))
    network.steps(1, order[:2], np.zeros(2))
    tracemalloc.start()
    try:
        network.steps(3, order, np.zeros(1000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1000 * 8 * 200  # a table of 64 words at most, the numbers that go into it, and a dict a step


# sigma (None: Bernoulli), latent_dim, hidden: some layers have fewer rows than there are threads, others many columns
NETWORKS = [
    (None, 3, (9, 7)), (1.0, 3, (9, 7)), ("learned", 3, (9, 7)), ("optimal", 3, (9, 7)),
    (None, 1, (2,)), (1.0, 20, (300, 256)),
]  # fmt: skip


def estimator(sigma, latent_dim, hidden, **settings):
    likelihood = {} if sigma is None else {"likelihood": "gaussian", "sigma": sigma}
    return VAE(latent_dim, hidden, random_state=0, batch_size=16, **likelihood, **settings)


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_threads_share_a_batch_and_its_gradient_is_the_same(monkeypatch, network, threads):
    """Bit for bit, whether or not there are as many helpers as shares."""
    vae = estimator(*network)
    examples = vae.initialize(X)
    network, x = vae.network_, np.empty((29, 6), np.float32)
    examples.fill(np.arange(29), x, 5, 0)
    start, found = network.parameters.values.copy(), []
    for count, processors in ((1, "1"), (threads, "1"), (threads, "2"), (threads, str(threads))):
        monkeypatch.setenv("FASTVAE_THREADS", processors)
        network.parameters.values[:], network.parameters.gradients[:] = start, np.nan
        with Workers(count) as network.workers:
            network.allocate(40, [Left()], examples, np.empty(40, np.int64))
            parts = network.steps(5, np.arange(29)[None], np.ones(1))[0]
            found.append((parts, network.parameters.gradients.copy(), network.parameters.values.copy()))
    asked = network.loss_and_gradients(x, 5, 1.0)
    found.append((asked, network.parameters.gradients, found[0][2]))
    for parts, gradients, values in found[1:]:
        assert list(parts) == list(found[0][0])
        check_same(list(parts.values()), list(found[0][0].values()))
        check_same(gradients, found[0][1])
        check_same(values, found[0][2])


class Left(Adam):
    """An optimizer that leaves all gradients where they are."""

    fused, state, step_count, name = False, {}, 0, "left"  # type: ignore[assignment]
    weight_decay = 0.0

    def __init__(self):
        pass

    def numbers(self, count):
        return {}

    def write_norm(self, *_):
        return False

    def write_flat(self, *_):
        pass


@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_training_does_not_depend_on_the_number_of_threads(monkeypatch, network, clip_norm):
    """Parameters, moments, history and ELBO are the same bits; 70 rows also make a short batch."""
    from fastvae.kernels.cpu import workers

    monkeypatch.setattr(workers, "SMALL_PRODUCT", 0.0)
    monkeypatch.setattr(workers, "SMALLEST_SHARE", 1)
    found = []
    for threads in ("1", "2", "2", "3", "7"):
        monkeypatch.setenv("FASTVAE_THREADS", threads)
        vae = estimator(*network, epochs=3, clip_norm=clip_norm).fit(X)
        optimizer = vae._optimizer
        arrays = vae.network_.parameters.values, *optimizer.state.values(), vae.history_["loss"]
        found.append([*(a.copy() for a in arrays), vae.elbo(X), vae.transform(X)])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            check_same(a, b)


class Probe(Observer):
    """Looks at the gradients of rows of its own after each step."""

    def __init__(self, vae, rows):
        self.vae, self.rows, self.seen = vae, rows, []

    def stepped(self, state, examples):
        noise = reference.normals(0, reference.LATENT, 0, 0, (len(self.rows), 2))
        loss = self.vae.loss_and_gradients(self.rows, noise)[0]
        self.seen.append((loss, -float(self.vae.elbo(self.rows).mean())))


@pytest.mark.parametrize("rows", [5, 16, 60])  # fewer than a batch, as many, more
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradients_can_be_asked_for_between_two_steps(likelihood, rows):
    """They are of the rows that were asked about, and the training goes on as if nobody had asked."""
    settings = SMALL | {"likelihood": likelihood, "epochs": 2}
    asked, alone = VAE(**settings), VAE(**settings)
    probe = Probe(asked, X[:rows])
    asked.fit_examples(asked.initialize(X), 2, 16, None, None, probe)
    alone.fit_examples(alone.initialize(X), 2, 16, None, None, Observer())
    np.testing.assert_array_equal(asked.network_.parameters.values, alone.network_.parameters.values)
    assert len(probe.seen) == 10
    for loss, expected in probe.seen:
        assert loss == pytest.approx(expected, rel=1e-5)


def test_two_models_can_train_on_the_same_examples_in_turn():
    """Neither reads the rows that the other one has chosen."""
    first, second = VAE(**SMALL), VAE(**SMALL | {"batch_size": 10})
    shared = first.initialize(X)
    second.initialize(X)

    class Turn(Observer):
        def stepped(self, state, examples):
            if state.step == 2:
                second.fit_examples(shared, 1, 10, None, None, Observer())

    first.fit_examples(shared, 2, 16, None, None, Turn())
    alone = VAE(**SMALL)
    alone.fit_examples(alone.initialize(X), 2, 16, None, None, Observer())
    np.testing.assert_array_equal(first.network_.parameters.values, alone.network_.parameters.values)


def test_a_run_that_was_stopped_within_an_epoch_goes_on_with_another_batch_size():
    vae = VAE(**SMALL)
    examples = vae.initialize(X)
    vae.fit_examples(examples, 1, 16, None, None, StopAfter(2))
    vae.fit_examples(examples, 1, 10, None, None, Observer())
    assert vae.n_epochs_ == 1
    assert vae.n_steps_ == 2 + 5  # 42 rows were left


# ---- divergence -------------------------------------------------------------------------------------------------


def test_a_diverging_run_stops_and_names_the_place():
    big = X * 1e3
    message = r"epoch \d+, step \d+: .*(nll|kl).* = (nan|inf).*layer '.*'.*Try"
    with pytest.raises(DivergenceError, match=message) as info:
        VAE(**SMALL, **RAW, sigma=1e-3, learning_rate=1e4, epochs=50).fit(big)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("rate", [1e2, 1e4, 1e8])
def test_a_learned_sigma_that_leaves_all_bounds_is_divergence(rate):
    with pytest.raises(DivergenceError, match="training diverged in epoch"):
        VAE(**SMALL, **RAW, sigma="learned", learning_rate=rate, epochs=300).fit(X * 1e4)


def test_divergence_names_the_layer_whose_parameter_is_not_finite():
    vae = VAE(**SMALL, epochs=1)
    vae.fit(X)
    vae.parameters()["decoder.0.weight"][0, 0] = np.nan
    with pytest.raises(DivergenceError, match=r"epoch 2, step 6: nll = nan; layer 'decoder.0' has a weight"):
        vae.partial_fit(X)


def test_divergence_in_the_last_step_of_an_epoch_is_seen(monkeypatch):
    vae = VAE(**SMALL, epochs=1)
    original = Network.steps

    def last_step_overflows(self, first, order, progress):
        parts = original(self, first, order, progress)
        if first + len(parts) > 5:
            self.parameters.values[0] = np.inf
        return parts

    monkeypatch.setattr(Network, "steps", last_step_overflows)
    with pytest.raises(DivergenceError, match=r"layer 'encoder.0' has a weight that is not finite"):
        vae.fit_examples(vae.initialize(X), 1, 16, None, None, Observer())


# ---- several steps at a time ------------------------------------------------------------------------------------


class Patient(Observer):
    """Wants to hear of a run only now and then."""

    interval = 10.0

    def __init__(self):
        self.heard = 0

    def stepped(self, state, examples):
        self.heard += 1


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("binarize", [None, "dynamic"])
def test_several_steps_at_a_time_change_nothing(binarize, threads, monkeypatch):
    """Bit for bit, the metrics too, with the weight of the KL rising and a short batch at the end of an epoch."""
    monkeypatch.setenv("FASTVAE_THREADS", threads)
    found, settings = [], SMALL | {"hidden": (70,), "batch_size": 32, "kl_warmup_epochs": 2.5, "epochs": 4}
    data = np.random.default_rng(5).random((990, 40))
    for observer in (Observer(), Patient()):
        vae = VAE(**settings)
        vae.fit_examples(vae.initialize(data, binarize), 4, 32, None, None, observer)
        records = [{k: v for k, v in r.items() if "second" not in k} for r in vae._state.records]
        found.append((vae.network_.parameters.values, vae._optimizer.state, vae._optimizer.step_count, records))
    for one, several in zip(*found, strict=True):
        np.testing.assert_equal(several, one)
    assert observer.heard < 4 * 31


@pytest.mark.parametrize("kind", [np.float16, ">f4"])
def test_data_that_python_reads_are_trained_on_step_by_step(kind):
    observer, data = Patient(), X.astype(kind)
    vae = VAE(**SMALL)
    vae.fit_examples(vae.initialize(data), 2, 16, None, None, observer)
    assert observer.heard == vae.n_steps_ == 10


def test_of_data_that_python_reads_a_call_does_one_step():
    """However many it is asked for, whatever the batches' lengths; the losses are those of data that kernels read."""
    found, chosen = [], np.random.default_rng(0).integers(0, 70, (3, 16))
    for kind in (np.float16, np.float32):
        vae = VAE(**SMALL)
        examples = vae.initialize(X.astype(np.float16).astype(kind))
        network, losses = vae.network_, []
        network.allocate(16, [vae._make_optimizer()], examples, np.empty(16, np.int64))
        for order in (chosen, chosen[:2, :15], chosen[1:]):
            left = order.copy()
            while len(left):
                parts = network.steps(len(losses) + 1, left, np.zeros(len(left)))
                assert len(parts) == (1 if kind is np.float16 else len(left))
                losses, left = losses + parts, left[len(parts) :]
        found.append(losses)
    assert len(found[0]) == 7
    assert found[0] == found[1]


def test_a_run_that_diverges_among_several_steps_is_where_it_would_be_alone():
    found = []
    for observer in (Observer(), Patient()):
        vae = VAE(**SMALL, **RAW, sigma=1e-3, learning_rate=1e4)
        examples = vae.initialize(X * 1e3)
        with pytest.raises(DivergenceError) as info:
            vae.fit_examples(examples, 50, 10, None, None, observer)
        found.append((str(info.value), vae.n_steps_, vae._optimizer.step_count, vae._state.sums, vae._state.position))
        assert vae.n_steps_ == vae._optimizer.step_count
    assert found[0] == found[1]


# ---- early stopping ---------------------------------------------------------------------------------------------


def test_early_stopping_returns_to_the_best_epoch():
    rng = np.random.default_rng(1)
    noise = rng.random((40, 30)).astype(np.float32)  # nothing to learn: overfits at once
    vae = VAE(2, (200,), epochs=400, batch_size=40, learning_rate=1e-2, random_state=0, init="he")
    vae.fit(noise, heldout=rng.random((40, 30)), patience=3)
    elbo = vae.history_["heldout_elbo"]
    assert len(elbo) < 400
    assert len(elbo) - 1 - np.argmax(elbo) == 3
    best = VAE(**vae.get_params() | {"epochs": int(np.argmax(elbo)) + 1}).fit(noise)
    assert (vae.network_.parameters.values == best.network_.parameters.values).all()


def test_without_heldout_data_patience_keeps_a_tenth_back():
    vae = VAE(**SMALL, epochs=200, learning_rate=1e-2).fit(X, patience=3)
    assert vae.stopped_early_
    assert vae.n_steps_ == 4 * vae.n_epochs_  # 60 of 70 rows, at least 10 are kept back


# ---- interruption and continuing --------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 13])  # within an epoch, at its last step, at its end
def test_a_run_continued_from_a_checkpoint_ends_bit_identical(tmp_path, steps):
    whole = VAE(**SMALL, epochs=3, clip_norm=0.5, kl_warmup_epochs=2)
    whole.fit_examples(whole.initialize(X, "dynamic"), 3, 16, whole.examples(X[:9]), 2, Observer())

    part = VAE(**whole.get_params())
    part.fit_examples(part.initialize(X, "dynamic"), 3, 16, part.examples(X[:9]), 2, StopAfter(steps))
    assert part._state.step == steps
    part.save_checkpoint(tmp_path / "checkpoint.npz")
    rest = VAE.load_checkpoint(tmp_path / "checkpoint.npz")
    rest.fit_examples(rest.examples(X, binarize="dynamic"), 3, 16, rest.examples(X[:9]), 2, Observer())

    assert (rest.network_.parameters.values == whole.network_.parameters.values).all()
    np.testing.assert_equal(rest._optimizer.state, whole._optimizer.state)
    for name in ("epoch", "loss", "nll", "kl", "heldout_elbo"):
        assert (rest.history_[name] == whole.history_[name]).all()
    assert (rest._state.best_values == whole._state.best_values).all()


@pytest.fixture(autouse=True)
def _default_handler():
    """Where the tests themselves run with SIGINT ignored (nohup), Python has no handler that could be taken over."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_ctrl_c_finishes_the_step_and_leaves_a_usable_model(monkeypatch):
    original = InterruptibleObserver.stepped

    def interrupt(self, state, examples):
        if state.step >= 7 and self.interrupted is None:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, state, examples)

    monkeypatch.setattr(InterruptibleObserver, "stepped", interrupt)
    before = signal.getsignal(signal.SIGINT)
    vae = VAE(**SMALL, epochs=100)
    with pytest.raises(KeyboardInterrupt, match="keeps what it has learned"):
        vae.fit(X)
    assert signal.getsignal(signal.SIGINT) is before
    assert 7 <= vae._state.step < 500
    assert len(vae.history_["loss"]) == vae.n_epochs_
    assert vae._state.step == 5 * vae.n_epochs_ + vae._state.position // 14
    assert np.isfinite(vae.elbo(X)).all()


def test_a_handler_that_somebody_else_has_set_is_left_alone():
    calls = []
    previous = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        VAE(**SMALL, epochs=1).fit(X)
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert calls == [1]


def test_ctrl_c_in_partial_fit_is_raised_and_the_next_call_trains_a_whole_epoch(monkeypatch):
    original = InterruptibleObserver.stepped

    def interrupt(self, state, examples):
        if state.step >= 7 and self.interrupted is None:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, state, examples)

    vae = VAE(**SMALL).partial_fit(X)
    monkeypatch.setattr(InterruptibleObserver, "stepped", interrupt)
    with pytest.raises(KeyboardInterrupt):
        vae.partial_fit(X)
    monkeypatch.undo()
    steps = vae.n_steps_
    vae.set_params(batch_size=25).partial_fit(X)
    assert vae.n_steps_ == steps + 3
    assert vae.history_["loss"][-1] < 2 * vae.history_["loss"][0]


def test_partial_fit_goes_on_after_early_stopping():
    rng = np.random.default_rng(1)
    vae = VAE(2, (200,), epochs=400, batch_size=40, learning_rate=1e-2, random_state=0)
    vae.fit(rng.random((40, 30)), heldout=rng.random((40, 30)), patience=1)
    assert vae.stopped_early_
    before, steps = vae.network_.parameters.values.copy(), vae.n_steps_
    vae.partial_fit(rng.random((40, 30)))
    assert vae.n_steps_ == steps + 1
    assert (vae.network_.parameters.values != before).any()


def test_a_heldout_elbo_that_is_not_finite_is_no_improvement(tmp_path):
    vae = VAE(2, (8,), **RAW, sigma=1e-3, epochs=5, batch_size=35, random_state=0)
    odd = X[:5].copy()
    odd[0, 0] = 1e30
    vae.fit(X, heldout=odd, patience=2)
    assert vae.n_epochs_ == 2
    vae.save_checkpoint(tmp_path / "checkpoint.npz")


def test_a_second_moment_that_overflows_is_divergence():
    with pytest.raises(DivergenceError, match=r"epoch 1, step \d: the gradient of '.*' is too large for float32"):
        VAE(**SMALL, **RAW, sigma=1.0, epochs=3).fit(X * 3e6)


def test_a_diverged_fit_keeps_the_earlier_model():
    vae = VAE(**SMALL, likelihood="gaussian", epochs=2).fit(X)
    before = vae.elbo(X)
    with pytest.raises(DivergenceError):
        vae.set_params(learning_rate=1e30).fit(X)
    assert (vae.elbo(X) == before).all()
    vae.set_params(learning_rate=1e-3).partial_fit(X)


def test_the_best_parameters_survive_a_checkpoint(tmp_path):
    rng = np.random.default_rng(1)
    noise, held = rng.random((40, 30)), rng.random((40, 30))
    whole = VAE(2, (200,), epochs=400, batch_size=40, learning_rate=1e-2, random_state=0, init="he")
    whole.fit_examples(whole.initialize(noise), 400, 40, whole.examples(held), 3, Observer())
    part = VAE(**whole.get_params())
    part.fit_examples(part.initialize(noise), 400, 40, part.examples(held), 3, StopAfter(whole.n_steps_ - 1))
    assert part.best_epoch_ == whole.best_epoch_  # the best one lies before the checkpoint
    part.save_checkpoint(tmp_path / "checkpoint.npz")
    rest = VAE.load_checkpoint(tmp_path / "checkpoint.npz")
    rest.fit_examples(rest.examples(noise), 400, 40, rest.examples(held), 3, Observer())
    whole.keep_best(), rest.keep_best()
    assert (rest.network_.parameters.values == whole.network_.parameters.values).all()
    assert rest.elbo(held, 16).mean() == pytest.approx(np.max(whole.history_["heldout_elbo"]))


def test_the_optimal_sigma_is_that_of_the_model_also_after_few_steps():
    """150 rows, 100 steps: the held-out ELBO under the sigma in use is near that under the residuals' own."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(170, 2)) @ rng.normal(size=(2, 10)) + 0.3 * rng.normal(size=(170, 10))
    vae = VAE(2, (32,), likelihood="gaussian", sigma="optimal", scale="standard", epochs=50, batch_size=75)
    vae.set_params(random_state=0, learning_rate=1e-2).fit(rows[:150])
    loss = vae.history_["loss"][-1]
    assert vae.score(rows[:150]) == pytest.approx(-loss, abs=0.1 * abs(loss))
