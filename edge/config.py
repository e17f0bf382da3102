"""The gateway's configuration: one commented TOML file, secrets in files of their own, errors with file and line.

Plain keys may be overridden by the environment: `[broker] port` by CITYWHISTLE_EDGE_BROKER_PORT.
"""

from __future__ import annotations

import os
import re
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from devices.errors import DeviceError
from devices.kinds import KINDS
from devices.outlet import read_password
from devices.sender import Address
from devices.topics import NAME
from devices.wire import Broker
from edge.errors import ConfigError
from edge.policy import Rule
from edge.sheet import Sheet
from edge.sources import SOURCES
from edge.sources.intake import Intake, Source
from edge.spool import LEAST_BYTES
from edge.uplink import UplinkLimits

PREFIX = "CITYWHISTLE_EDGE_"
TOP = frozenset(("gateway", "broker", "spool", "uplink", "devices", "policy", "source"))
GATEWAY = frozenset(("id", "district", "data_dir", "health_every_s", "status_every_s"))
BROKER = frozenset(("host", "port", "user", "password_file", "tls", "ca_file", "cert_file", "key_file", "marks"))
SPOOL = frozenset(("max_bytes", "commit_every_s", "commit_readings", "commit_acks"))
UPLINK = frozenset(("window", "in_flight", "backlog_per_s", "patience_s"))
POLICY = frozenset(("quantity", "kind", "device", "absolute", "relative", "longest_s", "shortest_s"))
DEVICE = frozenset(("kind", "district"))
OVERRIDABLE = {"gateway": GATEWAY, "broker": BROKER, "spool": SPOOL, "uplink": UPLINK}


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """A checked configuration. `commit_*`: readings are written together after that time or number."""

    file: str
    own: Address
    behind: tuple[Address, ...]
    data_dir: Path
    broker: Broker
    marks: bool
    limits: UplinkLimits
    max_bytes: int
    commit_every_s: float
    commit_readings: int
    commit_acks: int
    health_every_s: float
    status_every_s: float
    rules: tuple[Rule, ...]
    sources: tuple[Sheet, ...]

    @property
    def addresses(self) -> dict[str, Address]:
        """Every device that the gateway speaks for, by id."""
        return {address.device: address for address in (self.own, *self.behind)}

    @property
    def status_file(self) -> Path:
        """Where the running gateway writes how it is."""
        return self.data_dir / "status.json"

    def open_sources(self, intake: Intake) -> list[Source]:
        """The southbound buses, not started. Raises ConfigError."""
        return [SOURCES[sheet.choice("type", "", SOURCES)](sheet, intake) for sheet in self.sources]


def example() -> str:
    """The commented configuration that `config init` writes."""
    return (resources.files("edge") / "edge.toml").read_text(encoding="utf-8")


def load_config(path: Path, env: Mapping[str, str] | None = None) -> EdgeConfig:
    """Read and check a file, its sources included. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); `citywhistle-edge config init` writes one") from error
    config = parse_config(text, str(path), os.environ if env is None else env)
    config.open_sources(Intake(config.addresses))
    return config


def parse_config(text: str, file: str, env: Mapping[str, str]) -> EdgeConfig:
    """A configuration from its text; sources are checked when they are opened. Raises ConfigError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise ConfigError(f"{file}:{found[1] if found else 1}: not TOML: {error}") from error
    top = Sheet(file, text, _override(table, env))
    top.known(TOP)
    gateway, spool = _section(top, "gateway", GATEWAY), _section(top, "spool", SPOOL)
    own = Address(_name(gateway, "district"), "gateway", _name(gateway, "id"))
    broker = _section(top, "broker", BROKER)
    sources = tuple(top.sheets("source"))
    for source in sources:
        source.choice("type", "", SOURCES)
    return EdgeConfig(
        file=file,
        own=own,
        behind=_devices(top.sheet("devices"), own),
        data_dir=Path(gateway.word("data_dir", "edge-data")),
        broker=_broker(broker),
        marks=broker.truth("marks", True),
        limits=_limits(_section(top, "uplink", UPLINK)),
        max_bytes=spool.whole("max_bytes", 256 << 20, LEAST_BYTES),
        commit_every_s=spool.number("commit_every_s", 1.0, 0.0, 60.0),
        commit_readings=spool.whole("commit_readings", 500, 1, 10_000),
        commit_acks=spool.whole("commit_acks", 16, 1, 10_000),
        health_every_s=gateway.number("health_every_s", 30.0, 1.0, 3600.0),
        status_every_s=gateway.number("status_every_s", 10.0, 0.1, 3600.0),
        rules=tuple(_rule(sheet) for sheet in top.sheets("policy")),
        sources=sources,
    )


