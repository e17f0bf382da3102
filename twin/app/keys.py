"""What a server cannot make again beside its data: users with tokens and books, and the keys of links and pseudonyms.

COPY/own/users.db        a copy of one moment, made while others write
COPY/own/answer.key      links that were sent before stay good with it
COPY/own/pseudonym.key   pseudonyms stay the same with it
COPY/own/own.json        written last: {name: SHA-256}; without it the copy is not whole
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twin.access import Access
from twin.access.access import FILE as USERS
from twin.access.veil import FILE as VEIL
from twin.deliver.links import FILE as LINKS
from twin.errors import TwinError
from twin.store.backup import before

LOG = logging.getLogger(__name__)

FOLDER, NOTE = "own", "own.json"
NAMES = (USERS, LINKS, VEIL)


def keep(data: Path, folder: Path) -> tuple[str, ...]:
    """Copy them from a data directory into a backup's folder, for their owner alone; what there was.

    Raises TwinError, OSError; the copy is then not whole, and says so by lacking its note.
    """
    own = folder / FOLDER
    own.mkdir(mode=0o700)
    told: dict[str, str] = {}
    for name in NAMES:
        if not (data / name).exists():
            continue
        private(own / name)
        if name == USERS:
            copy_database(data / name, own / name)
        else:
            (own / name).write_bytes((data / name).read_bytes())
        told[name] = digest(own / name)
    for name in told:
        sync(own / name)
    write_note(own / NOTE, told)
    return tuple(told)


def kept(folder: Path) -> tuple[str, ...]:
    """What a backup holds of them, each as it was written; none where it was made without. Raises TwinError."""
    own = folder / FOLDER
    if not own.exists():
        return ()
    try:
        told = json.loads((own / NOTE).read_text(encoding="utf-8"))
        names = tuple(str(name) for name in told)
        if not set(names) <= set(NAMES):
            raise ValueError(f"it names {', '.join(names)}")
        wrong = [name for name in names if digest(own / name) != told[name]]
    except (OSError, ValueError, TypeError) as error:
        raise TwinError(f"{own} is no whole backup of users and keys ({error})") from error
    if wrong:
        raise TwinError(f"{own / wrong[0]} is not as the backup was made: take another backup")
    return names


def put_back(folder: Path, data: Path) -> tuple[str, ...]:
    """Put a checked copy where a stopped server has its own; the former files stay beside; what was put back.

    Nobody is logged in afterwards, and the audit book says when it was done. Raises TwinError, OSError.
    """
    names = kept(folder)
    fresh = {name: data / f"{name}.restoring" for name in names}
    for name, aside in fresh.items():
        aside.unlink(missing_ok=True)
        private(aside)
        shutil.copyfile(folder / FOLDER / name, aside)
        sync(aside)
    if USERS in fresh:
        _note_restored(fresh[USERS])
    for name, aside in fresh.items():
        place = data / name
        if place.exists():
            _set_aside(place, before(place))
        aside.replace(place)
    sync(data)
    return names


def _set_aside(place: Path, former: Path) -> None:
    """Give a file a second name, so that its first one can be taken over at once. A database takes its log in first."""
    if place.name == USERS:
        try:
            link = sqlite3.connect(place)
            try:
                link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                link.close()
        except sqlite3.DatabaseError:  # it is damaged, which is why it is replaced: its log stays with it
            LOG.warning("%s is damaged; it is kept as it is", place)
        for suffix in ("-wal", "-shm"):
            part = place.with_name(place.name + suffix)
            if part.exists():
                part.rename(former.with_name(former.name + suffix))
    os.link(place, former)


def _note_restored(path: Path) -> None:
    """Sessions of that time are over; the book says that the file is a backup's."""
    access = Access(path)
    try:
        access.sessions.end_all()
        access.record("audit", "local", "restored", USERS, detail=f"from a backup, {path.parent}")
    finally:
        access.close()  # the last one to close takes the log into the file
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def copy_database(source: Path, to: Path) -> None:
    """SQLite's own copy: of one moment, whatever is written meanwhile."""
    try:
        link, copy = sqlite3.connect(source), sqlite3.connect(to)
        try:
            link.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, no log beside it
        finally:
            copy.close()
            link.close()
    except sqlite3.DatabaseError as error:
        raise TwinError(f"{source} cannot be copied: {error}") from error


def private(path: Path) -> None:
    """An empty file that only its owner reads."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_note(path: Path, told: Mapping[str, Any]) -> None:
    """Write down what a folder holds, durably and last of all: without it what lies there is not whole."""
    aside = path.with_name(path.name + ".new")
    private(aside)
    aside.write_text(json.dumps(told), encoding="utf-8")
    sync(aside)
    aside.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
