"""The one configuration: a commented TOML file, every key overridable by environment, secrets in files.

`CITYWHISTLE_BROKER_PORT=1884` overrides `[broker] port`. Keys that hold a duration or a size carry their unit in the
name (`_s`, `_days`, `_bytes`) and take a plain number or a text with a unit of the same dimension ("2 min", "64 MiB");
any other unit is an error that names file, line and fix. Unknown keys are errors too.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import secrets
import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twin.errors import SettingsError

PREFIX = "CITYWHISTLE_"
_OTHERS = ("CITYWHISTLE_BROKER_FROM",)  # read by set-up and demo, not by the server


def _key(default: Any, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class CitySettings:
    """Which city."""

    dir: str = _key("", "directory of the city's files; empty: the shipped Helsinki centre")
    clock_file: str = _key("", "shared clock file of a simulated city; empty: the real time")


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the city's messages are."""

    host: str = _key("127.0.0.1", "MQTT broker")
    port: int = _key(1883, "1883 plain, 8883 with tls = true")
    user: str = _key("server", "the server's user at the broker")
    password_file: str = _key("", "file that holds the password alone; empty: none")
    tls: bool = _key(False, "speak TLS")
    ca_file: str = _key("", "certificate authority that signed the broker; empty: the system's")
    cert_file: str = _key("", "our client certificate, where the broker asks for one")
    key_file: str = _key("", "its key")
    client_id: str = _key("citywhistle", "names our persistent session; one per server")
    share_group: str = _key("", "join a $share group; empty: the only subscriber")
    mqtt_version: int = _key(4, "4 = MQTT 3.1.1, 5 = MQTT 5")
    mark_every_s: float = _key(1.0, "how often a sender's high-water mark is published at most")


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """The log that everything durable goes through."""

    max_bytes: int = _key(8 << 30, "bound; when reached, ingest stops acknowledging and the broker holds")
    keep_bytes: int = _key(1 << 30, "what is no longer needed stays until the journal is this large")
    checkpoint_every_s: float = _key(60.0, "how often the world is written aside")
    gaps: str = _key("refuse", "where checkpoints or cases are gone and cannot come again: refuse to start | accept it")


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """How much one device may say, by the times that its readings carry: a backlog passes, a flood does not."""

    flood_factor: float = _key(
        100.0, "a device may speak so many times as often as its cadence (or 100/s) for ever; 0: no bound"
    )
    flood_burst: int = _key(20_000, "readings of one device beyond that at once; what is more is refused as flood")
    flood_backlog: int = _key(1_000_000, "older readings of one device that may come at once behind newer ones")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the series go."""

    kind: str = _key("embedded", "embedded | influxdb | victoriametrics")
    url: str = _key("", "of InfluxDB or VictoriaMetrics, like http://127.0.0.1:8086")
    org: str = _key("citywhistle", "InfluxDB organisation")
    bucket: str = _key("citywhistle", "InfluxDB bucket")
    token_file: str = _key("", "file that holds the InfluxDB token alone")
    retention_days: float = _key(30.0, "raw readings older than this are dropped; 0: never")
    kinds_days: str = _key("", 'kinds whose raw readings stay otherwise, like "truck=14, cell=7" (days; 0: for ever)')
    rollup_days: float = _key(0.0, "steps of five minutes older than this are dropped; 0: never (embedded)")


@dataclass(frozen=True, slots=True)
class CasesSettings:
    """Where cases, their history and the outbox are kept."""

    url: str = _key("", "empty: SQLite in data_dir; or postgresql://USER@HOST/DATABASE")
    password_file: str = _key("", "file that holds the database user's password alone")
    backup: str = _key("copy", "before a migration: copy (SQLite file, or pg_dump) | none (you made one yourself)")


@dataclass(frozen=True, slots=True)
class TickSettings:
    """The heartbeat."""

    interval_s: float = _key(1.0, "machine seconds between tick marks; events tick sooner")


@dataclass(frozen=True, slots=True)
class WhistleSettings:
    """Cases and their delivery."""

    webhook_url: str = _key("", "where CloudEvents go when a department names no address; empty: nowhere")
    webhook_secret_file: str = _key("", "file with the HMAC key that signs them")
    hold_s: float = _key(5.0, "city seconds that a case waits for its cause before it is sent")


@dataclass(frozen=True, slots=True)
class HeartbeatSettings:
    """A call to somebody else's address while all is well, whose absence tells people that this server is down."""

    url: str = _key("", "http://HOST:PORT/beat of `citywhistle watch`, or a healthchecks-style address; empty: none")
    fail_url: str = _key("", "called in its place while the server is not ready; empty: nothing is called then")
    secret_file: str = _key("", "file with the HMAC key that signs it, as webhooks are signed")
    every_s: float = _key(60.0, "how often")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The page and the API."""

    host: str = _key("127.0.0.1", "address to bind; 0.0.0.0 = every one: then with TLS here or a proxy before it")
    port: int = _key(8080, "0 = any free one")
    public_url: str = _key(
        "", "address that people outside reach this server by, for links in messages; empty: its own"
    )
    cert_file: str = _key("", "certificate (PEM, with its chain): the page and the API speak TLS; empty: plain HTTP")
    key_file: str = _key("", "its key (PEM)")
    proxies: str = _key(
        "", "addresses (with blanks between) whose X-Forwarded-For and -Proto are believed; empty: none"
    )


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long what is kept, in days; 0: for ever. Carried out at night by the city's clock. Readings: [store]."""

    messages_days: float = _key(90.0, "texts and addresses of messages about cases that are over (30 or more)")
    photos_days: float = _key(365.0, "photos that came with answers")
    cases_days: float = _key(1825.0, "cases that are over, with their history (60 or more)")
    reveals_days: float = _key(1095.0, "who saw whose plate or number, and why")
    audit_days: float = _key(1095.0, "log-ins, changes of users and rights, expired tokens")
    hour: int = _key(3, "hour of the city's night at which it begins")


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """One table [channels.NAME]: its keys are the channel's, which checks them; `place` says where they stand."""

    options: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)  # by key; "" is the table's own

    def place(self, key: str = "") -> str:
        """file:line of a key, or of the table."""
        return f"{self.file}:{self.lines.get(key, self.lines.get('', 1))}" if self.file else "environment"


