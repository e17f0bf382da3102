"""Where the broker is, who we are there, how we read; and the figures of the link."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from devices.topics import NAME, SUBSCRIPTIONS
from twin.errors import SettingsError
from twin.ingest.frames import SHARED, Version


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where the broker is, who we are there, and how we read. `share`: name of a $share group, "" for none."""

    host: str = "127.0.0.1"
    port: int = 1883
    client_id: str = "citywhistle"
    user: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None  # with our certificate loaded where the broker wants one
    server_name: str = ""  # that the broker's certificate must carry; "" = host
    version: Version = 4  # 4: MQTT 3.1.1
    clean: bool = False  # a session that is not clean waits for us while we are away
    qos: int = 1
    share: str = ""
    filters: tuple[str, ...] = SUBSCRIPTIONS
    keepalive_s: int = 30
    coalesce_s: float = 0.2  # the longest pause between reads while little comes
    backoff_s: tuple[float, float] = (0.5, 30.0)  # first and longest wait before connecting again
    inbox_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        if not NAME.match(self.client_id):
            raise SettingsError(f"client id {self.client_id!r}: use 1..64 letters, digits, _.:-")
        if self.qos not in (0, 1) or self.version not in (4, 5) or not 0 < self.keepalive_s < 65536:
            raise SettingsError("qos is 0 or 1, version 4 (MQTT 3.1.1) or 5, keepalive_s within 1..65535")

    @property
    def subscriptions(self) -> tuple[tuple[str, int], ...]:
        """What we ask for: the filters, by way of the $share group where there is one, and our own marker."""
        prefix = f"{SHARED}{self.share}/" if self.share else ""
        return (*((prefix + name, self.qos) for name in self.filters), (self.marker, 1))

    @property
    def marker(self) -> str:
        """The topic by which we write to ourselves: what comes back behind the backlog says that it has been read."""
        return f"city/all/server/{self.client_id}/mark"


@dataclass(slots=True)
class LinkFigures:
    """What the link has done and how it stands; written by its thread alone."""

    state: str = "down"  # "down" | "connecting" | "up"
    drained: bool = False
    trouble: str = ""  # why it is not up
    session_present: bool = False
    connections: int = 0
    messages: int = 0
    bytes: int = 0
    oldest_waiting_ms: int = 0  # 0: nothing waits
    stale_acks: int = 0  # acknowledgements that came after their connection had gone
    markers: int = 0  # of ours, sent to ourselves
    markers_back: int = 0  # ... and come back; a broker with too much for us drops some
    full_s: float = 0.0  # time for which the inbox was full
    cpu_s: float = 0.0
