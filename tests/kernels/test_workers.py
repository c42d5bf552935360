"""Threads that share a batch: each number once, errors handed on, helpers borrowed and never too many."""

import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from fastvae import workers
from fastvae.kernels import cpu
from fastvae.kernels.cpu import team
from fastvae.kernels.scalars import ADAM_STEP, EXAMPLE_WEIGHT, FACTOR, KL_WEIGHT, NOISE_STEP, Scalars
from fastvae.workers import Pool, Workers, shares_for
from tests.support.commands import python


def helpers():
    return [t.name for t in threading.enumerate() if t.name.startswith("fastvae-")]


def two_parts(first, second, nll, kl):
    return SimpleNamespace(forward_jobs=first, adam_jobs=second, nll=nll, kl=kl, scalars=Scalars())


def one_step(threads, step, kl_weight):
    """The sums of nll and kl, and whether the second part was done."""
    sums, no_rows = np.empty((1, 2)), np.empty((1, 0), np.int64)
    begun, done = threads.run_steps(step, np.array([kl_weight]), no_rows, no_rows[0], sums)
    assert begun == 1
    return (*sums[0], done == 1)


@pytest.fixture(params=["1", "2", "3", "6"])
def processors(request, monkeypatch):
    """How many processors there are, and a pool that has no helpers yet."""
    monkeypatch.setenv("FASTVAE_THREADS", request.param)
    monkeypatch.setattr(workers, "POOL", Pool())
    return int(request.param)


@pytest.fixture(params=[0, team.PATIENCE, 1_000_000], ids=["sleeps at once", "usual", "looks long"])
def patience(request, monkeypatch):
    """How long the threads look for each other before they sleep: each way of meeting is tried."""
    monkeypatch.setattr(team, "PATIENCE", request.param)
    monkeypatch.setattr(team, "LINGER", request.param)


def counting(count):
    """Programs that double a number of their own, and these numbers."""
    numbers, scalars = np.ones((count, 1, 1), np.float32), Scalars()
    scalars.reals[FACTOR] = 2.0
    programs = [cpu.Program(scalars) for _ in range(count)]
    for program, number in zip(programs, numbers, strict=True):
        program.add("scale_inplace", number)
    return programs, numbers


def lengthy():
    """A program that takes half a second or so, and a number that it doubles at its beginning and its end."""
    (program,), number = counting(1)
    numbers = np.zeros((300, 300), np.float32)
    for _ in range(20_000):
        program.add("scale_inplace", numbers)
    program.add("scale_inplace", number[0])
    assert program.job
    return program, number


# ---- what is run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_each_program_runs_once_however_many_helpers_there_are(processors, patience, count):
    programs, numbers = counting(count)
    before = len(helpers())
    with Workers(count) as team_of_threads:
        for repeat in range(1, 101):
            team_of_threads.run_programs(programs)
            np.testing.assert_array_equal(numbers, 2.0**repeat)
            time.sleep(0.001 * (repeat % 3 == 0))
        for fewer in range(1, count + 1):
            team_of_threads.run_programs(programs[:fewer])
        np.testing.assert_array_equal(numbers[:, 0, 0], 2.0 ** (100 + np.arange(count, 0, -1)))
    assert len(helpers()) - before == min(count, processors) - 1


def test_a_thread_that_is_done_waits_for_the_long_program_of_another(processors, patience):
    for long in range(3):
        programs, numbers = counting(3)
        other, times = np.ones((64, 64), np.float32), 3000
        for _ in range(times):
            programs[long].add("scale_inplace", other)
        with Workers(3) as team_of_threads:
            for repeat in range(1, 4):
                other[...] = 2.0**-149  # doubled until it overflows: only whole runs give infinity
                team_of_threads.run_programs(programs)
                assert np.isinf(other).all()
                np.testing.assert_array_equal(numbers, 2.0**repeat)


def steps(count, repeats):
    """Steps of `count` threads, the second part of each after the whole first, with helpers awake and asleep."""
    first, losses = counting(count)
    second, others = counting(count)
    for program, loss in zip(second, losses[::-1], strict=True):  # of another thread: it must be complete
        program.add("threshold_inplace", loss, 1.5)
    jobs = [np.array([program.job for program in programs], np.int64) for programs in (first, second)]
    nll, kl = losses.reshape(-1), np.full(count, 0.25, np.float32)
    with Workers(count) as team_of_threads:
        for repeat in range(repeats):
            others[...] = 1
            assert one_step(team_of_threads, two_parts(*jobs, nll, kl), 3.0) == (count * 2.0, count * 0.25, True)
            np.testing.assert_array_equal(losses, 1)
            np.testing.assert_array_equal(others, 2)
            time.sleep(0.001 * (repeat % 3))


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_both_parts_of_a_step_are_done_once_by_each(processors, count):
    steps(count, 30)


