"""The ways out as people see them: which channels are configured, how each lane fares, and a message that tries one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from devices.places import CityFiles
from devices.topics import Topic
from twin.app.ways import ALWAYS, open_channel
from twin.channels import CHANNELS
from twin.errors import SettingsError, UnknownPlace
from twin.records import Delivery
from twin.settings import Settings

TEXT = {"en": "CityWhistle reaches you by this way.", "zh": "城哨可以通过此通道联系到您。"}


@dataclass(frozen=True, slots=True)
class Exits:
    """Settings, the city as it is now, and the sender's own figures."""

    settings: Settings
    files: Callable[[], CityFiles]
    figures: Callable[[], Mapping[str, Any]]

    def known(self) -> list[dict[str, Any]]:
        """Every channel that there is: configured or not, the departments that it reaches, its lanes."""
        lanes = self.figures()["lanes"]
        return [
            {
                "channel": name,
                "configured": configured(self.settings, name),
                "departments": [one.id for one in self.files().departments if one.channel == name],
                "lanes": [lane for lane in lanes if lane["channel"] == name],
            }
            for name in CHANNELS
        ]

    async def test(self, name: str, to: str) -> str:
        """Send one test message; what the other side said. Raises UnknownPlace (no such channel or device),
        SettingsError (it is not configured), DeliveryFailed."""
        if name not in CHANNELS:
            raise UnknownPlace(f"there is no channel {name[:40]!r} (there are: {', '.join(CHANNELS)})")
        if not configured(self.settings, name):
            raise SettingsError(f"there is no [channels.{name}] in the configuration")
        message = test_message(self.files(), name, to)
        channel = open_channel(self.settings, name)
        try:
            return await channel.send(message)
        finally:
            await channel.close()


def configured(settings: Settings, name: str) -> bool:
    """Whether a channel has a table of its own, or needs none."""
    return name in settings.channels or name in ALWAYS


def test_message(files: CityFiles, name: str, to: str) -> Delivery:
    """The test message; to a device it is a text for its display. Raises UnknownPlace where there is none."""
    key = f"test:{uuid.uuid4().hex}"
    if name == "mqtt":
        device = next((one for one in files.devices if one.id == to), None)
        if device is None:
            raise UnknownPlace(f"mqtt wants the id of a device of the city; there is no {to[:64]!r}")
        topic = str(Topic(device.district, device.kind, device.id, "cmd"))
        return Delivery(key, "", name, to, "test", {"topic": topic, "action": "text", "arguments": TEXT})
    payload = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "severity": 1, "text": TEXT}
    return Delivery(key, "", name, to, "test", payload)
