"""What whistles need to know about the city: who hangs on what, who answers for what, what things are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from devices.kinds import KINDS
from devices.places import Area, CityFiles, Department, Device, Node
from twin.whistle.hours import Calendar, calendar_from_files

Language = Literal["en", "zh"]


class Places(Protocol):
    """The city as far as whistles go. Subjects are ids of devices, nodes or areas; unknown ones get empty answers."""

    def parents(self, subject: str) -> tuple[str, ...]:
        """What the subject hangs on, nearest first: pole, cabinet, feeder, gateway, areas."""
        ...

    def department(self, type: str, subject: str) -> Department | None:  # noqa: A002
        """Who answers for that case type where the subject stands; None where no department claims it."""
        ...

    def departments(self) -> Mapping[str, Department]:
        """Every department by id."""
        ...

    def calendar(self, office: str) -> Calendar | None:
        """The working hours that a department names; None where it names none."""
        ...

    def where(self, subject: str) -> tuple[float, float]:
        """Longitude, latitude in WGS84 degrees; NaN, NaN where unknown."""
        ...

    def kind(self, subject: str) -> str:
        """The device kind or node class; '' where unknown."""
        ...

    def name(self, subject: str, language: Language) -> str:
        """What people call it."""
        ...

    def district(self, subject: str) -> str:
        """Code of the district, as in the subject's topics; '' where unknown."""
        ...

    def areas(self, subject: str) -> tuple[str, ...]:
        """Codes of the areas that hold it, smallest first."""
        ...

    def become(self, files: CityFiles) -> None:
        """Go on as the city of these files."""
        ...


@dataclass(slots=True)
class CityPlaces:
    """The places of a city's files, indexed once."""

    devices: dict[str, Device]
    nodes: dict[str, Node]
    codes: dict[str, Area]
    offices: dict[str, Department]
    calendars: dict[str, Calendar] = field(default_factory=dict)

    @classmethod
    def of(cls, files: CityFiles) -> CityPlaces:
        """Index the files."""
        places = cls({}, {}, {}, {})
        places.become(files)
        return places

    def become(self, files: CityFiles) -> None:
        self.devices = {device.id: device for device in files.devices}
        self.nodes = {node.id: node for node in files.nodes}
        self.codes = {area.code: area for area in files.areas}
        self.offices = {office.id: office for office in files.departments}
        self.calendars = {one.id: calendar_from_files(one, files.timezone) for one in files.calendars}

    def parents(self, subject: str) -> tuple[str, ...]:
        device = self.devices.get(subject)
        if device is None:
            node = self.nodes.get(subject)
            above = (node.parent,) if node and node.parent else ()
            return above + self.areas(subject)
        chain: list[str] = []
        if device.pole:
            chain += [device.pole]
            pole = self.devices.get(device.pole)
            chain += [pole.cabinet, pole.feeder] if pole else []
        chain += [device.cabinet, device.feeder, device.gateway]
        cabinet = self.nodes.get(device.cabinet)
        chain += [cabinet.parent] if cabinet else []
        return tuple(dict.fromkeys(c for c in chain if c and c != subject)) + self.areas(subject)

    def areas(self, subject: str) -> tuple[str, ...]:
        device, node = self.devices.get(subject), self.nodes.get(subject)
        if device is not None:
            return tuple(code for code in (device.grid, device.street, device.district) if code)
        code = node.area if node else subject
        found: list[str] = []
        while (area := self.codes.get(code)) is not None and code not in found:
            found.append(code)
            code = area.parent
        return tuple(found)

    def department(self, type: str, subject: str) -> Department | None:  # noqa: A002
        areas = self.areas(subject)
        claims = [office for office in self.offices.values() if type in office.types]
        for area in areas:  # the smallest area's own office goes first
            for office in claims:
                if area in office.areas:
                    return office
        return next((office for office in claims if not office.areas), None)

    def departments(self) -> Mapping[str, Department]:
        return self.offices

    def calendar(self, office: str) -> Calendar | None:
        known = self.offices.get(office)
        return self.calendars.get(known.calendar) if known is not None else None

    def where(self, subject: str) -> tuple[float, float]:
        device, node = self.devices.get(subject), self.nodes.get(subject)
        if device is not None:
            return device.lon, device.lat
        if node is not None and node.lon is not None and node.lat is not None:
            return node.lon, node.lat
        area = self.codes.get(subject)
        if area is not None and area.ring:
            count = len(area.ring)
            return sum(lon for lon, _ in area.ring) / count, sum(lat for _, lat in area.ring) / count
        return float("nan"), float("nan")

    def kind(self, subject: str) -> str:
        if subject in self.devices:
            return self.devices[subject].kind
        if subject in self.nodes:
            return self.nodes[subject].cls
        return self.codes[subject].level if subject in self.codes else ""

    def name(self, subject: str, language: Language) -> str:
        named = self.nodes.get(subject) or self.codes.get(subject)
        if named is not None:
            return (named.name_zh if language == "zh" else named.name) or subject
        device = self.devices.get(subject)
        if device is None:
            return subject
        kind = KINDS.get(device.kind)
        word = (kind.zh if language == "zh" else kind.en) if kind else device.kind
        return f"{word} {subject}"

    def district(self, subject: str) -> str:
        device = self.devices.get(subject)
        if device is not None:
            return device.district
        areas = self.areas(subject)
        return areas[-1] if areas else ""