def _section(top: Sheet, name: str, allowed: frozenset[str]) -> Sheet:
    sheet = top.sheet(name)
    sheet.known(allowed)
    return sheet


def _override(table: dict[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """The table with the environment's values, which are read as TOML values where they are some, else as text."""
    for section, keys in OVERRIDABLE.items():
        for key in sorted(keys):
            said = env.get(f"{PREFIX}{section}_{key}".upper())
            if said is None:
                continue
            inner = table.setdefault(section, {})
            if isinstance(inner, dict):
                inner[key] = _scalar(said)
    return table


def _scalar(said: str) -> Any:
    if re.fullmatch(r"-?\d+(\.\d+)?|true|false", said):
        return tomllib.loads(f"x = {said}")["x"]
    return said


def _name(sheet: Sheet, key: str) -> str:
    value = sheet.word(key)
    if not NAME.match(value):
        sheet.fail(key, f"{value!r} cannot stand in a topic", "letters, digits and _ . : -, at most 64, no other first")
    return value


def _devices(sheet: Sheet, own: Address) -> tuple[Address, ...]:
    """`pole-1 = "pole"`, or a table with kind and district."""
    made = []
    for device, told in sheet.table.items():
        if not NAME.match(device) or device == own.device:
            sheet.fail(device, "cannot be the id of a device behind us", "an id of the city's registry, not our own")
        if isinstance(told, str):
            kind, district = told, own.district
        else:
            inner = sheet.sheet(device)
            inner.known(DEVICE)
            kind, district = inner.word("kind"), inner.word("district", own.district)
        if kind not in KINDS or not NAME.match(district):
            sheet.fail(device, f"kind {kind!r}, district {district!r}", f"a kind is one of {', '.join(KINDS)}")
        made.append(Address(district, kind, device))
    return tuple(made)


def _broker(sheet: Sheet) -> Broker:
    password_file, tls, ca = sheet.word("password_file", ""), sheet.truth("tls", False), sheet.word("ca_file", "")
    try:
        password = read_password(Path(password_file)) if password_file else ""
    except DeviceError as error:
        sheet.fail("password_file", str(error), "the file holds the password alone")
    if ca and not tls:
        sheet.fail("ca_file", "is given without tls", "write tls = true")
    if tls and not ca:
        ca = ssl.get_default_verify_paths().cafile or ""
        if not ca:
            sheet.fail("tls", "the system has no certificate authorities", "name the broker's: ca_file = ...")
    certificate, key = sheet.word("cert_file", ""), sheet.word("key_file", "")
    broker = Broker(
        host=sheet.word("host"),
        port=sheet.whole("port", 8883 if tls else 1883, 1, 65535),
        user=sheet.word("user", ""),
        password=password,
        ca=Path(ca) if ca else None,
        certificate=Path(certificate) if certificate else None,
        key=Path(key) if key else None,
    )
    try:
        broker.tls()
    except DeviceError as error:
        sheet.fail("ca_file" if sheet.word("ca_file", "") else "tls", str(error), "check the files")
    return broker


def _limits(sheet: Sheet) -> UplinkLimits:
    return UplinkLimits(
        window=sheet.whole("window", 256, 8, 10_000),
        in_flight=sheet.whole("in_flight", 500, 1, 20_000),
        backlog_per_s=sheet.number("backlog_per_s", 500.0, 1.0, 100_000.0),
        patience_s=sheet.number("patience_s", 20.0, 1.0, 3600.0),
    )


def _rule(sheet: Sheet) -> Rule:
    sheet.known(POLICY)
    longest_s, shortest_s = sheet.number("longest_s", 0.0), sheet.number("shortest_s", 0.0)
    if 0 < longest_s < shortest_s:
        sheet.fail("longest_s", f"{longest_s:g} is less than shortest_s", "at least as much")
    return Rule(
        sheet.word("quantity", "*"),
        sheet.word("kind", "*"),
        sheet.word("device", "*"),
        sheet.number("absolute", 0.0),
        sheet.number("relative", 0.0),
        longest_s,
        shortest_s,
    )
