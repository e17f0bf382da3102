"""The ways out: channels as the configuration describes them, and which department is reached by which."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from devices.cities.load import load_city
from devices.places import CityFiles, Department
from twin.app.plates import plates_of
from twin.app.policybook import Policybook, read_policy
from twin.app.privacy import check_days
from twin.app.rulebook import Append
from twin.broker.access import AccessError
from twin.broker.conf import BrokerFiles
from twin.broker.process import reload_broker
from twin.broker.provision import provision
from twin.channels import CHANNELS
from twin.channels.protocol import Channel
from twin.detect.rules import default_rules, parse_rules
from twin.errors import SettingsError
from twin.settings import ChannelSettings, Settings, read_secret
from twin.store import keep_of
from twin.whistle.policy import Policy, parse_policy

ALWAYS = ("webhook", "mqtt")  # there without a table of their own
SECRETS = ("password", "secret", "url")  # keys whose value may stand in a file: password_file = "..."
_UNKNOWN = re.compile(r"unknown key '(\w+)'")
_KEY = re.compile(r"channel \w+: (\w+)")


def open_channels(settings: Settings) -> dict[str, Channel]:
    """Every configured channel by name; webhook and mqtt always. Raises SettingsError with file, line and fix."""
    for name, told in settings.channels.items():
        if name not in CHANNELS:
            raise SettingsError(f"{told.place()}: no channel {name!r} (known: {', '.join(CHANNELS)})")
    names = [name for name in CHANNELS if name in settings.channels or name in ALWAYS]
    return {name: open_channel(settings, name) for name in names}


def check_settings(settings: Settings) -> list[str]:
    """Everything that a start would read: channels, the city's files, its rules and policy, the departments' ways.

    Raises SettingsError or CityFileError, naming file, line and fix; returns what works but is likely not meant.
    """
    open_channels(settings)
    files = direct(load_city(settings.city.dir or "helsinki"), settings)
    text = city_toml(files, "rules.toml")
    default_rules().override(parse_rules(text, "rules.toml") if text else {}, "rules.toml")
    city_policy(files, settings)
    plates_of(settings)
    check_days(settings)
    keep_of(settings.store)
    return [
        f"department {department} is reached by {channel}, and there is no [channels.{channel}]"
        for department, channel in unreached(files, settings).items()
    ]


def city_policy(files: CityFiles, settings: Settings) -> Policy:
    """The city's policy.toml over the starting values. Raises SettingsError."""
    hold_s = settings.whistle.hold_s
    table = read_policy(city_toml(files, "policy.toml"), timezone=files.timezone, hold_s=hold_s)
    return parse_policy(table, timezone=files.timezone, hold_s=hold_s)


def policybook(files: CityFiles, settings: Settings, append: Append = lambda _bodies: None) -> Policybook:
    """The policy of a data directory: the city's policy.toml, or what was set since. Raises SettingsError."""
    return Policybook(
        Path(settings.data_dir), city_toml(files, "policy.toml"), append, timezone=files.timezone,
        hold_s=settings.whistle.hold_s,
    )  # fmt: skip


def city_toml(files: CityFiles, name: str) -> str:
    """A TOML file of the city's directory; '' where it has none. Raises SettingsError."""
    path = files.folder / name if files.folder is not None else None
    if path is None or not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}); save it as UTF-8") from error


def provisioner(settings: Settings) -> Callable[[CityFiles], list[str]]:
    """Gives a city's devices their users at the broker, where its user files are ours (beside our own password), and
    has a broker of ours read them. Says what it did, or what a person must do."""
    told = settings.broker.password_file
    files = BrokerFiles(Path(told).parent) if told else None
    if files is None or not files.acl.exists():
        return lambda _city: ["the broker's users are not ours to write: give new devices theirs there"]

    def provide(city: CityFiles) -> list[str]:
        try:
            made = provision(city.devices, files.dir)
        except (AccessError, OSError) as error:
            return [f"the broker's users could not be written: {error}"]
        notes = [f"new user {user}: its password is in {files.credentials}" for user in made.new[:20]]
        notes += [f"and {len(made.new) - 20} more new users"] if len(made.new) > 20 else []
        notes += [f"user {user} is retired" for user in made.retired[:20]]
        if made.changed and not reload_broker(files):
            notes.append("no broker of ours runs on these users: have yours read them again (SIGHUP)")
        return notes

    return provide


def open_channel(settings: Settings, name: str) -> Channel:
    """One channel. Raises SettingsError with file, line and fix."""
    told = settings.channels.get(name, ChannelSettings())
    usual = _usual(settings).get(name, {})
    try:
        return CHANNELS[name](usual | _with_secrets(told))
    except SettingsError as error:
        if not told.options:
            raise
        found = _UNKNOWN.search(str(error)) or _KEY.search(str(error))
        raise SettingsError(f"{told.place(found[1] if found else '')}: {error}") from error


def _usual(settings: Settings) -> dict[str, dict[str, Any]]:
    """What [broker] and [whistle] say of the two channels that are always there."""
    broker = settings.broker
    mqtt: dict[str, Any] = {"host": broker.host, "port": broker.port, "user": broker.user}
    mqtt |= {"password": read_secret(broker.password_file), "client_id": f"{broker.client_id}-commands"}
    if broker.tls:
        mqtt |= {"tls": True, "ca_file": broker.ca_file, "cert_file": broker.cert_file, "key_file": broker.key_file}
    secret = read_secret(settings.whistle.webhook_secret_file)
    return {"mqtt": mqtt, "webhook": {"url": settings.whistle.webhook_url, "secret": secret}}


def _with_secrets(told: ChannelSettings) -> dict[str, Any]:
    """The options with `password_file` and the like read."""
    options = dict(told.options)
    for key in SECRETS:
        file = options.pop(f"{key}_file", None)
        if file is None:
            continue
        place = told.place(f"{key}_file")
        if not isinstance(file, str) or key in options:
            raise SettingsError(f"{place}: {key}_file names one file, and {key} is not given beside it")
        try:
            options[key] = read_secret(file)
        except SettingsError as error:
            raise SettingsError(f"{place}: {error}") from error
    return options


def direct(files: CityFiles, settings: Settings) -> CityFiles:
    """The city with the departments' channels as [departments.ID] says. Raises SettingsError."""
    known = {department.id for department in files.departments}
    for name, told in settings.departments.items():
        if name not in known:
            raise SettingsError(
                f"{told.place}: the city has no department {name!r} (it has: {', '.join(sorted(known))})"
            )
        if told.channel and told.channel not in CHANNELS:
            raise SettingsError(f"{told.place}: no channel {told.channel!r} (known: {', '.join(CHANNELS)})")
    return replace(files, departments=tuple(_directed(one, settings) for one in files.departments))


def _directed(department: Department, settings: Settings) -> Department:
    told = settings.departments.get(department.id)
    if told is None:
        return department
    # What the configuration says holds at every hour: it stands in place of the files' shifts as well.
    return replace(department, channel=told.channel or department.channel, address=told.address, on_call=())


def unreached(files: CityFiles, settings: Settings) -> dict[str, str]:
    """Departments whose channel is not configured: {department: channel}. Their whistles become dead letters."""
    there = {*ALWAYS, *settings.channels}
    return {one.id: one.channel for one in files.departments if one.channel not in there}
