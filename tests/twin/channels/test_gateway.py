"""SMS and voice over an HTTP gateway: templates filled safely, the gateway's own word for success asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twin.channels.gateway import Gateway, Voice
from twin.errors import DeliveryFailed, SettingsError

from .servers import Answer, http_server
from .test_robots import DELIVERY, PAYLOAD

SMS = replace(DELIVERY, address="tel:+86 138-0000-0000")


async def test_a_template_is_filled_and_escaped() -> None:
    """Quotes and line ends in a text cannot break out of the JSON body or the URL."""
    payload = PAYLOAD | {"text": {"zh": '他说"停"\n完'}}
    async with http_server(lambda _: Answer(200, b'{"code":0}')) as server:
        channel = Gateway(
            {
                "url": f"http://127.0.0.1:{server.port}/send?ref={{key}}",
                "body": '{"phone": "{to}", "text": "{text}"}',
                "ok": '"code":0',
                "headers": {"authorization": "Bearer x"},
            }
        )
        await channel.send(replace(SMS, payload=payload))
        await channel.close()
    (request,) = server.requests
    assert request.path == "/send?ref=CW-20260624-000001%3Adispatch%3A1%3Ax"
    assert request.headers["authorization"] == "Bearer x"
    assert request.json["phone"] == "+8613800000000"
    assert '他说"停"\n完' in request.json["text"]
    assert len(request.json["text"].encode()) <= 600


async def test_a_form_body_is_escaped_as_a_form() -> None:
    """The content type decides how values are escaped."""
    async with http_server() as server:
        channel = Gateway(
            {"url": server.url, "body": "to={to}&m={text}", "content_type": "application/x-www-form-urlencoded"}
        )
        await channel.send(SMS)
        await channel.close()
    assert server.requests[0].body.startswith(b"to=%2B8613800000000&m=%E3%80%90")


async def test_a_200_without_the_word_for_success_is_none() -> None:
    """Gateways answer 200 to everything; only what the city says means success counts."""
    async with http_server(lambda _: Answer(200, b'{"code":7,"msg":"balance"}')) as server:
        channel = Gateway({"url": server.url, "ok": '"code":0'})
        with pytest.raises(DeliveryFailed, match="balance") as failed:
            await channel.send(SMS)
        await channel.close()
    assert failed.value.retry


async def test_a_call_speaks_one_plain_sentence() -> None:
    """Voice gets headline and sentence, in one language, nothing else."""
    async with http_server() as server:
        channel = Voice({"url": server.url})
        await channel.send(SMS)
        await channel.close()
    assert server.requests[0].json["text"] == "【紧急】新哨单：路灯不亮。3号灯杆不亮。"


def test_a_template_without_its_text_is_refused() -> None:
    """A gateway that would send empty messages is a mistake in the configuration."""
    with pytest.raises(SettingsError, match="text"):
        Gateway({"url": "http://h/", "body": "{}"})
