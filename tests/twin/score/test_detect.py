"""`citywhistle detect`: tables of many makes in, one row out for each row in."""

from __future__ import annotations

import csv
import gzip
import itertools
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from twin.__main__ import app
from twin.score.run import detect
from twin.score.steps import Steps
from twin.score.table import Shape, TableBroken, _value
from twin.score.times import READERS, number, recognise


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


def test_rows_written_twice_are_one_step(tmp_path: Path) -> None:
    """An overlap of two exports, or every row twice from some row on, leaves each row the score it has without."""
    lines = [f"{60 * i},{np.sin(i / 20) + 0.01 * (i * 37 % 101):.4f}\n" for i in range(6000)]
    clean, overlap = tmp_path / "clean.csv", tmp_path / "overlap.csv"
    detect(written(clean, "time,load\n" + "".join(lines)), tmp_path / "a.out")
    twice = lines[:2050] + lines[2000:4000] + [line for line in lines[4000:5000] for _ in (0, 1)] + lines[5000:]
    detect(written(overlap, "time,load\n" + "".join(twice)), tmp_path / "b.out")
    once = {row["time"]: row["score"] for row in rows_of(tmp_path / "a.out")}
    again = rows_of(tmp_path / "b.out")
    assert [row["time"] for row in again] == [line.split(",")[0] for line in twice]
    assert all(row["score"] == once[row["time"]] for row in again)


def test_rows_of_one_time_that_differ_are_steps() -> None:
    """Where times stand still from the start, or values differ, each row is a step; any split tells the same."""
    t = np.repeat(np.arange(100.0), 2)
    assert Steps().fresh(t, np.ones((200, 1))).all()
    t[:100], x = np.arange(-100.0, 0.0), np.zeros((200, 1))
    x[1::2] = 1.0
    assert Steps().fresh(t, x).all()
    x[:] = np.nan
    whole, parts = Steps(), Steps()
    told = whole.fresh(t, x)
    assert list(np.flatnonzero(~told)) == list(range(101, 200, 2))
    assert list(np.concatenate([parts.fresh(t[i : i + 7], x[i : i + 7]) for i in range(0, 200, 7)])) == list(told)


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


@pytest.mark.parametrize(
    "name",
    ["ATT_FLAG", "Normal/Attack", "Anomaly_Flag", "y_true", "EVENT", "attack_label", "Attack LABLE (-1: attack)"],
)
def test_answers_go_by_many_names(tmp_path: Path, name: str) -> None:
    """What says yes and no only under such a name is no measurement; what measures under one, or is just binary, is."""
    rows = [(t, v, int(i == 350)) for i, (t, v) in enumerate(series())]
    flags = f"time,load,{name},available\n" + "".join(f"{t},{v},{flag},{t % 2}\n" for t, v, flag in rows)
    told = detect(written(tmp_path / "a.csv", flags), tmp_path / "out")
    assert told.shape.left_out == (name,)
    assert told.shape.value_names == ("load", "available")
    measured = f"time,load,{name}\n" + "".join(f"{t},{v},{v * 2}\n" for t, v, _ in rows)
    assert detect(written(tmp_path / "b.csv", measured), tmp_path / "out").shape.value_names == ("load", name)


def test_a_series_in_one_row_is_told_from_a_wide_table(tmp_path: Path) -> None:
    """Some archives write a whole series in one line: the refusal says how to turn it."""
    with pytest.raises(TableBroken, match="one value a line"):
        detect(written(tmp_path / "a.csv", "  ".join(str(i % 7) for i in range(12_000)) + "\n"), tmp_path / "out")


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


WHEN = [datetime(2024, 3, 30, 20, tzinfo=UTC) + timedelta(minutes=10 * i) for i in range(60)]


@pytest.mark.parametrize(
    ("form", "reader"),
    [("%d-%b-%Y %H:%M:%S", "named"), ("%b %d %Y %I:%M %p", "named"), ("%d %B %Y %H:%M:%S GMT", "named"),
     ("%Y-%m-%d %H:%M:%S UTC", "ymd"), ("%d.%m.%Y %H:%M", "dmy"), ("%m/%d/%y %I:%M %p", "mdy"),
     ("%Y-%m-%dT%H:%M:%S+0800", "iso")],
)  # fmt: skip
def test_times_are_recognised_however_they_are_written(tmp_path: Path, form: str, reader: str) -> None:
    """Names of months, zones, day or month first: ten minutes apart each, in order."""
    text = "when,load\n" + "".join(f"{t.strftime(form)},{i % 7}\n" for i, t in enumerate(WHEN))
    told = detect(written(tmp_path / "a.csv", text), tmp_path / "out")
    assert (told.shape.time, told.ordered) == (0, True)
    assert told.shape.time_format == reader
    read = READERS[reader]
    apart = {round(read(b.strftime(form)) - read(a.strftime(form))) for a, b in itertools.pairwise(WHEN)}
    assert apart == {600}


