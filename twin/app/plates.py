"""Plates in messages: which department is told the plate of a truck, by a table; each telling stands in the book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from twin.access import Access, Veil
from twin.errors import SettingsError
from twin.records import Delivery
from twin.settings import Settings
from twin.whistle.policy import TYPES

ON_THE_ROAD = frozenset({"overload", "speeding", "cover_open", "outside_hours", "off_route", "no_permit"})
ACTS = ON_THE_ROAD | {"illegal_dumping", "unpermitted_loading"}
# Who stops the truck or fines its owner needs the plate for it; everybody else acts on the company and the device id.
NEED: dict[str, frozenset[str]] = {"traffic_police": ON_THE_ROAD, "urban_management": ACTS}


@dataclass(frozen=True, slots=True)
class Plates:
    """Puts the plate into messages to those who need it."""

    veil: Veil
    access: Access
    table: Mapping[str, frozenset[str]]  # department -> case types

    def dress(self, delivery: Delivery) -> Delivery:
        """The message with `plate` where its department needs it, after that was written into the book of reveals."""
        payload = delivery.payload
        department, subject = _id(payload.get("department")), _id(payload.get("subject"))
        if str(payload.get("type")) not in needed(self.table, department):
            return delivery
        plate = self.veil.plate_of(subject)
        if not plate:
            return delivery
        about = f"{subject} {self.veil.plate(plate)}"
        self.access.record_once("reveals", department, "sent plate", about, delivery.key)
        return replace(delivery, payload={**payload, "plate": plate})


def needed(table: Mapping[str, frozenset[str]], department: str) -> frozenset[str]:
    """The case types whose plates a department is told; `urban_management` also stands for `urban_management_AREA`."""
    if department in table:
        return table[department]
    return next((types for name, types in table.items() if department.startswith(f"{name}_")), frozenset())


def plates_of(settings: Settings) -> dict[str, frozenset[str]]:
    """The table: NEED, changed by `plates` in [departments.ID]. Raises SettingsError for unknown types."""
    table = {}
    for name, told in settings.departments.items():
        if told.plates is None:
            continue
        types = frozenset(told.plates.replace(",", " ").split())
        strange = types - set(TYPES)
        if strange:
            raise SettingsError(
                f"{told.place}: plates: no case type {min(strange)!r} (trucks': {' '.join(sorted(ACTS))})"
            )
        table[name] = types
    return {**table, **{name: types for name, types in NEED.items() if name not in table}}


def _id(told: Any) -> str:
    return str(told.get("id", "")) if isinstance(told, Mapping) else ""
