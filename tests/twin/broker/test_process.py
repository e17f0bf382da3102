"""The broker as a child: started, stopped, killed, found again; and what its sessions keep."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import TestBroker, guarded_broker, need_mosquitto, open_broker
from tests.twin.broker.registry import FEW
from tests.twin.broker.talk import talk
from twin.broker import find
from twin.broker.conf import BrokerFiles, render, template_path
from twin.broker.find import Binary
from twin.broker.process import (
    Broker,
    BrokerFailed,
    PortTaken,
    birth,
    free_port,
    prepare_broker,
    reload_broker,
    start_broker,
    stop_leftover,
)
from twin.broker.provision import provision, read_credentials

pytestmark = pytest.mark.broker


def test_a_restart_keeps_the_session_and_what_waited_for_it(tmp_path: Path) -> None:
    """A server that is away, then a broker that is restarted: what came meanwhile is delivered, in order."""
    words = read_credentials(provision(FEW, tmp_path).files)
    with guarded_broker(tmp_path) as broker:
        at = (broker.host, broker.port)
        with talk(at, "server", words["server"], keep=True, v5=False) as server:
            server.subscribe("city/+/+/+/telemetry")
        with talk(at, "gw-01", words["gw-01"]) as gateway:
            for i in range(500):
                gateway.publish("city/d1/pole/pole-1/telemetry", str(i))
        broker.stop()
        broker.start()
        with talk(at, "server", words["server"], keep=True, v5=False) as server:
            assert [payload for _, payload in server.until("499")] == [str(i) for i in range(500)]


def test_a_restart_on_another_port_keeps_them_too(tmp_path: Path) -> None:
    """The demo takes any free port: with per_listener_settings what waited would be refused after a change of port."""
    words = read_credentials(provision(FEW, tmp_path).files)
    with guarded_broker(tmp_path) as broker:
        at = (broker.host, broker.port)
        with talk(at, "server", words["server"], keep=True, v5=False) as server:
            server.subscribe("city/+/+/+/telemetry")
        with talk(at, "gw-01", words["gw-01"]) as gateway:
            gateway.publish("city/d1/pole/pole-1/telemetry", "before")
    with guarded_broker(tmp_path) as moved:
        assert moved.port != broker.port
        at = (moved.host, moved.port)
        with talk(at, "gw-01", words["gw-01"]) as gateway:
            gateway.publish("city/d1/pole/pole-1/telemetry", "after")
        with talk(at, "server", words["server"], keep=True, v5=False) as server:
            assert [payload for _, payload in server.until("after")] == ["before", "after"]


def test_a_retained_mark_survives_a_restart(tmp_path: Path) -> None:
    """A sender that comes back learns at once how far the server is."""
    words = read_credentials(provision(FEW, tmp_path).files)
    with guarded_broker(tmp_path) as broker:
        at = (broker.host, broker.port)
        with talk(at, "server", words["server"]) as server:
            server.publish("city/d1/pole/pole-1/mark", '{"boot":1,"seq":7}', retain=True)
        broker.stop()
        broker.start()
        with talk(at, "gw-01", words["gw-01"]) as gateway:
            gateway.subscribe("city/d1/pole/pole-1/mark")
            assert gateway.next() == ("city/d1/pole/pole-1/mark", '{"boot":1,"seq":7}')


def test_a_burst_far_beyond_the_default_queue_is_kept(broker: TestBroker) -> None:
    """5,000 messages for an absent server: Mosquitto's default would keep 1,000 of them and acknowledge all."""
    at = (broker.host, broker.port)
    with talk(at, name="server", keep=True, v5=False) as server:
        server.subscribe("city/#")
    with talk(at, name="sender", v5=False) as sender:
        sent = [sender.client.publish("city/d1/pole/pole-1/telemetry", str(i), 1) for i in range(5000)]
        sent[-1].wait_for_publish(10)
    with talk(at, name="server", keep=True, v5=False) as server:
        assert len(server.until("4999")) == 5000


