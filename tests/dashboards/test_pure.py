"""Plain records, binary columns, troubles: the web's pure parts."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.columns import MOVED, encode_moved
from dashboards.plain import plain
from dashboards.troubles import troubles
from twin.query.desk import Moved
from twin.records import Reject

WELL: dict[str, Any] = {
    "ready": True, "link": "drained", "journal": {"full": False}, "store": {"name": "s", "up": True, "behind": 0},
    "tick": {"lag_ms": 10}, "disk": {"low": False},
}  # fmt: skip


def test_plain_forms() -> None:
    """Records become objects, arrays lists, bytes text with escapes; NaN and infinity null."""
    told = plain({"r": Reject(1, "t", "range", "d", b"\xffa"), "x": np.array([1.5, math.nan]), "n": np.int64(3)})
    assert told == {
        "r": {"at_ms": 1, "topic": "t", "reason": "range", "detail": "d", "payload": "\\xffa"},
        "x": [1.5, None],
        "n": 3,
    }
    assert plain((math.inf, True, None)) == [None, True, None]


def test_plain_refuses() -> None:
    """What has no plain form is an error and not a surprise in the JSON; a circle does not hang."""
    with pytest.raises(TypeError):
        plain(object())
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TypeError):
        plain(circle)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1), st.floats(-180, 180), st.floats(-85, 85), st.integers(0, 5)
        ),
        max_size=50,
    )
)  # fmt: skip
def test_moved_bytes(rows: list[tuple[int, float, float, int]]) -> None:
    """A moved message can be taken apart by its drawing in docs/api.md, and gives back what went in."""
    moved = Moved(7, 1234567890123, *([row[i] for row in rows] for i in range(4)))
    told = encode_moved(moved, (24.0, 60.0))
    word, n, version, now_ms = struct.unpack_from("<IIdd", told)
    assert (word, n, version, now_ms) == (MOVED, len(rows), 7, 1234567890123)
    assert len(told) == 24 + 13 * n
    assert list(struct.unpack_from(f"<{n}I", told, 24)) == [row[0] for row in rows]
    for lon, row in zip(struct.unpack_from(f"<{n}f", told, 24 + 4 * n), rows, strict=True):
        assert lon == pytest.approx(row[1] - 24.0, rel=1e-6, abs=1e-9)
    assert list(told[24 + 12 * n :]) == [row[3] for row in rows]


def test_no_trouble() -> None:
    """A city that is well says nothing; one that tells nothing of itself has no link to speak of but no false alarm."""
    assert troubles(WELL) == []
    assert troubles({}) == []


@pytest.mark.parametrize(
    ("change", "part", "level"),
    [
        ({"link": "down"}, "link", 3),
        ({"link": "connecting"}, "link", 3),
        ({"journal": {"full": True}}, "journal", 3),
        ({"ingest": {"stalled": "the disk fails"}}, "ingest", 3),
        ({"ingest": {"stalled": "no room"}, "journal": {"full": "no room"}}, "journal", 3),
        ({"store": {"name": "influxdb", "up": False, "behind": 3}}, "store", 2),
        ({"store": {"name": "influxdb", "up": True, "behind": 0, "skipped": 3}}, "store", 1),
        ({"disk": {"low": True, "free_bytes": 5e6}}, "disk", 2),
        ({"tick": {"lag_ms": 60_000}}, "tick", 2),
        ({"tick": {"lag_ms": 60_000, "stalled": "case database: locked"}}, "tick", 3),
    ],
)
def test_trouble(change: dict[str, Any], part: str, level: int) -> None:
    """Each part that fails is named, in both languages."""
    (found,) = troubles({**WELL, **change})
    assert (found.part, found.level) == (part, level)
    assert found.en
    assert any(ord(letter) > 0x4E00 for letter in found.zh)


def test_worst_trouble_first() -> None:
    """Held-back readings stand above a full disk."""
    found = troubles({**WELL, "disk": {"low": True}, "journal": {"full": True}})
    assert [trouble.part for trouble in found] == ["journal", "disk"]
