"""Actions of people: journalled, ticked, answered. Callers wait here until the tick that took theirs is recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from twin.errors import IllegalStep, TwinError
from twin.records import Action, Body


class Counter:
    """Where actions are handed in. `settle` is called by the ticking thread after each recorded tick."""

    def __init__(self, append: Callable[[Sequence[Body]], int], nudge: Callable[[], None]) -> None:
        self._append, self._nudge = append, nudge
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[str, Future[None]]] = {}  # journal number -> action id, who waits

    def hand_in(self, action: Action) -> Future[None]:
        """Journal the action; the future is done when its tick is recorded, or holds IllegalStep.

        Raises JournalFull: nothing was done.
        """
        future: Future[None] = Future()
        with self._lock:  # the tick that takes it cannot be settled before it is noted here
            self._waiting[self._append([action])] = (action.id, future)
        self._nudge()
        return future

    def settle(self, n: int, refused: Sequence[tuple[str, str]]) -> None:
        """Tick `n` is recorded: everything handed in before it has its answer."""
        with self._lock:
            done = [number for number in self._waiting if number < n]
            answers = [self._waiting.pop(number) for number in done]
        why = dict(refused)
        for action, future in answers:
            if action in why:
                future.set_exception(IllegalStep(why[action]))
            else:
                future.set_result(None)

    def close(self) -> None:
        """No tick will come any more: whoever still waits is told so."""
        with self._lock:
            answers = list(self._waiting.values())
            self._waiting.clear()
        for _, future in answers:
            future.set_exception(TwinError("the server is stopping; the action is journalled and will be taken"))
