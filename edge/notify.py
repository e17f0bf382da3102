"""Tells systemd that the service is ready, alive, stopping (sd_notify(3)); says nothing where nobody asked."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Send one state, like READY=1, WATCHDOG=1 or STOPPING=1. False where systemd did not start us, or is not there."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)
    except OSError:
        return False
    return True
