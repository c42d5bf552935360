"""How a thread hands a program to another and waits for it, in a microsecond: through a mailbox in memory.

A mailbox is 24 int64, three words a cache line apart:

    STATE   what the helper does: ASLEEP (blocked in Python), READY (spinning on this word), BUSY (it has a job)
    JOB     the address of a job, see `program`
    TAKEN   beside it: whether `run_shares` gave it to the helper
    HELD    beside it: whether another job will come soon, so that the helper must not go to sleep
    DONE    0 while there is a job; FINISHED once it is done; WAITED_FOR when the other one sleeps until then

Both sides spin on a word for a bounded time, then block on a lock, in Python (`workers`), or yield the processor. So
the threads of a step meet without the interpreter, and a neighbour who wants the processor loses microseconds.
"""

import sys

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastvae.kernels.cpu.addresses import I64, call, integers_at, intrinsic, number, reals_at, vector_at
from fastvae.kernels.cpu.compiler import as_part, kernel, part
from fastvae.kernels.cpu.sums import total

add_up = as_part(total)

STATE, JOB, TAKEN, HELD, DONE, SIZE = 0, 8, 9, 10, 16, 24
ASLEEP, READY, BUSY = range(3)
FINISHED, WAITED_FOR = 1, 2

SLEEP, WAKE = range(2)  # what `serve` returns

CLOCK = {"linux": 1, "darwin": 6}.get(sys.platform)  # CLOCK_MONOTONIC
PATIENCE = 30_000 if CLOCK else 0  # nanoseconds that a thread spins on the end of another's job before it blocks
LINGER = 200_000 if CLOCK else 0  # that a helper spins on a new job: as long as Python may need from call to call


def _word(builder, address):
    return builder.inttoptr(address, I64.as_pointer())


