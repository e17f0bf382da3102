"""The score card of one running city: rows from the case database, areas and names from the city's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from devices.places import CityFiles
from twin.deliver.cases import Cases
from twin.errors import BadPeriod
from twin.query.score import COLUMNS, GROUPS, ScoreCard, Where, period, score_card
from twin.whistle.places import CityPlaces
from twin.whistle.words import title

USUAL_DAYS = 30
LONGEST_DAYS = 3660


def score(
    cases: Cases, files: CityFiles, now_ms: int, first: date | None, last: date | None,
    departments: Sequence[str] | None = None,
) -> ScoreCard:  # fmt: skip
    """The card of the days from `first` to `last`, both in it; of some departments' cases. Raises BadPeriod."""
    zone = files.timezone
    today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(zone)).date()
    end = last or today
    begin = first or (end - timedelta(days=USUAL_DAYS - 1) if end.year > 1970 else end)
    if begin > end:
        raise BadPeriod(f"the period begins on {begin} and ends on {end}: give the earlier day first")
    if (end - begin).days >= LONGEST_DAYS or not begin.year > 1970 or end.year > 9000:
        raise BadPeriod(f"a period has at most {LONGEST_DAYS} days, from 1971 on")
    from_ms, to_ms = period(begin, end, zone)
    places = CityPlaces.of(files)

    def where(subject: str) -> Where:
        levels = {places.codes[code].level: code for code in places.areas(subject) if code in places.codes}
        device = places.devices.get(subject)
        company = device.company if device is not None else ""
        return Where(places.district(subject), levels.get("street", ""), company)

    rows = cases.scores(from_ms, to_ms, COLUMNS)
    if departments is not None:
        rows = [row for row in rows if row[COLUMNS.index("department")] in departments]
    card = score_card(rows, where, from_ms, to_ms, now_ms)
    return replace(card, first=begin.isoformat(), last=end.isoformat(), names=_names(card, files, places))


def _names(card: ScoreCard, files: CityFiles, places: CityPlaces) -> dict[str, dict[str, dict[str, str]]]:
    """What people call each key, in both languages."""
    offices = {office.id: (office.name, office.name_zh) for office in files.departments}
    told: dict[str, dict[str, dict[str, str]]] = {}
    for group in GROUPS:
        told[group] = {}
        for line in card.by[group]:
            if group == "type":
                english, chinese = title(line.key, "en"), title(line.key, "zh")
            elif group == "department":
                english, chinese = offices.get(line.key, (line.key, line.key))
            else:
                english, chinese = places.name(line.key, "en"), places.name(line.key, "zh")
            told[group][line.key] = {"en": english, "zh": chinese or english}
    return told
