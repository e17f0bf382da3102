"""Bring a case database to this program's schema: made new, taken over, or migrated by alembic after a backup.

A start that finds the schema as it should be asks nothing of alembic, and does not wait for its import.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, Engine, inspect, text

from twin.errors import TwinError

if TYPE_CHECKING:
    from alembic.config import Config

LOG = logging.getLogger(__name__)

Backup = Literal["copy", "none"]

MIGRATIONS = Path(__file__).parent / "migrations"
BASELINE = "0001"  # the schema of databases that were made before alembic kept the version
LOCK = 0x43_57_44_42  # one program at a time migrates a server's database (PostgreSQL advisory lock)
DUMP_S = 3600.0
_REVISION = re.compile(r"""^(revision|down_revision)\s*(?::[^=]*)?=\s*["']([^"']+)["']""", re.MULTILINE)


def scripts(connection: Connection | None = None, folder: Path = MIGRATIONS) -> Config:
    """alembic's configuration without a file; `connection` is the one that its environment works on."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def revisions(folder: Path = MIGRATIONS) -> dict[str, str]:
    """Every revision that this program knows, and the one before it ('': none)."""
    known = {}
    for file in sorted((folder / "versions").glob("*.py")):
        told = dict(_REVISION.findall(file.read_text(encoding="utf-8")))
        if "revision" in told:
            known[told["revision"]] = told.get("down_revision", "")
    return known


def newest(folder: Path = MIGRATIONS) -> str:
    """The revision that this program wants: the one that none follows."""
    known = revisions(folder)
    (head,) = known.keys() - set(known.values())
    return head


def stamped(connection: Connection) -> str:
    """The revision that alembic noted in a database; '' where it noted none."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def version(connection: Connection) -> str:
    """The revision that a database has; '' for an empty one, BASELINE for one from before alembic."""
    found = stamped(connection)
    if found:
        return found
    if not inspect(connection).has_table("meta"):
        return ""
    told = connection.execute(text("SELECT value FROM meta WHERE name = 'version'")).scalar()
    if told != "1":
        raise TwinError(f"the case database says version {told}, and holds no revision: restore it from a backup")
    return BASELINE


def prepare(
    engine: Engine, *, backup: Backup = "copy", backups: Path | None = None, folder: Path = MIGRATIONS
) -> Path | None:
    """Bring the database to `newest`, in one transaction. Returns the backup's path if one was made.

    `backups`: directory of backups; None: beside a SQLite file, the working directory for a server's database.
    Raises TwinError for a database of a newer program, and where no backup can be made.
    """
    head = newest(folder)
    with engine.connect() as connection:
        had = version(connection)
    if had == head:
        return None
    _known(had, folder)
    made = _back_up(engine, had, backups) if had and backup == "copy" else None
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        if version(connection) == head:  # another program did it while we waited
            return made
        from alembic import command

        config = scripts(connection, folder)
        if had:
            LOG.info("the case database is migrated from revision %s to %s", had, head)
        if had == BASELINE and not stamped(connection):
            command.stamp(config, BASELINE)
        command.upgrade(config, "head")
    return made


def require(engine: Engine, folder: Path = MIGRATIONS) -> None:
    """For readers, which change nothing: raises TwinError where there is no database, or one of a newer program."""
    with engine.connect() as connection:
        had = version(connection)
    if not had:
        raise TwinError("the case database is empty: no server has recorded anything in it yet")
    _known(had, folder)


def _known(revision: str, folder: Path) -> None:
    if revision and revision not in revisions(folder):
        raise TwinError(
            f"the case database has revision {revision}, this program knows {newest(folder)}: use the newer program"
        )


def _back_up(engine: Engine, revision: str, backups: Path | None) -> Path | None:
    """A whole copy of the database; None for one in memory. Raises TwinError where none can be made."""
    if engine.dialect.name == "sqlite":
        return _copy(engine, revision, backups)
    if engine.dialect.name == "postgresql":
        return _dump(engine, revision, backups or Path.cwd())
    raise TwinError(f"no backup of {engine.dialect.name} can be made here; {_ALTERNATIVE}")


_ALTERNATIVE = 'make one yourself, then start once with [cases] backup = "none"'


def _copy(engine: Engine, revision: str, backups: Path | None) -> Path | None:
    file = engine.url.database
    if not file or file == ":memory:":
        return None
    whole = (backups or Path(file).parent) / f"{Path(file).name}.{revision}.bak"
    aside = whole.with_name(whole.name + ".new")
    aside.unlink(missing_ok=True)
    raw = engine.raw_connection()  # outside of any transaction, as VACUUM wants it
    try:
        raw.cursor().execute("VACUUM INTO ?", (str(aside),))
    finally:
        raw.close()
    _keep(aside, whole)
    return whole


def _dump(engine: Engine, revision: str, backups: Path) -> Path:
    """pg_dump in its own format (pg_restore reads it). It must be as new as the server."""
    program = find_pg_dump()
    if program is None:
        raise TwinError(f"the database must be migrated, and pg_dump is not here for the backup before it: install "
                        f"postgresql-client, or {_ALTERNATIVE}")  # fmt: skip
    url = engine.url.set(drivername="postgresql")
    whole = backups / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', url.database or 'cases')}.{revision}.dump"
    aside = whole.with_name(whole.name + ".new")
    password = str(url.password or "")
    target = url.set(password=None).render_as_string(hide_password=False)
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    try:
        done = subprocess.run(
            [program, "--format=custom", f"--file={aside}", f"--dbname={target}"],
            env=environment, capture_output=True, text=True, timeout=DUMP_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TwinError(f"pg_dump: {error}; {_ALTERNATIVE}") from error
    if done.returncode:
        aside.unlink(missing_ok=True)
        raise TwinError(f"pg_dump made no backup: {done.stderr.strip()[-500:]}; {_ALTERNATIVE}")
    _keep(aside, whole)
    return whole


def find_pg_dump() -> str | None:
    """pg_dump on PATH, else the newest that Debian's packages put aside."""
    if found := shutil.which("pg_dump"):
        return found
    placed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), key=lambda path: int(path.parts[-3]))
    return str(placed[-1]) if placed else None


def _keep(aside: Path, whole: Path) -> None:
    """A backup has its name only when all of it is on the disk."""
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(whole)