@pytest.mark.long
def test_more_helpers_than_a_word_has_bits():
    python("from tests.kernels.test_workers import steps; steps(70, 400)", FASTVAE_THREADS="70", timeout=60)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_second_part_is_left_out_where_the_loss_is_not_finite(processors, value):
    for nll, kl, weight in (([1, value], [1, 1], 1.0), ([1, 1], [value, 1], 1.0), ([1, 1], [1, 1], value)):
        programs, numbers = counting(2)
        jobs = np.array([program.job for program in programs], np.int64)
        with Workers(2) as team_of_threads:
            nll, kl = np.array(nll, np.float32), np.array(kl, np.float32)
            assert not one_step(team_of_threads, two_parts(jobs, jobs, nll, kl), weight)[2]
        np.testing.assert_array_equal(numbers, 2)


def test_several_steps_are_those_one_after_the_other(processors, patience):
    """Each with its rows, its numbers of the noise and of Adam, and its weight of the KL; until one is not finite, or a
    helper sleeps."""
    weights, order = np.arange(1.0, 8.0), np.arange(21, dtype=np.int64).reshape(7, 3)
    programs, losses = counting(2)
    jobs = np.array([program.job for program in programs], np.int64)
    others, _ = counting(2)
    step = two_parts(jobs, np.array([program.job for program in others], np.int64), losses.reshape(-1), np.ones(2, "f"))
    step.scalars.reals[EXAMPLE_WEIGHT], indices, total = 0.5, np.zeros(3, np.int64), 0
    with Workers(2) as threads:
        while total < 7:
            sums = np.zeros((7 - total, 2))
            begun, done = threads.run_steps(step, weights[total:], order[total:], indices, sums)
            assert begun == done >= 1
            np.testing.assert_array_equal(sums[:done, 0], 2 * 2.0 ** np.arange(total + 1, total + done + 1))
            np.testing.assert_array_equal(sums[:done, 1], 2)
            total += done
            np.testing.assert_array_equal(indices, order[total - 1])
            if done > 1:
                assert step.scalars.reals[KL_WEIGHT] == 0.5 * weights[total - 1]
            assert step.scalars.integers[[NOISE_STEP, ADAM_STEP]].tolist() == [total - 1] * 2
            step.scalars.integers[[NOISE_STEP, ADAM_STEP]] += 1
        losses[...] = 2.0**126  # the second step from here is infinite
        begun = done = 0
        while begun == done:
            begun, done = threads.run_steps(step, np.ones(4), order, indices, np.empty((4, 2)))
        assert begun == done + 1


def test_a_helper_does_not_sleep_between_the_steps_of_a_call(processors, patience):
    """However long the part of the other takes: else that one would do the next part alone, at half the speed."""
    short, _ = counting(2)
    long, other = cpu.Program(Scalars()), np.zeros((64, 64), np.float32)
    for _ in range(1000):
        long.add("scale_inplace", other)
    jobs = [np.array([program.job for program in programs], np.int64) for programs in ([long, short[1]], short)]
    step, order = two_parts(*jobs, np.ones(2, "f"), np.ones(2, "f")), np.empty((5, 0), np.int64)
    with Workers(2) as threads:
        at_once = [threads.run_steps(step, np.ones(5), order, order[0], np.empty((5, 2)))[1] for _ in range(20)]
    assert at_once.count(5) >= 18


# ---- errors -------------------------------------------------------------------------------------------------------


def test_the_helpers_go_back_after_an_error(processors):
    before = len(helpers())
    for _ in range(5):
        with Workers(6) as team_of_threads:
            team_of_threads.run_programs(counting(6)[0])
        with pytest.raises(KeyError), Workers(6):
            raise KeyError
    assert len(helpers()) - before == processors - 1
    assert len(workers.POOL.borrow(Pool(), 6)) == processors - 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in callbacks of weak references
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a signal after some time")
def test_ctrl_c_while_waiting_is_raised_and_later_teams_work(monkeypatch):
    """Whoever still works then is waited for: nobody works any more with what the caller gives up, and no thread is
    lost."""
    monkeypatch.setenv("FASTVAE_THREADS", "2")
    monkeypatch.setattr(workers, "POOL", Pool())
    previous, (long, number) = signal.signal(signal.SIGALRM, signal.default_int_handler), lengthy()
    programs, numbers = counting(2)

    def wait():
        with Workers(2) as team_of_threads:
            team_of_threads.run_programs(programs)  # the helper is there
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            team_of_threads.run_programs([programs[0], long])

    try:
        with pytest.raises(KeyboardInterrupt):
            wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert number[0] == 4
    before = helpers()
    with Workers(2) as team_of_threads:
        team_of_threads.run_programs(programs)
    np.testing.assert_array_equal(numbers[:, 0, 0], [8, 4])
    assert helpers() == before


