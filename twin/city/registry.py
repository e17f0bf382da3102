"""The registry: every device has one row of its kind's arrays, given once and for ever."""

from __future__ import annotations

from collections.abc import Iterable

from twin.records import Names


class Registry:
    """Rows by (kind, device). A row is never given to another device, not even when its device is retired.

    >>> r = Registry([("pole", 0, "pole-1")])
    >>> r.allocate("pole", "pole-2"), r.allocate("pole", "pole-1"), r.drain().rows
    (1, 0, (('pole', 1, 'pole-2'),))
    """

    def __init__(self, names: Iterable[tuple[str, int, str]] = ()) -> None:
        self._row: dict[str, dict[str, int]] = {}  # by kind and device
        self._devices: dict[str, list[str]] = {}
        self._district: dict[str, dict[str, str]] = {}
        self._retired: set[tuple[str, str]] = set()
        self._new: list[tuple[str, int, str]] = []
        self.register(names)

    def register(self, names: Iterable[tuple[str, int, str]]) -> None:
        """Take in rows that were journalled before. Rows that are known already are left as they are.

        Raises ValueError where a row or a device would get a second meaning: the journal is another city's.
        """
        for kind, row, device in names:
            rows, devices = self._row.setdefault(kind, {}), self._devices.setdefault(kind, [])
            known = rows.get(device)
            if known is not None:
                if known != row:
                    raise ValueError(f"{kind} {device!r} has row {known} and cannot also have row {row}")
                continue
            if row < len(devices) and devices[row]:
                raise ValueError(f"{kind} row {row} is {devices[row]!r} and cannot also be {device!r}")
            if row < 0 or row > len(devices) + 10_000_000:
                raise ValueError(f"{kind} row {row} of {device!r} is out of all proportion")
            devices.extend("" for _ in range(row + 1 - len(devices)))
            devices[row] = device
            rows[device] = row

    def allocate(self, kind: str, device: str) -> int:
        """The device's row; a new one at the end where it has none. New rows wait in `drain` to be journalled."""
        row = self.find(kind, device)
        if row is None:
            row = self.rows(kind)
            self.register([(kind, row, device)])
            self._new.append((kind, row, device))
        self._retired.discard((kind, device))
        return row

    def drain(self) -> Names | None:
        """The rows allocated since the last call, to be journalled before anything refers to them; None if none."""
        if not self._new:
            return None
        names, self._new = Names(tuple(self._new)), []
        return names

    def place(self, kind: str, device: str, district: str) -> None:
        """Say in which district a device stands: `lookup` refuses it under any other."""
        self._district.setdefault(kind, {})[device] = district

    def retire(self, kind: str, device: str) -> None:
        """A device that is no longer part of the city: its row stays its own, `lookup` no longer finds it."""
        self._retired.add((kind, device))

    def lookup(self, kind: str, device: str, district: str = "") -> int | None:
        """The device's row; None if it is unknown, retired, or stands in another district."""
        row = self.find(kind, device)
        if row is None or (kind, device) in self._retired:
            return None
        if district and self._district.get(kind, {}).get(device, district) != district:
            return None
        return row

    def row(self, kind: str, device: str) -> int:
        """The device's row, retired or not. Raises KeyError for one that never had any."""
        return self._row[kind][device]

    def find(self, kind: str, device: str) -> int | None:
        """The device's row, retired or not; None for one that never had any."""
        rows = self._row.get(kind)
        return None if rows is None else rows.get(device)

    def ids(self, kind: str) -> tuple[str, ...]:
        """The devices of a kind by row, retired ones too."""
        return tuple(self._devices.get(kind, ()))

    def device(self, kind: str, row: int) -> str:
        """The device of that row. Raises IndexError for a row that was never given."""
        if row < 0:
            raise IndexError(f"{kind} has no row {row}")
        return self._devices[kind][row]

    def rows(self, kind: str) -> int:
        """How many rows the kind has."""
        return len(self._devices.get(kind, ()))

    def kinds(self) -> tuple[str, ...]:
        """The kinds that have rows, sorted."""
        return tuple(sorted(self._devices))

    def names(self) -> tuple[tuple[str, int, str], ...]:
        """Every row that was ever given: (kind, row, device), by kind, then row."""
        return tuple((k, i, d) for k in self.kinds() for i, d in enumerate(self._devices[k]) if d)
