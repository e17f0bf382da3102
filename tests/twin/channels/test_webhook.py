"""The webhook against a real HTTP server: CloudEvents, signature, refusals, slowness, half answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.servers import free_port
from twin.channels.http import LARGEST_ANSWER, Poster
from twin.channels.webhook import Webhook
from twin.errors import DeliveryFailed, SettingsError
from twin.records import Delivery

from .servers import Answer, http_server

DELIVERY = Delivery(
    "CW-20260624-000001:dispatch:1:webhook", "CW-20260624-000001", "webhook", "", "dispatch",
    {"at": "2026-06-24T06:00:00.000Z", "case": "CW-20260624-000001", "text": {"zh": "路灯不亮"}},
)  # fmt: skip


async def test_structured_event_is_what_cloudevents_asks_for() -> None:
    """One POST holds the whole event, its id is the idempotency key, Chinese survives."""
    async with http_server() as server:
        channel = Webhook({"url": server.url})
        assert await channel.send(DELIVERY) == "202 kept"
        await channel.close()
    (request,) = server.requests
    assert request.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert request.headers["idempotency-key"] == DELIVERY.key
    assert request.json == {
        "specversion": "1.0",
        "id": DELIVERY.key,
        "source": "/citywhistle",
        "type": "citywhistle.case.dispatch.v1",
        "datacontenttype": "application/json",
        "subject": "CW-20260624-000001",
        "time": "2026-06-24T06:00:00.000Z",
        "data": DELIVERY.payload,
    }


async def test_binary_event_has_its_attributes_in_headers() -> None:
    """In binary mode the body is the payload alone."""
    async with http_server() as server:
        channel = Webhook({"url": server.url, "mode": "binary"})
        await channel.send(DELIVERY)
        await channel.close()
    (request,) = server.requests
    assert request.json == DELIVERY.payload
    assert request.headers["ce-id"] == DELIVERY.key
    assert request.headers["ce-type"] == "citywhistle.case.dispatch.v1"
    assert request.headers["content-type"] == "application/json"


async def test_the_signature_can_be_checked_by_the_receiver() -> None:
    """HMAC-SHA256 over id, timestamp and body, as Standard Webhooks describes."""
    async with http_server() as server:
        channel = Webhook({"url": server.url, "secret": "s3cret"})
        await channel.send(DELIVERY)
        await channel.close()
    (request,) = server.requests
    stamp = request.headers["webhook-timestamp"]
    signed = f"{request.headers['webhook-id']}.{stamp}.".encode() + request.body
    mac = hmac.new(b"s3cret", signed, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    assert abs(int(stamp) - datetime.now(UTC).timestamp()) < 60


@pytest.mark.parametrize(
    ("status", "retry"),
    [(400, False), (401, False), (404, False), (410, False), (301, False),
     (408, True), (425, True), (429, True), (500, True), (503, True)],
)  # fmt: skip
async def test_refusals_say_whether_another_attempt_makes_sense(status: int, retry: bool) -> None:
    """A wrong request stays wrong; an overloaded server may be better later."""
    async with http_server(lambda _: Answer(status, b"no", {"retry-after": "7", "location": "/x"})) as server:
        channel = Webhook({"url": server.url})
        with pytest.raises(DeliveryFailed, match=f"{status} no") as refused:
            await channel.send(DELIVERY)
        await channel.close()
    assert refused.value.retry is retry
    assert refused.value.after_s == (7 if retry else None)
    assert len(server.requests) == 1


async def test_retry_after_as_a_date_and_as_nonsense() -> None:
    """A date is turned into seconds, at most an hour; what is neither is left out."""
    soon = format_datetime(datetime.now(UTC) + timedelta(days=2))
    for text, expected in ((soon, 3600.0), ("later", None), ("Wed, 99 Foo", None)):
        async with http_server(lambda _, t=text: Answer(503, b"", {"retry-after": t})) as server:
            channel = Webhook({"url": server.url})
            with pytest.raises(DeliveryFailed) as refused:
                await channel.send(DELIVERY)
            await channel.close()
        assert refused.value.after_s == expected


async def test_silence_half_answers_and_nobody_there_are_failures() -> None:
    """No answer in time, a cut answer, a closed port: each is a failure that may be retried, never a success."""
    for answer in (Answer(mute=True), Answer(202, b"x" * 100, half=10)):
        async with http_server(lambda _, a=answer: a) as server:
            channel = Webhook({"url": server.url, "timeout_s": 0.3})
            with pytest.raises(DeliveryFailed) as failed:
                await channel.send(DELIVERY)
            await channel.close()
            assert failed.value.retry
    channel = Webhook({"url": f"http://127.0.0.1:{free_port()}/"})
    with pytest.raises(DeliveryFailed) as failed:
        await channel.send(DELIVERY)
    await channel.close()
    assert failed.value.retry


async def test_an_endless_answer_is_read_to_a_bound() -> None:
    """The body is read up to its limit and no further."""
    async with http_server(lambda _: Answer(200, b"y" * (4 * LARGEST_ANSWER))) as server:
        post = Poster(5)
        reply = await post.post(server.url, b"{}", {})
        await post.close()
    assert len(reply.body) == LARGEST_ANSWER


@pytest.mark.parametrize("address", ["", "ftp://x/y", "http://", "http://u:p@h/", "http://[::1", "http://h:99999/"])
async def test_a_wrong_address_is_not_tried_again(address: str) -> None:
    """An address that is no http URL fails at once and for good."""
    channel = Webhook({})
    delivery = Delivery("k", "c", "webhook", address, "dispatch", {})
    with pytest.raises(DeliveryFailed) as failed:
        await channel.send(delivery)
    assert not failed.value.retry


@pytest.mark.parametrize(
    "told", [{"url": "nonsense"}, {"urll": "http://x"}, {"mode": "loud"}, {"timeout_s": 0}, {"secret": 5}]
)
def test_a_wrong_configuration_is_named(told: dict[str, object]) -> None:
    """Unknown keys and impossible values are errors before anything is sent."""
    with pytest.raises(SettingsError, match="channel webhook"):
        Webhook(told)
