"""What the commands of `citywhistle devices` have in common: options, connections, a graceful Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from devices.boot import next_boot
from devices.errors import DeviceError
from devices.log import SentLog
from devices.outlet import Outlet, parse_broker, read_credentials, read_password
from devices.sender import Answerer, Limits
from devices.wire import Broker

err = Console(stderr=True, highlight=False)
out = Console(highlight=False)

BrokerOption = Annotated[str, typer.Option("--broker", help="host:port of the MQTT broker.", metavar="HOST:PORT")]
UserOption = Annotated[str, typer.Option("--user", help="One user for everything, instead of --credentials.")]
PasswordOption = Annotated[Path | None, typer.Option("--password-file", help="File with that user's password.")]
CredentialsOption = Annotated[
    Path | None, typer.Option("--credentials", help="File of user:password lines, as set-up writes it.")
]
CaOption = Annotated[Path | None, typer.Option("--ca", help="PEM file of the broker's CA; turns TLS on.")]
ClockOption = Annotated[Path | None, typer.Option("--clock", help="Clock file of a simulated city.")]
CityOption = Annotated[Path | None, typer.Option("--city", help="Directory of the city's files.")]
LogOption = Annotated[Path | None, typer.Option("--log", help="Log of what was sent: the truth for accounting.")]
BootOption = Annotated[Path | None, typer.Option("--boot-file", help="Keeps the boot number between starts.")]
StateOption = Annotated[
    Path | None, typer.Option("--state", help="Folder for log, boot number and memory, instead of --log, --boot-file.")
]
MarksOption = Annotated[
    bool, typer.Option("--marks/--no-marks", help="Keep readings until the server's mark, or only until PUBACK.")
]
DrainOption = Annotated[float, typer.Option("--drain", help="Seconds to wait at the end until all is covered.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable: one JSON object a line on stdout.")]


def fail(problem: object) -> NoReturn:
    """Say what is wrong and end with code 2."""
    err.print(f"error: {problem}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(2)


@contextmanager
def told() -> Iterator[None]:
    """Errors of this tree end the command with their message, not with a traceback."""
    try:
        yield
    except DeviceError as error:
        fail(error)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; the second Ctrl-C ends at once."""
    stop = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_outlet(
    broker: str,
    user: str,
    password_file: Path | None,
    credentials: Path | None,
    ca: Path | None,
    *,
    log: Path | None,
    boot_file: Path | None,
    marks: bool,
    answer: Answerer,
    limits: Limits | None = None,
) -> Outlet:
    """The connections that these options describe; nothing is connected before somebody sends. Raises DeviceError."""
    host, port = parse_broker(broker)
    if user and password_file is None:
        raise DeviceError("--user needs --password-file (a password on the command line would be seen by everybody)")
    users: dict[str, str] | None = None
    if user and password_file is not None:
        users = {user: read_password(password_file)}
    elif credentials is not None:
        users = read_credentials(credentials)
    where = Broker(host, port, ca=ca)
    where.tls()
    try:
        sent = SentLog(log, keep=True) if log is not None else None
    except OSError as error:
        raise DeviceError(f"{log}: the log cannot be written ({error})") from error
    return Outlet(where, users, boot=next_boot(boot_file), log=sent, answer=answer, limits=limits, marks=marks)


def is_terminal() -> bool:
    """Whether progress bars make sense."""
    return sys.stderr.isatty()
