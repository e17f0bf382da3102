"""The link at a real Mosquitto: who may come in, TLS, certificates, what it says when it may not, and its bounds."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
import trustme
from paho.mqtt.enums import CallbackAPIVersion

from devices.places import Device
from tests.broker import TestBroker, guarded_broker, need_mosquitto, prepare_open
from tests.twin.ingest.conftest import DEADLINE_S, Publisher, until
from twin.broker.conf import Tls, render_tls
from twin.broker.process import Broker, free_port
from twin.broker.provision import provision, read_credentials
from twin.errors import SettingsError
from twin.ingest import session as session_room
from twin.ingest.endpoint import LinkFigures, LinkSettings
from twin.ingest.frames import Parcel, publish
from twin.ingest.inbox import Inbox
from twin.ingest.link import Link
from twin.ingest.session import Session
from twin.records import Link as LinkEvent

pytestmark = pytest.mark.broker


def now_ms() -> int:
    return 1


@contextmanager
def linked(settings: LinkSettings) -> Iterator[Link]:
    link = Link(settings, now_ms)
    link.start()
    try:
        yield link
    finally:
        link.stop()


def fast(broker: TestBroker, **options: object) -> LinkSettings:
    return LinkSettings(host=broker.host, port=broker.port, backoff_s=(0.05, 0.2), **options)  # type: ignore[arg-type]


def test_settings_are_checked() -> None:
    """A client id that topics may not hold, or a QoS that is none, is refused before anything connects."""
    for wrong in ({"client_id": "a/b"}, {"qos": 2}, {"version": 3}, {"keepalive_s": 0}):
        with pytest.raises(SettingsError):
            LinkSettings(**wrong)  # type: ignore[arg-type]


def test_subscriptions() -> None:
    """With a group each filter goes through $share; our own marker never does."""
    settings = LinkSettings(share="city", qos=0)
    assert ("$share/city/city/+/+/+/telemetry", 0) in settings.subscriptions
    assert settings.subscriptions[-1] == ("city/all/server/citywhistle/mark", 1)


def test_nobody_there(broker: TestBroker) -> None:
    """No broker at start: the link says so and comes up by itself when there is one."""
    broker.stop()
    with linked(fast(broker)) as link:
        until(lambda: "refused" in link.figures.trouble, "the trouble is named")
        broker.start()
        until(lambda: link.figures.state == "up", "it comes up")
        assert link.figures.trouble == ""


@pytest.mark.parametrize("version", [4, 5])
def test_wrong_password(tmp_path: Path, version: int) -> None:
    """A wrong password is named as such; with the right one, and the server's rights, the marker comes back."""
    need_mosquitto()
    files = provision([Device("p-1", "pole", "1" * 16, 0, 0, "d1")], tmp_path).files
    password = read_credentials(files)["server"]
    with guarded_broker(tmp_path) as broker:
        with linked(fast(broker, user="server", password="wrong", version=version)) as link:
            until(
                lambda: "password" in link.figures.trouble or "authorised" in link.figures.trouble, "refusal is named"
            )
            assert link.figures.state != "up"
        with linked(fast(broker, user="server", password=password, version=version)) as link:
            until(lambda: link.figures.drained, "the marker comes back")


@pytest.fixture
def secured(tmp_path: Path, mosquitto_binary: object) -> Iterator[tuple[TestBroker, trustme.CA]]:
    """A Mosquitto whose TLS listener wants client certificates, and the authority that signs them."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    files = {"ca.pem": authority.cert_pem, "server.pem": server.cert_chain_pems[0], "key.pem": server.private_key_pem}
    for name, blob in files.items():
        blob.write_to_path(str(tmp_path / name))
    tls = Tls(free_port("127.0.0.1"), *(tmp_path / name for name in files), require_certificate=True)
    prepared = prepare_open(tmp_path / "broker")
    (prepared.files.extra / "tls.conf").write_text(render_tls(tls), encoding="utf-8")
    prepared.files.acl.write_text("pattern readwrite #\n", encoding="utf-8")  # also for whom a certificate names
    broker = Broker(prepared)
    broker.start()
    try:
        yield TestBroker("127.0.0.1", tls.port, broker), authority
    finally:
        broker.stop()


def client_context(authority: trustme.CA, signer: trustme.CA | None) -> ssl.SSLContext:
    """What a client trusts, and its own certificate where somebody signs it."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if signer is not None:
        signer.issue_cert("citywhistle", common_name="server").configure_cert(context)
    return context


