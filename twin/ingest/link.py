"""The one hot subscriber: a thread that keeps a connection to the broker and hands parcels of messages to the pump.

Reads are coalesced: all that is there, a pause of 2-200 ms, again; small reads and objects are the cost, not parsing.
The inbox is bounded in bytes; when it is full the link stops reading, and the broker's session holds the rest. Nothing
is acknowledged by itself: that is for the pump, when a parcel is durable, and void on another connection than the
parcel's, because packet ids are given anew there and the broker sends again what was not acknowledged.
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Sequence

from twin.ingest.endpoint import LinkFigures, LinkSettings
from twin.ingest.frames import ProtocolError, retained
from twin.ingest.inbox import Inbox
from twin.ingest.session import Refused, Session
from twin.records import Link as LinkEvent

LOG = logging.getLogger(__name__)


class Link:
    """The connection's thread, and the inbox that it fills. `take` and `acknowledge` are the inbox's."""

    def __init__(self, settings: LinkSettings, now_ms: Callable[[], int]) -> None:
        """`now_ms` tells the arrival time of what is read: city time."""
        self.settings = settings
        self.figures = LinkFigures()
        self.inbox = Inbox(settings.inbox_bytes)
        self._now_ms = now_ms
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt-link", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send what is owed, disconnect, end the thread. The session stays at the broker."""
        self._stopping.set()
        self.inbox.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self.inbox.close()

    def say(self, messages: Sequence[tuple[str | bytes, bytes]]) -> bool:
        """Publish (topic, payload), retained; any thread. False where we are not connected, or too much waits.

        At QoS 0, for marks: a newer one says all that a lost one said, and after each new connection
        (`figures.connections` counts them) the caller says all of them again, for the broker may have forgotten.
        An acknowledgement each way for every mark would cost server, broker and devices more than the readings do.
        """
        if self.figures.state != "up":
            return False
        return self.inbox.say(retained(messages, self.settings.version))

    def _run(self) -> None:
        shortest, longest = self.settings.backoff_s
        wait, generation = shortest, 0
        while not self._stopping.is_set():
            generation += 1
            self.inbox.said()  # it was for the connection that is gone
            session = Session(self.settings, self.figures, self.inbox, self._now_ms, generation)
            try:
                session.open()
                session.serve(self._stopping)
            except (OSError, ssl.SSLError, ProtocolError, Refused) as error:
                trouble = f"{self.settings.host}:{self.settings.port}: {str(error) or type(error).__name__}"
                if trouble != self.figures.trouble:
                    LOG.warning("broker %s", trouble)
                self.figures.trouble = trouble
            finally:
                session.close()
            if session.welcome:
                self.inbox.put(LinkEvent("down"))
            if session.was_up:
                wait = shortest
            self.figures.state, self.figures.drained = "down", False
            self._stopping.wait(random.uniform(wait / 2, wait))  # noqa: S311 jitter, no secret
            wait = min(longest, wait * 2)
        self.figures.cpu_s = time.thread_time()
