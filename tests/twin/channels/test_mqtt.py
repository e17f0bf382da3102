"""Commands over a real Mosquitto: on the device's topic, never retained, again after the broker was away."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import aiomqtt
import pytest

from tests.broker import TestBroker
from twin.channels.mqtt import Mqtt
from twin.errors import DeliveryFailed
from twin.records import Delivery

pytestmark = pytest.mark.broker

DELIVERY = Delivery(
    "CW-1:command:2:mqtt", "CW-1", "mqtt", "truck-001", "command",
    {"topic": "city/d1/truck/truck-001/cmd", "action": "text",
     "arguments": {"zh": "停车", "en": "stop", "id": "forged"}},
)  # fmt: skip


def channel(broker: TestBroker) -> Mqtt:
    """A channel to that broker."""
    return Mqtt({"host": broker.host, "port": broker.port, "timeout_s": 3})


async def test_a_command_reaches_the_device_once_and_is_not_kept(broker: TestBroker) -> None:
    """QoS 1 on the cmd topic, flat JSON with the key as id, no retained copy for whoever comes later."""
    async with aiomqtt.Client(broker.host, broker.port) as device:
        await device.subscribe("city/d1/truck/truck-001/cmd", qos=1)
        sender = channel(broker)
        assert await sender.send(DELIVERY) == "taken by the broker"
        async with asyncio.timeout(10):
            message = await anext(aiter(device.messages))
        await sender.send(replace(DELIVERY, key="CW-2:command:1:mqtt"))
        await sender.close()
    assert json.loads(message.payload) == {"id": DELIVERY.key, "action": "text", "zh": "停车", "en": "stop"}
    assert message.qos == 1
    async with aiomqtt.Client(broker.host, broker.port) as late:
        await late.subscribe("city/#", qos=1)
        await late.publish("city/end", b"x", qos=1)
        async with asyncio.timeout(10):
            first = await anext(aiter(late.messages))
    assert str(first.topic) == "city/end"


async def test_a_broker_that_goes_and_comes_back(broker: TestBroker) -> None:
    """While it is away sending fails and may be retried; when it is back the same channel works again."""
    sender = channel(broker)
    await sender.send(DELIVERY)
    broker.kill()
    with pytest.raises(DeliveryFailed) as failed:
        await sender.send(DELIVERY)
    assert failed.value.retry
    broker.start()
    assert await sender.send(DELIVERY) == "taken by the broker"
    await sender.close()


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"topic": "city/d1/truck/t/cmd"},
        {"topic": "city/#", "action": "x"},
        {"topic": "city/d1/truck/t/cmd", "action": "x", "arguments": {"zh": "长" * 9000}},
    ],
)
async def test_what_is_no_command_is_refused_for_good(payload: dict[str, object]) -> None:
    """Wildcards, other leaves, no action, too long: never published, never retried."""
    sender = Mqtt({})
    with pytest.raises(DeliveryFailed) as failed:
        await sender.send(replace(DELIVERY, payload=payload))
    assert not failed.value.retry
