"""`citywhistle config`: write a commented configuration, or check one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import typer

from devices.errors import CityFileError
from twin.command.client import ERR, JSON, OUT, fail, settings_of, words
from twin.errors import SettingsError
from twin.settings import commented

app = typer.Typer(no_args_is_help=True, help="The configuration file.")

FILE = typer.Argument(Path("citywhistle.toml"), help="The file.")


@app.command()
def init(file: Path = FILE, force: bool = typer.Option(False, help="Overwrite an existing file.")) -> None:
    """Write a configuration in which every key is explained."""
    if file.exists() and not force:
        raise fail(f"{file} is there already; --force overwrites it")
    try:
        file.write_text(commented(), encoding="utf-8")
    except OSError as error:
        raise fail(f"{file} cannot be written: {error.strerror}") from error
    OUT.print(f"{file} written; check it with `citywhistle config check {file}`", soft_wrap=True)


@app.command()
def check(file: Path = FILE, as_json: bool = JSON) -> None:
    """Read a configuration with the environment's overrides, and its city; errors name file, line and fix."""
    from twin.app.ways import check_settings

    settings = settings_of(file)
    try:
        for warning in check_settings(settings):
            ERR.print(words(warning), soft_wrap=True)
    except SettingsError as error:
        raise fail(str(error), 2) from error
    except CityFileError as error:
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        raise fail(f"{error}{notes}", 2) from error
    if as_json:
        OUT.print_json(data=dataclasses.asdict(settings))
        return
    OUT.print(words(f"{file}: fine"), soft_wrap=True)
