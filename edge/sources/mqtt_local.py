"""A broker on the gateway itself: Tasmota plugs, sensors that say flat JSON, SenML or one bare number.

    [[source]]
    type = "mqtt_local"
    host = "127.0.0.1"
    [[source.map]]
    topic = "tele/lamp-1/SENSOR"       # + and # are allowed
    device = "pole-1"
    [source.map.values]                # only where names or units differ from ours, and from Tasmota's
    "ENERGY.Power" = "powerConsumption"

A message of QoS 1 is acknowledged when its readings are on disk; until then the local broker keeps it (its
max_inflight_messages, 20 by default, bounds how many are on their way).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from devices.codec import Decoded, read_payload
from devices.envelope import MAX_BYTES, load_json
from devices.errors import DeviceError, PayloadError
from devices.kinds import KINDS
from devices.outlet import read_password
from devices.records import Reading
from devices.sender import Address
from edge.sheet import Sheet
from edge.sources.fields import TIME_FORMS, FieldMap, as_number, read_field_map
from edge.sources.intake import Intake, SourceCounts, Taken

KEEPALIVE_S = 30
AGAIN_S = (1, 30)  # first and longest wait before connecting again
KEYS = frozenset(("type", "name", "host", "port", "user", "password_file", "client_id", "policy", "map"))
MAP_KEYS = frozenset(("topic", "device", "time", "time_form", "values"))


@dataclass(frozen=True, slots=True)
class TopicMap:
    """Messages of topics like `topic` are one device's."""

    topic: str
    address: Address
    fields: FieldMap | None  # None: the envelope's forms and Tasmota's

    def read(self, payload: bytes) -> Decoded:
        """The readings of a message. Raises PayloadError for what is no message of ours at all."""
        if self.fields is None:
            return read_payload(KINDS[self.address.kind], self.address.device, payload)
        try:
            told = load_json(payload)
        except PayloadError:
            if len(payload) > MAX_BYTES or not any(not field.path for field in self.fields.fields):
                raise
            told = as_number(payload.decode("utf-8", "replace").strip())  # a bare state, like ON
        return self.fields.read(self.address.device, told)


@dataclass(slots=True, eq=False)
class _Pending:
    """A message that is handed over and not acknowledged; `stale`: the connection that brought it is gone."""

    topic: str
    payload: bytes
    durable: bool = False
    stale: bool = False


