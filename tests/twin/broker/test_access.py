"""Accounts and the access list, from the registry alone."""

from __future__ import annotations

import pytest

from tests.twin.broker.registry import FEW, device
from twin.broker.access import AccessError, access_list, accounts


def test_gateways_and_lone_devices_have_accounts_and_devices_behind_a_gateway_have_none() -> None:
    """A device behind a gateway must not be able to log in past it."""
    roles = {a.user: a.role for a in accounts(FEW)}
    assert roles == {
        "server": "server",
        "monitor": "monitor",
        "replay": "replay",
        "gw-01": "gateway",
        "gw-02": "gateway",
        "station-1": "device",
        "truck-1": "device",
        "truck.2": "device",
    }


def test_a_gateway_speaks_for_its_own_devices_only() -> None:
    """The access list names each device under one gateway, with its upward topics to write and the others to read."""
    section = access_list(accounts(FEW)).split("user gw-01\n")[1].split("\n\n")[0].splitlines()
    assert "topic write city/d1/pole/pole-1/telemetry" in section
    assert "topic write city/d1/cell/cell-1/ack" in section
    assert "topic read city/d1/pole/pole-1/mark" in section
    assert not [line for line in section if "pole-2" in line or "truck" in line]
    assert not [line for line in section if line.startswith("topic write") and line.endswith(("/cmd", "/mark"))]


def test_a_gateway_that_the_registry_names_but_does_not_list_still_has_its_account() -> None:
    """Its devices would be mute otherwise; the city check complains about the missing gateway."""
    made = {a.user: a for a in accounts([device("pole-9", "pole", gateway="gw-09")])}
    assert made["gw-09"].role == "gateway"
    assert [d.id for d in made["gw-09"].devices] == ["pole-9"]


def test_replay_speaks_for_recorded_devices_only() -> None:
    """A recording is published with one credential that cannot touch a real or simulated device."""
    replay = next(a for a in accounts(FEW) if a.user == "replay")
    assert [d.id for d in replay.devices] == ["station-1"]


@pytest.mark.parametrize("name", ["server", "monitor", "replay", "a/b", "a+", "#", "", "a b", "x\nuser server"])
def test_names_that_would_gain_rights_are_refused(name: str) -> None:
    """Neither one of our own users, nor a wildcard, nor a line break can come in as a device's name."""
    with pytest.raises(AccessError, match="rename the device"):
        accounts([device(name, "pole")])
    if name:
        with pytest.raises(AccessError, match="rename the device"):
            accounts([device("pole-1", "pole", gateway=name)])


def test_the_order_of_the_registry_does_not_change_the_list_of_users() -> None:
    """The same registry in another order gives the same accounts, so that nothing is written for nothing."""
    assert [a.user for a in accounts(FEW)] == [a.user for a in accounts(tuple(reversed(FEW)))]
