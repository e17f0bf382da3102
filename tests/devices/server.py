"""The server's half of the wire, as senders see it: hears readings, publishes marks and commands. For tests."""

from __future__ import annotations

import json
import threading
from collections import Counter

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from devices.topics import Topic, parse_topic

DEADLINE_S = 20.0


class Server:
    """Subscribes to everything upward; every reading it hears counts as journalled once `mark` is called."""

    def __init__(self, host: str, port: int, *, mark_at_once: bool = False) -> None:
        self.heard: Counter[tuple[str, int, int]] = Counter()  # (device, boot, seq) -> times
        self.payloads: list[tuple[Topic, dict[str, object]]] = []
        self.mark_at_once = mark_at_once
        self._changed = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="server")
        self._client.max_inflight_messages_set(10_000)
        self._granted = 0
        self._client.on_connect = lambda c, *_: c.subscribe([("city/+/+/+/+", 1)])
        self._client.on_subscribe = lambda *_: self._bump()
        self._client.on_message = self._hear
        self._client.connect(host, port)
        self._client.reconnect_delay_set(1, 1)
        self._client.loop_start()
        self.wait(lambda: self._granted > 0)

    def _bump(self) -> None:
        with self._changed:
            self._granted += 1
            self._changed.notify_all()

    @property
    def grants(self) -> int:
        """How often our subscription was granted: once for each connection."""
        return self._granted

    def _hear(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        topic = parse_topic(message.topic)
        if topic.leaf in ("mark", "cmd"):
            return
        told = json.loads(message.payload)
        with self._changed:
            self.payloads.append((topic, told))
            if topic.leaf in ("telemetry", "event"):
                self.heard[topic.device, told["boot"], told["seq"]] += 1
                if self.mark_at_once:
                    self.mark(topic, told["boot"], told["seq"])
            self._changed.notify_all()

    def mark(self, topic: Topic, boot: int, seq: int, beyond: tuple[tuple[int, int], ...] = ()) -> None:
        """Publish the retained mark of the device that `topic` names."""
        told: dict[str, object] = {"boot": boot, "seq": seq}
        if beyond:
            told["beyond"] = beyond
        address = Topic(topic.district, topic.kind, topic.device, "mark")
        self._client.publish(str(address), json.dumps(told), qos=1, retain=True)

    def command(self, topic: Topic, told: dict[str, object]) -> None:
        """Send a command to the device that `topic` names."""
        self._client.publish(str(Topic(topic.district, topic.kind, topic.device, "cmd")), json.dumps(told), qos=1)

    def of(self, leaf: str) -> list[dict[str, object]]:
        """Everything heard on topics of this leaf."""
        with self._changed:
            return [told for topic, told in self.payloads if topic.leaf == leaf]

    def wait(self, until: object) -> None:
        """Wait until `until()` holds; fails after the deadline."""
        assert callable(until)
        with self._changed:
            assert self._changed.wait_for(until, DEADLINE_S), f"waited {DEADLINE_S} s in vain; heard {len(self.heard)}"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
