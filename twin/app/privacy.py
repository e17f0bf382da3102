"""What this city has to veil, and for how long what is kept: plates, numbers, logs; the classes of retention."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from devices.places import CityFiles
from twin.access import Access
from twin.access.veil import Veil, VeilLog
from twin.app.retention import Class, Night, forget_files
from twin.deliver.cases import Cases
from twin.errors import SettingsError
from twin.settings import Settings

PHOTOS = "photos"


KEPT_AT_LEAST = {"messages_days": 30.0, "cases_days": 60.0}  # links are answered for 14 days, cases reopened for 30


def city_veil(files: CityFiles, settings: Settings, key: bytes) -> Veil:
    """The veil over a city's plates, and the numbers and addresses of its departments, shifts and channels."""
    veil = Veil(key)
    cover(veil, files, settings)
    return veil


def cover(veil: Veil, files: CityFiles, settings: Settings) -> None:
    """Have the veil lie over what the city holds now."""
    addresses = [office.address for office in files.departments]
    addresses += [shift.address for office in files.departments for shift in office.on_call]
    addresses += [told for channel in settings.channels.values() if isinstance(told := channel.options.get("to"), str)]
    plates = {device.id: device.plate for device in files.devices if device.plate}
    veil.become(plates, [part.strip() for told in addresses for part in told.split(",") if part.strip()])


def veil_logs(veil: Veil) -> None:
    """Have every handler of the process write pseudonyms."""
    for handler in logging.getLogger().handlers:
        for old in [one for one in handler.filters if isinstance(one, VeilLog)]:
            handler.removeFilter(old)
        handler.addFilter(VeilLog(veil))


def retention_of(settings: Settings, timezone: str, now_ms: Callable[[], int], access: Access, cases: Cases) -> Night:
    """Every class of data with its days. Readings are the store's own. Raises SettingsError for what is too short."""
    check_days(settings)
    told = settings.retention
    photos = Path(settings.data_dir) / PHOTOS
    classes = (
        Class("messages", told.messages_days, cases.forget_messages),
        Class("photos", told.photos_days, partial(forget_files, photos), city=False),
        Class("cases", told.cases_days, cases.forget_cases),
        Class("reveals", told.reveals_days, partial(access.shorten, "reveals"), city=False),
        Class("audit", told.audit_days, partial(access.shorten, "audit"), city=False),
        Class("tokens", told.audit_days, access.forget_tokens, city=False),
    )
    return Night(classes, access, now_ms, _machine_ms, ZoneInfo(timezone), told.hour)


def check_days(settings: Settings) -> None:
    """Raise SettingsError where something would be taken out while it is still in use."""
    for key, least in KEPT_AT_LEAST.items():
        days = getattr(settings.retention, key)
        if 0 < days < least:
            raise SettingsError(f"[retention] {key} = {days:g} (give at least {least:g}, or 0 for ever)")


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000
