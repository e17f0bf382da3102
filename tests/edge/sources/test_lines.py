"""Lines from files, FIFOs, terminals: readings in, garbage counted by reason, and the source never stops."""

from __future__ import annotations

import json
import os
import pty
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.records import Reading
from devices.sender import Address
from edge.errors import ConfigError
from edge.sheet import Sheet
from edge.sources.intake import Intake, SourceCounts
from edge.sources.lines import MAX_LINE, Cutter, LineForm, LineReader, Lines, open_lines

POLES = {name: Address("d1", "pole", name) for name in ("pole-1", "pole-2")}
TRUCK = {"truck-1": Address("d1", "truck", "truck-1")}


def until(what: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own."""
    end_s, pause = time.monotonic() + 15, threading.Event()
    while not what():
        assert time.monotonic() < end_s, "waited in vain"
        pause.wait(0.01)


def sheet_of(text: str) -> Sheet:
    table = tomllib.loads(text)
    return Sheet("edge.toml", text, table["source"][0], ("source", 0))


def source_of(text: str, intake: Intake) -> Lines:
    return open_lines(sheet_of(f'[[source]]\ntype = "lines"\n{text}'), intake)


@contextmanager
def running(source: Lines, intake: Intake) -> Iterator[Lines]:
    source.start()
    try:
        yield source
    finally:
        intake.stopping.set()
        source.stop()


def collect(intake: Intake, count: int) -> list[Reading]:
    """So many readings."""
    got: list[Reading] = []
    while len(got) < count:
        taken = intake.take(10)
        assert taken is not None, f"{len(got)} of {count} came"
        got += taken.readings
    return got


GARBAGE = [
    b"\xff\xfe\x00garbage\n",
    b"{not json}\n",
    b"[1, 2, 3]\n",
    b'{"device": "stranger", "pm25": 1}\n',
    b'{"pm25": 1}\n',
    b'{"device": "pole-1", "pm25": "much"}\n',
    b'{"device": "pole-1", "pm25": 99999}\n',
    b'{"device": "pole-1", "colour": 3}\n',
    b'{"device": "pole-1"}\n',
    b'{"device": "pole-1", "t": -5, "pm25": 1}\n',
    b"x" * (3 * MAX_LINE) + b"\n",
    b"\n   \n\n",
]


def test_garbage_between_good_lines_is_counted_by_reason(tmp_path: Path) -> None:
    """Every good line arrives, every bad one is counted once with its reason, the last ones can be read."""
    good = [b'{"device": "pole-1", "t": %d, "pm25": %d}\n' % (1_700_000_000_000 + i, i) for i in range(len(GARBAGE))]
    file = tmp_path / "lines.json"
    file.write_bytes(b"".join(line for pair in zip(good, GARBAGE, strict=True) for line in pair))
    intake = Intake(POLES)
    with running(source_of(f'path = "{file}"', intake), intake) as source:
        got = collect(intake, len(good))
        until(lambda: source.ended)
    assert got == [Reading("pole-1", 1_700_000_000_000 + i, {"pm25": float(i)}) for i in range(len(good))]
    assert dict(source.counts.refused) == {
        "syntax": 2, "shape": 1, "unknown_device": 1, "device": 1, "type": 1, "range": 1, "quantity": 1, "empty": 1,
        "envelope": 1, "too_large": 1,
    }  # fmt: skip
    assert "stranger" in " ".join(source.counts.last_refused)
    assert source.problem == ""


def test_tasmota_and_senml_lines_are_understood(tmp_path: Path) -> None:
    """What the city's codec reads from a topic it reads from a line; the line's own numbers come along unused."""
    lines = [
        {"Time": "2026-03-01T20:00:30", "ENERGY": {"Power": 85, "Total": 12.5}},
        {"t": 1_700_000_000_000, "boot": 4, "seq": 9, "doorOpen": "open"},
    ]
    file = tmp_path / "lines.json"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")  # no newline at the end
    intake = Intake(POLES)
    with running(source_of(f'path = "{file}"\ndevice = "pole-1"', intake), intake) as source:
        power, door = collect(intake, 2)
        until(lambda: source.ended)
    assert dict(power.values) == {"powerConsumption": 85.0, "energy": 12_500.0}
    assert power.t_ms is None
    assert (door.t_ms, dict(door.values)) == (1_700_000_000_000, {"doorOpen": 1.0})


def test_csv_with_units_states_and_times(tmp_path: Path) -> None:
    """Columns become quantities with conversion; a row of another length or with a bad time is counted."""
    file = tmp_path / "lines.csv"
    file.write_text(
        "1700000000;pole-1;68;ON;x\n1700000001;pole-2;;OFF;x\nlater;pole-1;68;ON;x\n1700000002;pole-1\n"
        "1700000003;pole-1;50;MAYBE;x\n",
        encoding="utf-8",
    )
    text = f"""path = "{file}"
format = "csv"
delimiter = ";"
columns = ["when", "id", "temp_f", "relay", "junk"]
time = "when"
time_form = "unix_s"
device_field = "id"
kind = "pole"
policy = false
[source.values]
temp_f = {{ quantity = "temperature", unit = "degF" }}
relay = {{ quantity = "powerState", states = {{ ON = "on", OFF = "off" }} }}
"""
    intake = Intake(POLES)
    with running(source_of(text, intake), intake) as source:
        one, two, three = collect(intake, 3)
        until(lambda: source.ended)
    assert (one.device, one.t_ms, one.values["powerState"]) == ("pole-1", 1_700_000_000_000, 1.0)
    assert one.values["temperature"] == pytest.approx(20.0)
    assert (two.device, dict(two.values)) == ("pole-2", {"powerState": 0.0})
    assert list(three.values) == ["temperature"]
    assert dict(source.counts.refused) == {"envelope": 1, "shape": 1, "type": 1}


def test_a_header_line_names_the_columns(tmp_path: Path) -> None:
    """Columns with a quantity's own name need no mapping; others are left alone."""
    file = tmp_path / "lines.csv"
    file.write_text('\ufefft,device,pm25,"note"\n1700000000000,pole-1,12,"a, b"\n', encoding="utf-8")
    intake = Intake(POLES)
    with running(source_of(f'path = "{file}"\nformat = "csv"\nheader = true', intake), intake):
        assert collect(intake, 1) == [Reading("pole-1", 1_700_000_000_000, {"pm25": 12.0})]


def test_a_fifo_outlives_its_writers(tmp_path: Path) -> None:
    """Writers come and go; the source reads on, and needs none to begin."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    intake = Intake(POLES)
    with running(source_of(f'path = "{fifo}"\ndevice = "pole-1"', intake), intake) as source:
        for i in range(3):
            with fifo.open("wb") as writer:
                writer.write(b'{"pm25": %d}\n' % i)
            assert collect(intake, 1) == [Reading("pole-1", None, {"pm25": float(i)})]
        assert not source.ended
    assert source.problem == ""


def test_a_serial_line_that_is_unplugged_is_opened_again(tmp_path: Path) -> None:
    """The terminal is set to raw; when its other side hangs up, that is said, and a new one at its place is read."""
    link = tmp_path / "ttyUSB0"
    ours, theirs = pty.openpty()
    link.symlink_to(os.ttyname(theirs))
    intake = Intake(POLES)
    with running(source_of(f'path = "{link}"\nbaud = 115200\ndevice = "pole-1"', intake), intake) as source:
        os.write(ours, b'{"pm25": 1}\r\n')
        assert collect(intake, 1)[0].values["pm25"] == 1
        os.close(theirs)
        os.close(ours)
        until(lambda: source.problem != "")
        link.unlink()
        ours, theirs = pty.openpty()
        link.symlink_to(os.ttyname(theirs))
        until(lambda: source.problem == "")
        os.write(ours, b'{"pm25": 2}\r\n')
        assert collect(intake, 1)[0].values["pm25"] == 2
    os.close(theirs)
    os.close(ours)


def test_a_path_that_is_not_there_yet_is_said_and_awaited(tmp_path: Path) -> None:
    """No line at start is a problem that is told, not an end."""
    file = tmp_path / "later.json"
    intake = Intake(POLES)
    with running(source_of(f'path = "{file}"\ndevice = "pole-1"', intake), intake) as source:
        until(lambda: "No such file" in source.problem)
        aside = tmp_path / "aside"
        aside.write_bytes(b'{"pm25": 1}\n')
        aside.rename(file)
        assert collect(intake, 1)[0].values["pm25"] == 1
        until(lambda: source.ended)


def test_a_full_intake_makes_the_source_wait(tmp_path: Path) -> None:
    """Nothing is dropped between source and gateway: the file is read no faster than it is taken."""
    file = tmp_path / "many.json"
    file.write_bytes(b"".join(b'{"pm25": %d}\n' % (i % 1000) for i in range(30_000)))
    intake = Intake(POLES, room=1)
    with running(source_of(f'path = "{file}"\ndevice = "pole-1"', intake), intake) as source:
        until(lambda: intake.waiting > 0)
        assert source.counts.readings < 30_000
        got = collect(intake, 30_000)
    assert [r.values["pm25"] for r in got] == [float(i % 1000) for i in range(30_000)]


def test_a_stop_does_not_wait_for_a_full_intake(tmp_path: Path) -> None:
    """A source that waits for room ends when the gateway stops."""
    file = tmp_path / "many.json"
    file.write_bytes(b'{"pm25": 1}\n' * 30_000)
    intake = Intake(POLES, room=1)
    source = source_of(f'path = "{file}"\ndevice = "pole-1"', intake)
    source.start()
    until(lambda: intake.waiting > 0)
    intake.stopping.set()
    begun_s = time.monotonic()
    source.stop()
    assert time.monotonic() - begun_s < 5


def test_the_device_may_stand_in_another_field() -> None:
    """The field that names the device is no quantity; a payload that names yet another device is refused."""
    source = source_of('path = "x"\ndevice_field = "id"', Intake(POLES))
    assert source._reader.read(b'{"id": "pole-2", "pm25": 3}') == [Reading("pole-2", None, {"pm25": 3.0})]
    assert source._reader.read(b'{"id": "pole-2", "device": "pole-1", "pm25": 3}') == []
    assert source.counts.refused == {"device": 1}


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b and b.strip())), st.integers(1, 9))
def test_any_cut_of_the_stream_gives_the_same_lines(lines: list[bytes], size: int) -> None:
    """Where reads happen to cut the stream changes nothing."""
    stream = b"".join(line + b"\n" for line in lines)
    cutter = Cutter(SourceCounts())
    got = [line for at in range(0, len(stream), size) for line in cutter.feed(stream[at : at + size])]
    assert got + list(cutter.end()) == lines


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_line_can_break_the_reader(line: bytes, is_csv: bool) -> None:
    """Whatever bytes come, they are readings or counted refusals, never an exception."""
    counts = SourceCounts()
    form = LineForm(csv=is_csv, columns=("t", "pm25") if is_csv else (), device="pole-1", time="t" if is_csv else "")
    readings = LineReader(form, Intake(POLES), counts).read(line)
    assert len(readings) == counts.readings
    assert readings or sum(counts.refused.values()) > 0


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "no path"),
        ('path = "x"\nbaud = 9601', 4, "no usual speed"),
        ('path = "x"\nformat = "xml"', 4, "unknown"),
        ('path = "x"\nformat = "csv"', 1, "without columns"),
        ('path = "x"\ndevice = "pole-9"', 4, "not in"),
        ('path = "x"\ncolour = "red"', 4, "unknown key"),
        ('path = "x"\n[source.values]\na = "pm25"', 1, "needs to know the kind"),
        ('path = "x"\ndevice = "pole-1"\n[source.values]\na = "speed"', 6, "has no 'speed'"),
        ('path = "x"\ndevice = "pole-1"\n[source.values]\na = { quantity = "pm25", unit = "V" }', 6, "no conversion"),
        ('path = "x"\ndevice = "pole-1"\n[source.values]\na = { quantity = "doorOpen", states = { A = "ajar" } }', 6,
         "no state of doorOpen"),
    ],
)  # fmt: skip
def test_a_wrong_table_names_its_line(text: str, line: int, said: str) -> None:
    """What cannot work is refused before the gateway runs, with file and line."""
    with pytest.raises(ConfigError, match=rf"^edge\.toml:{line}: .*{said}"):
        source_of(text, Intake(POLES))


def test_a_line_of_another_kind_than_the_mapping_is_refused() -> None:
    """A mapping made for poles is not applied to a truck."""
    text = 'path = "x"\nkind = "pole"\n[source.values]\na = "pm25"'
    source = source_of(text, Intake(POLES | TRUCK))
    assert source._reader.read(b'{"device": "truck-1", "a": 3}') == ()
    assert source.counts.refused == {"device": 1}