@dataclass(frozen=True, slots=True)
class DepartmentSettings:
    """One table [departments.ID]: where this department's whistles go, in place of what the city's files say."""

    channel: str = ""  # "" = as the city's files say
    address: str = ""
    plates: str | None = None  # case types whose trucks' plates it is told; None = the usual table
    place: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `citywhistle up` needs to know."""

    data_dir: str = _key(".citywhistle/data", "journal, checkpoints, cases and the embedded store live here")
    city: CitySettings = CitySettings()
    broker: BrokerSettings = BrokerSettings()
    ingest: IngestSettings = IngestSettings()
    journal: JournalSettings = JournalSettings()
    store: StoreSettings = StoreSettings()
    cases: CasesSettings = CasesSettings()
    tick: TickSettings = TickSettings()
    whistle: WhistleSettings = WhistleSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    web: WebSettings = WebSettings()
    retention: RetentionSettings = RetentionSettings()
    channels: Mapping[str, ChannelSettings] = field(default_factory=dict)
    departments: Mapping[str, DepartmentSettings] = field(default_factory=dict)


# What can work at all; everything else is refused where it stands.
_CHOICES: dict[tuple[str, str], tuple[object, ...]] = {
    ("store", "kind"): ("embedded", "influxdb", "victoriametrics"),
    ("broker", "mqtt_version"): (4, 5),
    ("cases", "backup"): ("copy", "none"),
    ("journal", "gaps"): ("refuse", "accept"),
}
_LIMITS: dict[tuple[str, str], tuple[float, float]] = {
    ("broker", "port"): (1, 65535),
    ("broker", "mark_every_s"): (0.05, 3600),
    ("web", "port"): (0, 65535),
    ("heartbeat", "every_s"): (1, 86400),
    ("ingest", "flood_factor"): (0, 1e6),
    ("ingest", "flood_burst"): (1, 1e9),
    ("ingest", "flood_backlog"): (1, 1e9),
    ("journal", "max_bytes"): (1 << 20, math.inf),
    ("journal", "checkpoint_every_s"): (0.1, 86400),
    ("tick", "interval_s"): (0.05, 60),
    ("retention", "hour"): (0, 23),
}

_SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3}
_UNITS: dict[str, tuple[dict[str, float], float]] = {
    "_s": (_SECONDS, 1.0),
    "_days": (_SECONDS, 86400.0),
    "_bytes": (_BYTES, 1.0),
}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*\Z")


def _with_unit(key: str, text: str) -> float | None:
    """What a text like "2 min" says, in the key's own unit; None when it is no amount with a fitting unit."""
    found = _AMOUNT.match(text)
    units = next((u for suffix, u in _UNITS.items() if key.endswith(suffix)), None)
    if found is None or units is None or found[2] not in units[0]:
        return None
    return float(found[1]) * units[0][found[2]] / units[1]


