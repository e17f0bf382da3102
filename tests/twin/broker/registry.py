"""A registry of a few devices for tests of the broker: two gateways, what hangs on them, two lone trucks."""

from __future__ import annotations

from devices.places import Device


def device(name: str, kind: str, *, gateway: str = "", origin: str = "simulated", district: str = "d1") -> Device:
    """A device of which only what the broker asks for matters."""
    return Device(name, kind, "0" * 16, 24.9, 60.2, district, gateway=gateway, origin=origin)


FEW = (
    device("gw-01", "gateway"),
    device("gw-02", "gateway"),
    device("pole-1", "pole", gateway="gw-01"),
    device("cell-1", "cell", gateway="gw-01"),
    device("pole-2", "pole", gateway="gw-02"),
    device("truck-1", "truck"),
    device("truck.2", "truck"),
    device("station-1", "pole", origin="recorded"),
)
