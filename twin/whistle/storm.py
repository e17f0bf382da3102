"""The storm limit: a department gets so many messages in a window; what is over is told in one digest at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LISTED = 100  # cases that a digest names; the others are counted by type


@dataclass(slots=True)
class Window:
    """One department's running window. `over` are the cases (id, type) that did not fit, in order."""

    end_ms: int
    sent: int = 0
    urgent: int = 0
    over: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Storm:
    """Windows by department id. Emergencies have a budget of their own, so that a storm of trifles hides none."""

    count: int
    window_ms: int
    windows: dict[str, Window] = field(default_factory=dict)

    def admit(self, department: str, case: tuple[str, str], now_ms: int, *, emergency: bool) -> bool:
        """Whether one more message may go alone; otherwise the case is kept for the digest."""
        window = self.windows.get(department)
        if window is None:
            window = self.windows[department] = Window(now_ms + self.window_ms)
        if emergency and window.urgent < self.count:
            window.urgent += 1
            return True
        if window.sent < self.count:
            window.sent += 1
            return True
        window.over.append(case)
        return False

    def ended(self, now_ms: int) -> list[tuple[str, list[tuple[str, str]]]]:
        """Close the windows that end by `now_ms`: (department, cases for its digest), departments in order."""
        over = sorted(name for name, window in self.windows.items() if window.end_ms <= now_ms)
        return [(name, window.over) for name in over if (window := self.windows.pop(name)).over]

    def dump(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            name: {"end_ms": w.end_ms, "sent": w.sent, "urgent": w.urgent, "over": list(w.over)}
            for name, w in self.windows.items()
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.windows = {
            name: Window(w["end_ms"], w["sent"], w["urgent"], [(case, kind) for case, kind in w["over"]])
            for name, w in dumped.items()
        }
