"""Stores of series, one file a backend. A new backend is one new file and one line in STORES."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twin.errors import SettingsError
from twin.settings import StoreSettings, read_secret
from twin.store.protocol import Buckets, Rows, Snapshot, Store

__all__ = ["STORES", "Buckets", "Rows", "Snapshot", "Store", "open_store"]

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
