"""Proof of the cases' history: its own chain, heads of it that were put aside in another book, and the photos it names.

Whoever may write the case database can cut its end off and set its head anew, and nothing in it shows that. So the head
is put aside every so often: a line of the audit book, which lies in another file (and, where the cases are in
PostgreSQL, on another machine) and has a chain of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from twin.access import Access
from twin.app.album import Album
from twin.deliver.cases import Cases
from twin.deliver.chain import Verdict
from twin.deliver.lists import Attached
from twin.errors import TwinError

LOG = logging.getLogger(__name__)

EVENT = "history_head"
EVERY_S = 900.0
DAY_MS = 86_400_000


class Heads:
    """Puts the head of the history aside every so often, where it moved, and at the end."""

    def __init__(self, cases: Cases, access: Access, every_s: float = EVERY_S) -> None:
        self._cases, self._access, self._every_s = cases, access, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heads", daemon=True)
        self._last = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Put the last one aside and end."""
        self._stop.set()
        self._thread.join(30)

    def put_aside(self) -> None:
        """One line, where the history has grown since the last."""
        n, head = self._cases.head
        if n > self._last:
            self._access.record_once("audit", "history", EVENT, str(n), head)
            self._last = n

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._stop.wait(self._every_s)
            try:
                self.put_aside()
            except TwinError as error:
                LOG.warning("the history's head could not be put aside, trying again: %s", error)


def heads_of(access: Access) -> dict[int, str]:
    """Every head that was put aside: number of its entry, its hash."""
    return {int(n): head for n, head in access.told("audit", EVENT) if n.isdigit()}


def prove(cases: Cases, data: Path, access: Access | None, photos_days: float, head: str = "") -> Verdict:
    """Read the whole history and the photos under it, and name the first flaw. `head`: one that was kept elsewhere."""
    verdict = cases.verify(head, heads_of(access) if access is not None else {})
    return verdict if verdict.flaw else _photos(verdict, cases.attached(), Album(data).look, photos_days)


def _photos(
    verdict: Verdict, attached: list[Attached], look: Callable[[str, str], bool | None], photos_days: float
) -> Verdict:
    """Each photo is as it was attached. One that is not there is a flaw while it should still be kept."""
    newest_ms = max((one.at_ms for one in attached), default=0)
    for one in attached:
        found = look(one.case, one.sha256)
        kept = not photos_days or newest_ms - one.at_ms < (photos_days - 1) * DAY_MS
        if found is False or (found is None and kept):
            flaw, said = ("altered", "is not as it was attached") if found is False else ("missing", "is gone")
            return replace(
                verdict, flaw=flaw, n=one.n, case=one.case, detail=f"{one.name} of {one.case} (entry {one.n}) {said}"
            )
    return verdict
