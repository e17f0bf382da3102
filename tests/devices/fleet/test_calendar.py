"""The calendar against a heap: the same order, whatever is entered in between."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.fleet.calendar import NEVER, Calendar

STEPS = st.lists(st.tuples(st.integers(0, 5000), st.booleans()), max_size=200)


@given(STEPS)
def test_it_gives_back_what_a_heap_would(steps: list[tuple[int, bool]]) -> None:
    """Entries before, within and after the second that is taken from come in order of time, then of number."""
    calendar, heap = Calendar(), list[tuple[int, int]]()
    for number, (due_ms, taken) in enumerate(steps):
        calendar.add(due_ms, number)
        heapq.heappush(heap, (due_ms, number))
        assert calendar.first_ms() == heap[0][0]
        if taken:
            assert calendar.take() == heapq.heappop(heap)[1]
    while heap:
        assert calendar.first_ms() == heap[0][0]
        assert calendar.take() == heapq.heappop(heap)[1]
    assert calendar.first_ms() == NEVER


def test_an_empty_one_says_so() -> None:
    """Nothing is due, before anything was entered and after all was taken."""
    calendar = Calendar()
    assert calendar.first_ms() == NEVER
    with pytest.raises(IndexError, match="nothing"):
        calendar.take()
