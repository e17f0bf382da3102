"""Every channel that speaks HTTP against the same bad receivers: dripping, cut off, lying, of another authority."""

from __future__ import annotations

import ssl
import time
from dataclasses import replace

import pytest
import trustme

from twin.channels import CHANNELS
from twin.channels.protocol import Channel
from twin.errors import DeliveryFailed

from .servers import Answer, http_server
from .test_robots import DELIVERY

HTTP = ("webhook", "dingtalk", "wecom", "feishu", "sms", "voice")
GOOD = b'{"errcode":0,"code":0,"errmsg":"ok"}'


def open_one(name: str, url: str, timeout_s: float = 5) -> Channel:
    """A channel of that name to that address."""
    return CHANNELS[name](
        {"url": url, "timeout_s": timeout_s} | ({"ok": '"code":0'} if name in ("sms", "voice") else {})
    )


async def failure(channel: Channel) -> DeliveryFailed:
    """What one attempt fails with."""
    to = "13800000000" if channel.__class__.__name__ in ("Gateway", "Voice") else ""
    try:
        with pytest.raises(DeliveryFailed) as failed:
            await channel.send(replace(DELIVERY, address=to))
    finally:
        await channel.close()
    return failed.value


@pytest.mark.parametrize("name", HTTP)
async def test_slow_half_and_silent_answers_are_failures_in_time(name: str) -> None:
    """A byte at a time, half a body, nothing: tried again later, and never taken for a success that half of it says."""
    for answer in (Answer(200, GOOD, drip=0.05), Answer(200, GOOD + b" " * 100, half=40), Answer(mute=True)):
        async with http_server(lambda _, a=answer: a) as server:
            began = time.monotonic()
            assert (await failure(open_one(name, server.url, 1.0))).retry
            assert time.monotonic() - began < 10


@pytest.mark.parametrize("name", HTTP)
async def test_another_authoritys_certificate_and_another_name_are_refused(name: str) -> None:
    """A receiver that cannot prove who it is gets nothing: not a word of the case reaches it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    async with http_server(secure=context) as server:
        why = await failure(open_one(name, server.url))
    assert why.retry
    assert "certificate" in str(why).lower()
    assert server.requests == []


@pytest.mark.parametrize("name", HTTP)
async def test_a_rate_limit_says_when_to_come_again(name: str) -> None:
    """429 with Retry-After is kept to by each of them; a redirect is followed by none."""
    async with http_server(lambda _: Answer(429, b"slow down", {"retry-after": "33"})) as server:
        why = await failure(open_one(name, server.url))
        assert (why.retry, why.after_s) == (True, 33)
    async with http_server(lambda _: Answer(302, b"", {"location": "http://127.0.0.1:1/"})) as server:
        assert not (await failure(open_one(name, server.url))).retry
        assert len(server.requests) == 1
