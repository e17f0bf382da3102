"""The case database that the settings name: SQLite in the data directory, or PostgreSQL by URL."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from twin.deliver.cases import Cases
from twin.deliver.migrate import Backup
from twin.errors import SettingsError
from twin.settings import Settings, read_secret

FILE = "cases.db"


def case_file(settings: Settings) -> Path | None:
    """SQLite's file; None where the cases are in a server's database."""
    return None if settings.cases.url else Path(settings.data_dir) / FILE


def case_place(settings: Settings) -> str:
    """Where the cases are, for people; without a password."""
    file = case_file(settings)
    return str(file) if file else settings.cases.url


def open_cases(settings: Settings, *, reading: bool = False) -> Cases:
    """The case database; `reading` changes nothing in it. Raises TwinError."""
    told = settings.cases
    if not told.url:
        return Cases(Path(settings.data_dir) / FILE, backup=cast(Backup, told.backup), reading=reading)
    try:
        secret = make_url(told.url).password
    except ArgumentError as error:
        raise SettingsError(f"[cases] url: {error} (give postgresql://USER@HOST/DATABASE)") from error
    if secret is not None:
        raise SettingsError("[cases] url: the password stands in a file of its own: name it by password_file")
    return Cases(
        told.url, password=read_secret(told.password_file), backup=cast(Backup, told.backup),
        backups=Path(settings.data_dir), reading=reading,
    )  # fmt: skip
