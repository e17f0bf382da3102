"""`citywhistle city`: the survey's commands; its check looks also at what other rooms read of a city's files."""

from __future__ import annotations

from pathlib import Path

from devices.errors import CityFileError
from twin.survey.command import BESIDES, app

__all__ = ["app"]


def _more_problems(directory: Path) -> list[CityFileError]:
    from twin.command.city import more_problems

    return more_problems(directory)


BESIDES.append(_more_problems)
