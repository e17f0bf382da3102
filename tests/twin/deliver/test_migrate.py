"""From one schema to the next: older databases are taken over after a backup, newer ones refused, failures undone."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text

from tests.servers import Postgres
from tests.twin.whistle.city import Story
from twin.deliver import migrate
from twin.deliver.cases import Cases, _engine
from twin.deliver.chain import Verdict
from twin.deliver.schema import METADATA, SCORES
from twin.errors import TwinError

GOLDEN = Path(__file__).parents[2] / "golden" / "casebook" / "version1.sql"
HEAD_OF_GOLDEN = "5149e5b0f5ac682423d9f5d56a60d1e0f97d5cd7b81850a3d51847dce18a8e70"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database as the program before alembic wrote it."""
    path = tmp_path / "cases.db"
    with closing(sqlite3.connect(path)) as link:
        link.executescript(GOLDEN.read_text(encoding="utf-8"))
    return path


def same_story() -> Story:
    """What GOLDEN holds: an accepted, handled, false whistle; a returned one; a cancelled one; a feeder trip."""
    story = Story(poles=12)
    found = [("day_burner", "pole-0005"), ("lamp_out", "pole-0003"), ("leakage", "pole-0007")]
    story.after(1, [story.finding(kind, pole) for kind, pole in found])
    story.after(61)
    story.act("accept", "CW-20260624-000002")
    story.after(600)
    story.act("handle", "CW-20260624-000002", "replaced")
    story.after(600)
    story.act("close", "CW-20260624-000002", "replaced")
    story.act("evaluate", "CW-20260624-000002", "", verdict="false", score=2)
    story.act("return", "CW-20260624-000001", "not ours")
    children = [f"pole-{i:04d}" for i in range(12)]
    story.after(1, [story.finding("feeder_trip", "feeder-01", evidence={"children": children})])
    story.act("cancel", "CW-20260624-000003", "a drill")
    return story


