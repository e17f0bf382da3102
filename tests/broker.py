"""A real Mosquitto for tests: on a free loopback port, in a directory of its own, stopped by its pid."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from twin.broker.conf import BrokerFiles, Tls, render, template_path
from twin.broker.find import find_mosquitto
from twin.broker.process import Broker, Prepared, prepare_broker

VARIABLE = "CITYWHISTLE_TEST_BROKER"


@dataclass(slots=True)
class TestBroker:
    """What a test sees of a broker. Restarting needs one of our own: with a named one such a test is skipped."""

    __test__ = False

    host: str
    port: int
    _own: Broker | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """host:port"""
        return f"{self.host}:{self.port}"

    @property
    def files(self) -> BrokerFiles:
        """Its directory: configuration, users, log."""
        return self._mine().files

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._mine().pid

    def start(self) -> None:
        """Start it again on the same port, with what it saved."""
        self._mine().start()

    def stop(self) -> None:
        """Stop it properly: it saves its sessions."""
        self._mine().stop()

    def kill(self) -> None:
        """kill -9."""
        self._mine().kill()

    def reload(self) -> None:
        """Make it read users and access list again."""
        self._mine().reload()

    def log(self) -> str:
        """The last lines that it wrote."""
        return self._mine().tail(60)

    def _mine(self) -> Broker:
        if self._own is None:
            pytest.skip(f"this test stops and starts its broker; the one named by {VARIABLE} is not ours")
        return self._own


def need_mosquitto() -> None:
    """Skip visibly where there is no Mosquitto; fail where CI promised one."""
    if find_mosquitto() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Mosquitto is missing; `make install` brings it")
        pytest.skip("Mosquitto is missing; `make install` brings it")


def prepare_open(directory: Path) -> Prepared:
    """The shipped configuration, but everybody may do everything (loopback only)."""
    directory.mkdir(parents=True, exist_ok=True)
    files = BrokerFiles(directory)
    files.passwords.touch(mode=0o600)
    files.acl.write_text("topic readwrite #\ntopic read $SYS/#\n", encoding="utf-8")
    template = render(template_path().read_text(encoding="utf-8"), {"allow_anonymous": "true"})
    return prepare_broker(directory, template=template, binary=find_mosquitto())


@contextmanager
def open_broker(directory: Path) -> Iterator[TestBroker]:
    """A broker that lets everybody do everything, for tests of protocols; or the one that the variable names."""
    named = os.environ.get(VARIABLE)
    if named:
        host, _, port = named.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5):
            yield TestBroker(host, int(port))
        return
    need_mosquitto()
    broker = Broker(prepare_open(directory))
    broker.start()
    try:
        yield TestBroker(broker.host, broker.port, broker)
    finally:
        broker.stop()


@contextmanager
def guarded_broker(directory: Path, tls: Tls | None = None) -> Iterator[TestBroker]:
    """A broker on a directory that `twin.broker.provision` has filled: users and access list as in service."""
    need_mosquitto()
    broker = Broker(prepare_broker(directory, tls=tls, binary=find_mosquitto()))
    broker.start()
    try:
        yield TestBroker(broker.host, broker.port, broker)
    finally:
        broker.stop()
