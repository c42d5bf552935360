"""One model in several threads, one of which trains it: what is refused, and what the others see."""

import copy
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastvae import VAE
from fastvae.errors import DivergenceError, NotFittedError, TrainingInProgressError
from fastvae.progress import InterruptibleObserver
from fastvae.training import Observer
from tests.support.models import TABLE, small

WIDE = np.random.default_rng(3).normal(size=(60, 90)).astype(np.float32)


class Pause(Observer):
    """Stops a training after its second step until it is told to go on."""

    def __init__(self):
        self.there, self.go_on, self.heard = threading.Event(), threading.Event(), 0

    def stepped(self, state, examples):
        self.heard += 1
        if self.heard == 2:
            self.there.set()
            assert self.go_on.wait(30)


@pytest.fixture
def paused(monkeypatch):
    """Every training by `fit` and `partial_fit` pauses, once the fixture has been called."""
    pause = Pause()

    def begin():
        monkeypatch.setattr(VAE, "_default_observer", staticmethod(lambda verbose: _with_pause(pause)))
        return pause

    return begin


def _with_pause(pause):
    observer = InterruptibleObserver()
    observer.stepped, observer.interval = pause.stepped, 0.0
    return observer


class Background:
    """A call in another thread, in a block at whose beginning it pauses and at whose end it goes on."""

    def __init__(self, pause, call):
        self.pause, self.call, self.pool = pause, call, ThreadPoolExecutor(1)

    def __enter__(self):
        self.future = self.pool.submit(self.call)
        assert self.pause.there.wait(30)
        return self

    def __exit__(self, *error):
        self.pause.go_on.set()
        self.future.exception(60)
        self.pool.shutdown()


TRAININGS = {
    "fit": lambda v, X: v.fit(X),
    "partial_fit": lambda v, X: v.partial_fit(X),
    "initialize": lambda v, X: v.initialize(X),
    "fit_examples": lambda v, X: v.fit_examples(v.examples(X), 3, 16, None, None, Observer()),
    "fit_transform": lambda v, X: v.fit_transform(X),
}


# ---- the second training ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", TRAININGS)
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_a_second_thread_is_refused_and_the_first_trains_as_alone(paused, first, second):
    vae, alone = small("gaussian").fit(TABLE), small("gaussian").fit(TABLE)
    TRAININGS[first](alone, TABLE)
    refused = pytest.raises(TrainingInProgressError, match="this VAE is being trained by another thread: wait")
    with Background(paused(), lambda: TRAININGS[first](vae, TABLE)) as training, refused:
        TRAININGS[second](vae, TABLE)
    assert training.future.result() is vae
    np.testing.assert_array_equal(vae.network_.parameters.values, alone.network_.parameters.values)
    TRAININGS[second](vae, TABLE)  # afterwards it may


@pytest.mark.parametrize("second", [*TRAININGS, "keep_best"])
@pytest.mark.parametrize("through", ["estimator", "another with its network"])
def test_an_observer_cannot_train_what_it_observes(second, through):
    """It is told so, instead of waiting for itself; also through another estimator that was given the network."""
    vae, refused = small("gaussian").fit(TABLE), []
    other = vae if through == "estimator" else small("gaussian").fit(TABLE)
    if other is not vae:
        other.network_ = vae.network_
        if second in ("fit", "initialize", "fit_transform", "keep_best"):
            return  # these leave that network alone

    class Nested(Observer):
        def stepped(self, state, examples):
            with pytest.raises(TrainingInProgressError, match="by this very thread"):
                other.keep_best() if second == "keep_best" else TRAININGS[second](other, TABLE)
            refused.append(1)

    vae._state.best_values = vae.network_.parameters.values.copy()
    vae.fit_examples(vae.examples(TABLE), 3, 16, None, None, Nested())
    assert len(refused) == 4


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_a_training_that_ends_with_an_error_ends(raised):
    vae = small("gaussian").fit(TABLE)

    class Failing(Observer):
        def stepped(self, state, examples):
            raise raised

    for _ in range(3):
        with pytest.raises(raised):
            vae.fit_examples(vae.examples(TABLE), 9, 16, None, None, Failing())
    vae.partial_fit(TABLE)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in callbacks of weak references
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a signal after some time")
def test_a_signal_handler_that_raises_leaves_the_model_to_the_next_training():
    """Wherever it interrupts: at the beginning, in a step, at the end."""
    vae = small("gaussian", epochs=2).fit(TABLE)

    def late(*_):
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, late)
    try:
        for i in range(150):
            until = time.monotonic() + 1  # should somebody swallow the exception
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.00003 * i)
                while time.monotonic() < until:
                    vae.partial_fit(TABLE) if i % 2 else vae.fit(TABLE)
            except TimeoutError:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    vae.partial_fit(TABLE)
    np.testing.assert_array_equal(
        small("gaussian").fit(TABLE).transform(TABLE), vae.set_params(epochs=2).fit(TABLE).transform(TABLE)
    )