@pytest.mark.parametrize("version", [4, 5])
def test_tls_with_a_client_certificate(secured: tuple[TestBroker, trustme.CA], version: int) -> None:
    """With a certificate that the broker's authority signed, readings come over TLS and are acknowledged."""
    broker, authority = secured
    settings = fast(broker, tls=client_context(authority, authority), server_name="localhost", version=version)
    with linked(settings) as link:
        until(lambda: link.figures.drained, "up over TLS, the marker comes back")
        sender = mqtt.Client(CallbackAPIVersion.VERSION2)
        sender.tls_set_context(client_context(authority, authority))
        sender.tls_insecure_set(False)
        sender.connect("localhost", broker.port)
        sender.loop_start()
        for number in range(300):
            sender.publish("city/d1/pole/p-1/telemetry", b"%d" % number * 100, qos=1)
        got: list[bytes] = []

        def all_there() -> bool:
            for one in link.inbox.take(0.1):
                if isinstance(one, Parcel):
                    got.extend(one.payloads)
                    link.inbox.acknowledge([one])
            return len(got) >= 300

        until(all_there, "300 messages over TLS")
        assert got == [b"%d" % number * 100 for number in range(300)]
        sender.disconnect()
        sender.loop_stop()


def test_tls_without_certificate_or_trust(secured: tuple[TestBroker, trustme.CA]) -> None:
    """Without a client certificate, with a foreign authority or a wrong name, the link stays down and says why."""
    broker, authority = secured
    wrong = (
        (client_context(authority, None), "localhost"),
        (client_context(authority, trustme.CA()), "localhost"),
        (client_context(trustme.CA(), authority), "localhost"),
        (client_context(authority, authority), "elsewhere"),
    )
    for context, name in wrong:
        with linked(fast(broker, tls=context, server_name=name)) as link:
            until(lambda link=link: link.figures.trouble, "the trouble is named")  # type: ignore[misc]
            assert link.figures.state != "up"


def test_a_full_inbox_stops_the_reading(broker: TestBroker, publisher: Publisher) -> None:
    """When nobody takes, the inbox stays near its bound, the broker holds the rest, and nothing is lost after all."""
    with linked(fast(broker, inbox_bytes=200_000)) as link:
        until(lambda: link.figures.state == "up", "up")
        total = 3000
        for number in range(total):
            publisher.client.publish("city/d1/pole/p-1/telemetry", b"%06d" % number + bytes(1000), qos=1)
        publisher.say("city/d1/pole/p-1/event", b"last")
        until(lambda: not link.inbox.room, "the inbox is full")
        assert link.inbox.bytes < 200_000 + 5 * 1024 * 1024
        got: list[bytes] = []

        def all_there() -> bool:
            for one in link.inbox.take(0.1):
                if isinstance(one, Parcel):
                    got.extend(one.payloads)
                    link.inbox.acknowledge([one])
            return b"last" in got

        until(all_there, "everything after all")
        assert [p[:6] for p in got[:-1]] == [b"%06d" % number for number in range(total)]


def test_acknowledgements_of_another_connection_are_void(broker: TestBroker, publisher: Publisher) -> None:
    """A packet id is not acknowledged on a later connection: there it may name another message."""
    with linked(fast(broker)) as link:
        until(lambda: link.figures.state == "up", "up")
        publisher.say("city/d1/pole/p-1/telemetry", b"1")
        parcels: list[Parcel] = []

        def one_there() -> bool:
            parcels.extend(one for one in link.inbox.take(0.1) if isinstance(one, Parcel) and one.topics)
            return bool(parcels)

        until(one_there, "a message")
        broker.stop()
        until(lambda: link.figures.state != "up", "down")
        broker.start()
        until(lambda: link.figures.connections == 2, "up again")
        link.inbox.acknowledge(parcels)
        until(lambda: link.figures.stale_acks, "the acknowledgement is void")
        again: list[bytes] = []

        def sent_again() -> bool:
            again.extend(p for one in link.inbox.take(0.1) if isinstance(one, Parcel) for p in one.payloads)
            return bool(again)

        until(sent_again, "the broker sends it again")
        assert again == [b"1"]


class Deaf:
    """A server that takes connections and says nothing, or only a given answer."""

    def __init__(self, answer: bytes = b"") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE_S)
        self.port = self._listener.getsockname()[1]
        self.visits = 0
        self._answer = answer
        self._taken: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            self.visits += 1
            self._taken.append(taken)
            taken.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the accept() that waits
        self._listener.close()
        for taken in self._taken:
            taken.close()
        self._thread.join(DEADLINE_S)


@pytest.fixture
def deaf(request: pytest.FixtureRequest) -> Iterator[Deaf]:
    one = Deaf(request.param)
    yield one
    one.close()


