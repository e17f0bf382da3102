"""What `citywhistle city check` looks at besides the city itself: its rules and policy, the case types that its
departments claim, and the base map."""

from __future__ import annotations

import difflib
import gzip
import json
import re
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from devices.cities.tables import line_of
from devices.errors import CityFileError
from twin.app.policybook import read_policy
from twin.detect import default_rules, parse_rules
from twin.errors import SettingsError
from twin.whistle.policy import TYPES

FIX = "see docs/city-files.md"
_LINE = re.compile(r"line (\d+)")


def more_problems(directory: Path) -> list[CityFileError]:
    """Everything that is wrong with those files of a city; empty where nothing is, or where they are not there."""
    own: set[str] = set()
    found = [*_rules(directory), *_policy(directory, own), *_types(directory, own), *_basemap(directory)]
    return sorted(found, key=lambda one: (one.file, one.line))


def _text(path: Path) -> str | None:
    """A file's text; None where there is none. Raises SettingsError where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"line 1: cannot be read ({error}); save it as UTF-8") from error


def _said(file: str, error: SettingsError, text: str = "") -> CityFileError:
    """What a reader says of its file as a problem of the city: its line, what is wrong, and after ; how to mend it."""
    message = re.sub(rf"^{re.escape(file)}(?:, line \d+)?:\s*", "", str(error))
    problem, _, fix = message.partition("; ")
    told = _LINE.search(str(error))
    line = int(told[1]) if told is not None else _guess(message, text)
    return CityFileError(file, line, problem, fix or FIX)


def _guess(message: str, text: str) -> int:
    """The first line that says a word which the message has in quotation marks or brackets."""
    for word in re.findall(r"'([^']+)'|\[([^\]]+)\]|^\S+?\.?(\w+) ", message):
        name = next(part for part in word if part)
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(rf"\b{re.escape(name)}\b", line):
                return number
    return 1


def _rules(directory: Path) -> Iterator[CityFileError]:
    text: str | None = ""
    try:
        text = _text(directory / "rules.toml")
        if text is not None:
            default_rules().override(parse_rules(text, "rules.toml"), "rules.toml")
    except SettingsError as error:
        yield _said("rules.toml", error, text or "")


def _policy(directory: Path, own: set[str]) -> Iterator[CityFileError]:
    """`own` takes the types that the city's own policy names."""
    try:
        text = _text(directory / "policy.toml")
        if text is not None:
            own |= set(read_policy(text, timezone="UTC", hold_s=30.0).get("type", {}))
    except SettingsError as error:
        yield _said("policy.toml", error)


def _types(directory: Path, own: set[str]) -> Iterator[CityFileError]:
    """A case type that is misspelt goes to nobody."""
    path = directory / "departments.toml"
    known = {*TYPES, *default_rules().tables(), *own}
    try:
        told: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return  # is said by the check of the city
    for department in told.get("department", ()):
        if not isinstance(department, Mapping) or not isinstance(department.get("types", ()), list):
            continue
        for name in department.get("types", ()):
            if isinstance(name, str) and name not in known:
                near = difflib.get_close_matches(name, known, 1)
                fix = f"perhaps {near[0]!r}" if near else "`citywhistle policy show` lists the types"
                line = line_of(path, "id", str(department.get("id", "")))
                yield CityFileError(
                    path.name, line, f"{department.get('id')}: there is no case type {name[:60]!r}", fix
                )


def _basemap(directory: Path) -> Iterator[CityFileError]:
    path = directory / "basemap.geojson.gz"
    if not path.exists():
        return
    fix = "build it again with `citywhistle city build`, or delete it: the page then draws a plain ground"
    try:
        told = json.loads(gzip.decompress(path.read_bytes()))
        layers = [one["properties"]["layer"] for one in told["features"]]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        yield CityFileError(path.name, 1, f"not readable: {error}", fix)
    except (KeyError, TypeError) as error:
        yield CityFileError(path.name, 1, f"no base map: {error!r} is missing", fix)
    else:
        if not layers:
            yield CityFileError(path.name, 1, "it holds nothing", fix)