def test_threads_that_train_one_model_are_refused_or_right():
    """As often as the interpreter can switch: no crash, and each training that was not refused was made alone."""
    vae, expected, wrong, done = small("gaussian", epochs=1), {}, [], []
    for rows in (60, 20):
        expected[rows] = small("gaussian", epochs=1).fit(TABLE[:rows]).transform(TABLE)

    def train(i):
        X = TABLE if i % 2 else TABLE[:20]
        for _ in range(30):
            try:
                vae.partial_fit(X) if i == 2 else vae.fit(X)
                done.append(i)
            except TrainingInProgressError:
                time.sleep(1e-4)
            except Exception as error:
                wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=train, args=(i,)) for i in range(4)]
        [t.start() for t in threads]
        [t.join(60) for t in threads]
    finally:
        sys.setswitchinterval(interval)
    assert not any(t.is_alive() for t in threads)
    assert wrong == []
    assert done
    np.testing.assert_array_equal(vae.fit(TABLE).transform(TABLE), expected[60])


# ---- what the others see ------------------------------------------------------------------------------------------

READERS = [
    lambda v: v.transform(TABLE),
    lambda v: v.encode(TABLE)[1],
    lambda v: v.decode(np.ones((2, 3))),
    lambda v: v.reconstruct(TABLE),
    lambda v: v.sample(4, random_state=1, noise=True),
    lambda v: v.elbo(TABLE),
    lambda v: v.loss_and_gradients(TABLE, np.ones((60, 3)))[2]["mu.weight"],
    lambda v: v.parameters()["encoder.0.weight"].copy(),
    lambda v: v.history_["loss"],
    lambda v: np.array([v.n_steps_, v.n_features_in_, v.seed_, v.best_epoch_, v.stopped_early_]),
    lambda v: np.array([*v.sigma_, *v.offset_, *v.scale_]),
    lambda v: copy.deepcopy(v).transform(TABLE),
    lambda v: pickle.loads(pickle.dumps(v)).transform(TABLE),
]


def test_during_a_second_fit_all_see_the_model_from_before(paused, tmp_path):
    vae = small("gaussian", scale="standard", sigma="learned").fit(TABLE)
    before = [read(vae) for read in READERS]
    with Background(paused(), lambda: vae.set_params(latent_dim=5, hidden=(4,)).fit(WIDE)) as training:
        for read, expected in zip(READERS, before, strict=True):
            np.testing.assert_array_equal(read(vae), expected)
        vae.save(tmp_path / "model.npz")
        np.testing.assert_array_equal(VAE.load(tmp_path / "model.npz").transform(TABLE), before[0])
    training.future.result()
    assert vae.transform(WIDE).shape == (60, 5)
    assert vae.n_features_in_ == 90