def _wish(key: str) -> str:
    for suffix, (units, _) in _UNITS.items():
        if key.endswith(suffix):
            return f"a number, or a text with one of the units {', '.join(units)}"
    return "a number without a unit"


def _take(kind: type, key: str, value: Any, place: str) -> Any:
    """One value as `kind`. Raises SettingsError naming the place and what is wanted."""
    if kind in (int, float) and not isinstance(value, bool):
        amount = value
        if isinstance(value, str):
            amount = _with_unit(key, value)
            if amount is None and re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", value):
                amount = float(value)
        if isinstance(amount, int | float):
            if not math.isfinite(amount) or amount < 0 or (kind is int and amount != int(amount)):
                raise SettingsError(f"{place}: {key} = {value!r} is out of range (give a whole number >= 0)")
            return kind(amount)
        raise SettingsError(f"{place}: {key} = {value!r} (give {_wish(key)})")
    if kind is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false", "1", "0", "yes", "no"):
            return value.lower() in ("true", "1", "yes")
        raise SettingsError(f"{place}: {key} = {value!r} (give true or false)")
    if kind is str and isinstance(value, str):
        return value
    raise SettingsError(f"{place}: {key} = {value!r} (give a text in quotes)")


def _line_of(text: str, section: str, key: str) -> int:
    """Line number of a key in a TOML text (1 when it cannot be found)."""
    inside = section == ""
    for number, line in enumerate(text.splitlines(), 1):
        head = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        if head:
            inside = head[1] == section
            if head[1] == (f"{section}.{key}" if section else key):
                return number
        elif inside and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return 1


def _build(cls: type, told: Mapping[str, Any], section: str, where: tuple[str, str], env: Mapping[str, str]) -> Any:
    """A settings record from a TOML table and the environment."""
    file, text = where
    kinds = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for key in told:
        if key not in names:
            spot = f"{file}:{_line_of(text, section, key)}"
            near = [n for n in names if n.startswith(key[:3])] or names
            raise SettingsError(f"{spot}: unknown key {key!r} in [{section or 'top level'}] (known: {', '.join(near)})")
    values: dict[str, Any] = {}
    for name in names:
        kind = kinds[name]
        place = f"{file}:{_line_of(text, section, name)}"
        if name in TABLES:
            values[name] = TABLES[name](_tables(told.get(name, {}), name, place), where, env)
            continue
        if dataclasses.is_dataclass(kind):
            table = told.get(name, {})
            if not isinstance(table, Mapping):
                raise SettingsError(f"{place}: {name} is a section (write [{name}] and its keys below it)")
            values[name] = _build(typing.cast(type, kind), table, name, where, env)
            continue
        variable = PREFIX + (f"{section}_{name}" if section else name).upper()
        if variable in env:
            values[name] = _fit(section, name, _take(kind, name, env[variable], f"environment {variable}"), variable)
        elif name in told:
            values[name] = _fit(section, name, _take(kind, name, told[name], place), place)
    return cls(**values)


