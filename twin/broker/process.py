"""Running the broker as a child: started on a directory of its own, answered for, stopped by its pid."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twin.broker import nats
from twin.broker.conf import BrokerFiles, Tls, render_for, render_tls
from twin.broker.find import Binary, find_broker
from twin.broker.saved import set_aside
from twin.errors import TwinError

LOG = logging.getLogger(__name__)

POLL_S = 0.01
_HELLO = bytes.fromhex("100c00044d5154540402000a0000")  # CONNECT, MQTT 3.1.1, clean session, keep-alive 10 s, no id


class BrokerFailed(TwinError):
    """The broker did not start or did not stop: the message holds its own last words."""


class PortTaken(BrokerFailed):
    """Another program listens on that port: the message names it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A broker ready to be started: command line, and where it will listen."""

    kind: str  # "mosquitto" | "nats"
    command: Sequence[str]
    host: str
    port: int
    files: BrokerFiles


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Raise PortTaken when `host`:`port` cannot be bound because somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(
                f"port {port} of {host} is taken ({error.strerror}); stop that program or use --port"
            ) from error


def answers(host: str, port: int) -> bool:
    """Whether an MQTT broker says anything to a CONNECT without user. Raises OSError when nobody listens.

    That the port is open says little: the kernel accepts before Mosquitto's loop runs, and loses a SIGTERM till then.
    """
    with socket.create_connection((host, port), timeout=2) as probe:
        probe.sendall(_HELLO)
        return probe.recv(1) == b"\x20"  # CONNACK, whatever its code


def prepare_broker(
    directory: Path,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    tls: Tls | None = None,
    template: str | None = None,
    binary: Binary | None = None,
) -> Prepared:
    """Write the configuration of a broker that lives in `directory`, already provisioned. Starts nothing.

    `port` 0 takes a free one. `template`: another text than the shipped mosquitto.conf. Raises BrokerFailed when no
    broker program is to be found.
    """
    program = binary or find_broker()
    if program is None:
        raise BrokerFailed("no broker found: run `make install`, or `apt install mosquitto`")
    files = BrokerFiles(directory.resolve())
    files.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.data.mkdir(exist_ok=True, mode=0o700)
    files.extra.mkdir(exist_ok=True, mode=0o700)
    taken = port or free_port(host)
    if program.kind == "nats":
        nats.write_conf(files, host, taken)
        command = [str(program.path), "-c", str(files.dir / nats.CONF)]
        return Prepared("nats", command, host, taken, files)
    files.conf.write_text(render_for(files, taken, host, template), encoding="utf-8")
    ours = files.extra / "tls.conf"
    if tls is not None:
        ours.write_text(render_tls(tls), encoding="utf-8")
    command = [str(program.path), "-c", str(files.conf)]
    return Prepared("mosquitto", command, host, taken, files)


def birth(pid: int) -> str:
    """When a process started, in the kernel's ticks, so that a pid given again is not mistaken; '' if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state == "Z" else rest[18]


def record_pid(files: BrokerFiles, pid: int, port: int) -> None:
    """Note which process runs on this directory, so that others can reload it or stop it."""
    files.pid.write_text(f"{pid} {birth(pid)} {port}\n", encoding="utf-8")


def _running(files: BrokerFiles) -> tuple[int, str] | None:
    """(pid, born) of the broker that runs on this directory by its own record, or None."""
    try:
        pid, born, _ = files.pid.read_text(encoding="utf-8").split()
        return (int(pid), born) if birth(int(pid)) == born else None
    except (OSError, ValueError):
        return None


def reload_broker(files: BrokerFiles) -> bool:
    """Make the broker that runs on this directory read its users again; False when none of ours runs there."""
    running = _running(files)
    if running is None:
        return False
    os.kill(running[0], signal.SIGHUP)
    return True


def stop_leftover(files: BrokerFiles, grace_s: float = 10.0) -> int | None:
    """Stop the broker that an earlier, killed run left on this directory; its pid, or None if there was none.

    Two brokers on one directory would overwrite each other's sessions. Raises BrokerFailed if it will not end.
    """
    running = _running(files)
    if running is None:
        files.pid.unlink(missing_ok=True)
        return None
    pid, born = running
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while birth(pid) == born:
        if time.monotonic() > deadline:
            raise BrokerFailed(f"the broker of an earlier run (pid {pid}) does not end; stop it by hand")
        time.sleep(POLL_S)
    files.pid.unlink(missing_ok=True)
    return pid


@dataclass(slots=True)
class Broker:
    """One running broker. `start` may be called again after `stop` or `kill`: same port, same directory."""

    prepared: Prepared
    leashed: bool = False  # the kernel ends it when we die (util-linux's setpriv, where there is one)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        return self.prepared.host

    @property
    def port(self) -> int:
        return self.prepared.port

    @property
    def files(self) -> BrokerFiles:
        return self.prepared.files

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, timeout_s: float = 30.0) -> None:
        """Start it and wait until it answers. Raises PortTaken, or BrokerFailed with what it wrote to stderr.

        Saved sessions that it could not read are set aside, and the log says so."""
        if self.pid is not None:
            return
        stop_leftover(self.files)
        check_port(self.host, self.port)
        if self.prepared.kind == "mosquitto" and (told := set_aside(self.files.data)):
            LOG.warning("%s", told)
        command = list(self.prepared.command)
        if self.leashed and (setpriv := shutil.which("setpriv")):
            command = [setpriv, "--pdeathsig", "TERM", "--", *command]
        with self.files.log.open("ab") as log:
            began = log.tell()
            self._process = subprocess.Popen(
                command,
                cwd=self.files.dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_it_answers(timeout_s, began)
        record_pid(self.files, self._process.pid, self.port)

    def stop(self, grace_s: float = 15.0) -> int | None:
        """Ask it to end, so that it saves its sessions; insist after `grace_s`. Its exit code."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                return self.kill()
        return self._gone()

    def kill(self) -> int | None:
        """End it at once (SIGKILL): what it had not saved is lost. Its exit code."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        return self._gone()

    def reload(self) -> None:
        """Make it read users and access list again (SIGHUP); sessions and messages stay."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)

    def tail(self, lines: int = 12, *, since: int = 0) -> str:
        """The last lines that it wrote (after byte `since` of its log)."""
        try:
            with self.files.log.open("rb") as log:
                log.seek(max(since, self.files.log.stat().st_size - 16_384))
                return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return ""

    def _gone(self) -> int | None:
        code = self._process.returncode if self._process is not None else None
        self.files.pid.unlink(missing_ok=True)
        return code

    def _wait_until_it_answers(self, timeout_s: float, since: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while True:
            code = self._process.poll()
            if code is not None:
                words = self.tail(since=since)
                if "Address already in use" in words:
                    raise PortTaken(f"port {self.port} of {self.host} is taken; stop that program or use --port")
                raise BrokerFailed(f"the broker ended with {code}:\n{words}")
            with contextlib.suppress(OSError):
                if answers(self.host, self.port):
                    return
            if time.monotonic() > deadline:
                self.kill()
                raise BrokerFailed(f"the broker did not answer within {timeout_s:g} s:\n{self.tail(since=since)}")
            time.sleep(POLL_S)


def start_broker(
    directory: Path,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    tls: Tls | None = None,
    template: str | None = None,
    leashed: bool = False,
    timeout_s: float = 30.0,
) -> Broker:
    """Prepare and start a broker on `directory`; returns when it answers. Raises PortTaken, BrokerFailed."""
    broker = Broker(prepare_broker(directory, port=port, host=host, tls=tls, template=template), leashed)
    broker.start(timeout_s)
    return broker