def test_a_first_fit_can_be_looked_at_and_saved(paused, tmp_path):
    vae = small("gaussian")
    with Background(paused(), lambda: vae.fit(TABLE)) as training:
        vae.save(tmp_path / "model.npz")
        vae.save_checkpoint(tmp_path / "checkpoint.npz")
        seen = [vae.transform(TABLE), *(read(vae) for read in READERS[-2:])]
        assert vae.n_steps_ == 2
    training.future.result()
    for other in (VAE.load(tmp_path / "model.npz"), VAE.load_checkpoint(tmp_path / "checkpoint.npz")):
        for found in seen:
            np.testing.assert_array_equal(other.transform(TABLE), found)
    assert (vae.transform(TABLE) != seen[0]).any()


def test_a_first_fit_that_fails_leaves_nothing():
    vae = small("gaussian", sigma=1e-3, learning_rate=1e4, epochs=50)
    with pytest.raises(DivergenceError):
        vae.fit(TABLE * 1e3)
    with pytest.raises(NotFittedError):
        vae.transform(TABLE)
    assert not hasattr(vae, "n_features_in_")
    vae.set_params(sigma=1.0, learning_rate=1e-3).fit(TABLE)


def test_readers_see_the_old_model_or_the_new_one():
    """Of 1 column, and of many, in turn; as often as the interpreter can switch."""
    narrow, wide = TABLE[:, :1].copy(), np.tile(WIDE, (1, 20))
    vae, expected = small("gaussian", epochs=1, hidden=(2,), linear=False), []
    for X in (narrow, wide):
        expected.append([vae.fit(X).reconstruct(X), vae.elbo(X)])
    wrong, reads, stop = [], [], threading.Event()

    def read(i):
        X, (reconstructed, elbo) = (narrow, wide)[i % 2], expected[i % 2]
        while not stop.is_set():
            try:
                same = (vae.reconstruct(X) == reconstructed).all() and (vae.elbo(X) == elbo).all()
            except ValueError as error:  # the other one
                same = "is expecting" in str(error)
            except Exception as error:
                same = None
                wrong.append(error)
            reads.append(same)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=read, args=(i,)) for i in range(3)]
    try:
        [t.start() for t in threads]
        for _ in range(25):
            vae.fit(narrow), vae.fit(wide)
    finally:
        stop.set()
        [t.join(60) for t in threads]
        sys.setswitchinterval(interval)
    assert wrong == []
    assert reads
    assert all(reads)


def test_what_is_saved_while_a_thread_trains_is_whole(tmp_path):
    """Model, checkpoint, pickle and copy. A run goes on from such a checkpoint as if nothing had happened."""
    X = np.random.default_rng(0).random((400, 12), np.float32)
    settings = {"epochs": 12, "hidden": (64,), "clip_norm": 1.0}
    whole = small(**settings).fit(X)
    vae, copies = small(**settings), []
    examples = vae.initialize(X)

    class Slow(Observer):
        def stepped(self, state, examples):
            time.sleep(0 if len(copies) > 12 else 0.01)

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(lambda: vae.fit_examples(examples, 12, 16, None, None, Slow()))
        while not training.done():
            path = tmp_path / f"{len(copies)}.npz"
            vae.save(path), VAE.load(path)
            vae.save_checkpoint(path)
            copies += [VAE.load_checkpoint(path), pickle.loads(pickle.dumps(vae)), copy.deepcopy(vae)]
        training.result()
    assert len({one.n_steps_ for one in copies}) > 1
    for one in copies[:12]:
        assert one.n_steps_ == one._optimizer.step_count
        one.fit_examples(one.examples(X), 12, 16, None, None, Observer())
        np.testing.assert_array_equal(one.network_.parameters.values, whole.network_.parameters.values)
    np.testing.assert_array_equal(vae.network_.parameters.values, whole.network_.parameters.values)