def _fit(section: str, name: str, value: Any, place: str) -> Any:
    """The value, if it can work. Raises SettingsError saying what can."""
    choices = _CHOICES.get((section, name))
    if choices is not None and value not in choices:
        raise SettingsError(f"{place}: {name} = {value!r} (give one of {', '.join(map(str, choices))})")
    low, high = _LIMITS.get((section, name), (0.0, math.inf))
    if isinstance(value, int | float) and not low <= value <= high:
        most = f" and at most {high:g}" if high < math.inf else ""
        raise SettingsError(f"{place}: {name} = {value!r} is out of range (give at least {low:g}{most})")
    return value


def _tables(told: Any, name: str, place: str) -> Mapping[str, Mapping[str, Any]]:
    """The tables [NAME.X] by X."""
    if not isinstance(told, Mapping) or not all(isinstance(table, Mapping) for table in told.values()):
        raise SettingsError(f"{place}: {name} holds tables (write [{name}.NAME] and its keys below it)")
    return told


def _channels(
    told: Mapping[str, Mapping[str, Any]], where: tuple[str, str], env: Mapping[str, str]
) -> dict[str, ChannelSettings]:
    """[channels.NAME], with CITYWHISTLE_CHANNELS_NAME_KEY from the environment. The channel checks its keys."""
    file, text = where
    found: dict[str, dict[str, Any]] = {name: dict(table) for name, table in told.items()}
    prefix = f"{PREFIX}CHANNELS_"
    for variable in sorted(v for v in env if v.startswith(prefix)):
        name, _, key = variable.removeprefix(prefix).lower().partition("_")
        found.setdefault(name, {})[key] = _literal(env[variable])
    channels = {}
    for name, table in found.items():
        section = f"channels.{name}"
        lines = {"": _line_of(text, "channels", name)} | {key: _line_of(text, section, key) for key in table}
        options = {key: _channel_value(key, value, f"{file}:{lines[key]}") for key, value in table.items()}
        channels[name] = ChannelSettings(options, file, lines)
    return channels


def _channel_value(key: str, value: Any, place: str) -> Any:
    if key in ("password", "secret"):
        raise SettingsError(f"{place}: {key} stands in a file of its own: name it by {key}_file")
    if key.endswith("_s") and isinstance(value, str):
        return _take(float, key, value, place)
    return value


def _literal(text: str) -> Any:
    """A number or truth value of the environment as such, anything else as the text that it is."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d+\.\d+", text) else text


def _departments(
    told: Mapping[str, Mapping[str, Any]], where: tuple[str, str], _env: Mapping[str, str]
) -> dict[str, DepartmentSettings]:
    """[departments.ID] with `channel` and `address`."""
    file, text = where
    departments = {}
    for name, table in told.items():
        section = f"departments.{name}"
        for key, value in table.items():
            spot = f"{file}:{_line_of(text, section, key)}"
            if key not in ("channel", "address", "plates"):
                raise SettingsError(f"{spot}: unknown key {key!r} in [{section}] (known: channel, address, plates)")
            _take(str, key, value, spot)
        departments[name] = DepartmentSettings(**table, place=f"{file}:{_line_of(text, 'departments', name)}")
    return departments


TABLES: dict[str, Callable[[Any, tuple[str, str], Mapping[str, str]], Any]] = {
    "channels": _channels,
    "departments": _departments,
}


def load_settings(path: Path | None, env: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file (None: defaults) with the environment's overrides. Raises SettingsError."""
    text = ""
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: cannot be read ({error}); `citywhistle config init` writes one") from error
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    _known_variables(os.environ if env is None else env)
    built = _build(Settings, told, "", (str(path or "defaults"), text), os.environ if env is None else env)
    return typing.cast(Settings, built)


