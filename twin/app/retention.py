"""Retention by class of data, carried out at night by the city's clock, counted, and written into the audit book."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from twin.access import Access
from twin.errors import TwinError

LOG = logging.getLogger(__name__)

DAY_MS = 86_400_000
NIGHT_HOURS = 3  # it may begin within so many hours
LATEST_MS = 36 * 3_600_000  # a server that was away at night does it when it is back
LOOK_S = 20.0
LAST = "retention_ms"


@dataclass(frozen=True, slots=True)
class Class:
    """One class of data. `forget(before_ms)` takes some of what is older out and says how many; 0: nothing is left.

    `city`: `before_ms` is city time, else the machine's.
    """

    name: str
    days: float  # 0: kept for ever
    forget: Callable[[int], int]
    city: bool = True


class Night:
    """Looks every so often whether it is night, and does it once a night."""

    def __init__(
        self, classes: Sequence[Class], access: Access, now_ms: Callable[[], int], machine_ms: Callable[[], int],
        zone: tzinfo, hour: int,
    ) -> None:  # fmt: skip
        self._classes, self._access, self._zone, self._hour = classes, access, zone, hour
        self._now_ms, self._machine_ms = now_ms, machine_ms
        self.removed = {one.name: 0 for one in classes}  # since the start
        self.failed = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way is finished to the end of its transaction."""
        self._stop.set()
        self._thread.join(30)

    def look(self) -> bool:
        """Do it if it is due. True if it was."""
        now_ms = self._now_ms()
        if not due(now_ms, int(self._access.noted(LAST) or 0), self._zone, self._hour):
            return False
        told = self.carry_out(now_ms)
        self._access.note(LAST, str(now_ms))
        if any(told.values()):
            detail = ", ".join(f"{name} {n}" for name, n in told.items() if n)
            self._access.record("audit", "retention", "retention", "what was too old", "", detail)
            LOG.info("retention: %s", detail)
        return True

    def carry_out(self, now_ms: int) -> Mapping[str, int]:
        """Take out everything that is too old; what went, by class."""
        told = {}
        for one in self._classes:
            told[one.name] = 0
            before_ms = (now_ms if one.city else self._machine_ms()) - round(one.days * DAY_MS)
            while one.days and not self._stop.is_set() and (gone := one.forget(before_ms)):
                told[one.name] += gone
                self.removed[one.name] += gone
        return told

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look()
                self.failed = ""
            except (TwinError, SQLAlchemyError, sqlite3.Error, OSError) as error:
                if not self.failed:
                    LOG.warning("retention could not be carried out, trying again: %s", error)
                self.failed = str(error)[:300]


def due(now_ms: int, last_ms: int, zone: tzinfo, hour: int) -> bool:
    """Whether it is night and not yet done this night, or too long ago."""
    if now_ms - last_ms > LATEST_MS:
        return True
    now, last = (datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone) for ms in (now_ms, last_ms))
    return 0 <= now.hour - hour < NIGHT_HOURS and now.date() != last.date()


def forget_files(folder: Path, before_ms: int) -> int:
    """Take out files that were last written before an instant (the machine's time); how many went."""
    gone = 0
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime * 1000 < before_ms:
            path.unlink(missing_ok=True)
            gone += 1
    return gone
