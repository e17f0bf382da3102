"""High-water marks: tells every sender, retained, up to where its readings are durable in the journal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from devices.envelope import encode_mark
from devices.records import Mark
from devices.topics import Topic
from twin.settings import BrokerSettings

LOG = logging.getLogger(__name__)

QUEUED = 20_000  # messages that may wait inside the client

Moved = Callable[[bool], Iterable[tuple[str, str, Mark]]]
Publish = Callable[[str, bytes], bool]  # (topic, payload), retained; False when it could not be handed over


class Marks:
    """A thread that publishes changed marks at most every `every_s`. What could not be published is tried again."""

    def __init__(self, changed: Moved, publish: Publish, every_s: float, connects: Callable[[], int]) -> None:
        """`changed(everything)` gives (district, kind, mark) for senders whose mark moved since it was last asked, or
        for all: after each new connection (`connects()` counts them), because the broker may have lost what it held.
        """
        self._changed = changed
        self._publish = publish
        self._every_s = every_s
        self._stop = threading.Event()
        self._owed: dict[str, bytes] = {}
        self._connects, self._seen = connects, 0
        self._thread = threading.Thread(target=self._run, name="marks", daemon=True)
        self.published = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Publish what is owed once more, and end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._round()
        self._round()

    def _round(self) -> None:
        connects = self._connects()
        everything, self._seen = connects != self._seen, connects
        for district, kind, mark in self._changed(everything):
            topic = str(Topic(district, kind, mark.device, "mark"))
            self._owed[topic] = encode_mark(mark)
        for topic, payload in list(self._owed.items()):
            if not self._publish(topic, payload):
                return  # not connected: all that is owed stays, newer marks take the place of older ones
            del self._owed[topic]
            self.published += 1


class Courier:
    """The connection that marks leave by: retained, reconnecting by itself.

    QoS 0: a newer mark says all that a lost one said, every new connection brings all marks again, and a sender that
    hears none asks by sending again. An acknowledgement each way for every mark would cost server, broker and devices
    more than the readings do.
    """

    def __init__(self, settings: BrokerSettings, password: str) -> None:
        """Get ready as the server's user; `start` connects."""
        self._settings = settings
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"{settings.client_id}-marks", protocol=mqtt.MQTTv311
        )
        self._client.max_queued_messages_set(QUEUED)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._gone
        self._client.on_publish = self._left
        if settings.user:
            self._client.username_pw_set(settings.user, password or None)
        if settings.tls:
            self._client.tls_set(settings.ca_file or None, settings.cert_file or None, settings.key_file or None)
        self._up = False
        self._unsent = 0  # handed over, and not yet written to the socket
        self.connects = 0

    def start(self) -> None:
        """Connect in the background, and again whenever the connection breaks."""
        self._client.reconnect_delay_set(1, 30)
        self._client.connect_async(self._settings.host, self._settings.port, keepalive=30)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand one retained message over; False when there is no connection or its queue is full."""
        if not self._up or self._unsent >= QUEUED:
            return False
        self._unsent += 1
        return self._client.publish(topic, payload, qos=0, retain=True).rc == mqtt.MQTT_ERR_SUCCESS

    def stop(self) -> None:
        """Disconnect and end the thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self, _c: mqtt.Client, _u: object, _f: mqtt.ConnectFlags, code: ReasonCode, _p: Properties | None
    ) -> None:
        self._unsent = 0
        self._up = not code.is_failure
        if code.is_failure:
            LOG.warning("the broker refuses the connection for marks: %s", code)
        else:
            self.connects += 1

    def _left(self, _c: mqtt.Client, _u: object, _mid: int, _code: ReasonCode, _p: Properties) -> None:
        self._unsent = max(0, self._unsent - 1)

    def _gone(
        self, _c: mqtt.Client, _u: object, _f: mqtt.DisconnectFlags, _code: ReasonCode, _p: Properties | None
    ) -> None:
        self._up = False