@pytest.mark.parametrize(
    ("deaf", "trouble"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(200_000), "type"),
        (b"\x20\x02\x00\x03", "not available"),
        (b"\x20\x02\x00\x00\x90\x07\x00\x01\x80\x80\x80\x80\x80", "subscription refused"),
        (b"\x20\x02\x00\x00\xe0\x00", "ended the connection"),
    ],
    indirect=["deaf"],
)
def test_servers_that_are_no_help(deaf: Deaf, trouble: str) -> None:
    """What is no broker, or refuses, is named, and tried again with back-off; the thread never dies."""
    with linked(LinkSettings(port=deaf.port, backoff_s=(0.02, 0.05))) as link:
        until(lambda: trouble in link.figures.trouble, f"{trouble} is named")
        until(lambda: deaf.visits >= 3, "it tries again")
        assert link.figures.state != "up"


@pytest.mark.parametrize("deaf", [b"\x20\x02\x00\x00\x90\x07\x00\x01\x01\x01\x01\x01\x01"], indirect=True)
def test_a_silent_broker_is_given_up(deaf: Deaf) -> None:
    """A broker that never answers a ping is left after one and a half keep-alives."""
    with linked(LinkSettings(port=deaf.port, keepalive_s=1, backoff_s=(0.02, 0.05))) as link:
        until(lambda: link.figures.state == "up", "up")
        until(lambda: "nothing heard" in link.figures.trouble, "the silence is named")
        seen = [one for one in link.inbox.take(0.1) if isinstance(one, LinkEvent)]
        assert seen[:2] == [LinkEvent("up"), LinkEvent("down")]


def test_a_broker_that_stands_still_is_noticed(broker: TestBroker, publisher: Publisher) -> None:
    """A broker that answers no more, its connection still open, is said at once, and what waited there comes first."""
    seen: list[str] = []

    def said(state: str, times: int = 1) -> bool:
        for one in link.inbox.take(0.1):
            if isinstance(one, Parcel):
                link.inbox.acknowledge([one])
            else:
                seen.append(one.state)
        return seen.count(state) >= times and seen[-1] == state

    with linked(fast(broker)) as link:
        until(lambda: said("drained"), "up and drained")
        before = seen.count("up")  # a machine that stood still for two seconds has added one
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            until(lambda: said("up", before + 1), "it is noticed")
            assert (link.figures.state, link.figures.drained) == ("up", False)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        until(lambda: said("drained", 2), "it goes on")
        assert link.figures.drained
        assert link.figures.connections == 1


def test_only_the_newest_marker_says_that_nothing_waits() -> None:
    """One that was sent again comes back in two copies: the first has more behind it; neither is anybody's reading."""
    ours, brokers = socket.socketpair()
    settings = LinkSettings()
    inbox = Inbox(1 << 20)
    session = Session(settings, LinkFigures(), inbox, now_ms, 1)
    session._socket, session.was_up = ours, True
    told = []
    for _ in range(2):
        session._send_marker()
        told.append(brokers.recv(4096))
    reading = publish("city/d1/pole/p-1/telemetry", b"{}", packet_id=9)
    session._parse(told[0] + reading)
    assert not session.figures.drained
    session._parse(told[1])
    assert session.figures.drained
    session._parse(told[0])
    topics = [t for one in inbox.take(0) if isinstance(one, Parcel) for cut in one.cuts for t in cut.topics]
    assert topics == [b"city/d1/pole/p-1/telemetry"]
    at = 4 + len(settings.marker)
    assert len({one[at : at + 2] for one in told}) == 2, "each has a packet id of its own"
    for end in (ours, brokers):
        end.close()
    inbox.close()


def test_a_connection_that_ends_while_the_inbox_is_full_is_waited_for(
    broker: TestBroker, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link neither spins on it nor loses what had come before: it is read to its end when there is room."""
    told: list[list[tuple[int, int]]] = []  # by each poll since the broker was killed
    set_aside = threading.Event()
    real = select.poll

    class Watched:
        def __init__(self) -> None:
            self._poll = real()

        def __getattr__(self, name: str) -> object:
            return getattr(self._poll, name)

        def unregister(self, fd: socket.socket) -> None:
            self._poll.unregister(fd)
            set_aside.set()

        def poll(self, timeout: float) -> list[tuple[int, int]]:
            told.append(self._poll.poll(timeout))
            return told[-1]

    monkeypatch.setattr(session_room.select, "poll", Watched)
    with linked(fast(broker, inbox_bytes=100_000)) as link:
        until(lambda: link.figures.state == "up", "up")
        for _ in range(400):
            publisher.client.publish("city/d1/pole/p-1/telemetry", bytes(1000), qos=1)
        until(lambda: not link.inbox.room, "the inbox is full")
        told.clear()
        broker.kill()
        assert set_aside.wait(DEADLINE_S), "a socket whose end is known is asked no more"
        assert sum(any(events & select.POLLHUP for _, events in one) for one in told) == 1
        until(lambda: (link.inbox.take(0.05), link.figures.state == "down")[1], "its end is seen")
