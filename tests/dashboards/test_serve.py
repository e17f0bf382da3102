"""Starting and stopping the web: a thread, a free port, clear words when it cannot."""

from __future__ import annotations

import importlib.metadata
import socket
import threading

import httpx
import pytest

from dashboards.serve import NotServing, serve
from tests.dashboards.conftest import KEY
from tests.dashboards.fake_desk import FakeDesk


def test_entry_point_is_serve() -> None:
    """The server finds the web by its entry point group, without importing it."""
    (face,) = importlib.metadata.entry_points(group="citywhistle.faces")
    assert face.load() is serve


def test_start_and_stop(desk: FakeDesk) -> None:
    """Port 0 takes a free port and says which; after stop nobody answers and no thread is left."""
    told: list[str] = []
    running = serve(desk, token=KEY, ready=told.append)
    assert httpx.get(f"{running.url}/healthz").text == "ok\n"
    assert told[0].startswith(f"{running.url}/#token=")
    running.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.url}/healthz")
    assert "web" not in {thread.name for thread in threading.enumerate()}


def test_two_servers_do_not_share_cookies(desk: FakeDesk) -> None:
    """Browsers send cookies to every port of a host: a session of one server is no session of another."""
    one, two = serve(desk), serve(desk)
    try:
        with httpx.Client(base_url=one.url, headers={"Origin": one.url}) as client:
            token = one.open_url().partition("=")[2]
            assert client.post("/api/session", json={"token": token}).status_code == 204
            assert client.get("/api/city").status_code == 200
            assert client.get(f"{two.url}/api/city", headers={"Origin": two.url}).status_code == 401
    finally:
        one.stop()
        two.stop()


def test_port_taken(desk: FakeDesk, caplog: pytest.LogCaptureFixture) -> None:
    """A port in use is named, and the next free one serves."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        running = serve(desk, port=port)
        try:
            assert running.port != port
            assert httpx.get(f"{running.url}/healthz", trust_env=False).status_code == 200
        finally:
            running.stop()
    assert f"port {port} of [web] is taken" in caplog.text
    assert f"port {running.port}" in caplog.text


def test_foreign_address(desk: FakeDesk) -> None:
    """An address that is not this machine's is refused with what to do."""
    with pytest.raises(NotServing, match=r"192\.0\.2\.1:\d+ cannot be served .*choose another address"):
        serve(desk, host="192.0.2.1")


def test_short_token(desk: FakeDesk) -> None:
    """A key that could be guessed is refused."""
    with pytest.raises(NotServing, match="16"):
        serve(desk, token="short")
