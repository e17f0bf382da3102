"""The command line: what it lists is what there is, and a command imports its own room alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
from typer.core import TyperCommand
from typer.testing import CliRunner

from twin.__main__ import MENU, Entry, app, load

HEAVY = ("numpy", "sqlalchemy", "alembic", "duckdb", "pyarrow", "fastapi", "httpx")


def every(menu: Mapping[str, Entry]) -> list[tuple[str, Entry]]:
    """All entries, those inside groups too."""
    return [one for name, entry in menu.items() for one in ((name, entry), *every(entry.more))]


@pytest.mark.parametrize(("name", "entry"), every(MENU), ids=lambda x: x if isinstance(x, str) else "")
def test_the_menu_says_what_the_command_says(name: str, entry: Entry) -> None:
    """The words that stand in the list before a command is imported are its own."""
    told = TyperCommand(name=name, help=entry.help).get_short_help_str(300)
    assert told == load(name, entry).get_short_help_str(300)


def test_help_lists_every_command() -> None:
    """The whole menu is shown, that of a group with what other rooms put into it."""
    told = CliRunner().invoke(app, ["--help"])
    assert told.exit_code == 0
    assert all(f"\n  {name} " in told.stdout for name in MENU)
    inside = CliRunner().invoke(app, ["devices", "-h"])
    assert all(f"\n  {name} " in inside.stdout for name in ("run", "replay", "command", "desired"))
    assert "object" in CliRunner().invoke(app, ["city", "--help"]).stdout


def test_a_slip_of_the_pen_is_understood() -> None:
    """An unknown command is an error that names the one that is likely meant."""
    told = CliRunner().invoke(app, ["whistels", "list"])
    assert told.exit_code == 2
    assert "whistles" in told.stderr


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["--help"], HEAVY),
        (["devices", "run", "--help"], HEAVY),
        (["whistles", "list", "--help"], tuple(name for name in HEAVY if name != "httpx")),
    ],
)
def test_a_command_imports_no_more_than_it_needs(words: list[str], without: tuple[str, ...]) -> None:
    """A list of whistles, a fleet: neither waits for the server's packages."""
    script = f"""
import sys
from typer.testing import CliRunner
from twin.__main__ import app
told = CliRunner().invoke(app, {words!r})
assert told.exit_code == 0, told.output
print(*sorted(set({without!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