def test_the_queue_is_bounded_by_bytes(tmp_path: Path) -> None:
    """Without a bound by count the bound by bytes still holds: a full queue drops, it does not eat the memory."""
    need_mosquitto()
    files = BrokerFiles(tmp_path)
    files.passwords.touch()
    files.acl.write_text("topic readwrite #\n", encoding="utf-8")
    shipped = template_path().read_text(encoding="utf-8")
    template = render(shipped, {"allow_anonymous": "true", "max_queued_bytes": "100000", "max_inflight_messages": "20"})
    small = start_broker(tmp_path, template=template)
    try:
        at = (small.host, small.port)
        with talk(at, name="server", keep=True, v5=False) as server:
            server.subscribe("city/#")
        with talk(at, name="sender", v5=False) as sender:
            for _ in range(300):
                sender.publish("city/d1/pole/pole-1/telemetry", "x" * 1000)
        with talk(at, name="server", keep=True, v5=False) as server, talk(at, name="sender", v5=False) as sender:
            assert server.subscribe("end") == 1
            sender.publish("end", "end")
            kept = len(server.until("end")) - 1
        assert 90 <= kept <= 130
    finally:
        small.stop()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """The message names the port; nothing is left running."""
    need_mosquitto()
    provision(FEW, tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            start_broker(tmp_path, port=port)


def test_a_broker_that_ends_at_once_shows_its_last_words(tmp_path: Path) -> None:
    """A site's own broken file in conf.d is quoted, not swallowed."""
    need_mosquitto()
    files = provision(FEW, tmp_path).files
    (files.extra / "site.conf").write_text("no_such_word 1\n", encoding="utf-8")
    with pytest.raises(BrokerFailed, match="no_such_word"):
        start_broker(tmp_path)


def test_a_program_that_never_answers_is_ended(tmp_path: Path) -> None:
    """The deadline is kept, and the child does not outlive it."""
    provision(FEW, tmp_path)
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    mute.chmod(0o755)
    one = Broker(prepare_broker(tmp_path, binary=Binary("mosquitto", mute)))
    with pytest.raises(BrokerFailed, match=r"did not answer within 0.2 s"):
        one.start(timeout_s=0.2)
    assert one.pid is None


def test_no_broker_at_all_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the two ways to get one."""
    monkeypatch.setattr("twin.broker.process.find_broker", lambda: None)
    with pytest.raises(BrokerFailed, match="make install"):
        prepare_broker(tmp_path)


def test_the_broker_of_a_killed_run_is_stopped_before_the_next_one_starts(tmp_path: Path) -> None:
    """Two brokers on one directory would overwrite each other's sessions."""
    need_mosquitto()
    provision(FEW, tmp_path)
    orphan = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "import sys, pathlib; from twin.broker.process import start_broker;"
                "print(start_broker(pathlib.Path(sys.argv[1])).pid)"
            ),
            str(tmp_path),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    pid = int(orphan.stdout)
    assert reload_broker(BrokerFiles(tmp_path))
    with guarded_broker(tmp_path) as broker:
        assert broker.pid not in (None, pid)
        assert birth(pid) == ""


def test_a_number_that_now_belongs_to_another_process_is_left_alone(tmp_path: Path) -> None:
    """A recycled pid must not be signalled: the record holds the start time too."""
    files = BrokerFiles(tmp_path)
    files.pid.write_text(f"{os.getpid()} 1 1883\n", encoding="utf-8")
    assert stop_leftover(files) is None
    assert not files.pid.exists()
    assert not reload_broker(files)


def test_a_leashed_broker_ends_with_its_parent(tmp_path: Path) -> None:
    """Kill -9 of the demo leaves no broker behind."""
    need_mosquitto()
    provision(FEW, tmp_path)
    port = free_port()
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import sys, pathlib; from twin.broker.process import start_broker;"
                "start_broker(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]), leashed=True); print('up', flush=True);"
                "sys.stdin.read()"
            ),
            str(tmp_path),
            str(port),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    assert parent.stdout.readline() == b"up\n"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as watched:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        watched.settimeout(10)
        with contextlib.suppress(ConnectionResetError):  # ended before it took the connection
            assert watched.recv(1) == b""
    parent.stdout.close()
    parent.stdin.close()


def test_the_named_broker_of_the_environment_is_used(
    broker: TestBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CITYWHISTLE_TEST_BROKER points tests at a broker that is there already, and they leave it running."""
    monkeypatch.setenv("CITYWHISTLE_TEST_BROKER", broker.address)
    with open_broker(tmp_path / "unused") as named:
        assert named.address == broker.address
        with pytest.raises(pytest.skip.Exception, match="is not ours"):
            named.stop()
    assert broker.pid is not None


def test_mosquitto_is_found_where_it_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the variable, then PATH, then beside our Python, then sbin; else the NATS server, else nothing."""
    for name in ("path", "scripts", "sbin"):
        (tmp_path / name).mkdir()
        program = tmp_path / name / "mosquitto"
        program.write_text("#!/bin/sh\n", encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(find.sysconfig, "get_path", lambda _: str(tmp_path / "scripts"))
    monkeypatch.setattr(find, "SBIN", (tmp_path / "sbin",))
    monkeypatch.setenv(find.VARIABLE, "/opt/mosquitto")
    assert find.find_broker() == Binary("mosquitto", Path("/opt/mosquitto"))
    monkeypatch.delenv(find.VARIABLE)
    for name in ("path", "scripts", "sbin"):
        assert find.find_broker() == Binary("mosquitto", tmp_path / name / "mosquitto")
        (tmp_path / name / "mosquitto").unlink()
    assert find.find_broker() is None
    nats = tmp_path / "scripts" / "nats-server"
    nats.write_text("#!/bin/sh\n", encoding="utf-8")
    nats.chmod(0o755)
    assert find.find_broker() == Binary("nats", nats)