def _known_variables(env: Mapping[str, str]) -> None:
    """Refuse a variable that means a section of the settings but no key of it: a misspelt override must not pass."""
    hints = typing.get_type_hints(Settings)
    for section in ("city", "broker", "journal", "store", "cases", "tick", "whistle", "heartbeat", "web", "retention"):
        start = f"{PREFIX}{section}_".upper()
        known = {start + f.name.upper() for f in dataclasses.fields(hints[section])}
        for name in env:
            if name.startswith(start) and name not in known and name not in _OTHERS:
                raise SettingsError(f"environment {name}: no such key (known: {', '.join(sorted(known))})")


def own_secret(path: Path, size: int) -> bytes:
    """A secret of `size` random bytes of the server's own, in a file that only its owner reads; made on first use.

    File and name outlive a power cut, for what it signs or hides is used from here on. Raises OSError, ValueError.
    """
    if not path.exists():
        aside = path.with_name(path.name + ".new")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(secrets.token_hex(size).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
        aside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return bytes.fromhex(path.read_text(encoding="ascii").strip())


def read_secret(path: str) -> str:
    """The secret that a file holds; '' for no file. Raises SettingsError when it cannot be read."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: secret cannot be read ({error})") from error


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return str(value) if isinstance(value, int | float) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


EXAMPLES = {
    "channels": """\
# Ways out beside webhook and mqtt: mail, dingtalk, wecom, feishu, sms, voice; `citywhistle channels list` shows them.
# Secrets stand in files: password_file, secret_file, url_file. `citywhistle channels test NAME` tries one.
# [channels.mail]
# host = "mail.example.org"
# port = 587
# user = "citywhistle"
# password_file = "/etc/citywhistle/mail.password"
# sender = "citywhistle@example.org"
# to = "duty@example.org"
# template = "large"   # an HTML part in large letters beside the plain text
""",
    "departments": """\
# Where a department's whistles go, in place of what the city's files say.
# [departments.lighting]
# channel = "mail"
# address = "lighting@example.org"
# plates = ""  # case types whose trucks' plates it is told; without the key traffic police and urban management are
""",
}


def _written(name: str, tables: Mapping[str, Any]) -> list[str]:
    """The tables [NAME.X] as TOML, below an example in comments."""
    lines = [EXAMPLES[name]]
    for key, table in tables.items():
        told = (
            table.options
            if isinstance(table, ChannelSettings)
            else {"channel": table.channel, "address": table.address}
            | ({} if table.plates is None else {"plates": table.plates})
        )
        lines += [f"[{name}.{key}]", *(f"{k} = {_toml(v)}" for k, v in told.items() if v != "" or k == "plates"), ""]
    return lines


def commented(settings: Settings = Settings()) -> str:
    """The settings as a TOML text in which every key is explained."""
    lines = [
        "# CityWhistle. Every key may be overridden by the environment: CITYWHISTLE_<SECTION>_<KEY>.",
        "# Secrets stand in files of their own, named by the keys that end in _file.",
        "",
    ]
    tables: list[str] = []
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if item.name in TABLES:
            tables += _written(item.name, value)
            continue
        if not dataclasses.is_dataclass(value):
            lines += [f"# {item.metadata['doc']}", f"{item.name} = {_toml(value)}", ""]
            continue
        tables += [f"# {(value.__doc__ or '').strip()}", f"[{item.name}]"]
        for part in dataclasses.fields(value):
            tables.append(f"{part.name} = {_toml(getattr(value, part.name))}  # {part.metadata['doc']}")
        tables.append("")
    return "\n".join(lines + tables)
