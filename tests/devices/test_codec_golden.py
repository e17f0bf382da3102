"""Golden payloads: the wire form of every kind of message, as a receiver reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devices.codec import read_payload
from devices.kinds import KINDS

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "payloads").glob("*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_payload(path: Path) -> None:
    """A golden payload gives exactly the readings, refused values and refusals that its file names."""
    case: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    decoded = read_payload(KINDS[case["kind"]], case["device"], case["payload"].encode())
    readings = [{"t": r.t_ms, "boot": r.boot, "seq": r.seq, "values": dict(r.values)} for r in decoded.readings]
    assert readings == case["readings"]
    assert [e.reason for e in decoded.bad_values] == case["bad_values"]
    assert [r.error.reason for r in decoded.refused] == case["refused"]


def test_the_corpus_is_there() -> None:
    """The corpus covers the forms: flat, columnar, SenML, foreign."""
    assert len(GOLDEN) >= 25
