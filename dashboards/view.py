"""What of the city a caller sees: everything, or (a department's people) the devices that they need (docs/privacy.md).

A view numbers its devices from 0 and has a version of its own, which changes with what is in it: a page that holds
another one loads the devices again.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twin.query.desk import Desk, Moved, Row

MOST_VIEWS = 256  # of departments and their mixtures that are remembered


@dataclass(frozen=True, slots=True)
class View:
    """The devices of one view. `at`: its index by index in the city."""

    ids: frozenset[str]
    city: int
    version: int
    at: Mapping[int, int]

    def fresh(self, rows: Sequence[Row]) -> list[Row]:
        """Of the city's devices those in the view, as they are now."""
        return [rows[i] for i in self.at if i < len(rows) and rows[i].id in self.ids]

    def moved(self, moved: Moved) -> Moved:
        """Of what moved in the city that which is in the view."""
        kept = [(k, self.at[i]) for k, i in enumerate(moved.index) if i in self.at]
        picked = [k for k, _ in kept]
        return Moved(
            moved.version, moved.now_ms, [i for _, i in kept], [moved.lon[k] for k in picked],
            [moved.lat[k] for k in picked], [moved.state[k] for k in picked],
        )  # fmt: skip


class Views:
    """Views by departments, made anew when what they hold changes. Safe from any thread."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, ...], View] = OrderedDict()

    def of(self, departments: Sequence[str]) -> View:
        """The view of some departments, as it is now."""
        key = tuple(sorted(departments))
        city, ids = int(self._desk.city()["version"]), self._desk.needed(key)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known.city == city and (known.ids is ids or known.ids == ids):
                self._known.move_to_end(key)
                return known
        rows = self._desk.devices()
        at = [i for i, row in enumerate(rows) if row.id in ids]
        told = zlib.crc32("\n".join(rows[i].id for i in at).encode())
        made = View(ids, city, (city << 32 | told) % 2**53, {i: k for k, i in enumerate(at)})
        with self._lock:
            self._known[key] = made
            while len(self._known) > MOST_VIEWS:
                self._known.popitem(last=False)
        return made