def test_whoever_waits_for_the_end_of_a_step_gets_it():
    """A training does not take the lock again before those have had it who wait."""
    vae = small("gaussian", hidden=(300,), epochs=10**6)
    examples, stop = vae.initialize(TABLE), threading.Event()

    class Until(Observer):
        interval = 0.02

        def stop_requested(self):
            return stop.is_set()

    thread = threading.Thread(target=lambda: vae.fit_examples(examples, 10**6, 16, None, None, Until()))
    thread.start()
    try:
        steps = [copy.deepcopy(vae).n_steps_ for _ in range(50)]
        time.sleep(0.1)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert steps == sorted(steps)
    assert vae.n_steps_ > steps[-1]


def test_locks_are_not_part_of_a_model(paused):
    vae = small("gaussian").fit(TABLE)
    with Background(paused(), lambda: vae.partial_fit(TABLE)):
        for other in (copy.copy(vae), copy.deepcopy(vae), pickle.loads(pickle.dumps(vae))):
            other.set_params(epochs=1).fit(TABLE)  # nobody trains that one
    assert "_exclusion" not in vars(vae)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for one in (vae, small("gaussian")):
            pickle.loads(pickle.dumps(one, protocol)).partial_fit(TABLE)


# ---- gradients ----------------------------------------------------------------------------------------------------


def test_gradients_in_threads_are_right():
    """Of numbers of rows of their own and the same, and beside a training, which goes on as if nobody had asked."""
    X = np.random.default_rng(0).random((300, 12), np.float32)
    noise = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    vae = small(hidden=(64,)).fit(X)
    expected = {n: vae.loss_and_gradients(X[:n], noise[:n]) for n in (1, 10, 100, 300)}
    trained, alone = (small(hidden=(64,), clip_norm=0.1, epochs=4) for _ in range(2))
    examples = trained.initialize(X)

    def ask(i):
        n = (1, 10, 100, 300)[i % 4]
        loss, parts, gradients = vae.loss_and_gradients(X[:n], noise[:n])
        trained.loss_and_gradients(X[:n], noise[:n])
        same = (loss, parts) == expected[n][:2]
        return same and all((gradients[name] == g).all() for name, g in expected[n][2].items())

    with ThreadPoolExecutor(9) as pool:
        training = pool.submit(lambda: trained.fit_examples(examples, 4, 16, None, None, Observer()))
        assert all(pool.map(ask, range(200)))
        training.result()
    alone.fit(X)
    np.testing.assert_array_equal(trained.network_.parameters.values, alone.network_.parameters.values)


def test_draws_in_threads_are_not_the_same():
    vae = small("gaussian").fit(TABLE)
    with ThreadPoolExecutor(8) as pool:
        draws = list(pool.map(lambda _: vae.sample(1, noise=True).tobytes(), range(200)))
    assert len(set(draws)) == 200


# ---- forks --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_trains(tmp_path):
    """The child has the model as it was between two steps, and may save and train it."""
    X = np.random.default_rng(0).random((400, 12), np.float32)
    settings = {"epochs": 10**6, "hidden": (64,), "clip_norm": 1.0}
    vae, stop, begun = small(**settings), threading.Event(), threading.Event()
    examples = vae.initialize(X)

    class Until(Observer):
        def stepped(self, state, examples):
            begun.set()

        def stop_requested(self):
            return stop.is_set()

    thread = threading.Thread(target=lambda: vae.fit_examples(examples, 10**6, 16, None, None, Until()))
    thread.start()
    try:
        assert begun.wait(60)
        for i in range(10):
            child = os.fork()
            if child == 0:
                try:
                    assert vae.n_steps_ == vae._optimizer.step_count
                    vae.save_checkpoint(tmp_path / f"{i}.npz")
                    vae.transform(X)
                    vae.partial_fit(X)
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
            assert _exit_code(child) == 0
    finally:
        stop.set()
        thread.join(60)
    for i in range(10):
        VAE.load_checkpoint(tmp_path / f"{i}.npz")


def _exit_code(child, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"
