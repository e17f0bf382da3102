"""The score card: figures counted by hand on few cases, and by plain Python on many; days of a city's time zone."""

from __future__ import annotations

import csv
import io
import random
import statistics
import time
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from tests.twin.whistle.city import Story, files
from twin.app.scoring import score
from twin.deliver import scoring
from twin.deliver.cases import Cases
from twin.deliver.schema import SCORES
from twin.errors import BadPeriod
from twin.query.score import COLUMNS, HEAD, Where, as_csv, period, score_card

HOUR_MS = 3_600_000


def test_days_are_the_citys() -> None:
    """Midnight to midnight there: 23 hours when the clocks go forward, 25 when back, and never UTC's day."""
    begin, end = period(date(2026, 3, 29), date(2026, 3, 29), "Europe/Helsinki")
    assert (end - begin, begin) == (23 * HOUR_MS, 1_774_735_200_000)  # 2026-03-28T22:00Z
    begin, end = period(date(2026, 10, 25), date(2026, 10, 25), "Europe/Helsinki")
    assert end - begin == 25 * HOUR_MS
    assert period(date(2026, 3, 1), date(2026, 3, 31), "Europe/Helsinki")[1] == 1_774_990_800_000  # 03-31T21:00Z
    begin, end = period(date(2026, 3, 29), date(2026, 3, 29), "Asia/Shanghai")
    assert (end - begin, begin) == (24 * HOUR_MS, 1_774_713_600_000)


def told(tmp_path: Path) -> tuple[Story, Cases]:
    """Four whistles lived through: handled in time and judged; false and cancelled; reopened and late; returned."""
    story = Story(poles=30)
    found = [("day_burner", "pole-0005"), ("lamp_out", "pole-0003"), ("leakage", "pole-0007"), ("tilt", "pole-0009")]
    story.after(1, [story.finding(kind, pole) for kind, pole in found])
    story.after(60)
    ids = {case.subject: case.id for case in story.ledger.open_cases()}
    story.act("accept", ids["pole-0003"])
    story.after(1800)
    story.act("handle", ids["pole-0003"], "new lamp")
    story.act("verify", ids["pole-0003"], "looked at it")
    story.act("close", ids["pole-0003"], "seen")
    story.act("evaluate", ids["pole-0003"], verdict="useful", score=5, by="citizen")
    story.act("cancel", ids["pole-0009"], "no such tilt")
    story.act("return", ids["pole-0005"], "not ours")
    story.after(3600)  # leakage is due within one hour
    story.act("close", ids["pole-0007"], "dry again")
    story.act("reopen", ids["pole-0007"], "wet again")
    cases = Cases(tmp_path / "cases.db")
    for n, changes in enumerate(story.log, 1):
        cases.record(n, changes)
    return story, cases


def test_figures_of_a_story(tmp_path: Path) -> None:
    """Each line says what happened: in time, late, reopened, returned, cancelled by a person as false, judged."""
    story, cases = told(tmp_path)
    with closing(cases):
        card = score(
            cases, replace(files(30), timezone="Asia/Shanghai"), story.now_ms, date(2026, 6, 24), date(2026, 6, 24)
        )
    total = card.total
    assert (total.cases, total.open, total.closed, total.cancelled) == (4, 2, 1, 1)
    assert (total.reopened, total.returned, total.false) == (1, 1, 1)
    by_type = {line.key: line for line in card.by["type"]}
    lamp = by_type["lamp_out"]
    assert (lamp.timed, lamp.in_time, lamp.share_in_time) == (1, 1, 1.0)
    assert lamp.median_s["handle"] == 1801.0
    assert lamp.median_s["accept"] == 1.0
    assert by_type["leakage"].escalated == 1
    assert [(judge.judge, judge.count, judge.mean_score) for judge in card.judged if judge.count] == [
        ("citizen", 1, 5.0)
    ]
    assert [line.key for line in card.by["street"]] == ["s1"]
    assert [line.key for line in card.by["district"]] == ["d1"]
    assert card.names["type"]["lamp_out"] == {"en": "lamp out", "zh": "路灯不亮"}
    with closing(Cases(tmp_path / "cases.db")) as again:
        empty = score(again, files(30), story.now_ms, date(2026, 6, 23), date(2026, 6, 23))
        assert (empty.total.cases, empty.total.share_in_time, empty.total.median_s["whole"]) == (0, None, None)
        for last in (date.min, date(1, 1, 29), date.max):
            with pytest.raises(BadPeriod, match="from 1971 on"):
                score(again, files(30), story.now_ms, None, last)
        with pytest.raises(BadPeriod, match="earlier day first"):
            score(again, files(30), story.now_ms, date(2026, 6, 24), date(2026, 6, 23))


