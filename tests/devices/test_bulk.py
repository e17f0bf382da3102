"""What the client writes and takes apart by itself: packets as MQTT 3.1.1 draws them; all others are paho's."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from devices.bulk import BulkClient


class Fed(BulkClient):
    """A client that is given bytes instead of a socket."""

    def __init__(self) -> None:
        self.mids: list[int] = []
        self.messages: list[tuple[str, bytes]] = []
        super().__init__("fed", self.mids.extend, lambda topic, payload: self.messages.append((topic, payload)))

    def feed(self, data: bytes) -> int:
        """Take apart what can be; how many bytes are left for paho."""
        self._got, self._at = self._got[self._at :] + data, 0
        while self.quick():
            pass
        return len(self._got) - self._at

    def written(self) -> bytes:
        told, self._unsent = bytes(self._unsent), bytearray()
        return told


def test_a_publish_is_written_as_the_standard_draws_it() -> None:
    """Section 3.3: header with QoS and retain, length, topic, packet identifier only at QoS 1, payload."""
    client = Fed()
    mid = client.say("a/b", b"10", 1, True)
    assert client.written() == b"\x33\x09\x00\x03a/b" + mid.to_bytes(2, "big") + b"10"
    assert client.say("a/b", b"10", 0, False) == 0
    assert client.written() == b"\x30\x07\x00\x03a/b10"
    client.say("t", b"x" * 200, 0, False)
    assert client.written()[:3] == b"\x30\xcb\x01"
    assert client.say("t", b"", 1, False) != mid


@given(st.lists(st.tuples(st.text(max_size=40), st.binary(max_size=400)), max_size=6), st.data())
def test_messages_arrive_however_the_stream_is_cut(messages: list[tuple[str, bytes]], data: st.DataObject) -> None:
    """What one client writes at QoS 0 another hears, in order, with acknowledgements between; half packets wait."""
    writer, reader = Fed(), Fed()
    told = [(topic.encode("utf-8", "replace").decode(), payload) for topic, payload in messages]
    stream = b""
    for number, (topic, payload) in enumerate(told, 1):
        writer.say(topic, payload, 0, False)
        stream += writer.written() + b"\x40\x02" + number.to_bytes(2, "big")
    cut = data.draw(st.integers(0, len(stream)))
    left = reader.feed(stream[:cut])
    assert left + len(stream) - cut >= 0
    assert reader.feed(stream[cut:]) == 0
    assert reader.messages == told
    assert reader.mids == list(range(1, len(told) + 1))


def test_a_long_message_may_be_cut_anywhere() -> None:
    """Its length takes two bytes; wherever the first read ends, the second brings the rest."""
    writer = Fed()
    writer.say("a/b", b"x" * 200, 0, False)
    stream = writer.written() + b"\x40\x02\x00\x07"
    for cut in range(len(stream)):
        reader = Fed()
        reader.feed(stream[:cut])
        assert reader.feed(stream[cut:]) == 0, cut
        assert (reader.messages, reader.mids) == ([("a/b", b"x" * 200)], [7])


def test_an_acknowledgement_that_paho_read_counts_too() -> None:
    """One that comes in two halves is paho's to put together, and ours to count."""
    client = Fed()
    ours, brokers = socket.socketpair()
    ours.setblocking(False)
    client._sock = ours
    for half in (b"\x40\x02\x00", b"\x09"):
        brokers.sendall(half)
        client.fill()
        while client.unread:
            if not client.quick():
                client.loop_read()
    assert client.mids == [9]
    client._sock = None
    for end in (ours, brokers):
        end.close()


def test_what_is_not_ours_is_left_to_paho() -> None:
    """Messages at QoS 1, acknowledgements of subscriptions, pings, overlong lengths, half packets: not touched."""
    foreign = (b"\x32\x09\x00\x03a/b\x00\x0110", b"\x90\x03\x00\x01\x01", b"\xd0\x00\x00\x00", b"\x30\xff\xff\x7f\x00")
    torn = (b"\x30\x07\x00\x03a/", b"\x40\x02\x00", b"\x30\x03\x00\x09a")
    for packet in (*foreign, *torn):
        client = Fed()
        assert client.feed(packet) == len(packet)
        assert (client.mids, client.messages) == ([], [])