@intrinsic
def load_acquire(typing, address):
    """An acquire load of the word at an address: what was written before its value was stored is seen afterwards."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(_word(builder, args[0]), ordering="acquire", align=8)

    return types.int64(types.int64), codegen


@intrinsic
def exchange(typing, address, value):
    """Store a word and return the one that stood there, in one atomic operation."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("xchg", _word(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def compare_exchange(typing, address, old, new):
    """Store `new` where `old` stands, in one atomic operation; return whether it did."""

    def codegen(context, builder, signature, args):
        pair = builder.cmpxchg(_word(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


@intrinsic
def now(typing):
    """Nanoseconds of a clock that only goes forward; 0 where there is none that can be asked here."""

    def codegen(context, builder, signature, args):
        if CLOCK is None:
            return number(0)
        pair = ir.ArrayType(I64, 2)
        at = cgutils.alloca_once(builder, pair)
        function = ir.FunctionType(ir.IntType(32), [ir.IntType(32), at.type])
        builder.call(
            cgutils.get_or_insert_function(builder.module, function, "clock_gettime"),
            [ir.Constant(ir.IntType(32), CLOCK), at],
        )
        value = builder.load(at)
        seconds, rest = builder.extract_value(value, 0), builder.extract_value(value, 1)
        return builder.add(builder.mul(seconds, number(1_000_000_000)), rest)

    return types.int64(), codegen


@intrinsic
def yield_processor(typing):
    """Yield the processor to another thread that is ready to run."""

    def codegen(context, builder, signature, args):
        if CLOCK is not None:
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


EMPTY_JOB = np.zeros(5, np.int64)  # a job without calls


def mailbox() -> np.ndarray:
    """A new one, of a helper that sleeps and has no job; on lines of the cache of its own."""
    memory = np.zeros(SIZE + 8, np.int64)
    box = memory[(-memory.ctypes.data % 64) // 8 :][:SIZE]
    box[DONE] = FINISHED
    return box


@part
def spin_until(address, value, patience):
    """Spin on the word at `address`; return whether it became `value` within so many nanoseconds."""
    until = now() + patience
    while True:
        for _ in range(64):
            if load_acquire(address) == value:
                return True
        if now() >= until:
            return load_acquire(address) == value


@part
def wait_for_work(box, patience):
    """Spin on a helper's state; return whether a job came within the time, or while the helper was held. After some
    microseconds it yields the processor between two looks."""
    begun = now()
    while True:
        for _ in range(64):
            if load_acquire(box + 8 * STATE) == BUSY:
                return True
        waited = now() - begun
        if waited >= patience and not load_acquire(box + 8 * HELD):
            return load_acquire(box + 8 * STATE) == BUSY
        if waited >= PATIENCE:
            yield_processor()


@part
def done_within(box, patience):
    """See `await_done`."""
    if spin_until(box + 8 * DONE, FINISHED, patience):
        return True
    if compare_exchange(box + 8 * DONE, 0, WAITED_FOR):
        return False
    return load_acquire(box + 8 * DONE) == FINISHED


@part
def do(job):
    """Do the calls of a program. A job is its table's address, rows and bytes a row, then the addresses of memory for
    products and of the code that does them."""
    n = integers_at(job, 5)
    for i in range(n[1]):
        at_row = n[0] + i * n[2]
        call(integers_at(at_row, 1)[0], (at_row, n[3], n[4]))


@kernel
def run(job):
    """Do a job in this thread."""
    do(job)


@kernel
def run_beside(job, box, patience):
    """Do a job while a helper does its own; see `await_done`."""
    do(job)
    return done_within(box, patience)


@kernel
def post(box, job):
    """Give a helper, whose last job is done, a job; return whether the helper must be woken."""
    integers_at(box, SIZE)[JOB] = job
    exchange(box + 8 * DONE, 0)
    return exchange(box + 8 * STATE, BUSY) == ASLEEP


@kernel
def await_done(box, patience):
    """Return whether a helper's job ended within the time; if not, the helper will wake the thread that waits."""
    return done_within(box, patience)


@part
def finished(box):
    """Store that the job is done; return whether the thread that waits sleeps, and must be woken."""
    exchange(box + 8 * STATE, READY)
    return exchange(box + 8 * DONE, FINISHED) == WAITED_FOR


@kernel
def serve(box, patience):
    """A helper's life: do jobs until none comes. Return SLEEP, or WAKE (whoever waits)."""
    compare_exchange(box + 8 * STATE, ASLEEP, READY)  # where it was woken without a job, it looks for one
    while True:
        if not wait_for_work(box, patience) and compare_exchange(box + 8 * STATE, READY, ASLEEP):
            return SLEEP
        do(integers_at(box, SIZE)[JOB])
        if finished(box):
            return WAKE


@part
def run_shares(jobs, boxes):
    """Do a job each: all but the first by a helper, where it is awake, or else here. Return whether all were awake."""
    for i in range(len(boxes)):
        box = integers_at(boxes[i], SIZE)
        box[JOB] = jobs[i + 1]
        exchange(boxes[i] + 8 * DONE, 0)
        box[TAKEN] = compare_exchange(boxes[i] + 8 * STATE, READY, BUSY)
        if not box[TAKEN]:
            exchange(boxes[i] + 8 * DONE, FINISHED)
    do(jobs[0])
    awake = True
    for i in range(len(boxes)):
        if not integers_at(boxes[i], SIZE)[TAKEN]:
            awake = False
            do(jobs[i + 1])
    for i in range(len(boxes) + 1, len(jobs)):
        do(jobs[i])
    for i in range(len(boxes)):
        if integers_at(boxes[i], SIZE)[TAKEN]:
            while not spin_until(boxes[i] + 8 * DONE, FINISHED, PATIENCE):
                yield_processor()
    return awake


@part
def finite_losses(phase, watched, slots, sums):
    """Whether the losses that a phase has completed are finite: their sums, see `steps`, times their weights."""
    loss = 0.0
    for k in range(len(watched)):
        if watched[k, 3] == phase:
            sums[k] = add_up(vector_at(watched[k, 0], watched[k, 1]))
            loss += reals_at(slots.ctypes.data + 8 * watched[k, 2], 1)[0] * sums[k]
    return np.isfinite(loss)


@kernel
def steps(jobs, boxes, slots, table, order, indices, watched, sums):
    """Steps, up to one for each row of `table` (n, U): its numbers become the first of `slots`; then the phases of
    `jobs` (phases, shares) come one after the other, all shares of one at the same time.

    `order` (n, B), where it is not empty, has the rows of each step, which the jobs read in `indices` (B,). `watched`
    (losses, 4) has, of each loss, the address and size of its values, the place of its weight, and the phase that
    completes it; `sums` (n, losses) gets what the values add up to. Return how many steps were begun, and how many were
    done: it ends after a loss that is not finite, and where a helper has fallen asleep, to be woken.
    """
    for i in range(len(table)):
        for j in range(table.shape[1]):
            slots[j] = table[i, j]
        if order.size:
            for j in range(indices.size):
                indices[j] = order[i, j]
        awake = True
        for phase in range(len(jobs)):
            awake = run_shares(jobs[phase], boxes) and awake
            if not finite_losses(phase, watched, slots, sums[i]):
                return i + 1, i
        if not awake:
            return i + 1, i + 1
    return len(table), len(table)
