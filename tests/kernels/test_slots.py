"""Slots: numbers by name in one row that compiled code reads, and tables of what they are in many steps."""

import numpy as np
import pytest

from fastvae.kernels.slots import CAPACITY, Slot, Slots, Source, Watched


def test_a_number_is_what_it_was_set_to():
    slots = Slots()
    step, rate = slots.whole("step"), slots.real("rate")
    assert (slots["step"], slots["rate"]) == (0, 0.0)
    slots["step"], slots["rate"] = 2**62 + 1, 0.1
    assert (slots["step"], slots["rate"]) == (2**62 + 1, 0.1)
    assert slots.row[step.place] == 2**62 + 1
    assert slots.reals[rate.place] == 0.1
    assert slots.address(rate) == slots.row.ctypes.data + 8 * rate.place
    assert slots.whole("step") == step
    assert "rate" in slots
    assert "other" not in slots
    with pytest.raises(KeyError):
        slots["other"] = 1


def test_a_name_has_one_kind():
    slots = Slots()
    slots.whole("step"), slots.real("rate")
    with pytest.raises(TypeError, match="'step' is a whole number elsewhere"):
        slots.real("step")
    with pytest.raises(TypeError, match="'rate' is a real number elsewhere"):
        slots.whole("rate")
    assert slots.used == 3


def test_operands_that_are_numbers_have_places_too():
    """Whole ones are counted from a word that stays 0; real ones and seeds keep theirs, once for each value."""
    slots = Slots()
    assert slots.whole_operand(-7) == Slot(0, -7)
    assert slots.row[0] == 0
    half, again, minus = slots.real_operand(0.5), slots.real_operand(np.float32(0.5)), slots.real_operand(-0.5)
    assert half == again != minus
    assert (slots.reals[half.place], slots.reals[minus.place]) == (0.5, -0.5)
    nan, zero, below = slots.real_operand(np.nan), slots.real_operand(0.0), slots.real_operand(-0.0)
    assert np.isnan(slots.reals[nan.place])
    assert zero != below
    assert np.signbit(slots.reals[below.place])
    seed = slots.seed_operand(np.uint64(2**64 - 1))
    assert slots.row.view(np.uint64)[seed.place] == 2**64 - 1
    step = slots.whole("step")
    for operand in (slots.whole_operand, slots.real_operand, slots.seed_operand):
        assert operand(step) is step


def test_what_is_counted_from_a_slot_adds_up():
    assert Slot(3) + 4 + 5 == Slot(3, 9)


def test_a_row_that_is_full_says_what_stands_in_it():
    slots = Slots()
    for i in range(CAPACITY - 1):
        slots.real(f"number {i}")
    with pytest.raises(ValueError, match=f"no room for 'one more': a row has {CAPACITY} numbers .number 0, "):
        slots.real("one more")
    assert slots.real("number 3") == Slot(4)


def test_a_table_has_what_stands_there_and_columns_of_the_rest():
    """A row as long as the places that are used; names that nobody reads are left out; nothing here changes."""
    slots = Slots()
    slots.whole("step"), slots.real("rate"), slots.real("fixed")
    slots["fixed"], slots["step"] = 0.3, 17
    steps, rates = np.arange(4), np.array([0.1, 0.2, 0.3, 0.4])
    table = slots.table(4, step=steps, rate=rates, unknown=rates)
    assert table.shape == (4, slots.used)
    assert table.flags.c_contiguous
    np.testing.assert_array_equal(table[:, slots.whole("step").place], steps)
    np.testing.assert_array_equal(table.view(np.float64)[:, slots.real("rate").place], rates)
    np.testing.assert_array_equal(table.view(np.float64)[:, slots.real("fixed").place], [0.3] * 4)
    np.testing.assert_array_equal(table[:, 0], 0)
    assert slots["step"] == 17
    np.testing.assert_array_equal(slots.table(2)[:, slots.whole("step").place], [17, 17])


def test_real_places():
    slots = Slots()
    slots.whole("step"), slots.real("rate"), slots.seed_operand(3), slots.real_operand(0.5)
    np.testing.assert_array_equal(slots.real_places, [2, 4])


def test_a_source_reads_what_it_is_told():
    """Where the rows lie, and how far apart; they are kept alive until it is told None."""
    slots = Slots()
    source = Source(slots, "x", "int16")
    rows = np.zeros((6, 10), np.int16)[1::2, ::-3]
    source.read(rows)
    assert source.rows is rows
    assert [slots.row[slot.place] for slot in source.places] == [rows.ctypes.data, *rows.strides]
    source.read(None)
    assert source.rows is None
    assert len({slot.place for each in (source, Source(slots, "y", "f4")) for slot in each.places}) == 6


def test_a_loss_as_compiled_code_reads_it():
    values = np.zeros(5, np.float32)
    assert Watched(values, Slot(4), 2).words == (values.ctypes.data, 5, 4, 2)