INTERRUPTED = """
    import gc, signal, sys, threading, time
    import numpy as np
    from fastvae import VAE, workers
    from fastvae.kernels.cpu import team

    def late(*_):
        raise TimeoutError

    X = np.random.default_rng(0).random((1500, 64), dtype="f4")
    vae = VAE(latent_dim=8, hidden=(128,), epochs=1, random_state=0).fit(X)
    expected = vae.transform(X)
    signal.signal(signal.SIGALRM, late)
    for i in range(300):
        if i % 30 == 0:
            workers.POOL.__init__()  # threads are made, too, while it is interrupted
            before = len(threading.enumerate())
        until = time.monotonic() + 1
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + 0.00001 * i, 0.0003 if i % 3 == 0 else 0)
            while time.monotonic() < until:
                vae.transform(X)
        except TimeoutError:
            pass
        while True:  # a second one may come late
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)
                break
            except TimeoutError:
                pass
        assert len(threading.enumerate()) <= before + 1, threading.enumerate()
    gc.collect()
    assert (vae.transform(X) == expected).all()
    (helper,) = workers.POOL._helpers
    assert helper.borrower() is None and helper._work is None and not helper._mailbox[team.HELD]
    print("done")
"""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in callbacks of weak references
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a signal after some time")
def test_signal_handlers_that_raise_cost_no_thread():
    """Wherever they interrupt, and twice: no thread is lost, none works on, none turns round, no other error."""
    assert python(INTERRUPTED, FASTVAE_THREADS="2", timeout=100) == "done\n"


def test_a_helper_that_cannot_work_is_reported_and_replaced(monkeypatch):
    """Compiled code that cannot be loaded in its thread, say: whoever waits for it does not wait for ever."""
    monkeypatch.setenv("FASTVAE_THREADS", "2")
    monkeypatch.setattr(workers, "POOL", Pool())
    serve, (programs, numbers) = team.serve, counting(2)

    def broken(*arguments):
        raise MemoryError("no room for code")

    monkeypatch.setattr(team, "serve", broken)
    with pytest.raises(RuntimeError, match="a helper thread ended .no room for code"), Workers(2) as team_of_threads:
        team_of_threads.run_programs(programs)
    monkeypatch.setattr(team, "serve", serve)
    numbers[...] = 1
    with Workers(2) as team_of_threads:
        team_of_threads.run_programs(programs)
    np.testing.assert_array_equal(numbers, 2)


# ---- how many -----------------------------------------------------------------------------------------------------


def test_many_callers_at_once_share_the_helpers(processors):
    before, wrong = len(helpers()), []

    def caller():
        for _ in range(20):
            with Workers(4) as team_of_threads:
                programs, numbers = counting(4)
                team_of_threads.run_programs(programs)
                if (numbers != 2).any() or len(helpers()) - before > processors - 1:
                    wrong.append(numbers)

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert not any(thread.is_alive() for thread in callers)
    assert wrong == []
    assert len(helpers()) - before <= processors - 1


def test_a_team_within_a_team(processors):
    """The inner one finds no helper, or one that is left, and does the work."""
    programs, numbers = counting(3)
    with Workers(3) as outer, Workers(3) as inner:
        for one in (outer, inner, outer):
            one.run_programs(programs)
    np.testing.assert_array_equal(numbers, 8)


def test_one_share_needs_no_thread(processors):
    before = helpers()
    with Workers(1) as alone:
        alone.run_programs(counting(1)[0])
    assert helpers() == before


def test_shares_depend_on_sizes_and_processors_alone(monkeypatch):
    monkeypatch.setenv("FASTVAE_THREADS", "4")
    assert shares_for(128, 1e5) == 1
    assert shares_for(128, 1e9) == 4
    assert shares_for(4096, 1e9) == 4
    assert shares_for(32, 1e9) == 2
    assert shares_for(16, 1e9) == 1
    assert shares_for(1, 1e9) == 1
    monkeypatch.setenv("FASTVAE_THREADS", "1")
    assert shares_for(4096, 1e9) == 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " 2"])
def test_a_wrong_number_of_threads_is_named(monkeypatch, value):
    monkeypatch.setenv("FASTVAE_THREADS", value)
    with pytest.raises(ValueError, match=f"FASTVAE_THREADS='{value}' must be a whole number"):
        workers.processors()


def test_the_helpers_of_a_process_end_with_it():
    """Asleep, looking for work, and at work: the process ends at once, and with its own exit code."""
    script = """
        import sys, threading
        from fastvae.workers import Workers
        from tests.kernels.test_workers import counting, lengthy
        programs = counting(3)[0]
        with Workers(3) as team:
            team.run_programs(programs)
        print(sum(t.name.startswith("fastvae-") for t in threading.enumerate()))
        long = lengthy()
        with Workers(3) as team:
            team._helpers[0].begin(long[0].job, long)
            sys.exit(0)
    """
    assert python(script, FASTVAE_THREADS="3", timeout=60).split() == ["2"]
