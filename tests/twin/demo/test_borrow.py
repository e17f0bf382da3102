"""A broker that runs already: the demo finds out whose passwords it takes, and says what to do where it takes none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.broker import guarded_broker
from tests.servers import free_port
from tests.twin.broker.registry import FEW
from twin.broker.conf import BrokerFiles
from twin.broker.process import Broker, prepare_broker
from twin.broker.provision import provision
from twin.demo.borrow import borrow
from twin.demo.scene import DemoFailed

pytestmark = pytest.mark.broker


def test_the_passwords_that_the_broker_takes_are_used(tmp_path: Path) -> None:
    """Of the demo's own folder and the project's, the one that the broker was started with; nobody else's."""
    own, project = provision(FEW, tmp_path / "own"), provision(FEW, tmp_path / "project")
    users = [account.user for account in own.accounts]
    never = threading.Event()
    with guarded_broker(tmp_path / "project") as broker:
        found = borrow(broker.address, users, (own.files, project.files), print, never)
        assert found == (broker.host, broker.port, project.files)
        with pytest.raises(DemoFailed, match=r"does not take user 'server' .*mosquitto.conf.*own/passwords"):
            borrow(broker.address, users, (own.files, BrokerFiles(tmp_path / "nothing")), print, never)
        with pytest.raises(DemoFailed, match="1 users of this city, like pole-unheard-of, are not among them"):
            borrow(broker.address, [*users, "pole-unheard-of"], (project.files,), print, never)


@pytest.mark.parametrize("address", ["1883", "host:", "host:port", "host:70000"])
def test_what_is_no_address_is_said(tmp_path: Path, address: str) -> None:
    """HOST:PORT or nothing."""
    with pytest.raises(DemoFailed, match="give HOST:PORT"):
        borrow(address, [], (BrokerFiles(tmp_path),), print, threading.Event())


def test_a_broker_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """It says so once, goes on when the broker comes, and ends when it is told to."""
    said: list[str] = []
    files = provision(FEW, tmp_path).files
    port = free_port()
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(DemoFailed, match="stopped while waiting"):
        borrow(f"127.0.0.1:{port}", [], (files,), said.append, stopped)
    assert [f"nobody answers at 127.0.0.1:{port}" in line for line in said] == [True]

    broker = Broker(prepare_broker(tmp_path, port=port))
    came = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        came.set()

    def start() -> None:
        came.wait(30)
        broker.start()

    starter = threading.Thread(target=start)
    starter.start()
    try:
        assert borrow(f"127.0.0.1:{port}", ["server"], (files,), say, threading.Event())[1] == port
    finally:
        starter.join()
        broker.stop()
    assert len(said) == 2