def test_a_date_and_a_time_of_day_in_two_columns_are_one_time(tmp_path: Path) -> None:
    """Rows of one day are told apart by their clock, so that a shuffled file has the scores of the sorted one."""
    lines = [f"{t:%Y-%m-%d},{t:%H:%M:%S},{(i * i) % 11}\n" for i, t in enumerate(WHEN)]
    told = detect(written(tmp_path / "a.csv", "date,time,v\n" + "".join(lines)), tmp_path / "a")
    assert told.shape.value_names == ("v",)
    again = detect(written(tmp_path / "b.csv", "date,time,v\n" + "".join(lines[::-1])), tmp_path / "b")
    assert (told.ordered, again.ordered) == (True, False)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")[::-1]


def test_a_column_that_is_blank_at_first_is_scored_once_it_speaks(tmp_path: Path) -> None:
    """A column without a number among the rows looked at is none only if no row at all has one."""
    text = "t,a,late,never\n" + "".join(f"{i},{i % 7},{'' if i < 300 else (i * i) % 5},\n" for i in range(500))
    told = detect(written(tmp_path / "a.csv", text), tmp_path / "out")
    assert told.shape.value_names == ("a", "late")
    assert {r["score_late"] for r in rows_of(tmp_path / "out")[:300]} == {"0"}
    none = "t,a\n" + "".join(f"{i},NaN\n" for i in range(50))
    assert detect(written(tmp_path / "b.csv", none), tmp_path / "out").alarms == 0
    assert [r["score"] for r in rows_of(tmp_path / "out")] == ["0"] * 50


def test_day_or_month_first_is_told_by_rows_that_come_late(tmp_path: Path) -> None:
    """The first 200 rows all lie on 1 February; only the 13th shows that the day stands first."""
    start = datetime(2024, 2, 1, tzinfo=UTC)
    for mark in "/.":
        lines = [f"{start + timedelta(minutes=5 * i):%d{mark}%m{mark}%Y %H:%M},{i % 7}\n" for i in range(288 * 32)]
        told = detect(written(tmp_path / "a.csv", "when,v\n" + "".join(lines)), tmp_path / "out")
        assert (told.shape.time_format, told.ordered) == ("dmy", True)
    daily = "".join(f"{start + timedelta(days=i):%d/%m/%Y},{i % 7}\n" for i in range(11))
    assert detect(written(tmp_path / "a.csv", "when,v\n" + daily), tmp_path / "out").shape.time_format == "dmy"


def test_a_quote_that_never_closes_is_said_with_its_line(tmp_path: Path) -> None:
    """It would take all later rows into one cell; line breaks inside a quote that closes are none of a row."""
    text = "t,a\n" + "".join(f"{i},{chr(34) if i == 40 else ''}{i % 7}\n" for i in range(90))
    with pytest.raises(TableBroken, match="line 42"):
        detect(written(tmp_path / "a.csv", text), tmp_path / "out")
    text = "t,a,note\n" + "".join(f'{i},{i % 7},"two\nlines"\n' for i in range(90))
    assert detect(written(tmp_path / "a.csv", text), tmp_path / "out").rows == 90


def test_what_is_written_takes_the_place_of_nothing_else(tmp_path: Path) -> None:
    """Scores over the table itself, the picture over the scores, a device, a folder that is not there: refused."""
    file = written(tmp_path / "a.csv", "t,a\n" + "".join(f"{i},{i % 7}\n" for i in range(50)))
    before = file.read_bytes()
    for out, plot in (
        (file, None),
        (tmp_path / "o", tmp_path / "o"),
        (tmp_path / "o", file),
        (Path(os.devnull), None),
        (tmp_path / "none" / "o", None),
        (tmp_path / "o", tmp_path / "none" / "p"),
        (tmp_path, None),
    ):
        with pytest.raises(TableBroken):
            detect(file, out, plot=plot)
    assert file.read_bytes() == before
    assert not (tmp_path / "o").exists()


