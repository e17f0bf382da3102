"""`citywhistle watch`: on another machine, hear a server's heartbeat and tell somebody when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import typer

from twin.command.client import CONFIG, OUT, fail, settings_of
from twin.errors import SettingsError
from twin.settings import read_secret


def watch(
    config: Path | None = CONFIG,
    listen: str = typer.Option(
        "127.0.0.1:8090", help="HOST:PORT; the server's [heartbeat] url is http://HOST:PORT/beat"
    ),
    secret_file: str = typer.Option("", help="File with the secret that beats are signed with, the server's own."),
    silent_after: float = typer.Option(180, min=1, help="Seconds without a beat after which somebody is told."),
    again: float = typer.Option(3600, min=1, help="Seconds after which a silence that lasts is told again."),
    channel: list[str] = typer.Option(
        ["mail"],
        help="A channel to tell by, or NAME=ADDRESS in place of its own; give it once for each, like "
        "--channel mail --channel sms=13800000000.",
    ),
) -> None:
    """Hear a server's heartbeat and tell somebody when it stops and when it comes back. Runs until Ctrl-C.

    Its configuration needs the [channels.NAME] that it tells by, and nothing else. Several tell each by itself.
    """
    from twin.app.ways import ALWAYS, open_channel
    from twin.channels import CHANNELS
    from twin.deliver.watch import Watcher, Way

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = settings_of(config)
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise fail(f"--listen {listen!r} (give HOST:PORT)", 2)
    told = [(name, to) for name, _, to in (one.partition("=") for one in channel)]
    for name, _ in told:
        if name not in CHANNELS or (name not in settings.channels and name not in ALWAYS):
            raise fail(f"there is no [channels.{name}] in the configuration", 2)
    try:
        secret = read_secret(secret_file)
        ways = [Way(name, open_channel(settings, name), to) for name, to in told]
    except SettingsError as error:
        raise fail(str(error), 2) from error
    local = host.strip("[]") in ("127.0.0.1", "localhost", "::1")
    if not secret and not local:
        raise fail(
            "beats from other machines must be signed: give --secret-file, the server's [heartbeat] secret_file", 2
        )

    async def run() -> None:
        watcher = Watcher(ways, secret, silent_after, again)
        await watcher.run(
            host.strip("[]"), int(port), lambda at: OUT.print(f"hearing beats on {host}:{at}", soft_wrap=True)
        )

    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(run())
        except OSError as error:
            raise fail(f"{listen}: {error.strerror or error}") from error
