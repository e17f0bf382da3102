"""Copies of the embedded store: made while it runs, checked, put back. A copy opens as a store of its own.

COPY/hot.duckdb          tables that were not sealed yet, and the catalogue
COPY/sealed/*.parquet    what the catalogue names; on the same disk as links, for sealed files never change
COPY/backup.json         written last: without it a copy is not whole. Journal, position, rows, files, device names
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from twin.errors import StoreBroken
from twin.store.embedded import EmbeddedStore
from twin.store.protocol import Rows
from twin.store.sealed import sync_folder
from twin.store.shelf import Reader

NOTE = "backup.json"
FORMAT = 1

Told = Callable[[float], None]  # is told the share that is done, 0 to 1


def elsewhere(backend: str) -> str:
    """Where series that lie in a server of their own are copied and taken out."""
    tool = {"influxdb": "`influx backup`, `influx query`", "victoriametrics": "`vmbackup`, /api/v1/export"}
    return f"the series lie in {backend}: use its own tools ({tool.get(backend, 'see its manual')})"


def _untold(_share: float) -> None:
    return None


def back_up(store: EmbeddedStore, names: Iterable[tuple[str, int, str]], folder: Path) -> Mapping[str, Any]:
    """Copy a store into the new `folder`; what backup.json says. Appends wait while unsealed tables are copied.

    `names`: (kind, row, device) of every device. Raises StoreDown, StoreBroken, FileExistsError, OSError.
    """
    store.seal(compact=False)  # what is sealed is linked, not copied
    folder.mkdir(parents=True)
    position = store.position()  # at least so far
    try:
        files = store.copy_to(folder)
        _sync(folder)
        note = {
            "format": FORMAT,
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "journal": store.journal,
            "position": position,
            "files": files,
            "rows": store.info()["sealed_rows"],
            "names": sorted(names),
        }
        aside = folder / (NOTE + ".new")
        with aside.open("w", encoding="utf-8") as out:
            json.dump(note, out)
            out.flush()
            os.fsync(out.fileno())
        aside.replace(folder / NOTE)
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return note


def read_note(folder: Path) -> dict[str, Any]:
    """What a copy says of itself. Raises StoreBroken where it is none, or not whole."""
    try:
        told: dict[str, Any] = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise StoreBroken(f"{folder}: backup format {told['format']} is of another version of CityWhistle")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreBroken(f"{folder} is no whole backup ({NOTE} cannot be read: {error})") from error
    return told


def check(folder: Path, progress: Told = _untold) -> dict[str, Any]:
    """Read a copy's files through; what backup.json says. Raises StoreBroken naming the first file that is wrong."""
    note = read_note(folder)
    files: Mapping[str, int] = note["files"]
    for done, (name, size) in enumerate(sorted(files.items()), 1):
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            there = f"{path.stat().st_size} bytes" if path.is_file() else "missing"
            raise StoreBroken(f"{path} is {there}, the backup was made with {size} bytes: take another backup")
        if path.suffix == ".parquet":
            Reader(path).verify()
        progress(done / len(files))
    return note


def before(place: Path) -> Path:
    """A name beside a file or folder under which the former one is kept; nobody has it yet."""
    stamp, number = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), 1
    while True:
        found = place.with_name(f"{place.name}.before-{stamp}" + (f"-{number}" if number > 1 else ""))
        if not found.exists():
            return found
        number += 1


def restore(folder: Path, place: Path, progress: Told = _untold) -> Path | None:
    """Put a checked copy where the store stands; where the former store is kept aside, None where there was none.

    The store must not be open. The old one is moved away only when the new one lies ready beside it.
    """
    note = check(folder, lambda share: progress(share / 2))
    fresh = place.with_name(place.name + ".restoring")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    names = sorted(note["files"])
    for done, name in enumerate(names, 1):
        (fresh / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / name, fresh / name)
        progress(0.5 + done / len(names) / 2)
    _sync(fresh)
    kept: Path | None = None
    if place.exists():
        kept = before(place)
        place.rename(kept)
    fresh.rename(place)
    sync_folder(place.parent)
    return kept


def open_copy(folder: Path) -> tuple[EmbeddedStore, Rows]:
    """A copy as a store to read from, with its devices' names. Raises StoreBroken, StoreDown."""
    rows = Rows((kind, row, device) for kind, row, device in read_note(folder)["names"])
    return EmbeddedStore(folder, rows, seal_every_s=None), rows


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as done:
                os.fsync(done.fileno())
    for inner in (folder / "sealed", folder):
        if inner.is_dir():
            sync_folder(inner)
