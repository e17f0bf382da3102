"""What becomes of a device's model when other hardware takes its place: it goes on, or begins anew. Pure."""

from __future__ import annotations

from twin.model.state import KindState

# The new hardware has said nothing yet: its clock and its silence are its own.
_HEARD = ("t", "ahead", "arrived", "heard")


def reset(state: KindState, row: int) -> None:
    """Forget all that was learnt of a device; its channels begin anew when they are first heard."""
    state.ensure(row + 1)
    blank = KindState(state.kind, 1)
    for name, array in state.arrays.items():
        array[row] = blank.arrays[name][0]
    for column in state.last.values():
        column[row] = float("nan")
    state.expectation.table[:, row] = -1


def carry(state: KindState, old: int, new: int) -> None:
    """Have what was learnt at row `old` go on at row `new` (they may be the same): expectation and usual gaps. What
    was last said stays behind, and nothing is missed before the new hardware has spoken."""
    state.ensure(max(old, new) + 1)
    blank = KindState(state.kind, 1)
    for name, array in state.arrays.items():
        array[new] = blank.arrays[name][0] if name in _HEARD or name == "step" else array[old]
    for column in state.last.values():
        column[new] = float("nan")
    model = state.expectation
    slots = model.table[:, old].copy()
    there = slots[slots >= 0]
    for name in ("sum", "sum_abs", "count"):
        model[name][there] = 0.0  # of the step that the old hardware had open
    state.forecast.drop(there)
    model.row[there] = new
    model.table[:, old] = -1
    model.table[:, new] = slots
