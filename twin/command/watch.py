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
    channel: str = typer.Option("mail", help="The channel to tell by; the configuration describes it."),
    to: str = typer.Option("", help="Address in place of the channel's own."),
) -> None:
    """Hear a server's heartbeat and tell somebody when it stops and when it comes back. Runs until Ctrl-C.

    Its configuration needs the [channels.NAME] that it tells by, and nothing else.
    """
    from twin.app.ways import ALWAYS, open_channel
    from twin.channels import CHANNELS
    from twin.deliver.watch import Watcher

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = settings_of(config)
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise fail(f"--listen {listen!r} (give HOST:PORT)", 2)
    if channel not in CHANNELS or (channel not in settings.channels and channel not in ALWAYS):
        raise fail(f"there is no [channels.{channel}] in the configuration", 2)
    try:
        secret = read_secret(secret_file)
        way = open_channel(settings, channel)
    except SettingsError as error:
        raise fail(str(error), 2) from error
    local = host.strip("[]") in ("127.0.0.1", "localhost", "::1")
    if not secret and not local:
        raise fail(
            "beats from other machines must be signed: give --secret-file, the server's [heartbeat] secret_file", 2
        )

    async def run() -> None:
        watcher = Watcher(way, channel, to, secret=secret, silent_after_s=silent_after, again_s=again)
        await watcher.run(
            host.strip("[]"), int(port), lambda at: OUT.print(f"hearing beats on {host}:{at}", soft_wrap=True)
        )

    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(run())
        except OSError as error:
            raise fail(f"{listen}: {error.strerror or error}") from error
