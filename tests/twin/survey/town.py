"""A town as OpenStreetMap would have it: five by seven streets, a shore, a boundary, a park, houses and works."""

from __future__ import annotations

from pathlib import Path

import pytest

WEST, SOUTH, STEP = 24.900, 60.100, 0.002  # about 111 m east, 222 m north
COLUMNS, ROWS = 7, 5
SHARED = Path(__file__).parents[4] / "shared" / "data"


def shared_data(name: str) -> Path:
    """A file of the shared recordings; skips where it is not there, fails where it must be (CI)."""
    import os

    path = SHARED / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing")
        pytest.skip(f"{path} is not here")
    return path


class Town:
    """Collects nodes, ways and relations, and writes them as OSM XML."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[float, float], int] = {}
        self.parts: list[str] = []
        self.ways = 0

    def node(self, x: float, y: float) -> int:
        """The id of the node at column x, row y."""
        return self.nodes.setdefault((x, y), len(self.nodes) + 1)

    def way(self, at: list[tuple[float, float]], **tags: str) -> int:
        """Add a way through points given as (column, row); returns its id."""
        self.ways += 1
        refs = "".join(f'<nd ref="{self.node(*point)}"/>' for point in at)
        self.parts.append(f'<way id="{self.ways}" version="1">{refs}{tagged(tags)}</way>')
        return self.ways

    def relation(self, number: int, ways: list[int], **tags: str) -> None:
        """Add a relation of outer ways."""
        members = "".join(f'<member type="way" ref="{way}" role="outer"/>' for way in ways)
        self.parts.append(f'<relation id="{number}" version="1">{members}{tagged(tags)}</relation>')

    def write(self, path: Path, *, without: set[tuple[float, float]] = frozenset()) -> Path:  # type: ignore[assignment]
        """Write the file; nodes in `without` are left out, as at the edge of an extract."""
        bounds = (
            f'<bounds minlon="{WEST - STEP / 2}" minlat="{SOUTH - STEP / 2}" maxlon="{WEST + STEP * (COLUMNS - 0.5)}" '
            f'maxlat="{SOUTH + STEP * (ROWS - 0.5)}"/>'
        )
        nodes = "".join(
            f'<node id="{i}" version="1" lon="{WEST + STEP * x:.7f}" lat="{SOUTH + STEP * y:.7f}"/>'
            for (x, y), i in self.nodes.items()
            if (x, y) not in without
        )
        path.write_text(f'<osm version="0.6">{bounds}{nodes}{"".join(self.parts)}</osm>', encoding="utf-8")
        return path


def tagged(tags: dict[str, str]) -> str:
    """Tags as XML; `_` in a key stands for `:`."""
    return "".join(f'<tag k="{key.replace("_", ":")}" v="{value}"/>' for key, value in tags.items())


def town() -> Town:
    """The whole town."""
    made = Town()
    for row in range(ROWS):
        cls = "primary" if row == 2 else "residential"
        made.way([(x, row) for x in range(COLUMNS)], highway=cls, name=f"Row {row}")
    for column in range(COLUMNS):
        oneway = {"oneway": "yes"} if column == 3 else {}
        made.way([(column, y) for y in range(ROWS)], highway="residential", name=f"Column {column}", **oneway)
    made.way([(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2)], leisure="park", name="Green")
    made.way([(1.2, 0.2), (1.8, 0.2), (1.8, 0.8), (1.2, 0.8), (1.2, 0.2)], building="yes")
    made.way([(2.2, 0.2), (2.8, 0.2), (2.8, 0.8), (2.2, 0.8), (2.2, 0.2)], landuse="construction", name="New Hall")
    # The shore runs west along the top edge of the box: water on the right, in the north.
    made.way([(7, 4.3), (6.2, 4.3), (0, 4.3), (-1, 4.3)], natural="coastline")
    border = made.way([(2.5, -1), (2.5, 0.1), (2.5, 4.4), (2.5, 6)], boundary="administrative")
    tags = {"type": "boundary", "boundary": "administrative"}
    made.parts.append("")
    for number, name, name_zh in ((1, "Westend", "西区"), (2, "Eastend", "东区")):
        members = f'<member type="way" ref="{border}" role="outer"/>'
        told = tagged({**tags, "name": name, "name:zh": name_zh}) + '<tag k="admin_level" v="10"/>'
        made.parts.append(f'<relation id="{number}" version="1">{members}{told}</relation>')
    return made


OUTSIDE = {(7.0, 4.3), (-1.0, 4.3), (2.5, -1.0), (2.5, 6.0)}


def write_town(path: Path) -> Path:
    """Write the town as an extract cut at its box."""
    return town().write(path, without={(float(x), float(y)) for x, y in OUTSIDE})
