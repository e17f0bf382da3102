"""`citywhistle up`: the server in the foreground."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import typer

from devices.errors import DeviceError
from twin.command.client import CONFIG, fail, settings_of
from twin.errors import SettingsError, TwinError


def up(
    config: Path | None = CONFIG,
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log more."),
) -> None:
    """Run the server: subscribe, journal, tick, store, deliver, and serve the page. Ctrl-C or SIGTERM ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the server takes it over
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for noisy in ("httpx", "httpcore", "aiosqlite", "asyncio", "uvicorn.error", "multipart", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    settings = settings_of(config)
    from twin.app.server import run

    try:
        run(settings)
    except SettingsError as error:
        raise fail(str(error), 2) from error
    except (TwinError, DeviceError) as error:
        raise fail(str(error)) from error
