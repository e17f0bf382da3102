"""Plates in messages: only for those who need them, by a table, and each telling stands in the book, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.twin.app.test_ways import loaded
from twin.access import Access, Veil
from twin.app.plates import Plates, plates_of
from twin.channels.text import write, zone
from twin.errors import SettingsError
from twin.records import Delivery

VEIL = Veil(b"k" * 32, {"truck-001": "沪A12345"})


def message(type_: str, department: str, subject: str = "truck-001", key: str = "CW-1:dispatch:1:webhook") -> Delivery:
    payload = {"case": "CW-1", "type": type_, "department": {"id": department}, "subject": {"id": subject},
               "text": {"en": "overload", "zh": "超载"}}  # fmt: skip
    return Delivery(key, "CW-1", "webhook", "", "dispatch", payload)


@pytest.mark.parametrize(("type_", "department", "told"), [
    ("overload", "traffic_police", True), ("overload", "waste_management", False), ("overload", "lighting", False),
    ("illegal_dumping", "urban_management_091001", True), ("illegal_dumping", "traffic_police", False),
    ("night_noise", "urban_management_091001", False), ("terminal_tampering", "traffic_police", False),
])  # fmt: skip
def test_who_is_told(tmp_path: Path, type_: str, department: str, told: bool) -> None:
    """Traffic police and urban management for the truck's violations; nobody else, nothing else."""
    access = Access(tmp_path / "users.db")
    plates = Plates(VEIL, access, plates_of(loaded(tmp_path, "")))
    for _ in range(2):  # at least once: a message that is sent again says the same, and is one line in the book
        sent = plates.dress(message(type_, department))
        assert ("沪A12345" in str(sent.payload)) is told
    lines = access.entries("reveals")
    assert len(lines) == int(told)
    assert "12345" not in str(lines)
    if told:
        assert (lines[0].actor, lines[0].detail) == (department, "CW-1:dispatch:1:webhook")
        assert "Plate: 沪A12345" in write(sent.payload, "dispatch", "en", zone("UTC"))[1]
        assert "车牌：沪A12345" in write(sent.payload, "dispatch", "zh", zone("UTC"))[1]
    access.close()


def test_the_table_is_the_citys(tmp_path: Path) -> None:
    """[departments.ID] plates gives a department types of its own, or none."""
    text = '[departments.waste_management]\nplates = "no_permit, overload"\n[departments.traffic_police]\nplates = ""\n'
    table = plates_of(loaded(tmp_path, text))
    assert table["waste_management"] == {"no_permit", "overload"}
    assert table["traffic_police"] == frozenset()
    with pytest.raises(SettingsError, match="no case type 'overlord'"):
        plates_of(loaded(tmp_path, '[departments.waste_management]\nplates = "overlord"\n'))


def test_a_book_that_cannot_be_written_keeps_the_plate(tmp_path: Path) -> None:
    """What cannot be recorded is not told: the message waits and is tried again."""
    access = Access(tmp_path / "users.db")
    plates = Plates(VEIL, access, plates_of(loaded(tmp_path, "")))
    access.close()
    with pytest.raises(Exception, match="closed"):
        plates.dress(message("overload", "traffic_police"))
