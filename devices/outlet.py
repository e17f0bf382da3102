"""The outlet: all connections of a process that speaks for many devices, each with the credentials that may."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from devices.errors import DeviceError
from devices.log import SentLog
from devices.sender import Address, Answerer, Counts, Limits, Sender
from devices.wire import Broker, Wire


def read_credentials(path: Path) -> dict[str, str]:
    """`user:password` by line, as set-up writes it. Blank lines and # comments are allowed. Raises DeviceError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path}: credentials cannot be read ({error}); `make install` writes them") from error
    users: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, password = line.partition(":")
        if not colon or not user:
            raise DeviceError(f"{path}:{number}: not of the form user:password")
        users[user] = password
    return users


def read_password(path: Path) -> str:
    """The first line of a password file. Raises DeviceError."""
    try:
        return path.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise DeviceError(f"{path}: holds no password ({error})") from error


def parse_broker(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `host` or `[v6]:port`; the port is 1883 if none is given. Raises DeviceError.

    >>> parse_broker("broker.example:8883")
    ('broker.example', 8883)
    """
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, "1883"
    if not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise DeviceError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)


class Outlet:
    """Opens one sender per user and keeps them. `users` None: the broker lets everybody in (tests, a lab)."""

    def __init__(self, broker: Broker, users: Mapping[str, str] | None, *, boot: int, log: SentLog | None = None,
                 answer: Answerer | None = None, limits: Limits | None = None, marks: bool = True) -> None:  # fmt: skip
        self._wire = Wire()
        self._broker, self._users, self._boot, self._log = broker, users, boot, log
        self._answer, self._limits, self._marks = answer, limits, marks
        self.senders: dict[str, Sender] = {}
        self._of: dict[str, Sender] = {}
        self._opening = threading.Lock()

    def may(self, user: str) -> bool:
        """Whether we hold this user's password."""
        return self._users is None or user in self._users

    def open(self, user: str, own: Address | None, addresses: Iterable[Address]) -> Sender:
        """Send for these devices as `user`. Raises DeviceError without that user's password."""
        with self._opening:
            return self._open(user, own, addresses)

    def _open(self, user: str, own: Address | None, addresses: Iterable[Address]) -> Sender:
        sender = self.senders.get(user)
        if sender is None:
            broker = self._broker
            if self._users is not None:
                if user not in self._users:
                    raise DeviceError(f"no credentials for {user!r}: provision the broker for this city again")
                broker = replace(broker, user=user, password=self._users[user])
            mine = tuple(addresses)
            sender = Sender(self._wire, broker, own, mine, boot=self._boot, log=self._log, answer=self._answer,
                            limits=self._limits, marks=self._marks, everything=self._unfinished)  # fmt: skip
            self.senders[user] = sender
            self._of |= {address.device: sender for address in mine}
            return sender
        for address in addresses:
            sender.add(address)
            self._of[address.device] = sender
        return sender

    def sender_of(self, device: str) -> Sender | None:
        """Who sends for this device."""
        return self._of.get(device)

    def wake(self, senders: Iterable[Sender]) -> None:
        """Let these publish what they were given by `send_all`, all in one turn."""
        self._wire.wake_all(sender.link for sender in senders)

    @property
    def counts(self) -> Counts:
        return sum((sender.counts for sender in self.senders.values()), Counts())

    @property
    def up(self) -> int:
        """How many connections stand."""
        return sum(sender.link.is_ready for sender in self.senders.values())

    @property
    def problems(self) -> dict[str, str]:
        """What keeps senders from sending, by user."""
        told = {user: sender.problem or sender.link.problem for user, sender in self.senders.items()}
        return {user: problem for user, problem in told.items() if problem}

    def check(self) -> None:
        """Raises DeviceError if the wire's thread has ended."""
        if self._wire.failure is not None:
            raise DeviceError(f"sending has ended: {self._wire.failure}") from self._wire.failure

    def drain(self, timeout_s: float) -> bool:
        """Wait until every reading is covered, at most this long altogether; for those that are cut off, not at all."""
        end_s = time.monotonic() + timeout_s
        drained = [sender.drain(max(0.0, end_s - time.monotonic())) for sender in self.senders.values()]
        return all(drained)

    def close(self) -> None:
        """State absence, disconnect all, end the thread, leave what no mark covers to the next start."""
        for sender in self.senders.values():
            sender.farewell()
        self._wire.close()
        if self._log is not None:
            try:
                self._log.leave(self._unfinished(waiting=True) or [])
            except OSError as error:
                raise DeviceError(f"{self._log.path}: what is not covered cannot be kept ({error})") from error
            finally:
                self._log.close()

    def _unfinished(self, *, waiting: bool = False) -> list[bytes] | None:
        """What no mark covers, of all senders; None while one is being opened, and has not yet all that is its own."""
        if not self._opening.acquire(blocking=waiting):
            return None
        try:
            return [line for sender in self.senders.values() for line in sender.unfinished(waiting=waiting)]
        finally:
            self._opening.release()
