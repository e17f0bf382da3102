"""`citywhistle detect`: tables of many makes in, one row out for each row in."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from twin.__main__ import app
from twin.score.run import detect
from twin.score.steps import Steps
from twin.score.table import TableBroken
from twin.score.times import READERS, recognise


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def series(n: int = 400) -> list[tuple[int, float]]:
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(n) / 8) + rng.normal(0, 0.1, n)
    values[n - 50] += 4.0
    return [(1_700_000_000 + 60 * i, round(float(v), 4)) for i, v in enumerate(values)]


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_a_row_out_for_each_row_in(tmp_path: Path) -> None:
    """Columns, order, range and the spike's alarm with its reason."""
    text = "time,load\n" + "".join(f"{t},{v}\n" for t, v in series())
    told = detect(written(tmp_path / "a.csv", text), tmp_path / "out.csv")
    out = rows_of(tmp_path / "out.csv")
    assert list(out[0]) == ["time", "score", "alarm", "reason", "score_load"]
    assert [int(row["time"]) for row in out] == [t for t, _ in series()]
    assert all(0 <= float(row["score"]) < 1 for row in out)
    assert max(range(400), key=lambda i: float(out[i]["score"])) == 350
    assert out[350]["alarm"] == "1"
    assert out[350]["reason"].startswith("load ")
    assert told.rows == 400
    assert told.ordered


def test_a_shuffled_table_has_the_scores_of_the_sorted_one(tmp_path: Path) -> None:
    """With distinct times the order of rows is irrelevant; the output keeps the input's."""
    lines = [f"{t},{v}\n" for t, v in series()]
    mixed = [lines[i] for i in np.random.default_rng(1).permutation(len(lines))]
    detect(written(tmp_path / "a.csv", "time,load\n" + "".join(lines)), tmp_path / "a.out")
    told = detect(written(tmp_path / "b.csv", "time,load\n" + "".join(mixed)), tmp_path / "b.out")
    assert not told.ordered
    b = rows_of(tmp_path / "b.out")
    assert [row["time"] for row in b] == [line.split(",")[0] for line in mixed]
    assert {row["time"]: row for row in b} == {row["time"]: row for row in rows_of(tmp_path / "a.out")}


def test_time_that_goes_back_and_repeats_is_no_harm(tmp_path: Path) -> None:
    """Equal times, missing times and times running backwards give finite scores for every row."""
    text = "time,load\n" + "".join(f"{'' if i % 7 == 0 else 500 - i // 2},{i % 5}\n" for i in range(500))
    detect(written(tmp_path / "a.csv", text), tmp_path / "out.csv")
    out = rows_of(tmp_path / "out.csv")
    assert len(out) == 500
    assert all(np.isfinite(float(row["score"])) for row in out)


