"""A city while it is read and checked: its records, where each stands, and what is wrong with it so far."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from devices.cities.tables import Problems
from devices.places import Area, Calendar, Department, Device, Head, LonLat, Node, Permit, Road


@dataclass(slots=True)
class Draft:
    """A city while it is read: records with the line each stands on, and the problems so far."""

    directory: Path
    problems: Problems = field(default_factory=Problems)
    head: Head = field(default_factory=Head)
    areas: dict[str, Area] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    permits: dict[str, Permit] = field(default_factory=dict)
    departments: dict[str, Department] = field(default_factory=dict)
    calendars: dict[str, Calendar] = field(default_factory=dict)
    neighbours: dict[str, tuple[str, ...]] = field(default_factory=dict)
    routes: dict[str, tuple[LonLat, ...]] = field(default_factory=dict)
    roads: list[Road] = field(default_factory=list)
    tunnels: list[tuple[LonLat, ...]] = field(default_factory=list)  # of the roads' lines
    points: dict[LonLat, LonLat] = field(default_factory=dict)  # lines share their crossings
    lines: dict[tuple[str, str], int] = field(default_factory=dict)  # (file, id) -> line

    def line(self, file: str, name: str) -> int:
        """The line of a record."""
        return self.lines.get((file, name), 1)


def key_line(path: Path, key: str) -> int:
    """The line of a top-level TOML key, 1 where it is absent."""
    for i, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if re.match(rf"\s*{re.escape(key)}\s*=", line):
            return i
    return 1
