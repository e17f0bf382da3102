"""Marks, commands, acknowledgements and presence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.envelope import (
    MAX_NUMBER,
    decode_ack,
    decode_command,
    decode_mark,
    decode_state,
    encode_ack,
    encode_command,
    encode_mark,
    encode_state,
    read_plain_mark,
    read_value,
)
from devices.errors import PayloadError
from devices.kinds import KINDS
from devices.records import Command, Mark


def test_mark_round_trip() -> None:
    """A mark with ranges beyond a gap and with older boots comes back as it was."""
    mark = Mark("p", 9, 100, ((103, 110),), (Mark("p", 8, 77), Mark("p", 7, 5, ((9, 9),))))
    assert decode_mark("p", encode_mark(mark)) == mark


def test_plain_mark_is_two_numbers() -> None:
    """The usual mark holds boot and seq alone."""
    assert encode_mark(Mark("p", 9, 100)) == b'{"boot":9,"seq":100}'


@given(st.integers(0, 2**54), st.integers(0, 2**54), st.binary(max_size=3))
def test_a_plain_mark_is_read_as_any_mark_is(boot: int, seq: int, more: bytes) -> None:
    """Read at a glance where it is one, and left to the decoder where it is not, or out of bounds."""
    payload = b'{"boot":%d,"seq":%d}' % (boot, seq) + more
    plain = read_plain_mark(payload)
    if more or max(boot, seq) > MAX_NUMBER:
        assert plain is None
    else:
        assert plain is not None
        assert Mark("d", *plain) == decode_mark("d", payload)
    assert read_plain_mark(b'{"boot":01,"seq":2}') is None


def test_mark_covers() -> None:
    """A mark covers what is below it, in its ranges, and in older boots; nothing else."""
    mark = Mark("p", 9, 100, ((103, 110),), (Mark("p", 8, 77),))
    assert mark.covers(9, 100)
    assert mark.covers(9, 103)
    assert mark.covers(8, 77)
    assert not mark.covers(9, 101)
    assert not mark.covers(8, 78)
    assert not mark.covers(10, 1)


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b'{"boot":1}', b'{"boot":1,"seq":"2"}', b'{"boot":1,"seq":2,"beyond":[1]}', b'{"older":[1]}'],
)
def test_bad_marks_are_refused(payload: bytes) -> None:
    """A mark of the wrong shape raises PayloadError and nothing else."""
    with pytest.raises(PayloadError):
        decode_mark("p", payload)


def test_command_round_trip() -> None:
    """A command comes back with its arguments."""
    command = Command("k-1", "p", "dim", {"level": 0.5, "lamp": "left", "now": True})
    assert decode_command("p", encode_command(command)) == command


@pytest.mark.parametrize(
    "payload", [b"1", b'{"id":"x"}', b'{"id":"","action":"a"}', b'{"id":"x","action":"a","q":[1]}']
)
def test_bad_commands_are_refused(payload: bytes) -> None:
    """A command without id or action, or with a nested argument, raises PayloadError."""
    with pytest.raises(PayloadError):
        decode_command("p", payload)


def test_command_arguments_may_not_hide_the_command() -> None:
    """An argument called id or action is refused when encoding."""
    with pytest.raises(PayloadError, match="shape"):
        encode_command(Command("k", "p", "a", {"id": "other"}))


def test_ack_round_trip() -> None:
    """An acknowledgement comes back; its detail is cut to 512 letters."""
    assert decode_ack(encode_ack("k-1", True, "done")) == ("k-1", True, "done")
    assert len(decode_ack(encode_ack("k-1", False, "x" * 900))[2]) == 512


@pytest.mark.parametrize(
    "payload", [b"{}", b'{"id":1,"ok":true}', b'{"id":"k","ok":1}', b'{"id":"k","ok":true,"detail":3}']
)
def test_bad_acks_are_refused(payload: bytes) -> None:
    """An acknowledgement of the wrong shape raises PayloadError."""
    with pytest.raises(PayloadError):
        decode_ack(payload)


def test_state_round_trip() -> None:
    """Presence is 0 or 1 (or true and false), and nothing else."""
    assert decode_state(encode_state(True)) is True
    assert decode_state(encode_state(False)) is False
    assert decode_state(b'{"online":true}') is True
    with pytest.raises(PayloadError):
        decode_state(b'{"online":"yes"}')


def test_state_values() -> None:
    """A state is told by text, index or truth value; in between or beyond is refused."""
    charger, door = KINDS["pole"].quantity("chargerState"), KINDS["pole"].quantity("doorOpen")
    assert read_value(charger, "fault") == 3
    assert read_value(door, True) == 1
    for quantity, raw, reason in (
        (charger, True, "type"),
        (charger, 1.5, "range"),
        (charger, 5, "range"),
        (door, "ajar", "type"),
    ):
        with pytest.raises(PayloadError, match=reason):
            read_value(quantity, raw)