@pytest.mark.parametrize(
    ("head", "line", "encoding"),
    [
        ("时间;负荷\n", "{y}-{m:02}-{d:02} {h:02}:00:00;{v}\n", "gb18030"),
        ("Date\tLoad\n", "{m}/{d}/{y} {h}:00\t{v}\n", "utf-16"),
        ("when|load\n", "{d:02}.{m:02}.{y} {h:02}:00|{v}\n", "utf-8-sig"),
        ("ts,load\n", "{y}{m:02}{d:02}{h:02}0000,{v}\n", "latin-1"),
        ("", "{y}-{m:02}-{d:02}T{h:02}:00:00Z,{v}\n", "utf-8"),
        ("ts load\n", "{y}-{m:02}-{d:02}T{h:02}:00 {v}\n", "utf-8"),
    ],
)
def test_tables_of_many_makes_have_the_same_scores(tmp_path: Path, head: str, line: str, encoding: str) -> None:
    """Delimiter, encoding, header and time format change nothing."""
    values = [v for _, v in series(300)]
    detect(
        written(tmp_path / "a.csv", "i,load\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values))), tmp_path / "a"
    )
    text = head + "".join(line.format(y=2026, m=1, d=1 + i // 24, h=i % 24, v=v) for i, v in enumerate(values))
    told = detect(written(tmp_path / "b.csv", text, encoding), tmp_path / "b")
    assert told.shape.time == 0
    assert told.ordered
    assert [r["score"] for r in rows_of(tmp_path / "a")] == [r["score"] for r in rows_of(tmp_path / "b")]


def test_decimal_commas_gzip_and_a_table_without_times(tmp_path: Path) -> None:
    """A single column of numbers counts its rows; a gzip file with decimal commas reads the same."""
    values = [v for _, v in series(200)]
    detect(written(tmp_path / "a.csv", "".join(f"{v}\n" for v in values)), tmp_path / "a")
    packed = "t;x\n" + "".join(f"{i};{v}\n".replace(".", ",") for i, v in enumerate(values))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(packed.encode()))
    detect(tmp_path / "b.csv.gz", tmp_path / "b")
    a, b = rows_of(tmp_path / "a"), rows_of(tmp_path / "b")
    assert [r["time"] for r in a] == [r["time"] for r in b] == [str(i) for i in range(200)]
    assert [r["score"] for r in a] == [r["score"] for r in b]


def test_answers_are_not_read(tmp_path: Path) -> None:
    """A column of labels does not reach the scores, unless it is named."""
    text = "time,load,label\n" + "".join(f"{t},{v},{int(i == 350)}\n" for i, (t, v) in enumerate(series()))
    told = detect(written(tmp_path / "a.csv", text), tmp_path / "out")
    assert told.shape.value_names == ("load",)
    assert told.shape.left_out == ("label",)
    named = detect(tmp_path / "a.csv", tmp_path / "out", values=["label", "1"])
    assert named.shape.value_names == ("label", "load")


def test_a_table_that_cannot_be_scored_says_what_to_do(tmp_path: Path) -> None:
    """Empty, without numbers, wrong names, cut gzip: a message, and no output file."""
    for text, values in (("", None), ("a,b\nx,y\n", None), ("t,x\n1,2\n", ["speed"]), ("t,x\n", None)):
        with pytest.raises(TableBroken):
            detect(written(tmp_path / "a.csv", text), tmp_path / "out", values=values)
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"t,x\n" + b"1,2\n" * 90_000)[:-40])
    with pytest.raises(TableBroken):
        detect(tmp_path / "b.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400) | st.text("0123456789.,;-\n\"' \taNé/:", max_size=400).map(str.encode))
def test_any_bytes_are_scored_or_refused(tmp_path: Path, content: bytes) -> None:
    """Any file at all is scored row by row or refused with a message."""
    (tmp_path / "a.csv").write_bytes(content)
    try:
        told = detect(tmp_path / "a.csv", tmp_path / "out")
    except TableBroken:
        return
    assert len(rows_of(tmp_path / "out")) == told.rows


def test_the_command_draws_and_tells_in_chinese(tmp_path: Path) -> None:
    """The command writes scores and a PNG; a wrong column ends with a message and status 1."""
    text = "time,load\n" + "".join(f"{t},{v}\n" for t, v in series())
    file, out, png = written(tmp_path / "a.csv", text), tmp_path / "out.csv", tmp_path / "out.png"
    done = CliRunner().invoke(app, ["detect", str(file), "--out", str(out), "--plot", str(png), "--lang", "zh"])
    assert done.exit_code == 0, done.output
    assert "400 rows" in done.output
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "load突跳" in rows_of(out)[350]["reason"]
    assert CliRunner().invoke(app, ["detect", str(file), "--out", str(out), "--time-column", "when"]).exit_code == 1


def test_gaps_are_steps_but_never_more_than_rows_pay_for() -> None:
    """A gap of ten steps counts as nine missing ones; absurd times add none."""
    steps = Steps()
    assert steps.missing(np.arange(100.0)).sum() == 0
    assert list(steps.missing(np.array([109.0, 110.0]))) == [9, 0]
    assert list(steps.missing(np.array([1e300, np.nan]))) == [0, 0]


@pytest.mark.parametrize(
    ("texts", "name"),
    [(["1", "2"], "number"), (["13/01/2026", "14/01/2026"], "dmy"), (["1/2/2026 1:00 PM", "1/3/2026 1:00 PM"], "mdy"),
     (["2026-01-02T03:04:05+08:00"], "iso"), (["cold", "warm"], "")],
)  # fmt: skip
def test_time_formats_are_recognised(texts: list[str], name: str) -> None:
    """By what can be read and by what rises most often."""
    assert recognise(texts) == name
    assert name == "" or np.isfinite(READERS[name](texts[0]))
