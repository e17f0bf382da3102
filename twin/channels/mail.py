"""E-mail by SMTP: STARTTLS or TLS from the start, log-in, plain text in Chinese and English, one Message-ID per key.

The conversation runs in a thread, and its socket has one deadline for all of it: a server that answers a byte at a time
would otherwise keep the thread for ever, and with a few of them every other channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from twin.channels.protocol import Options, Pace
from twin.channels.text import write, write_large, zone
from twin.errors import DeliveryFailed, SettingsError
from twin.records import Delivery

CUT_S = 0.5  # between attempts to end a conversation: it may just be changing its socket


def _addresses(text: str) -> list[str]:
    """The addresses of a list with commas. Raises ValueError for one that is none."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    for one in found:
        parsed = Address(addr_spec=one)
        if not parsed.domain or not parsed.username or any(c in one for c in "\r\n"):
            raise ValueError(f"{one!r} is not an address")
    return found


class _Talk:
    """The socket of one conversation, so that another thread can end it."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._over = False

    def on(self, sock: socket.socket | None) -> socket.socket | None:
        """It goes on over this socket."""
        self._sock = sock
        if self._over:
            self.cut()
        return sock

    def cut(self) -> None:
        """End it, whatever is being waited for."""
        self._over = True
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)


class _Smtp(smtplib.SMTP):
    """Says which socket it speaks over before it hears the first word."""

    def __init__(self, talk: _Talk, host: str, port: int, timeout_s: float) -> None:
        self._talk = talk
        super().__init__(host, port, timeout=timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        return self._talk.on(super()._get_socket(host, port, timeout))  # type: ignore[misc] # smtplib's own door


class _SmtpTls(_Smtp):
    """TLS from the start, as smtplib.SMTP_SSL."""

    def __init__(self, talk: _Talk, host: str, port: int, timeout_s: float, wrapping: _Wrapping) -> None:
        self._wrapping = wrapping
        super().__init__(talk, host, port, timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        return self._wrapping.wrap_socket(super()._get_socket(host, port, timeout), server_hostname=host)


class _Wrapping:
    """A TLS context whose handshake can be cut as well."""

    def __init__(self, context: ssl.SSLContext, talk: _Talk) -> None:
        self._context, self._talk = context, talk

    def wrap_socket(self, sock: socket.socket, *, server_hostname: str) -> ssl.SSLSocket:
        secure = self._context.wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        self._talk.on(secure)
        try:
            secure.do_handshake()
        except BaseException:
            secure.close()
            raise
        return secure


class Mail:
    """Sends one mail a delivery, over a connection of its own (mail servers drop idle ones)."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Keys: host, port, tls (starttls | tls | none), ca_file, user, password, sender, to, language, timezone,
        template (plain | large: an HTML part in large letters beside the text), timeout_s. Raises SettingsError.
        """
        options = Options("mail", told)
        self._host, self._port = options.text("host", "127.0.0.1"), int(options.number("port", 587, 1, 65535))
        self._tls = options.choice("tls", "starttls", "tls", "none")
        ca_file = options.text("ca_file", "")
        self._user, self._password = options.text("user", ""), options.text("password", "")
        self._sender, self._to = options.text("sender", "citywhistle@localhost.localdomain"), options.text("to", "")
        self._language = options.choice("language", "both", "zh", "en")
        self._template = options.choice("template", "plain", "large")
        self._zone = zone(options.text("timezone", "Asia/Shanghai"))
        self._timeout_s = options.number("timeout_s", 20, 0.05, 300)
        options.done()
        try:
            _addresses(f"{self._sender},{self._to}")
            self._context = ssl.create_default_context(cafile=ca_file or None)
        except (ValueError, IndexError, OSError) as error:
            raise SettingsError(f"channel mail: sender, to or ca_file: {error}") from error
        self.pace = Pace(per_s=2, burst=20, parallel=2, by_address=False)

    async def send(self, delivery: Delivery) -> str:
        try:
            to = _addresses(delivery.address.removeprefix("mailto:") or self._to)
        except (ValueError, IndexError) as error:
            raise DeliveryFailed(f"address: {error}", retry=False) from error
        if not to:
            raise DeliveryFailed("no address: neither the department nor [channels.mail] to names one", retry=False)
        message, talk = self._message(delivery, to), _Talk()
        work = asyncio.ensure_future(asyncio.to_thread(self._deliver, message, to, talk))
        try:
            async with asyncio.timeout(self._timeout_s * 2):
                return await asyncio.shield(work)
        except TimeoutError:
            raise DeliveryFailed(f"the mail server took longer than {self._timeout_s * 2:g} s") from None
        finally:
            while not work.done():  # the thread ends when its socket does
                talk.cut()
                await asyncio.wait((work,), timeout=CUT_S)
            if not work.cancelled():
                work.exception()  # what it says was said already, or is no longer asked for

    async def close(self) -> None:
        """Nothing stays open between mails."""

    def _message(self, delivery: Delivery, to: list[str]) -> EmailMessage:
        head, text = write(delivery.payload, delivery.purpose, self._language, self._zone)
        message = EmailMessage()
        message["Subject"] = " ".join(head.split())
        message["From"], message["To"] = self._sender, ", ".join(to)
        message["Date"] = formatdate(localtime=False)
        name = hashlib.sha256(delivery.key.encode()).hexdigest()[:32]
        message["Message-ID"] = f"<{name}@{self._sender.rsplit('@', 1)[-1]}>"
        message["X-Idempotency-Key"] = delivery.key
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        if self._template == "large":
            page = write_large(delivery.payload, delivery.purpose, self._language, self._zone)
            message.add_alternative(page, subtype="html")
        return message

    def _deliver(self, message: EmailMessage, to: list[str], talk: _Talk) -> str:
        """Speak SMTP (in a thread). Codes of the 5xx class are for good, everything else may be better later."""
        try:
            with self._connect(talk) as server:
                if self._user:
                    server.login(self._user, self._password)
                refused = server.send_message(message, self._sender, to)
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            raise DeliveryFailed(f"recipients refused: {error.recipients}"[:300], retry=min(codes) < 500) from error
        except smtplib.SMTPResponseException as error:
            said = (
                error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            raise DeliveryFailed(f"{error.smtp_code} {said}"[:300], retry=not 500 <= error.smtp_code < 600) from error
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryFailed(f"the server does not offer what is configured: {error}"[:300], retry=False) from error
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryFailed(f"{type(error).__name__}: {error}"[:300]) from error
        if refused:  # some got it: trying again would give it to them twice
            return f"taken, but refused for {', '.join(sorted(refused))}"[:300]
        return f"taken for {', '.join(to)}"[:300]

    @contextlib.contextmanager
    def _connect(self, talk: _Talk) -> Any:
        wrapping = _Wrapping(self._context, talk)
        if self._tls == "tls":
            server: smtplib.SMTP = _SmtpTls(talk, self._host, self._port, self._timeout_s, wrapping)
        else:
            server = _Smtp(talk, self._host, self._port, self._timeout_s)
        try:
            if self._tls == "starttls":
                server.starttls(context=wrapping)  # type: ignore[call-overload] # all that it asks of a context is to wrap
            yield server
            with contextlib.suppress(
                smtplib.SMTPException, OSError
            ):  # the mail is taken; a rude goodbye changes nothing
                server.quit()
        finally:
            server.close()
