"""The channels' contract: every entry of CHANNELS, against real servers on loopback that behave badly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.servers import free_port
from twin.channels import CHANNELS
from twin.channels.protocol import Channel, Pace
from twin.errors import DeliveryFailed, SettingsError
from twin.records import Delivery

PAYLOAD = {
    "case": "CW-20260624-000001",
    "at": "2026-06-24T06:00:00.000Z",
    "title": {"en": "lamp out", "zh": "路灯不亮"},
    "text": {"en": "It is dark.", "zh": "灯不亮。"},
    "severity": 3,
    "topic": "city/d1/truck/truck-001/cmd",
    "action": "text",
    "arguments": {"zh": "停车"},
}

# What each channel needs to be sent to 127.0.0.1:port, and an address that is none for it.
SETUPS: dict[str, tuple[dict[str, Any], str, str]] = {
    "webhook": ({}, "http://127.0.0.1:{port}/", "no address"),
    "dingtalk": ({"secret": "SEC1"}, "http://127.0.0.1:{port}/robot/send?access_token=x", "no address"),
    "wecom": ({}, "http://127.0.0.1:{port}/cgi-bin/webhook/send?key=x", "no address"),
    "feishu": ({"secret": "s"}, "http://127.0.0.1:{port}/open-apis/bot/v2/hook/x", "no address"),
    "sms": ({"url": "http://127.0.0.1:{port}/send"}, "+8613800000000", "not a number"),
    "voice": ({"url": "http://127.0.0.1:{port}/call"}, "+8613800000000", "not a number"),
    "mail": ({"host": "127.0.0.1", "port": 0, "tls": "none"}, "duty@example.org", "nobody"),
    "mqtt": ({"host": "127.0.0.1", "port": 0}, "truck-001", ""),
}

HALVES: dict[str, bytes] = {"mail": b"220 he", "mqtt": b"\x20"}
HALF_HTTP = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhalf"


def opened(name: str, port: int) -> tuple[Channel, Delivery]:
    """The channel, and a delivery to that port."""
    told, address, _ = SETUPS[name]
    config = {k: v.format(port=port) if isinstance(v, str) else v for k, v in told.items()} | {"timeout_s": 0.4}
    if "port" in config:
        config["port"] = port
    key = f"CW-20260624-000001:dispatch:1:{name}"
    return CHANNELS[name](config), Delivery(
        key, "CW-20260624-000001", name, address.format(port=port), "dispatch", PAYLOAD
    )


@asynccontextmanager
async def rude(said: bytes | None) -> AsyncIterator[int]:
    """A server that answers a connection by some bytes and hangs up; with None it says nothing for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if said is None:
                await reader.read(-1)
            else:
                await reader.read(1 if said.startswith(b"HTTP") or said == b"\x20" else 0)
                writer.write(said)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def test_every_channel_is_tested_here() -> None:
    """A new entry of the table needs its line in SETUPS."""
    assert set(SETUPS) == set(CHANNELS)


@pytest.mark.parametrize("name", CHANNELS)
async def test_nobody_there_silence_and_half_answers_may_be_retried(name: str) -> None:
    """A closed port, a server that never answers and one that hangs up: failures, in bounded time, never success."""
    channel, delivery = opened(name, free_port())
    with pytest.raises(DeliveryFailed) as failed:
        await channel.send(delivery)
    await channel.close()
    assert failed.value.retry
    assert str(failed.value)
    for said in (None, HALVES.get(name, HALF_HTTP)):
        async with rude(said) as port, asyncio.timeout(10):
            channel, delivery = opened(name, port)
            with pytest.raises(DeliveryFailed) as failed:
                await channel.send(delivery)
            assert failed.value.retry
            await channel.close()
            await channel.close()


@pytest.mark.parametrize("name", CHANNELS)
async def test_a_wrong_address_is_for_good(name: str) -> None:
    """What can never work is not tried again."""
    channel, delivery = opened(name, free_port())
    payload = PAYLOAD | {"topic": "city/d1/truck/truck-001/telemetry"}
    wrong = Delivery(delivery.key, delivery.case, name, SETUPS[name][2], "dispatch", payload)
    with pytest.raises(DeliveryFailed) as failed:
        await channel.send(wrong)
    await channel.close()
    assert not failed.value.retry


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("told", [{"nonsense": 1}, {"timeout_s": "soon"}, {"timeout_s": -1}])
def test_a_wrong_configuration_is_refused(name: str, told: dict[str, Any]) -> None:
    """Unknown keys and impossible values are SettingsErrors that name channel and key."""
    with pytest.raises(SettingsError, match=f"channel {name}: .*{next(iter(told))}"):
        CHANNELS[name](told)


@pytest.mark.parametrize("name", CHANNELS)
async def test_a_channel_opens_without_a_table_and_has_a_pace(name: str) -> None:
    """Defaults are enough to be opened (nothing is connected), and the pace is one that lets something through."""
    channel = CHANNELS[name]({})
    assert isinstance(channel.pace, Pace)
    assert channel.pace.per_s > 0
    assert min(channel.pace.burst, channel.pace.parallel) >= 1
    await channel.close()
