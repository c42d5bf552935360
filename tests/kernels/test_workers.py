"""Threads that share a batch: each number once, errors handed on, helpers borrowed and never too many."""

import signal
import threading
import time

import numpy as np
import pytest

from fastvae.kernels import cpu
from fastvae.kernels.cpu import processor_count, team, workers
from fastvae.kernels.cpu.workers import Pool, Workers, shares_for
from fastvae.kernels.slots import Watched
from tests.support.commands import python
from tests.support.programs import add_doubling, doubling


def helpers():
    return [t.name for t in threading.enumerate() if t.name.startswith("fastvae-")]


NO_ROWS = np.empty((1, 0), np.int64)


def watched(slots, phase=0, **losses):
    """Losses that a phase completes: name to values and the weight of their sum."""
    made = []
    for name, (values, weight) in losses.items():
        made.append(Watched(np.array(values, np.float32), slots.real(name), phase))
        slots[name] = weight
    return made


def one_step(threads, phases, slots, losses):
    """The sums of the losses, and whether all phases were done."""
    sums = np.empty((1, len(losses)))
    begun, done = threads.run_steps(phases, slots, slots.table(1), NO_ROWS, NO_ROWS[0], losses, sums)
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
    return doubling(cpu, count)


def lengthy():
    """A program that takes half a second or so, and a number that it doubles at its beginning and its end."""
    (program,), number = counting(1)
    add_doubling(program, np.zeros((300, 300), np.float32), times=20_000)
    add_doubling(program, number[0])
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
        other = np.ones((64, 64), np.float32)
        add_doubling(programs[long], other, times=3000)
        with Workers(3) as team_of_threads:
            for repeat in range(1, 4):
                other[...] = 2.0**-149  # doubled until it overflows: only whole runs give infinity
                team_of_threads.run_programs(programs)
                assert np.isinf(other).all()
                np.testing.assert_array_equal(numbers, 2.0**repeat)


def steps(count, repeats, phases=2):
    """Steps of `count` threads, each phase after the whole one before, with helpers awake and asleep.

    In the first each thread doubles a number; in every other each doubles one of its own, and takes what another has
    left in the phase before, which must be complete: through a threshold that makes 1 of what was doubled, and 0 else.
    """
    first, losses = counting(count)
    others = np.ones((phases - 1, count, 1, 1), np.float32)
    made = [first]
    for k, numbers in enumerate(others):
        made.append([cpu.Program(first[0].slots) for _ in range(count)])
        for i, program in enumerate(made[-1]):
            before = losses if k == 0 else others[k - 1]
            program.add("threshold_inplace", before[count - 1 - i], 1.5)
            add_doubling(program, numbers[i])
    slots = first[0].slots
    seen = watched(slots, kl=(np.full(count, 0.25), 3.0))
    slots.real("nll")
    slots["nll"] = 1.0
    seen = [Watched(losses.reshape(-1), slots.real("nll"), 0), *seen]
    with Workers(count) as team_of_threads:
        for repeat in range(repeats):
            others[...] = losses[...] = 1
            assert one_step(team_of_threads, made, slots, seen) == (count * 2.0, count * 0.25, True)
            np.testing.assert_array_equal(losses, 1 if phases > 1 else 2)
            np.testing.assert_array_equal(others[:-1], 1)
            np.testing.assert_array_equal(others[-1:], 2)
            time.sleep(0.001 * (repeat % 3))


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("phases", [1, 2, 5])
def test_all_phases_of_a_step_are_done_once_by_each(processors, count, phases):
    steps(count, 30, phases)


