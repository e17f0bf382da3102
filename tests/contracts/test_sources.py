"""The sources' contract: every entry of SOURCES, on a bus that is not there, that talks nonsense, and that speaks."""

from __future__ import annotations

import os
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from devices.sender import Address
from edge.config import example
from edge.errors import ConfigError
from edge.sheet import Sheet
from edge.sources import SOURCES
from edge.sources.intake import Intake, Source
from tests.broker import open_broker
from tests.docs.read import ROOT
from tests.servers import free_port

EVERY = pytest.mark.parametrize("name", sorted(SOURCES))
POLES = {"pole-1": Address("d1", "pole", "pole-1")}
GOOD = b'{"device": "pole-1", "t": 1700000000000, "voltage": 231.5}'
GARBAGE = (b"\xff\xfe\x00", b"{not json}", b"[1, 2, 3]", b'{"device": "pole-1", "t": "now"}', b"{}", b"[" * 500)
WAIT_S = 20.0

Say = Callable[[bytes], None]


def opened(text: str, intake: Intake) -> Source:
    """A source as the configuration opens it."""
    table = tomllib.loads(text)["source"][0]
    return SOURCES[table["type"]](Sheet("edge.toml", text, table, ("source", 0)), intake)


# ---- what each bus needs: nobody there, and a bus on which somebody speaks -----------------------------------------


def lines_absent(folder: Path) -> str:
    return f'[[source]]\ntype = "lines"\npath = "{folder / "no-such-line"}"\nkind = "pole"\n'


@contextmanager
def lines_bus(folder: Path) -> Iterator[tuple[str, Say]]:
    fifo = folder / "line"
    os.mkfifo(fifo)
    handle = os.open(fifo, os.O_RDWR)  # open at both ends: the source never sees its end
    try:
        yield (
            f'[[source]]\ntype = "lines"\npath = "{fifo}"\nkind = "pole"\n',
            lambda piece: os.write(handle, piece + b"\n") and None,
        )
    finally:
        os.close(handle)


def mqtt_absent(_folder: Path) -> str:
    maps = '[[source.map]]\ntopic = "tele/lamp"\ndevice = "pole-1"\n'
    return f'[[source]]\ntype = "mqtt_local"\nhost = "127.0.0.1"\nport = {free_port()}\n{maps}'


@contextmanager
def mqtt_bus(folder: Path) -> Iterator[tuple[str, Say]]:
    with open_broker(folder / "broker") as broker:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="sensor")
        client.connect(broker.host, broker.port)
        client.loop_start()
        maps = '[[source.map]]\ntopic = "tele/lamp"\ndevice = "pole-1"\n[source.map.values]\nvoltage = "voltage"\n'
        try:
            yield (
                f'[[source]]\ntype = "mqtt_local"\nhost = "{broker.host}"\nport = {broker.port}\n{maps}',
                lambda piece: client.publish("tele/lamp", piece, qos=1) and None,
            )
        finally:
            client.disconnect()
            client.loop_stop()


ABSENT = {"lines": lines_absent, "mqtt_local": mqtt_absent}
BUSES = {"lines": lines_bus, "mqtt_local": mqtt_bus}


def until(what: Callable[[], object], why: str) -> None:
    """Wait for something that has no event of its own."""
    end_s, pause = time.monotonic() + WAIT_S, threading.Event()
    while not what():
        assert time.monotonic() < end_s, f"waited in vain: {why}"
        pause.wait(0.01)


def test_every_source_has_its_setup() -> None:
    """A new source is a new line here as well: on which bus it is tried."""
    assert set(ABSENT) == set(BUSES) == set(SOURCES)


# ---- laws ------------------------------------------------------------------------------------------------------


@EVERY
def test_an_unknown_key_is_refused_with_its_line(name: str) -> None:
    """No source takes a key that it does not know."""
    text = f'[[source]]\ntype = "{name}"\ncolour = "red"\n'
    sheet = Sheet("edge.toml", text, {"type": name, "colour": "red"}, ("source", 0))
    with pytest.raises(ConfigError, match=r"^edge\.toml:3: source\.colour: unknown key"):
        SOURCES[name](sheet, Intake(POLES))


@EVERY
def test_it_is_shown_in_the_documents_and_in_the_written_configuration(name: str) -> None:
    """Whoever reads the table of sources or `config init` finds it."""
    assert f"| `{name}` |" in (ROOT / "docs/edge.md").read_text(encoding="utf-8")
    assert f'type = "{name}"' in example()


@EVERY
def test_a_bus_that_is_not_there_is_said_and_holds_nothing_up(name: str, tmp_path: Path) -> None:
    """It says why it reads nothing, goes on trying, and stops at once when told."""
    intake = Intake(POLES)
    source = opened(ABSENT[name](tmp_path), intake)
    source.start()
    until(lambda: source.problem, f"{name} says its problem")
    assert not source.ended
    intake.stopping.set()
    began = time.monotonic()
    source.stop()
    source.close()
    assert time.monotonic() - began < WAIT_S
    assert source.counts.readings == 0


@EVERY
def test_garbage_is_counted_and_what_is_good_comes_through(name: str, tmp_path: Path) -> None:
    """Nonsense stops nothing: each piece of it is counted by reason and kept readable, the next reading arrives."""
    intake = Intake(POLES)
    with BUSES[name](tmp_path) as (text, say):
        source = opened(text, intake)
        source.start()
        try:
            until(lambda: _heard(source, intake, say), f"{name} hands over a good reading")
            before = source.counts.pieces
            for piece in GARBAGE:
                say(piece)
            until(lambda: source.counts.pieces >= before + len(GARBAGE), "garbage was read")
            say(GOOD)
            until(lambda: intake.take(0.05) is not None, "a reading after garbage")
            assert source.counts.refused.total() >= len(GARBAGE) - 1, source.counts.refused
            assert source.counts.last_refused
            assert not source.problem
        finally:
            intake.stopping.set()
            source.stop()
            source.close()


def _heard(source: Source, intake: Intake, say: Say) -> bool:
    """Whether the bus is connected: it hands over something good."""
    if source.problem:
        return False
    say(GOOD)
    taken = intake.take(0.2)
    if taken is None:
        return False
    if taken.acknowledge is not None:
        taken.acknowledge()
    assert taken.readings[0].device == "pole-1"
    assert taken.readings[0].values == {"voltage": 231.5}
    return True


@EVERY
def test_a_full_queue_makes_it_wait_and_stopping_ends_the_wait(name: str, tmp_path: Path) -> None:
    """With nobody taking, a source holds; told to stop, it lets go."""
    intake = Intake(POLES, room=1)
    with BUSES[name](tmp_path) as (text, say):
        source = opened(text, intake)
        source.start()
        try:
            until(lambda: not source.problem and (say(GOOD), intake.waiting)[1] >= 1, "the queue is full")
            for _ in range(20):
                say(GOOD)
        finally:
            intake.stopping.set()
            began = time.monotonic()
            source.stop()
            source.close()
        assert time.monotonic() - began < WAIT_S
        assert intake.waiting <= 2
