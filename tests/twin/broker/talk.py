"""A small blocking MQTT client for tests of the broker: every wait has a deadline and returns what the broker said."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT_S = 10.0


class Talk:
    """One connection. Reason codes are the numbers of MQTT 5 (0 = success, 0x87 = not authorized)."""

    def __init__(self, user: str, password: str, client_id: str, *, v5: bool = True, keep: bool = False) -> None:
        protocol = mqtt.MQTTv5 if v5 else mqtt.MQTTv311
        clean = None if v5 else not keep
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, clean_session=clean, protocol=protocol)
        if user:
            self.client.username_pw_set(user, password)
        self.v5, self.keep = v5, keep
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._codes: dict[str, queue.Queue[tuple[int, int]]] = {"publish": queue.Queue(), "subscribe": queue.Queue()}
        self._connected: queue.Queue[int] = queue.Queue()
        self._gone = threading.Event()
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe

    def connect(self, host: str, port: int) -> int:
        """Connect and return the reason code of the CONNACK."""
        extra: dict[str, Any] = {}
        if self.v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600 if self.keep else 0
            extra = {"clean_start": not self.keep, "properties": properties}
        self.client.connect(host, port, **extra)
        self.client.loop_start()
        return self._connected.get(timeout=WAIT_S)

    def publish(self, topic: str, payload: str, *, qos: int = 1, retain: bool = False) -> int:
        """Publish and return the reason code of the PUBACK."""
        sent = self.client.publish(topic, payload, qos, retain)
        return self._code("publish", sent.mid)

    def subscribe(self, topic: str, qos: int = 1) -> int:
        """Subscribe and return the reason code of the SUBACK (the granted QoS)."""
        _, mid = self.client.subscribe(topic, qos)
        assert mid is not None
        return self._code("subscribe", mid)

    def next(self) -> tuple[str, str]:
        """The next message that came: (topic, payload)."""
        message = self.messages.get(timeout=WAIT_S)
        return message.topic, message.payload.decode()

    def until(self, payload: str) -> list[tuple[str, str]]:
        """Everything that came, up to and with the message of that payload."""
        came = [self.next()]
        while came[-1][1] != payload:
            came.append(self.next())
        return came

    def wait_gone(self) -> bool:
        """Wait until the broker has ended the connection."""
        return self._gone.wait(WAIT_S)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _code(self, what: str, mid: int) -> int:
        while True:
            told, code = self._codes[what].get(timeout=WAIT_S)
            if told == mid:
                return code

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connected.put(reason.value)

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._gone.set()
        self._connected.put(reason.value)

    def _on_message(self, client: Any, data: Any, message: mqtt.MQTTMessage) -> None:
        self.messages.put(message)

    def _on_publish(self, client: Any, data: Any, mid: int, reason: Any, properties: Any) -> None:
        self._codes["publish"].put((mid, reason.value))

    def _on_subscribe(self, client: Any, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        self._codes["subscribe"].put((mid, reasons[0].value))


@contextmanager
def talk(
    address: tuple[str, int], user: str = "", password: str = "", *, name: str = "", v5: bool = True, keep: bool = False
) -> Iterator[Talk]:
    """A connection that was accepted; closed at the end."""
    one = Talk(user, password, name or f"{user}-test", v5=v5, keep=keep)
    try:
        assert one.connect(*address) == 0
        yield one
    finally:
        one.close()