@pytest.mark.long
def test_more_helpers_than_a_word_has_bits():
    python("from tests.kernels.test_workers import steps; steps(70, 400)", FASTVAE_THREADS="70", timeout=60)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_phases_that_follow_are_left_out_where_a_loss_is_not_finite(processors, value):
    """A value, a weight, or only their product; whichever phase completes the loss, and however many there are."""
    huge = np.float32(3e38)
    for nll, kl, weight, phase in (
        ([1, value], [1, 1], 1.0, 0), ([1, 1], [value, 1], 1.0, 0), ([1, 1], [1, 1], value, 0),
        ([1, 1], [huge, huge], 1e300, 0), ([1, 1], [value, 1], 1.0, 1),
    ):  # fmt: skip
        programs, numbers = counting(2)
        slots = programs[0].slots
        losses = watched(slots, nll=(nll, 1.0)) + watched(slots, phase, kl=(kl, weight))
        with Workers(2) as team_of_threads:
            assert not one_step(team_of_threads, [programs] * 4, slots, losses)[2]
        np.testing.assert_array_equal(numbers, 2 if phase == 0 else 4)


def test_several_steps_are_those_one_after_the_other(processors, patience):
    """Each with its rows, and the numbers of its row of the table; until one is not finite, or a helper sleeps."""
    order = np.arange(21, dtype=np.int64).reshape(7, 3)
    programs, losses = counting(2)
    slots, (others, _) = programs[0].slots, counting(2)
    slots.whole("step"), slots.real("left alone")
    slots["left alone"] = 0.125
    seen = [Watched(losses.reshape(-1), slots.real("example weight"), 0), *watched(slots, kl=(np.ones(2), 0.0))]
    indices, total = np.zeros(3, np.int64), 0
    columns = {"step": 5 + np.arange(7), "kl": np.arange(1.0, 8.0), "example weight": np.full(7, 0.5)}
    table = slots.table(7, **columns, unknown=np.ones(7))
    with Workers(2) as threads:
        while total < 7:
            sums = np.zeros((7 - total, 2))
            rest = table[total:], order[total:], indices, seen, sums
            begun, done = threads.run_steps([programs, others], slots, *rest)
            assert begun == done >= 1
            np.testing.assert_array_equal(sums[:done, 0], 2 * 2.0 ** np.arange(total + 1, total + done + 1))
            np.testing.assert_array_equal(sums[:done, 1], 2)
            total += done
            np.testing.assert_array_equal(indices, order[total - 1])
            assert {name: slots[name] for name in columns} == {
                name: values[total - 1] for name, values in columns.items()
            }
            assert slots["left alone"] == 0.125
        losses[...] = 2.0**126  # the second step from here is infinite
        begun = done = 0
        while begun == done:
            begun, done = threads.run_steps([programs, others], slots, table[:4], order[:4], indices, seen, sums[:4])
            sums = np.empty((4, 2))
        assert begun == done + 1


def test_a_batch_may_have_fewer_rows_than_the_indices_before(processors):
    """The rows of a step, and nothing beyond them."""
    programs, _ = counting(2)
    slots, indices = programs[0].slots, np.full(5, -1, np.int64)
    order = np.arange(6, dtype=np.int64).reshape(2, 3)
    with Workers(2) as threads:
        for i in range(2):
            given = slots.table(1), order[i : i + 1], indices[:3], [], np.empty((1, 0))
            assert threads.run_steps([programs], slots, *given) == (1, 1)
            np.testing.assert_array_equal(indices, [*order[i], -1, -1])


def test_a_helper_does_not_sleep_between_the_steps_of_a_call(processors, patience):
    """However long the part of the other takes: else that one would do the next part alone, at half the speed."""
    short, _ = counting(2)
    slots = short[0].slots
    long = cpu.Program(slots)
    add_doubling(long, np.zeros((64, 64), np.float32), times=1000)
    given = slots.table(5), NO_ROWS, NO_ROWS[0], [], np.empty((5, 0))
    with Workers(2) as threads:
        at_once = [threads.run_steps([[long, short[1]], short], slots, *given)[1] for _ in range(20)]
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
    from fastvae import VAE
    from fastvae.kernels.cpu import team, workers

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
        processor_count.processors()


@pytest.mark.long
def test_the_helpers_of_a_process_end_with_it():
    """Asleep, looking for work, and at work: the process ends at once, and with its own exit code."""
    script = """
        import sys, threading
        from fastvae.kernels.cpu.workers import Workers
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