class MqttLocal:
    """One connection to the local broker, kept up by paho's own thread."""

    def __init__(
        self, name: str, host: str, port: int, client_id: str, maps: tuple[TopicMap, ...], intake: Intake, thin: bool
    ) -> None:
        self.name, self.ended = name, False
        self.counts = SourceCounts()
        self.problem = f"{host}:{port}: not connected yet"
        self._where, self._maps, self._intake, self._thin = (host, port), maps, intake, thin
        self._lock = threading.Lock()
        self._hearing = threading.Lock()
        self._stopping = threading.Event()
        self._pending: dict[int, _Pending] = {}  # by message id
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, manual_ack=True
        )
        self.client.reconnect_delay_set(*AGAIN_S)
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._subscribed
        self.client.on_connect_fail = self._failed
        self.client.on_disconnect = self._lost
        self.client.on_message = self._heard

    def start(self) -> None:
        self.client.connect_async(*self._where, keepalive=KEEPALIVE_S)
        self.client.loop_start()

    def stop(self) -> None:
        self._stopping.set()
        with self._hearing:
            return  # a message that was being read is handed over

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _place(self) -> str:
        return f"{self._where[0]}:{self._where[1]}"

    def _connected(
        self, client: mqtt.Client, _data: object, flags: mqtt.ConnectFlags, code: ReasonCode, _p: object
    ) -> None:
        if code.is_failure:
            self.problem = f"{self._place()}: refused by the broker: {code}"
            return
        with self._lock:
            if flags.session_present:
                for pending in self._pending.values():
                    pending.stale = True
            else:
                self._pending.clear()
        client.subscribe([(one.topic, 1) for one in self._maps])

    def _subscribed(self, _c: mqtt.Client, _data: object, _mid: int, codes: list[ReasonCode], _p: object) -> None:
        """Only now do messages come: what is published before the broker's answer is not kept for us."""
        refused = [one.topic for one, code in zip(self._maps, codes, strict=False) if code.is_failure]
        self.problem = f"{self._place()}: the broker lets us not read {', '.join(refused)}" if refused else ""

    def _failed(self, _client: mqtt.Client, _data: object) -> None:
        self.problem = f"{self._place()}: out of reach"

    def _lost(self, _c: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _p: object) -> None:
        if not self.problem:
            self.problem = f"{self._place()}: connection lost ({code})"

    def _heard(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._hearing:
            if not self._stopping.is_set():  # else the broker keeps it for the next start
                self._take(message)

    def _take(self, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        pending = _Pending(message.topic, payload)
        if message.qos and not self._begin(message.mid, message.dup, pending):
            return
        self.counts.pieces += 1
        readings = self._read(message.topic, payload)
        acknowledge = partial(self._end, message.mid, pending) if message.qos else None
        if readings:
            self._intake.give(Taken(readings, self._thin, acknowledge))
        elif acknowledge is not None:
            acknowledge()

    def _begin(self, mid: int, dup: bool, pending: _Pending) -> bool:
        """Whether a message is new; one that the broker brings again after a reconnect was handed over before."""
        with self._lock:
            known = self._pending.get(mid)
            if dup and known is not None and (known.topic, known.payload) == (pending.topic, pending.payload):
                known.stale = False
                if known.durable:
                    self._acknowledge(mid)
                return False
            self._pending[mid] = pending
            return True

    def _end(self, mid: int, pending: _Pending) -> None:
        """A message's readings are on disk."""
        with self._lock:
            pending.durable = True
            if self._pending.get(mid) is pending and not pending.stale:
                self._acknowledge(mid)

    def _acknowledge(self, mid: int) -> None:
        """Tell the broker; if the connection has just gone it brings the message again, and is told then."""
        if self.client.is_connected() and self.client.ack(mid, 1) == mqtt.MQTT_ERR_SUCCESS:
            del self._pending[mid]

    def _read(self, topic: str, payload: bytes) -> list[Reading]:
        for one in self._maps:
            if mqtt.topic_matches_sub(one.topic, topic):
                try:
                    return self.counts.take(one.read(payload), payload)
                except PayloadError as error:
                    self.counts.refuse(error, payload)
                    return []
        self.counts.refuse(PayloadError("topic", f"{topic[:120]!r} is not mapped"), payload)
        return []


def open_mqtt_local(sheet: Sheet, intake: Intake) -> MqttLocal:
    """A source from its table. Raises ConfigError."""
    sheet.known(KEYS)
    host, port = sheet.word("host", "127.0.0.1"), sheet.whole("port", 1883, 1, 65535)
    maps = tuple(_topic_map(one, intake) for one in sheet.sheets("map"))
    if not maps:
        sheet.fail("", "no [[source.map]]", "write one for each topic")
    name = sheet.word("name", f"{host}:{port}")
    client_id = sheet.word("client_id", "citywhistle-edge")
    made = MqttLocal(name, host, port, client_id, maps, intake, sheet.truth("policy", True))
    user = sheet.word("user", "")
    if user:
        try:
            password = read_password(Path(sheet.word("password_file"))) if "password_file" in sheet.table else None
        except DeviceError as error:
            sheet.fail("password_file", str(error), "the file holds the password alone")
        made.client.username_pw_set(user, password)
    return made


def _topic_map(sheet: Sheet, intake: Intake) -> TopicMap:
    sheet.known(MAP_KEYS)
    topic, device = sheet.word("topic"), sheet.word("device")
    if not is_filter(topic):
        sheet.fail("topic", f"{topic!r} is no topic filter", 'for example "tele/+/SENSOR"')
    if device not in intake.addresses:
        sheet.fail("device", f"{device!r} is not in [devices]", "write it there with its kind")
    address = intake.addresses[device]
    form = sheet.choice("time_form", "unix_ms", TIME_FORMS)
    fields = read_field_map(sheet.sheet("values"), KINDS[address.kind], sheet.word("time", ""), form)
    return TopicMap(topic, address, fields)


def is_filter(topic: str) -> bool:
    """Whether a text is an MQTT topic filter: wildcards stand alone in their level, # in the last."""
    levels = topic.split("/")
    if not topic or "\0" in topic or len(topic.encode()) > 65535:
        return False
    return all(
        ("#" not in level or (level == "#" and i == len(levels) - 1)) and ("+" not in level or level == "+")
        for i, level in enumerate(levels)
    )
