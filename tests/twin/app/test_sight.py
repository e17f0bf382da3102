"""What a department's people see of the city."""

from __future__ import annotations

from dataclasses import replace

from tests.twin.tick.town import town_files
from twin.app.sight import BEFORE_MS, Sight
from twin.city import City, Registry
from twin.records import Case


def test_a_departments_sight() -> None:
    """Street furniture of its areas; a truck while an open case is about it, and from some hours before that on."""
    files = town_files()
    truck = next(one for one in files.devices if one.kind == "truck")
    pole = next(one for one in files.devices if one.kind == "pole")
    offices = tuple(replace(one, areas=()) for one in files.departments)
    local = replace(offices[0], id="local", areas=(pole.district,))
    nowhere = replace(offices[0], id="nowhere", areas=("no-such-area",))
    city = City(replace(files, departments=(*offices, local, nowhere)), Registry())
    case = Case("c1", "k", "overload", truck.id, "truck", "dispatched", 2, 5_000_000_000, 4_900_000_000, 0, "local")
    standing: list[Case] = []
    sight = Sight(city, lambda _of: standing, lambda _case: ())

    fixed = {one.id for one in files.devices if one.kind != "truck"}
    assert sight.needed([offices[0].id]) == fixed
    assert sight.needed([offices[0].id]) is sight.needed([offices[0].id])
    assert sight.needed(["local"]) == {id_ for id_ in fixed if pole.district in city.areas(id_)}
    assert sight.needed(["nowhere"]) == frozenset()
    assert sight.needed(["gone"]) == frozenset()
    assert sight.since_ms(truck.id, ["local"]) is None
    assert sight.since_ms(pole.id, ["local"]) == 0

    standing.append(case)
    assert truck.id in sight.needed(["local"])
    assert sight.since_ms(truck.id, ["local"]) == case.since_ms - BEFORE_MS
    others = {one.id for one in files.devices if one.kind == "truck"} - {truck.id}
    assert not others & sight.needed(["local"])
    under = next(one for one in files.devices if one.kind == "truck" and one.id != truck.id)
    symptoms = [replace(case, id="c2", subject=under.id, parent="c1")]
    asked: list[str] = []

    def below(cause: str) -> list[Case]:
        asked.append(cause)
        return symptoms

    sight.children = below
    standing[0] = replace(case, children=1)
    for _ in range(3):
        assert under.id in sight.needed(["local"])
    assert asked == ["c1"]  # read once, until the case changes
    standing[0] = replace(case, children=1, updated_ms=case.updated_ms + 1)
    symptoms.clear()
    assert under.id not in sight.needed(["local"])
    standing.clear()
    assert truck.id not in sight.needed(["local"])
