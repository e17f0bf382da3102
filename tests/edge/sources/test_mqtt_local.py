"""The local broker as a source, against a real Mosquitto: mapped, acknowledged when durable, back by itself."""

from __future__ import annotations

import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from devices.sender import Address
from edge.errors import ConfigError
from edge.sheet import Sheet
from edge.sources.intake import Intake, Taken
from edge.sources.mqtt_local import MqttLocal, is_filter, open_mqtt_local
from tests.broker import TestBroker

POLES = {name: Address("d1", "pole", name) for name in ("pole-1", "pole-2")}
MAPS = """
[[source.map]]
topic = "tele/lamp-1/SENSOR"
device = "pole-1"
[[source.map]]
topic = "probe/+/temp"
device = "pole-2"
[source.map.values]
"" = { quantity = "temperature", unit = "degF" }
[[source.map]]
topic = "nested"
device = "pole-2"
time = "at"
time_form = "iso"
[source.map.values]
"air.dust.fine" = "pm25"
"""


def until(what: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own."""
    end_s, pause = time.monotonic() + 15, threading.Event()
    while not what():
        assert time.monotonic() < end_s, "waited in vain"
        pause.wait(0.01)


def source_of(text: str, intake: Intake) -> MqttLocal:
    table = tomllib.loads(text)
    return open_mqtt_local(Sheet("edge.toml", text, table["source"][0], ("source", 0)), intake)


def local(broker: TestBroker, intake: Intake, maps: str = MAPS) -> MqttLocal:
    return source_of(f'[[source]]\ntype = "mqtt_local"\nhost = "{broker.host}"\nport = {broker.port}\n{maps}', intake)


@contextmanager
def running(source: MqttLocal, intake: Intake) -> Iterator[MqttLocal]:
    source.start()
    try:
        yield source
    finally:
        intake.stopping.set()
        source.stop()
        source.close()


@contextmanager
def sensor(broker: TestBroker) -> Iterator[mqtt.Client]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="sensor")
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(client: mqtt.Client, topic: str, payload: str | bytes, qos: int = 1) -> None:
    client.publish(topic, payload, qos).wait_for_publish(10)


def take(intake: Intake) -> Taken:
    taken = intake.take(10)
    assert taken is not None
    return taken


@pytest.mark.broker
def test_messages_become_readings_by_the_mapping(broker: TestBroker) -> None:
    """Tasmota's form, a bare number with a unit, a nested field with its time; what is malformed is counted."""
    intake = Intake(POLES)
    with running(local(broker, intake), intake) as source, sensor(broker) as client:
        until(lambda: source.problem == "")
        publish(client, "tele/lamp-1/SENSOR", '{"Time":"2026-03-01T20:00:30","ENERGY":{"Power":85}}')
        (lamp,) = take(intake).readings
        for bad in ('{"Time":', '{"Time":"x","ENERGY":{"Power":"much"}}', b"\xff\xff"):
            publish(client, "tele/lamp-1/SENSOR", bad)
        publish(client, "probe/7/temp", "not a number")
        publish(client, "probe/7/temp", "68")
        (air,) = take(intake).readings
        publish(client, "nested", '{"at":"2026-03-01T20:00:30+08:00","air":{"dust":{"fine":12}}}')
        (dust,) = take(intake).readings
    assert (lamp.device, lamp.t_ms, dict(lamp.values)) == ("pole-1", None, {"powerConsumption": 85.0})
    assert air.device == "pole-2"
    assert air.values["temperature"] == pytest.approx(20.0)
    assert (dust.t_ms, dict(dust.values)) == (1_772_366_430_000, {"pm25": 12.0})
    assert dict(source.counts.refused) == {"syntax": 2, "type": 2}
    assert source.counts.pieces == 7


@pytest.mark.broker
def test_the_broker_keeps_a_message_until_it_is_durable(broker: TestBroker) -> None:
    """A gateway that dies before the reading is on disk gets the message again; after the acknowledgement not."""
    first = Intake(POLES)
    with running(local(broker, first), first) as source, sensor(broker) as client:
        until(lambda: source.problem == "")
        publish(client, "probe/1/temp", "50")
        take(first)  # and never acknowledged
    second = Intake(POLES)
    with running(local(broker, second), second):
        taken = take(second)
        assert taken.acknowledge is not None
        assert taken.readings[0].values["temperature"] == pytest.approx(10.0)
        taken.acknowledge()
    third = Intake(POLES)
    with running(local(broker, third), third) as source, sensor(broker) as client:
        until(lambda: source.problem == "")
        publish(client, "probe/1/temp", "68")
        assert take(third).readings[0].values["temperature"] == pytest.approx(20.0)
        assert source.counts.pieces == 1


@pytest.mark.broker
def test_a_broker_that_goes_and_comes_is_found_again_without_doubling(broker: TestBroker) -> None:
    """What was handed over before the connection broke is not handed over again, and is acknowledged later."""
    intake = Intake(POLES)
    with running(local(broker, intake), intake) as source:
        until(lambda: source.problem == "")
        with sensor(broker) as client:
            publish(client, "probe/1/temp", "50")
        held = take(intake)
        broker.stop()
        until(lambda: source.problem != "")
        assert held.acknowledge is not None
        held.acknowledge()  # durable while there is nobody to tell
        broker.start()
        until(lambda: source.problem == "")
        with sensor(broker) as client:
            publish(client, "probe/1/temp", "68")
        assert take(intake).readings[0].values["temperature"] == pytest.approx(20.0)
        assert source.counts.pieces == 2


@pytest.mark.broker
def test_a_stopping_gateway_leaves_new_messages_with_the_broker(broker: TestBroker) -> None:
    """Between `stop` and `close` nothing is taken in, but what was taken can still be acknowledged."""
    intake = Intake(POLES)
    source = local(broker, intake)
    source.start()
    with sensor(broker) as client:
        until(lambda: source.problem == "")
        publish(client, "probe/1/temp", "50")
        held = take(intake)
        source.stop()
        publish(client, "probe/1/temp", "68")
        assert held.acknowledge is not None
        held.acknowledge()
        source.close()
    later = Intake(POLES)
    with running(local(broker, later), later) as source:
        assert take(later).readings[0].values["temperature"] == pytest.approx(20.0)
        assert source.counts.pieces == 1


def test_a_broker_out_of_reach_is_said() -> None:
    """A port where nobody listens ends in a readable problem, and the source keeps trying."""
    intake = Intake(POLES)
    source = source_of(f'[[source]]\ntype = "mqtt_local"\nport = 1\n{MAPS}', intake)
    with running(source, intake):
        until(lambda: "out of reach" in source.problem)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "no .*map"),
        ('port = 0\n[[source.map]]\ntopic = "a"\ndevice = "pole-1"', 3, "within 1..65535"),
        ('[[source.map]]\ntopic = "a/#/b"\ndevice = "pole-1"', 4, "no topic filter"),
        ('[[source.map]]\ntopic = "a"\ndevice = "pole-1"\n[[source.map]]\ntopic = "b"\ndevice = "pole-9"', 8, "not in"),
        ('user = "u"\npassword_file = "/nowhere"\n[[source.map]]\ntopic = "a"\ndevice = "pole-1"', 4, "no password"),
    ],
)
def test_a_wrong_table_names_its_line(text: str, line: int, said: str) -> None:
    """What cannot work is refused before the gateway runs, with file and line."""
    with pytest.raises(ConfigError, match=rf"^edge\.toml:{line}: .*{said}"):
        source_of(f'[[source]]\ntype = "mqtt_local"\n{text}', Intake(POLES))


def test_topic_filters() -> None:
    """Wildcards stand alone in their level, # in the last."""
    assert all(map(is_filter, ("a", "a/b", "+", "#", "a/+/b", "a/#", "/a")))
    assert not any(map(is_filter, ("", "a#", "#/a", "a+/b", "a\0")))
