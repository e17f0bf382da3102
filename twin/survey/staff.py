"""The departments that a new city starts with: the shipped table, and urban management for each district."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from devices.places import Area
from twin.survey.errors import SurveyError

MOST_DISTRICTS = 40  # more than this share one department
JOINT = ("night_noise", "illegal_dumping")


def staff_of(areas: Sequence[Area], path: Path | None = None) -> str:
    """The text of departments.toml: of the file at `path`, else the shipped table with a department per district."""
    if path is not None:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SurveyError(f"{path} cannot be read: {error}", "name a departments.toml in UTF-8") from error
    text = resources.files("twin.survey").joinpath("departments.toml").read_text(encoding="utf-8")
    districts = [area for area in areas if area.level == "district"]
    if len(districts) > MOST_DISTRICTS or len(districts) < 2:
        return text + department("urban_management", "Urban management", "城市管理", [])
    return text + "".join(
        department(f"urban_management_{d.code}", f"Urban management, {d.name}", f"{d.name_zh}城市管理", [d.code])
        for d in districts
    )


def department(name: str, en: str, zh: str, areas: list[str]) -> str:
    """One [[department]] for the cases in which urban management joins; who leads is in the shipped table."""
    told = {"id": name, "name": en, "name_zh": zh, "types": [], "joins": list(JOINT), "areas": areas}
    return "\n[[department]]\n" + "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in told.items())
