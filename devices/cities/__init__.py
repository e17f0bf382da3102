"""The cities that are shipped, and the reader of the files that make a city (docs/city-files.md)."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def shipped_cities() -> tuple[str, ...]:
    """Names of the cities that come with the package, in alphabetical order."""
    return tuple(sorted(entry.name for entry in HERE.iterdir() if (entry / "city.toml").is_file()))


def city_directory(path: str | Path) -> Path:
    """The directory of a city: `path` itself, or the shipped city of that name where no such directory exists."""
    told = Path(path)
    if not told.exists() and str(path) in shipped_cities():
        return HERE / str(path)
    return told
