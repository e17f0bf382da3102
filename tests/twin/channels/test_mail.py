"""E-mail against a real SMTP server: taken, refused for now, refused for good, with TLS and log-in."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers import free_port
from twin.channels.mail import Mail
from twin.errors import DeliveryFailed, SettingsError
from twin.records import Delivery

from .test_robots import PAYLOAD

DELIVERY = Delivery("CW-1:dispatch:1:mail", "CW-1", "mail", "duty@example.org, night@example.org", "dispatch", PAYLOAD)


class Box:
    """Keeps mails; answers DATA and RCPT as told."""

    def __init__(self, data: str = "250 kept", rcpt: str = "250 ok", refuse: str = "") -> None:
        self.data, self.rcpt, self.refuse = data, rcpt, refuse
        self.mails: list[EmailMessage] = []
        self.tls: list[bool] = []

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refuse and address == self.refuse:
            return "550 no such user"
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.tls.append(session.ssl is not None)
        return self.data


@contextmanager
def serving(box: Box, **options: Any) -> Iterator[int]:
    """A mail server on a free port while the block runs."""
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def channel(port: int, **told: Any) -> Mail:
    """A channel to that port; plain unless told otherwise."""
    return Mail({"host": "127.0.0.1", "port": port, "tls": "none", "timeout_s": 5} | told)


async def test_a_mail_says_it_all_in_both_languages() -> None:
    """Subject and text hold the case in Chinese and English; the key is in the headers, the same at each attempt."""
    box = Box()
    with serving(box) as port:
        told = await channel(port).send(DELIVERY)
        await channel(port).send(DELIVERY)
    assert told == "taken for duty@example.org, night@example.org"
    mail = box.mails[0]
    assert mail["Subject"] == "【紧急】新哨单：路灯不亮 / [urgent] New whistle: lamp out"
    assert "3号灯杆不亮。" in mail.get_content()
    assert "Deadline: 2026-06-24 14:00" in mail.get_content()
    assert mail["X-Idempotency-Key"] == DELIVERY.key
    assert mail["Message-ID"] == box.mails[1]["Message-ID"]


async def test_large_letters_beside_plain_text() -> None:
    """With template = "large" an HTML part says the same in large letters; the link is a button, markup stays text."""
    box = Box()
    payload = dict(PAYLOAD) | {
        "text": {"en": "<b>dark</b>", "zh": "<b>不亮</b>"}, "answer": {"url": "http://127.0.0.1/answer/a&b"},
    }  # fmt: skip
    with serving(box) as port:
        await channel(port, template="large").send(replace(DELIVERY, payload=payload))
        await channel(port).send(DELIVERY)
    page = box.mails[0].get_body(("html",))
    plain = box.mails[0].get_body(("plain",))
    assert page is not None
    assert plain is not None
    told = page.get_content()
    assert "22px" in told
    assert "&lt;b&gt;不亮&lt;/b&gt;" in told
    assert 'href="http://127.0.0.1/answer/a&amp;b">回复' in told
    assert "<b>不亮</b>" in plain.get_content()
    assert box.mails[1].get_body(("html",)) is None


@pytest.mark.parametrize(
    ("box", "retry"),
    [
        (Box(data="452 mailbox full"), True),
        (Box(data="554 spam"), False),
        (Box(rcpt="451 greylisted"), True),
        (Box(rcpt="550 no such user"), False),
    ],
)
async def test_refusals_for_now_and_for_good(box: Box, retry: bool) -> None:
    """A 4xx may be better later, a 5xx will not."""
    with serving(box) as port, pytest.raises(DeliveryFailed) as refused:
        await channel(port).send(DELIVERY)
    assert refused.value.retry is retry


async def test_one_refused_of_two_is_delivered_and_said() -> None:
    """Who got it must not get it twice; who did not is named in the record."""
    box = Box(refuse="night@example.org")
    with serving(box) as port:
        assert await channel(port).send(DELIVERY) == "taken, but refused for night@example.org"


def drip(listening: socket.socket, said: bytes) -> None:
    """Whoever comes hears a greeting, and from then on a byte every tenth of a second that never makes a line."""

    def talk(link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            link.sendall(said)
            while True:
                link.sendall(b"2")
                time.sleep(0.1)

    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=talk, args=(listening.accept()[0],), daemon=True).start()


@pytest.mark.parametrize(("tls", "said"), [
    ("none", b""), ("none", b"220 here\r\n"), ("tls", b""),
    ("starttls", b"220 here\r\n250-here\r\n250 STARTTLS\r\n220 go on\r\n"),
])  # fmt: skip
async def test_a_server_that_drips_holds_no_thread(tls: str, said: bytes) -> None:
    """An answer a byte at a time, before, after and instead of the handshake: a failure in time, and nobody is left
    waiting in a thread that other channels need.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening, said), daemon=True).start()
        slow = channel(listening.getsockname()[1], tls=tls, timeout_s=0.4)
        began = time.monotonic()
        failed = await asyncio.gather(*(slow.send(DELIVERY) for _ in range(8)), return_exceptions=True)
        assert time.monotonic() - began < 15
        assert all(isinstance(why, DeliveryFailed) and why.retry for why in failed), failed
        async with asyncio.timeout(5):  # the threads are free again
            assert await asyncio.gather(*(asyncio.to_thread(int, i) for i in range(40))) == list(range(40))
        listening.shutdown(socket.SHUT_RDWR)


async def test_starttls_and_log_in(tmp_path: Path) -> None:
    """The mail travels encrypted and logged in; a wrong password or an unknown authority is a failure."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)

    def login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
        return AuthResult(success=data.login == b"whistle" and data.password == b"right", handled=False)

    box = Box()
    told = {"tls": "starttls", "user": "whistle"}
    with serving(box, tls_context=context, authenticator=login, auth_required=True) as port:
        await channel(port, ca_file=str(ca_file), password="right", **told).send(DELIVERY)
        with pytest.raises(DeliveryFailed, match="535") as refused:
            await channel(port, ca_file=str(ca_file), password="wrong", **told).send(DELIVERY)
        assert not refused.value.retry
        with pytest.raises(DeliveryFailed, match="certificate"):
            await channel(port, password="right", **told).send(DELIVERY)
    assert box.tls == [True]


async def test_tls_from_the_start(tmp_path: Path) -> None:
    """Port 465's way: encrypted before the first word; another authority's server is refused."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    box = Box()
    with serving(box, ssl_context=context) as port:
        await channel(port, tls="tls", ca_file=str(ca_file)).send(DELIVERY)
        with pytest.raises(DeliveryFailed, match="certificate"):
            await channel(port, tls="tls").send(DELIVERY)
    assert len(box.mails) == 1


async def test_a_server_without_tls_is_not_spoken_to_in_the_clear() -> None:
    """STARTTLS that is not on offer fails; nothing is sent."""
    box = Box()
    with serving(box) as port, pytest.raises(DeliveryFailed):
        await channel(port, tls="starttls").send(DELIVERY)
    assert box.mails == []


@pytest.mark.parametrize(
    "told", [{"sender": "nobody"}, {"to": "a@b, c"}, {"ca_file": "/nowhere"}, {"timezone": "Mars"}]
)
def test_wrong_addresses_in_the_configuration_are_named(told: dict[str, str]) -> None:
    """Found at the start, not with the first whistle."""
    with pytest.raises(SettingsError):
        Mail(told)