def lines(engine: Engine) -> list[dict[str, object]]:
    """The score card's lines."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(SCORES).order_by(SCORES.c.case_id)).mappings()]


def test_a_database_from_before_alembic_is_taken_over(old: Path, tmp_path: Path) -> None:
    """It is copied whole, stamped and migrated: same history, and score lines as if they had always been kept."""
    with closing(Cases(old)) as cases:
        assert cases.backup == tmp_path / "cases.db.0001.bak"
        assert cases.verify(HEAD_OF_GOLDEN).ok
        with closing(Cases(tmp_path / "fresh.db")) as fresh:
            for n, changes in enumerate(same_story().log, 1):
                fresh.record(n, changes)
            assert lines(cases._engine) == lines(fresh._engine) != []
    with closing(sqlite3.connect(tmp_path / "cases.db.0001.bak")) as backup:
        assert backup.execute("SELECT value FROM meta WHERE name = 'chain_head'").fetchone() == (HEAD_OF_GOLDEN,)
        assert not backup.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
    with closing(Cases(old)) as again:
        assert again.backup is None


def test_readers_change_nothing(old: Path) -> None:
    """A verification of an older database reads it as it is; an empty place is named as such."""
    before = old.read_bytes()
    with closing(Cases(old, reading=True)) as cases:
        verdict = cases.verify()
        assert verdict == Verdict(verdict.checked, HEAD_OF_GOLDEN)
    assert old.read_bytes() == before
    with pytest.raises(TwinError, match="no case database"):
        Cases(old.with_name("nothing.db"), reading=True)
    sqlite3.connect(old.with_name("empty.db")).close()
    with pytest.raises(TwinError, match="is empty"):
        Cases(old.with_name("empty.db"), reading=True)


def test_migrations_end_at_the_tables_in_code(target: str) -> None:
    """What the scripts make, from nothing, is what `schema` says: alembic finds no difference."""
    with closing(Cases(target)) as cases, cases._engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == migrate.newest()
        assert compare_metadata(context, METADATA) == []


def broken(folder: Path, body: str) -> Path:
    """The migrations with one more, whose upgrade is `body`."""
    more = folder / "migrations"
    shutil.copytree(migrate.MIGRATIONS, more)
    head = f"from alembic import op\nrevision = '9999'\ndown_revision = '{migrate.newest()}'\n"
    (more / "versions" / "v9999_test.py").write_text(f"{head}\ndef upgrade():\n    {body}\n", encoding="utf-8")
    return more


def test_a_migration_that_fails_changes_nothing(target: str, tmp_path: Path) -> None:
    """Its tables, and the revision, are as they were; the backup stays; the next try can succeed."""
    Cases(target).close()
    engine = _engine(target, "")
    bad = broken(tmp_path / "a", "op.execute('CREATE TABLE half (x INTEGER)'); raise RuntimeError('no')")
    with pytest.raises(RuntimeError):
        migrate.prepare(engine, backups=tmp_path, folder=bad)
    assert not inspect(engine).has_table("half")
    good = broken(tmp_path / "b", "op.execute('CREATE TABLE whole (x INTEGER)')")
    backup = migrate.prepare(engine, backups=tmp_path, folder=good)
    assert backup is not None
    assert backup.stat().st_size > 1000
    assert inspect(engine).has_table("whole")
    engine.dispose()
    for reading in (False, True):
        with pytest.raises(TwinError, match=r"revision 9999.*use the newer program"):
            Cases(target, reading=reading)


def test_a_database_of_a_newer_program_from_before_alembic_is_refused(old: Path) -> None:
    """A version that never was: no guess, no change."""
    with closing(sqlite3.connect(old)) as link, link:
        link.execute("UPDATE meta SET value = '7' WHERE name = 'version'")
    with pytest.raises(TwinError, match="version 7"):
        Cases(old)


def test_postgresql_is_dumped_before_a_migration(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older database there: pg_dump's file can be restored; without pg_dump it is refused, or skipped when told."""
    url = postgres.database()
    engine = _engine(url, "")
    with engine.begin() as connection:
        command.upgrade(migrate.scripts(connection), "0001")
        connection.execute(text("INSERT INTO meta VALUES ('chain_n', '0')"))
    with monkeypatch.context() as without:
        without.setattr(migrate, "find_pg_dump", lambda: None)
        with pytest.raises(TwinError, match=r"install postgresql-client, or .*\[cases\] backup"):
            Cases(url, backups=tmp_path)
        liar = tmp_path / "pg_dump"
        liar.write_text("#!/bin/sh\necho server version mismatch >&2\nexit 1\n", encoding="utf-8")
        liar.chmod(0o755)
        without.setattr(migrate, "find_pg_dump", lambda: str(liar))
        with pytest.raises(TwinError, match="server version mismatch"):
            Cases(url, backups=tmp_path)
    with closing(Cases(url, backups=tmp_path)) as cases:
        assert cases.backup is not None
        listed = subprocess.run(
            [str(postgres.programs / "pg_restore"), "--list", str(cases.backup)], capture_output=True, text=True,
            check=True,
        ).stdout  # fmt: skip
        assert "TABLE DATA public transitions" in listed
        assert "scores" not in listed
    engine.dispose()
    other = postgres.database()
    engine = _engine(other, "")
    with engine.begin() as connection:
        command.upgrade(migrate.scripts(connection), "0001")
    engine.dispose()
    with closing(Cases(other, backup="none")) as cases:
        assert cases.backup is None
        assert cases.cases() == []


def test_marks_that_a_later_judgement_took_away_come_back(target: str, tmp_path: Path) -> None:
    """The last one given, from the history; a case that never had one stays without, one that has one keeps it."""
    story = Story()
    story.after(1, [story.finding("lamp_out", f"pole-{i:04d}") for i in range(3)])
    story.after(61)
    ids = [case.id for case in story.ledger.open_cases()]
    for case, marks in zip(ids, ((2, 4, None), (None,), (3,)), strict=True):
        story.act("close", case, "done")
        for mark in marks:
            story.act("evaluate", case, **({} if mark is None else {"score": mark}))
    with closing(Cases(target)) as cases:
        for n, changes in enumerate(story.log, 1):
            cases.record(n, changes)
        with cases._engine.begin() as connection:
            connection.execute(text("UPDATE scores SET score = 0 WHERE case_id = :case"), {"case": ids[0]})
            connection.execute(text("UPDATE scores SET score = 5 WHERE case_id = :case"), {"case": ids[2]})
            connection.execute(text("UPDATE alembic_version SET version_num = '0004'"))
    with closing(Cases(target, backups=tmp_path)) as cases:
        assert [line["score"] for line in lines(cases._engine)] == [4.0, 0.0, 5.0]
