"""What the tests of the wiring room share: a ledger that makes a case of every action, and a heart over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.clock import ManualClock
from devices.places import CityFiles
from tests.twin.tick.town import NIGHT_MS, Frozen, town
from twin.app.heart import Heart
from twin.city import City
from twin.deliver.cases import Cases
from twin.journal import Journal
from twin.records import Action, Answer, Case, Changes, Finding, Outcome, Transition
from twin.tick import Ticked, World


class Notebook:
    """A ledger that opens a case for each action, and refuses those without a reason."""

    def __init__(self) -> None:
        self.opened = 0

    def step(
        self,
        findings: Sequence[Finding],
        actions: Sequence[Action],
        outcomes: Sequence[Outcome],
        answers: Sequence[Answer],
        now_ms: int,
    ) -> Changes:
        changes = Changes()
        for action in actions:
            if not action.reason:
                changes.refused.append((action.id, "give a reason"))
                continue
            self.opened += 1
            case = f"CW-{self.opened:06d}"
            changes.cases.append(
                Case(case, action.id, "lamp_out", action.case, "pole", "dispatched", 2, now_ms, now_ms, now_ms)
            )
            changes.transitions.append(Transition(case, 1, now_ms, action.actor, "found", "", "dispatched"))
        return changes

    def move(self, files: CityFiles, gone: Mapping[str, str], fresh: Mapping[str, str], actor: str) -> None:
        self.moved = (dict(gone), dict(fresh), actor)

    policy_text = ""

    def rule(self, text: str) -> None:
        self.policy_text = text

    def dump(self) -> dict[str, Any]:
        return {"opened": self.opened}

    def snapshot(self) -> Frozen:
        return Frozen(self.dump())

    def load(self, told: dict[str, Any]) -> None:
        self.opened = told["opened"]


def action(name: str, reason: str = "seen", subject: str = "pole-0") -> Action:
    """One action of a person."""
    return Action(name, "li", "comment", subject, reason)


@dataclass
class Place:
    """A data directory with journal, case database and a heart over a small town."""

    folder: Path
    clock: ManualClock = field(default_factory=lambda: ManualClock(NIGHT_MS))
    ticks: list[tuple[int, int, Ticked]] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    def open(self, *, world: World | None = None, position: int = 0, max_bytes: int = 64 << 20) -> Heart:
        """A heart as the server wires it; nothing runs yet."""
        self.journal = Journal(self.folder / "journal.db", max_bytes=max_bytes)
        self.stack.callback(self.journal.close)
        self.cases = Cases(self.folder / "cases.db")
        self.stack.callback(self.cases.close)
        world = world or World(self.city(), Notebook())
        return Heart(world, self.journal, self.cases, self.clock, 1.0, self._after, position=position)

    @staticmethod
    def city() -> City:
        """The small town."""
        return town(poles=2, cells=0, trucks=0)

    def _after(self, ticked: Ticked, n: int, now_ms: int) -> None:
        self.ticks.append((n, now_ms, ticked))

    def close(self) -> None:
        """Close files; open again by `open`."""
        self.stack.close()