def test_csv_has_every_line_and_no_formula(tmp_path: Path) -> None:
    """It reads back as it was counted; a name that begins like a formula is text."""
    story, cases = told(tmp_path)
    with closing(cases):
        card = score(cases, files(30), story.now_ms, None, None)
    names = {"type": {"lamp_out": {"en": "=cmd|'/c calc'!A1", "zh": "路灯,不亮"}}}
    rows = list(csv.DictReader(io.StringIO(as_csv(replace(card, names=names)))))
    assert tuple(rows[0]) == HEAD
    assert (rows[0]["group"], rows[0]["cases"]) == ("total", "4")
    lamp = next(row for row in rows if row["key"] == "lamp_out")
    assert lamp["name_en"].startswith("'=")
    assert lamp["name_zh"] == "路灯,不亮"
    assert {row["group"] for row in rows} >= {"total", "type", "district", "street", "department", "judge"}


def rows_of(count: int, seed: int) -> list[dict[str, Any]]:
    """Lines as life might leave them."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        opened = 1_782_280_800_000 + rng.randrange(20 * 24 * HOUR_MS)
        line = scoring.begin(f"CW-{i:06d}") | {"opened_ms": opened, "type": f"type{rng.randrange(40)}", "severity": 2,
                "subject": f"pole-{rng.randrange(15_000):05d}", "department": f"office{rng.randrange(12)}",
                "parent": "CW-000000" if rng.random() < 0.1 else "", "state": "closed"}  # fmt: skip
        at = opened
        for name in ("dispatched_ms", "accepted_ms", "handled_ms", "verified_ms", "closed_ms"):
            if rng.random() < 0.1:
                break
            at += rng.randrange(1, 6 * HOUR_MS)
            line[name] = at
            line["done_ms"] = line["done_ms"] or (at if name in ("handled_ms", "closed_ms") else 0)
        line |= {"deadline_ms": opened + 12 * HOUR_MS, "reopened": int(rng.random() < 0.05)}
        line |= {"cancelled_by": "person" if rng.random() < 0.05 else "", "verdict": "", "score": 0.0, "judge": ""}
        found.append(line)
    return found


def test_the_card_of_many_is_what_plain_python_counts() -> None:
    """Two thousand cases: counts, shares and medians by department equal those of a loop and `statistics`."""
    lines, now_ms = rows_of(2000, 5), 1_782_280_800_000 + 10 * 24 * HOUR_MS
    card = score_card(
        [[line[name] for name in COLUMNS] for line in lines], lambda _s: Where("d", "s", ""), 0, 1, now_ms
    )
    mine = [line for line in lines if not line["parent"]]
    assert (card.total.cases, card.children) == (len(mine), len(lines) - len(mine))
    assert sum(line.cases for line in card.by["department"]) == len(mine)
    for told_ in card.by["department"]:
        some = [line for line in mine if line["department"] == told_.key]
        bound = [x for x in some if x["dispatched_ms"] and not x["cancelled_by"]]
        timed = [x for x in bound if x["done_ms"] or x["deadline_ms"] < now_ms]
        in_time = [x for x in timed if 0 < x["done_ms"] <= x["deadline_ms"]]
        assert (told_.cases, told_.timed, told_.in_time) == (len(some), len(timed), len(in_time))
        whole = [(x["closed_ms"] - x["opened_ms"]) / 1000 for x in some if x["closed_ms"]]
        assert told_.median_s["whole"] == pytest.approx(statistics.median(whole), abs=0.001)


def test_a_hundred_thousand_cases_are_scored_quickly(tmp_path: Path) -> None:
    """One read of an index and array work: at most three CPU seconds, most of it SQLite's reading."""
    lines = rows_of(5000, 6)
    with closing(Cases(tmp_path / "cases.db")) as cases:
        with cases._engine.begin() as link:
            for k in range(20):
                link.execute(insert(SCORES), [line | {"case_id": f"{k}-{line['case_id']}"} for line in lines])
        began = time.process_time()
        card = score(cases, files(30), 1_783_280_800_000, date(2026, 6, 1), date(2026, 7, 31))
        spent_s = time.process_time() - began
    assert card.total.cases + card.children == 100_000
    assert spent_s < 3.0


def test_a_judgement_without_a_mark_keeps_the_one_given(tmp_path: Path) -> None:
    """The operator corrects the verdict alone: the citizen's five stay."""
    story, cases = told(tmp_path)
    case = next(c.id for changes in story.log for c in changes.cases if c.subject == "pole-0003")
    cases.record(len(story.log) + 1, story.act("evaluate", case, verdict="false"))
    with closing(cases), cases._engine.connect() as connection:
        (line,) = connection.execute(select(SCORES).where(SCORES.c.case_id == case)).mappings()
        assert (line["verdict"], line["score"], line["judge"]) == ("false", 5.0, "operator")
