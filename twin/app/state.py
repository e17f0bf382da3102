"""What a server has besides series, users and keys: journal, cases, the city's versions, what was learned, photos.

COPY/state/checkpoints/*     the newest ones
COPY/state/city.db           versions of the city
COPY/state/cases.db          cases with their history and outbox; not there where they are in PostgreSQL
COPY/state/photos/           that came with answers
COPY/state/journal.db        copied last: ahead of all the others, as after a crash; a start goes on from there
COPY/state/state.json        written last of all: {name: SHA-256}, journal and entries; without it the copy is not whole
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from twin.app.album import FOLDER as PHOTOS
from twin.app.casebook import FILE as CASES
from twin.app.keys import copy_database, digest, private, sync, write_note
from twin.errors import TwinError
from twin.store.backup import before

FOLDER, NOTE = "state", "state.json"
JOURNAL, CITY, LEARNED = "journal.db", "city.db", "checkpoints"
PLACES = (LEARNED, CITY, CASES, PHOTOS, JOURNAL)  # in the order in which they are copied


def keep(data: Path, folder: Path, position: int | None = None) -> tuple[str, ...]:
    """Copy it from a data directory, while a server writes there or not, into a backup's folder; what there was.

    `position`: the last entry that the series of the same backup hold; the journal has to reach back to it. Raises
    TwinError, OSError; the copy is then not whole, and says so by lacking its note.
    """
    if not (data / JOURNAL).exists():
        return ()
    state = folder / FOLDER
    state.mkdir(mode=0o700)
    for name in PLACES:
        source = data / name
        if source.is_dir():
            _copy_folder(source, state / name)
        elif source.exists():
            private(state / name)
            copy_database(source, state / name)
    first, last, journal = _entries(state / JOURNAL)
    seen = [int(file.name[16:31]) for file in (state / LEARNED).glob("*-*.*") if file.name[16:31].isdigit()]
    wanted = [n for n in (max(seen, default=None), position) if n is not None]
    if first > min(wanted, default=0) + 1:
        raise TwinError(f"the journal was trimmed to entry {first} while it was copied: take the backup again")
    told = {str(path.relative_to(state)): digest(path) for path in _files(state)}
    for path in _files(state):
        sync(path)
    write_note(state / NOTE, {"journal": journal, "first": first, "last": last, "files": told})
    return tuple(name for name in PLACES if (state / name).exists())


def kept(folder: Path) -> tuple[str, ...]:
    """What a backup holds of it, each file as it was written; none where it was made without. Raises TwinError."""
    state = folder / FOLDER
    if not state.exists():
        return ()
    try:
        told = json.loads((state / NOTE).read_text(encoding="utf-8"))["files"]
        strange = [name for name in told if Path(name).parts[0] not in PLACES or ".." in Path(name).parts]
        if strange:
            raise ValueError(f"it names {strange[0]}")
        wrong = next((name for name in told if digest(state / name) != told[name]), None)
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise TwinError(f"{state} is no whole backup of journal and cases ({error})") from error
    if wrong is not None:
        raise TwinError(f"{state / wrong} is not as the backup was made: take another backup")
    return tuple(name for name in PLACES if (state / name).exists())


def put_back(folder: Path, data: Path) -> tuple[str, ...]:
    """Put a checked copy where a stopped server has its own; all of the former stays beside. What was put back.

    Raises TwinError, OSError.
    """
    names = kept(folder)
    for name in names:
        source, aside = folder / FOLDER / name, data / f"{name}.restoring"
        if aside.is_dir():
            shutil.rmtree(aside)
        aside.unlink(missing_ok=True)
        if source.is_dir():
            _copy_folder(source, aside)
        else:
            shutil.copyfile(source, aside)
            aside.chmod(0o600)
            sync(aside)
    for name in PLACES:  # also what the backup has not: nothing of another time may stay
        former = before(data / name)
        for suffix in ("-wal", "-shm", "") if names else ():  # a database goes with its log
            place = data / (name + suffix)
            if place.exists():
                place.rename(data / (former.name + suffix))
    for name in names:
        (data / f"{name}.restoring").rename(data / name)
    sync(data)
    return names


def _copy_folder(source: Path, to: Path) -> None:
    """Files that never change once they have their name; one that is forgotten meanwhile is left out."""
    to.mkdir(mode=0o700)
    for path in sorted(source.rglob("*")):
        part = to / path.relative_to(source)
        if path.is_dir():
            part.mkdir(mode=0o700)
        elif not path.name.endswith(".new"):
            try:
                shutil.copyfile(path, part)
            except FileNotFoundError:
                part.unlink(missing_ok=True)
                continue
            part.chmod(0o600)
            sync(part)


def _entries(journal: Path) -> tuple[int, int, str]:
    """Number of the first and the last entry, and whose journal it is. Raises TwinError."""
    try:
        link = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
        try:
            first, last = link.execute("SELECT min(n), max(n) FROM entry").fetchone()
            (told,) = link.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
        finally:
            link.close()
    except (sqlite3.DatabaseError, TypeError) as error:
        raise TwinError(f"{journal} cannot be read: {error}") from error
    return int(first or 1), int(last or 0), str(told)


def _files(state: Path) -> Iterator[Path]:
    for name in PLACES:
        place = state / name
        yield from (path for path in sorted(place.rglob("*")) if path.is_file()) if place.is_dir() else ()
        if place.is_file():
            yield place
