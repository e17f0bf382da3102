"""Every device kind, in an explicit table: one new kind is one new file here and one line in KINDS."""

from __future__ import annotations

from devices.kinds.cell import CELL
from devices.kinds.feeder import FEEDER
from devices.kinds.gateway import GATEWAY
from devices.kinds.pole import POLE
from devices.kinds.truck import TRUCK
from devices.records import Kind

KINDS: dict[str, Kind] = {kind.name: kind for kind in (POLE, CELL, TRUCK, FEEDER, GATEWAY)}
