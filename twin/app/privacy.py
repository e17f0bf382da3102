"""What this city has to veil: the plates of its trucks, the numbers by which people are reached; and the logs."""

from __future__ import annotations

import logging

from devices.places import CityFiles
from twin.access.veil import Veil, VeilLog, is_number


def city_veil(files: CityFiles, key: bytes) -> Veil:
    """The veil over a city's plates and the numbers of its departments and shifts."""
    veil = Veil(key)
    cover(veil, files)
    return veil


def cover(veil: Veil, files: CityFiles) -> None:
    """Have the veil lie over what the city holds now."""
    addresses = [office.address for office in files.departments]
    addresses += [shift.address for office in files.departments for shift in office.on_call]
    plates = {device.id: device.plate for device in files.devices if device.plate}
    veil.become(plates, [part.strip() for told in addresses for part in told.split(",") if is_number(part)])


def veil_logs(veil: Veil) -> None:
    """Have every handler of the process write pseudonyms."""
    for handler in logging.getLogger().handlers:
        for old in [one for one in handler.filters if isinstance(one, VeilLog)]:
            handler.removeFilter(old)
        handler.addFilter(VeilLog(veil))
