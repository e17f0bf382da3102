"""A city from its directory: read and checked, or the first thing that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from devices.cities.read import read_city
from devices.errors import CityFileError
from devices.places import CityFiles


def load_city(path: str | Path) -> CityFiles:
    """Read the city in directory `path` (or the shipped city of that name).

    Raises CityFileError for the first thing that is wrong, with a note saying how many more there are.
    """
    city, problems = read_city(path)
    if city is None:
        first = problems[0]
        if len(problems) > 1:
            first.add_note(f"and {len(problems) - 1} more; `citywhistle city check` lists them")
        raise first
    return city


def check_city(path: str | Path) -> list[CityFileError]:
    """Everything that is wrong with the city in directory `path`, in the order of its files; empty if nothing is."""
    return read_city(path)[1]