def test_a_pipe_is_a_table_too(tmp_path: Path) -> None:
    """What cannot be rewound is read once."""
    text = "t,a\n" + "".join(f"{i},{i % 7}\n" for i in range(5000))
    os.mkfifo(tmp_path / "pipe")
    sender = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(text))
    sender.start()
    assert detect(tmp_path / "pipe", tmp_path / "out").rows == 5000
    sender.join()


def test_heads_of_tables_as_other_programs_write_them(tmp_path: Path) -> None:
    """`sep=;`, numbers for names, thousands by dots beside decimal commas, a true minus sign, epochs without a name."""

    def shape(text: str) -> tuple[Shape, int]:
        told = detect(written(tmp_path / "a.csv", text), tmp_path / "out")
        return told.shape, told.rows

    told, rows = shape("sep=;\ntime;a\n" + "".join(f"{i};{i % 7}\n" for i in range(60)))
    assert (told.names, rows) == (("time", "a"), 60)
    told, rows = shape(",0,1\n" + "".join(f"{i},{i % 7}.5,{i % 3}\n" for i in range(60)))
    assert (told.value_names, told.time, rows) == (("0", "1"), 0, 60)
    told, rows = shape("0,1,2\n" + "".join(f"{i % 5}.5,{i % 7},{i % 3}\n" for i in range(60)))
    assert (told.value_names, rows) == (("0", "1", "2"), 60)
    assert shape("".join(f"{i},{i + 1},{i % 3 + 2}\n" for i in range(60)))[1] == 60
    told, rows = shape("".join(f"{1_700_000_000 + 60 * i + i % 3},{i % 7}\n" for i in range(60)))
    assert (told.time, len(told.values)) == (0, 1)
    assert _value("1.234,5", True) == _value("1.234,5 ".strip(), True) == 1234.5
    assert _value("1.234", True) == 1234.0
    assert _value("1,5", True) == 1.5
    assert number("\u22121.5") == -1.5
    assert np.isnan(number("\u2212"))


def test_a_label_beside_one_series_without_names_is_no_series(tmp_path: Path) -> None:
    """value,label without a header, as benchmarks ship them; a flag beside several series is a series."""
    bare = "".join(f"{v},{int(i == 350)}\n" for i, (_, v) in enumerate(series()))
    told = detect(written(tmp_path / "a.csv", bare), tmp_path / "out")
    assert told.shape.left_out == ("column 1",)
    timed = "".join(f"{t},{v},{int(i == 350)}\n" for i, (t, v) in enumerate(series()))
    told = detect(written(tmp_path / "a.csv", timed), tmp_path / "out")
    assert (told.shape.value_names, told.shape.left_out) == (("column 1",), ("column 2",))
    three = "".join(f"{v},{-v},{int(i == 350)}\n" for i, (_, v) in enumerate(series()))
    assert len(detect(written(tmp_path / "a.csv", three), tmp_path / "out").shape.values) == 3


def test_the_unit_of_a_column_changes_no_score(tmp_path: Path) -> None:
    """Amperes and picoamperes are one series."""
    told = []
    for unit in (1.0, 2.0**-60, 2.0**200):
        text = "t,a\n" + "".join(f"{i},{v * unit!r}\n" for i, (_, v) in enumerate(series()))
        detect(written(tmp_path / "a.csv", text), tmp_path / "out")
        told.append([float(row["score"]) for row in rows_of(tmp_path / "out")])
    assert np.allclose(told[1], told[0], atol=1e-6)
    assert np.allclose(told[2], told[0], atol=1e-6)


def test_odd_tables_are_read(tmp_path: Path) -> None:
    """Two columns of one name, remarks before the header, thousands, percent, truth values, integers without end."""
    body = "".join(f'{i},{i % 5},"{1_234_567 + i % 3:,}",{i % 4}.5 %,{"true" if i % 4 else "FALSE"},{10**300}9{i}\n'
                   for i in range(64))  # fmt: skip
    text = "# made by a logger\n# second remark\nt,a,a,share,on,huge\n" + body
    told = detect(written(tmp_path / "a.csv", text), tmp_path / "out")
    assert told.shape.value_names == ("a", "a (2)", "share", "on", "huge")
    assert told.rows == 64
    assert list(rows_of(tmp_path / "out")[0])[4:] == [f"score_{name}" for name in told.shape.value_names]
    hashed = "#time,load\n" + "".join(f"{i},{i % 3}\n" for i in range(64))
    assert detect(written(tmp_path / "b.csv", hashed), tmp_path / "out").shape.value_names == ("load",)
