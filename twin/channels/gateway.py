"""SMS and voice calls over an operator's HTTP gateway, by template: for people who use no app.

[channels.sms]
url = "https://gateway.example/send"          # placeholders as below may stand in url, headers and body
body = '{"phone": "{to}", "text": "{text}", "ref": "{key}"}'
ok = '"code":0'                                # what a successful answer holds; '' = any 2xx
Placeholders: {to} number, {text} message, {key} idempotency key; in a JSON body they are escaped as JSON strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from twin.channels.http import Poster
from twin.channels.protocol import Options, Pace
from twin.channels.text import answer_line, cut, headline, lines, zone
from twin.errors import DeliveryFailed, SettingsError
from twin.records import Delivery

NUMBER = re.compile(r"\+?[0-9]{3,15}\Z")
PLACEHOLDER = re.compile(r"\{(to|text|key)\}")


def fill(template: str, values: Mapping[str, str], escape: Callable[[str], str]) -> str:
    """A template with its placeholders filled, each value escaped for where it stands."""
    return PLACEHOLDER.sub(lambda found: escape(values[found[1]]), template)


class Gateway:
    """An SMS or voice gateway."""

    name = "sms"
    longest_bytes = 600  # about four concatenated messages

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Keys: url, body, content_type, headers, method, ok, to, language, timezone, timeout_s, proxy."""
        options = Options(self.name, told)
        self._url = options.text("url", "")
        self._body = options.text("body", '{"to": "{to}", "text": "{text}", "id": "{key}"}')
        self._type = options.text("content_type", "application/json")
        self._method = options.choice("method", "POST", "PUT")
        self._ok = options.text("ok", "")
        self._to = options.text("to", "")
        self._language = options.choice("language", "zh", "en")
        self._zone = zone(options.text("timezone", "Asia/Shanghai"))
        self._post = Poster(options.number("timeout_s", 10, 0.05, 120), options.url("proxy", ""))
        self._headers = {str(k): str(v) for k, v in options.table("headers").items()}
        options.done()
        if "{text}" not in self._url + self._body:
            raise SettingsError(f"channel {self.name}: body (or url) must hold {{text}}")
        self.pace = Pace(per_s=1, burst=10, parallel=1, by_address=False)

    async def send(self, delivery: Delivery) -> str:
        number = (delivery.address.removeprefix("tel:") or self._to).replace(" ", "").replace("-", "")
        if not NUMBER.match(number):
            raise DeliveryFailed(f"not a telephone number: {number[:20]!r}", retry=False)
        if not self._url:
            raise DeliveryFailed(f"[channels.{self.name}] names no url", retry=False)
        values = {"to": number, "text": self._text(delivery), "key": delivery.key}
        escape = (lambda v: json.dumps(v, ensure_ascii=False)[1:-1]) if "json" in self._type else _quoted
        url = fill(self._url, values, _quoted)
        body = fill(self._body, values, escape).encode()
        reply = await self._post.post(url, body, self._headers | {"content-type": self._type}, self._method)
        if self._ok and self._ok.encode() not in reply.body:
            raise DeliveryFailed(f"the gateway did not say {self._ok!r}: {reply.detail}")
        return reply.detail

    async def close(self) -> None:
        await self._post.close()

    def _text(self, delivery: Delivery) -> str:
        payload, purpose = delivery.payload, delivery.purpose
        head, answer = headline(payload, purpose, self._language), answer_line(payload, self._language)
        told = [head, *([answer] if answer else []), *lines(payload, self._language, self._zone)]
        return cut("\n".join(told), self.longest_bytes)


class Voice(Gateway):
    """A call that speaks one sentence: plain and slow, nothing that must be read twice."""

    name = "voice"
    longest_bytes = 300

    def _text(self, delivery: Delivery) -> str:
        head = headline(delivery.payload, delivery.purpose, self._language)
        told = delivery.payload.get("text")
        sentence = str(told.get(self._language) or "") if isinstance(told, Mapping) else ""
        full_stop = "。" if self._language == "zh" else ". "
        return cut(f"{head}{full_stop}{sentence}", self.longest_bytes)


def _quoted(value: str) -> str:
    return quote(value, safe="")
