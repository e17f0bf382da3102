"""The register: the city's objects and their past, as page, API and command line ask for and change them.

One port, implemented in `twin.app`. Reading never waits; a change waits until its tick has been recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from devices.cities.change import Change
from devices.places import CityFiles


@dataclass(frozen=True, slots=True)
class Wish:
    """A change of the city as somebody asks for it.

    request: makes a repeated call one change. version: the version that it was made for, 0 for whichever is newest.
    dry_run: say what would be done, and do nothing.
    """

    changes: Sequence[Change]
    actor: str
    reason: str
    request: str
    version: int = 0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a wish. version: the city's then (0 of a dry run); changes: all that were made, those that
    follow from the wish among them; notes: what else was done, or is left to do, for people."""

    version: int
    at_ms: int
    changes: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Stranger:
    """A device that knocks and is not in the register (or is retired, or stands in another district)."""

    device: str
    kind: str
    district: str
    first_ms: int
    last_ms: int
    messages: int  # at least so many
    topic: str
    sample: str
    retired: bool = False


@dataclass(frozen=True, slots=True)
class Adoption:
    """How a stranger becomes a device: fields of devices.csv that its topic does not say."""

    device: str
    kind: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


class Register(Protocol):
    """The city's objects."""

    @property
    def files(self) -> CityFiles:
        """The city's records as they are now."""
        ...

    def objects(self, table: str, *, at_ms: int | None, after: str, limit: int, q: str = "") -> Sequence[Any]:
        """Objects of a table by id, as JSON; `q`: whose id or name holds it. Raises KeyError for an unknown table."""
        ...

    def object(self, table: str, name: str, *, at_ms: int | None) -> Mapping[str, Any] | None:
        """One object: {table, id, value, urn, version, up: [{relation, table, id}], down: [...]}, None if there is
        none (at that time)."""
        ...

    def changed(self, table: str, name: str, limit: int = 200) -> Sequence[Any]:
        """Versions that changed an object, newest first."""
        ...

    def versions(self, after: int, limit: int) -> Sequence[Any]:
        """Versions of the city above `after`: {version, at_ms, id, actor, reason, changes}."""
        ...

    def version_at(self, at_ms: int) -> int:
        """The version that was in force at a city time."""
        ...

    def basemap(self, at_ms: int | None) -> Path | None:
        """(looks at files) The base map of then; None where there was none, or no copy of it was kept."""
        ...

    def change(self, wish: Wish) -> Done:
        """Judge, journal, wait for the tick. Raises ChangeRefused (nothing was done), JournalFull, CityMoved."""
        ...

    def strangers(self, limit: int = 1000) -> Sequence[Stranger]:
        """Devices that knock, the newest first."""
        ...

    def adoption(self, adopted: Sequence[Adoption]) -> Sequence[Change]:
        """The changes by which strangers become devices. Raises ChangeRefused."""
        ...

    def replacement(self, device: str, by: str, model: str, fields: Mapping[str, Any]) -> Sequence[Change]:
        """The changes by which other hardware takes a device's place, under its own id or another (`by`).
        Raises ChangeRefused."""
        ...
