"""The full city at a real Mosquitto: five hundred credentials, and none of them speaks for what is not its own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from devices.places import Device
from devices.topics import UPWARD, Topic
from tests.broker import guarded_broker
from tests.twin.broker.talk import talk
from twin.broker.access import accounts
from twin.broker.provision import provision, read_credentials
from twin.survey.synth import Plan, synthesise

NOT_AUTHORIZED = 0x87
FOREIGN = 6  # devices of others that each credential tries


@pytest.mark.broker
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_no_credential_of_the_full_city_writes_for_another(tmp_path: Path) -> None:
    """Every gateway of 76,000 devices is let in, may write for some of its own, and for nobody else's on any leaf; what
    was refused arrives nowhere."""
    city = synthesise(Plan(), tmp_path / "city")
    told = accounts(city.devices)
    gateways = [account for account in told if account.role == "gateway"]
    assert 400 <= len(gateways) <= 500
    assert not [account for account in told if account.role == "device"]
    spoken_for = {device.id for account in gateways for device in account.devices} | {one.user for one in gateways}
    assert spoken_for == {device.id for device in city.devices}
    words = read_credentials(provision(city.devices, tmp_path / "broker").files)
    draw = random.Random(1)
    sent: set[str] = set()
    with (
        guarded_broker(tmp_path / "broker") as running,
        talk((running.host, running.port), "monitor", words["monitor"]) as ear,
    ):
        ear.subscribe("city/#")
        for account in gateways:
            own = {device.id for device in account.devices} | {account.user}
            with talk((running.host, running.port), account.user, words[account.user]) as one:
                for device in draw.sample(account.devices, min(2, len(account.devices))):
                    topic = topic_of(device, "telemetry")
                    assert one.publish(topic, "{}") in (0, 0x10), topic
                    sent.add(topic)
                others = [device for device in draw.sample(city.devices, FOREIGN * 2) if device.id not in own][:FOREIGN]
                for device in others:
                    topic = topic_of(device, draw.choice(UPWARD))
                    assert one.publish(topic, "{}") == NOT_AUTHORIZED, (account.user, topic)
        heard = set()
        while not sent <= heard:
            topic, _ = ear.next()
            heard.add(topic)
        assert heard == sent


def topic_of(device: Device, leaf: str) -> str:
    """Where a device speaks."""
    return str(Topic(device.district, device.kind, device.id, leaf))  # type: ignore[arg-type]
