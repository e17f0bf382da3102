"""The dead man's heartbeat: a signed call to somebody else's address, whose absence tells people that we are down.

It goes out only while the server is ready: a server that hears nothing or records nothing counts as down. Nobody has to
be told by a dead server; the receiver (`citywhistle watch`, or any service of the healthchecks kind) tells.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from twin.channels.http import Poster
from twin.channels.webhook import signature
from twin.errors import DeliveryFailed

LOG = logging.getLogger(__name__)

TIMEOUT_S = 10.0


class Heartbeat:
    """Beats every `every_s` seconds of the machine's clock, in a thread of its own."""

    def __init__(
        self, url: str, health: Callable[[], Mapping[str, Any]], *, fail_url: str = "", secret: str = "",
        every_s: float = 60.0,
    ) -> None:  # fmt: skip
        """`health()` as the desk tells it; `fail_url` is called instead while it says that we are not ready."""
        self._url, self._fail_url, self._secret, self._every_s = url, fail_url, secret, every_s
        self._health = health
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.beats = 0
        self.error = ""  # of the last call; '' while it is taken

    def start(self) -> None:
        """Begin, unless there is no address."""
        if self._url:
            self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; a call that is under way is waited for."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(TIMEOUT_S + 1)

    def state(self) -> dict[str, Any]:
        """For health: whether there is one, how many were taken, the last error."""
        return {"configured": bool(self._url), "beats": self.beats, "error": self.error}

    async def _run(self) -> None:
        post = Poster(TIMEOUT_S)
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                await self._beat(post)
                left_s = max(0.0, self._every_s - (time.monotonic() - began))
                await asyncio.to_thread(self._stop.wait, left_s)
        finally:
            await post.close()

    async def _beat(self, post: Poster) -> None:
        """One call; what goes wrong is said once and tried again at the next beat."""
        health = self._health()
        ready = bool(health.get("ready"))
        url = self._url if ready else self._fail_url
        if not url:
            return
        at_ms = time.time_ns() // 1_000_000
        told = {"at_ms": at_ms, "ready": ready, "every_s": self._every_s, "link": health.get("link"),
                "stalled": str(dict(health.get("tick") or {}).get("stalled", ""))[:300]}  # fmt: skip
        body = json.dumps(told).encode()
        headers = {"content-type": "application/json", "user-agent": "citywhistle"}
        if self._secret:
            name = f"beat-{at_ms}"
            stamp = at_ms // 1000
            headers |= {"webhook-id": name, "webhook-timestamp": str(stamp),
                        "webhook-signature": signature(self._secret, name, stamp, body)}  # fmt: skip
        try:
            await post.post(url, body, headers)
        except DeliveryFailed as why:
            if not self.error:
                LOG.warning("the heartbeat is not taken: %s", why)
            self.error = str(why)[:300]
        else:
            self.beats += 1
            self.error = ""
