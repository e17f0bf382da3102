"""Webhook: one CloudEvents 1.0 event a POST, signed by HMAC-SHA256 as Standard Webhooks describes.

structured mode:  content-type: application/cloudevents+json   body {"specversion", "id", "source", "type", ..., "data"}
binary mode:      ce-id, ce-source, ce-type, ce-subject, ce-time as headers, the payload alone as body
signature:        webhook-id, webhook-timestamp (seconds), webhook-signature: v1,<base64 HMAC-SHA256 of
                  "<id>.<timestamp>.<body>">; the id is the event's and the idempotency key
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from twin.channels.http import Poster
from twin.channels.protocol import Options, Pace
from twin.errors import DeliveryFailed
from twin.records import Delivery

TYPE = "citywhistle.case"  # event types are citywhistle.case.<purpose>.v1


def event_of(delivery: Delivery, source: str) -> dict[str, Any]:
    """The delivery as a CloudEvents 1.0 event; the same one however often it is sent."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": delivery.key,
        "source": source,
        "type": f"{TYPE}.{delivery.purpose}.v1",
        "datacontenttype": "application/json",
    }
    if delivery.case:
        event["subject"] = delivery.case
    if isinstance(delivery.payload.get("at"), str):
        event["time"] = delivery.payload["at"]
    return event | {"data": dict(delivery.payload)}


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:  # noqa: A002 - the standard's own word
    """The value of webhook-signature for a body."""
    mac = hmac.new(secret.encode(), f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


class Webhook:
    """Posts events to the department's URL, or to the configured one where it names none."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Keys: url, secret, mode (structured | binary), source, timeout_s, proxy. Raises SettingsError."""
        options = Options("webhook", told)
        self._url = options.url("url", "")
        self._secret = options.text("secret", "")
        self._mode = options.choice("mode", "structured", "binary")
        self._source = options.text("source", "/citywhistle")
        self._post = Poster(options.number("timeout_s", 10, 0.05, 120), options.url("proxy", ""))
        options.done()
        self.pace = Pace(per_s=20, burst=100, parallel=8, by_address=True)

    async def send(self, delivery: Delivery) -> str:
        url = delivery.address or self._url
        if not url:
            raise DeliveryFailed("no address: neither the department nor [whistle] webhook_url names one", retry=False)
        event = event_of(delivery, self._source)
        if self._mode == "structured":
            body = _json(event)
            headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
        else:
            body = _json(event.pop("data"))
            headers = {
                f"ce-{k}": quote(v, safe=" !#$&'()*+,/:;=?@[]") for k, v in event.items() if k != "datacontenttype"
            }
            headers["content-type"] = "application/json"
        if self._secret:
            now_s = int(time.time())
            headers |= {
                "webhook-id": delivery.key,
                "webhook-timestamp": str(now_s),
                "webhook-signature": signature(self._secret, delivery.key, now_s, body),
            }
        headers |= {"idempotency-key": delivery.key, "user-agent": "citywhistle"}
        return (await self._post.post(url, body, headers)).detail

    async def close(self) -> None:
        await self._post.close()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
