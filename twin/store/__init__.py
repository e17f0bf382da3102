"""Stores of series, one file a backend. A new backend is one new file and one line in STORES."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from devices.kinds import KINDS
from twin.errors import SettingsError
from twin.settings import StoreSettings, read_secret
from twin.store.protocol import DAY_MS, Buckets, Rows, Snapshot, Store
from twin.store.writer import Keep

__all__ = ["STORES", "Buckets", "Keep", "Rows", "Snapshot", "Store", "keep_of", "open_store"]

Opener = Callable[[StoreSettings, Path, Rows, str], Store]


def _embedded(_settings: StoreSettings, folder: Path, rows: Rows, journal: str) -> Store:
    from twin.store.embedded import EmbeddedStore

    return EmbeddedStore(folder, rows, journal=journal)


def _influxdb(settings: StoreSettings, folder: Path, rows: Rows, journal: str) -> Store:
    from twin.store.influxdb import InfluxStore

    token = read_secret(settings.token_file)
    url = settings.url or "http://127.0.0.1:8086"
    return InfluxStore(url, settings.org, settings.bucket, token, folder, rows, journal=journal)


def _victoriametrics(settings: StoreSettings, _folder: Path, rows: Rows, journal: str) -> Store:
    from twin.store.victoriametrics import VictoriaStore

    return VictoriaStore(settings.url or "http://127.0.0.1:8428", rows, journal=journal)


STORES: dict[str, Opener] = {
    "embedded": _embedded,
    "influxdb": _influxdb,
    "victoriametrics": _victoriametrics,
}


def open_store(settings: StoreSettings, folder: Path, rows: Rows, journal: str = "") -> Store:
    """The store that the settings name, with its files (if it has any) in `folder`.

    `rows` tells which device has which row; it grows as the journal's Names entries pass the writer.
    `journal` is the journal's id: positions of another journal count as 0.
    Raises SettingsError, StoreDown, StoreBroken.
    """
    opener = STORES.get(settings.kind)
    if opener is None:
        raise SettingsError(f"[store] kind = {settings.kind!r} is unknown (known: {', '.join(STORES)})")
    return opener(settings, folder, rows, journal)


def keep_of(settings: StoreSettings) -> Keep:
    """How long the settings keep what. Raises SettingsError for kinds or days that cannot be."""
    kinds: dict[str, int] = {}
    for one in filter(None, (part.strip() for part in settings.kinds_days.split(","))):
        kind, _, days = (part.strip() for part in one.partition("="))
        try:
            kinds[kind] = round(float(days) * DAY_MS)
        except (ValueError, OverflowError):
            kinds[kind] = -1
        if kind not in KINDS or kinds[kind] < 0:
            raise SettingsError(
                f"[store] kinds_days: {one!r} (give KIND=DAYS, like truck=14; the kinds are {', '.join(KINDS)})"
            )
    return Keep(round(settings.retention_days * DAY_MS), round(settings.rollup_days * DAY_MS), kinds)
