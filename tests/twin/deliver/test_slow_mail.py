"""A mail server that crawls or hangs at any stage: each attempt ends in time, others follow, nobody else waits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.twin.channels.servers import http_server
from tests.twin.channels.test_robots import PAYLOAD
from tests.twin.deliver.test_post import Desk, message
from twin.channels.mail import Mail
from twin.channels.protocol import Channel
from twin.channels.webhook import Webhook
from twin.deliver.lane import Limits
from twin.deliver.post import Sender
from twin.records import Delivery


def crawl(listening: socket.socket, stage: str) -> None:
    """A mail server whose answer to one command never ends: a byte a second, or nothing at all (`silent`)."""

    def talk(link: socket.socket) -> None:
        with contextlib.suppress(OSError), link, link.makefile("rb") as heard:
            link.sendall(b"220 here\r\n")
            while line := heard.readline():
                word = line.split()[0].upper().decode()
                if word == "DATA" and stage != "DATA":
                    link.sendall(b"354 go on\r\n")
                    while heard.readline() not in (b".\r\n", b""):
                        pass
                    word = "."
                if word == stage.removeprefix("silent "):
                    while not stage.startswith("silent "):
                        link.sendall(b"2")
                        time.sleep(1)
                    time.sleep(60)
                link.sendall(b"250 fine\r\n")

    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=talk, args=(listening.accept()[0],), daemon=True).start()


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", ".", "silent .", "silent EHLO"])
async def test_a_crawling_server_is_tried_again_and_holds_up_nobody(stage: str, tmp_path: Path) -> None:
    """One answer a byte a second, or none after the mail was handed over: the attempt ends within its limit, others
    follow until it is a dead letter; meanwhile a webhook's messages all go out.
    """
    desk = Desk(tmp_path / "cases.sqlite")
    letter = Delivery("CW-1:dispatch:1:mail", "CW-1", "mail", "duty@example.org", "dispatch", PAYLOAD)
    limits = Limits(attempts=3, first_s=0.05, longest_s=0.1, breaker_after=9, grace_s=0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=crawl, args=(listening, stage), daemon=True).start()
        mail = Mail({"host": "127.0.0.1", "port": listening.getsockname()[1], "tls": "none", "timeout_s": 0.5})
        async with http_server() as server:
            ways: dict[str, Channel] = {"mail": mail, "webhook": Webhook({"url": server.url})}
            sender = Sender(desk.cases, ways, desk.append, limits=limits, seed=1)
            desk.put(letter)
            began = time.monotonic()
            sender.start()
            try:
                desk.put(*(message(i) for i in range(20)))
                sender.wake()
                await desk.until(lambda: sum(ok for _, ok, _ in desk.final()) == 20)
                webhooks_s = time.monotonic() - began
                await desk.until(lambda: len(desk.final()) == 21)
            finally:
                await asyncio.to_thread(sender.stop)
        listening.shutdown(socket.SHUT_RDWR)
    (last,) = [one for one in desk.outcomes if one.final and one.key == letter.key]
    assert (last.ok, last.attempt) == (False, 3)
    assert time.monotonic() - began < 3 * (2 * 0.5 + 0.5) + 5
    assert webhooks_s < 3
    desk.cases.close()
