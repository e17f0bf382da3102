"""Southbound buses of the edge gateway: a new bus is one new file here and one line in SOURCES."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge.sheet import Sheet
from edge.sources.intake import Intake, Source
from edge.sources.lines import open_lines
from edge.sources.mqtt_local import open_mqtt_local

# type -> opens a source from its table of the configuration; raises ConfigError for what is wrong there.
SOURCES: Mapping[str, Callable[[Sheet, Intake], Source]] = {
    "lines": open_lines,
    "mqtt_local": open_mqtt_local,
}

__all__ = ["SOURCES", "Intake", "Sheet", "Source"]
