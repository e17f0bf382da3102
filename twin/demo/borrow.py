"""A broker that runs already: which of our passwords it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from twin.broker.access import SERVER
from twin.broker.conf import BrokerFiles
from twin.broker.knock import refusal
from twin.broker.process import answers
from twin.broker.provision import read_credentials
from twin.demo.scene import DemoFailed

ASK_EVERY_S = 1.0


def borrow(
    address: str,
    users: Collection[str],
    folders: Sequence[BrokerFiles],
    say: Callable[[str], None],
    stopping: threading.Event,
) -> tuple[str, int, BrokerFiles]:
    """(host, port, whose passwords) of the broker at HOST:PORT, once it answers.

    `users`: all that the city needs. Of `folders` the first is taken whose server's password the broker accepts; a
    broker that asks for no password accepts any. Raises DemoFailed where it accepts none, or not all that we need.
    """
    host, _, told = address.rpartition(":")
    if not host or not told.isdigit() or not 0 < int(told) < 65536:
        raise DemoFailed(f"--broker {address}: give HOST:PORT, like 192.0.2.7:1883")
    port, first, refused = int(told), folders[0], ""
    _wait(host, port, say, stopping)
    for files in folders:
        try:
            credentials = read_credentials(files)
        except FileNotFoundError:
            continue  # nobody has run `make install` here
        try:
            refused = refusal(host, port, SERVER, credentials.get(SERVER, ""))
        except OSError as error:
            raise DemoFailed(f"--broker {address}: {error}") from error
        if refused:
            continue
        lacking = sorted(set(users) - credentials.keys())
        if lacking:
            raise DemoFailed(
                f"the broker at {address} takes the passwords of {files.dir}, but {len(lacking)} users of this city,"
                f" like {lacking[0]}, are not among them: `citywhistle broker provision` with this city, and start it"
                " again"
            )
        return host, port, files
    raise DemoFailed(
        f"the broker at {address} does not take user {SERVER!r} ({refused}): start it with this project's"
        f" mosquitto.conf, or give it {first.passwords.resolve()} as password_file and {first.acl.resolve()} as"
        " acl_file"
    )


def _wait(host: str, port: int, say: Callable[[str], None], stopping: threading.Event) -> None:
    said = False
    while True:
        try:
            if not answers(host, port):
                raise DemoFailed(f"--broker {host}:{port}: what answers there speaks no MQTT")
        except OSError as error:
            if not said:
                say(f"  [yellow]nobody answers at {host}:{port} ({error.strerror or error}); the demo waits for it[/]")
            said = True
            if stopping.wait(ASK_EVERY_S):
                raise DemoFailed("stopped while waiting for the broker") from None
        else:
            return
