"""Objects of a city as JSON and back, differences between cities, and changes that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from devices.cities.change import (  # fmt: skip
    TABLES,
    Change,
    ChangeRefused,
    applied,
    change_in,
    change_out,
    difference,
    find,
    read,
    records_of,
    tell,
)
from devices.cities.check import check_draft
from devices.cities.judge import consequences, draft_of, judged
from devices.cities.load import load_city
from tests.devices.small_city import write_small_city


@pytest.mark.parametrize("name", ["helsinki", ""])
def test_every_object_comes_back_from_json(tmp_path: Path, name: str) -> None:
    """What the files hold is told as an object and read as the same record, field by field, and fits."""
    files = load_city(name or write_small_city(tmp_path / "town"))
    for table in TABLES:
        for key, record in records_of(files, table).items():
            change = Change(table, key, tell(table, key, record))
            assert read(change) == record
            assert change_in(change_out(change)) == change
    draft = draft_of(files)
    check_draft(draft)
    assert not draft.problems
    some = [Change("devices", d.id, tell("devices", d.id, d)) for d in files.devices[:50]]
    assert judged(files, some) == files


def test_the_difference_of_two_cities_makes_one_of_the_other(tmp_path: Path) -> None:
    """Objects set, changed and dropped; nothing where nothing differs."""
    files = load_city(write_small_city(tmp_path / "town"))
    other = replace(
        files,
        devices=tuple(replace(d, cadence_s=5.0) for d in files.devices[1:]),
        permits=(),
        neighbours={"cell-0001": ()},
        nodes=tuple(replace(n, name="x") for n in files.nodes),
    )
    assert difference(files, files) == []
    changes = difference(files, other)
    assert applied(files, changes) == other
    back = applied(other, difference(other, files))
    assert {d.id: d for d in back.devices} == {d.id: d for d in files.devices}  # in an order of its own


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ([], ""),
        ({"table": "lamps", "id": "x", "value": None}, "table"),
        ({"table": "devices", "id": "", "value": None}, "id"),
        ({"table": "devices", "id": "x", "value": 3}, "value"),
        ({"table": "devices", "id": "x", "value": None, "replaces": "y"}, "replaces"),
        ({"table": "devices", "id": "x", "value": {}, "replaces": "y", "model": "burn"}, "model"),
        ({"table": "devices", "id": "x", "value": {}, "model": "carry"}, "model"),
        ({"table": "devices", "id": "x", "value": {}, "colour": 1}, "colour"),
    ],
)
def test_what_is_no_change_is_refused(told: object, field: str) -> None:
    """By the key that is wrong."""
    with pytest.raises(ChangeRefused) as refused:
        change_in(told)
    assert refused.value.errors[0].field == field


def test_the_last_of_a_sort_stays(tmp_path: Path) -> None:
    """No city without a district or a department; a kind is for life; two changes of one object are one too many."""
    files = load_city(write_small_city(tmp_path / "town"))
    for changes, words in (
        ([Change("departments", office.id, None) for office in files.departments], "no department is left"),
        ([Change("areas", "310101", None)], "district '310101' does not exist"),
        ([Change("devices", "pole-0001", {**tell("devices", "pole-0001", find(files, "devices", "pole-0001")),
                                          "kind": "cell"})], "cannot become a cell"),
        ([Change("routes", "route-1", None)], "route 'route-1' does not exist"),
        ([Change("permits", "permit-1", None)] * 2, "is changed twice"),
        ([Change("nodes", "nowhere", None)], "no such object"),
    ):  # fmt: skip
        with pytest.raises(ChangeRefused) as refused:
            judged(files, consequences(files, changes))
        assert any(words in error.problem for error in refused.value.errors), refused.value.errors
