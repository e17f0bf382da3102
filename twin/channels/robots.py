"""Group robots of DingTalk, WeCom and Feishu: signed as their makers document, within their rate limits.

DingTalk: ?timestamp=<ms>&sign=<base64 HMAC-SHA256(secret, "<ms>\\n<secret>")>; 20 messages a minute and robot
WeCom:    the key in the URL is the secret; 20 a minute; markdown of at most 4,096 bytes
Feishu:   "timestamp" (s) and "sign" = base64 HMAC-SHA256(key "<s>\\n<secret>", "") in the body; 100 a minute
All three answer 200 with a code of their own; only code 0 is a success.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from twin.channels.http import Poster
from twin.channels.protocol import Options, Pace
from twin.channels.text import cut, write, zone
from twin.errors import DeliveryFailed
from twin.records import Delivery

# Codes of a robot that is asked too much or busy: later it may do. Anything else is wrong for good.
LATER: dict[str, frozenset[int]] = {
    "dingtalk": frozenset({-1, 130101, 410100}),
    "wecom": frozenset({-1, 45009, 45033}),
    "feishu": frozenset({9499, 11232, 11233}),
}
PAUSE_S = 60.0  # the makers count by the minute


def _hmac(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def dingtalk_url(url: str, secret: str, now_ms: int) -> str:
    """The robot's URL with timestamp and signature."""
    query = urlencode({"timestamp": str(now_ms), "sign": _hmac(secret, f"{now_ms}\n{secret}")})
    return f"{url}{'&' if '?' in url else '?'}{query}"


def feishu_sign(secret: str, now_s: int) -> str:
    """Feishu's signature: the text to sign is the key, and what is signed is empty."""
    return _hmac(f"{now_s}\n{secret}", "")


class Robot:
    """What the three have in common."""

    name = ""
    pace = Pace(per_s=20 / 60, burst=18, parallel=1, by_address=True)

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Keys: url, secret, language (both | zh | en), timezone, timeout_s, proxy. Raises SettingsError."""
        options = Options(self.name, told)
        self._url, self._secret = options.url("url", ""), options.text("secret", "")
        self._language = options.choice("language", "both", "zh", "en")
        self._zone = zone(options.text("timezone", "Asia/Shanghai"))
        self._post = Poster(options.number("timeout_s", 10, 0.05, 120), options.url("proxy", ""))
        options.done()

    async def send(self, delivery: Delivery) -> str:
        url = delivery.address or self._url
        if not url:
            raise DeliveryFailed(
                f"no address: neither the department nor [channels.{self.name}] names a url", retry=False
            )
        head, text = write(delivery.payload, delivery.purpose, self._language, self._zone)
        where, told = self.request(url, head, text)
        body = json.dumps(told, ensure_ascii=False).encode()
        reply = await self._post.post(where, body, {"content-type": "application/json; charset=utf-8"})
        return self._judge(reply.body)

    async def close(self) -> None:
        await self._post.close()

    def request(self, url: str, head: str, text: str) -> tuple[str, dict[str, Any]]:
        """URL and body of this maker's robot."""
        raise NotImplementedError

    def _judge(self, body: bytes) -> str:
        try:
            told = json.loads(body)
            code = int(told.get("errcode", told.get("code", told.get("StatusCode", -999))))
        except (ValueError, TypeError, AttributeError) as error:
            raise DeliveryFailed(f"the robot's answer is not its JSON: {body[:80]!r}") from error
        said = str(told.get("errmsg", told.get("msg", "")))[:200]
        if code == 0:
            return f"0 {said}".strip()
        later = code in LATER[self.name]
        raise DeliveryFailed(f"{code} {said}".strip(), retry=later, after_s=PAUSE_S if later else None)


class DingTalk(Robot):
    """DingTalk (钉钉) custom robot."""

    name = "dingtalk"

    def request(self, url: str, head: str, text: str) -> tuple[str, dict[str, Any]]:
        shown = "### " + head + "\n\n" + text.replace("\n", "  \n")
        told = {"msgtype": "markdown", "markdown": {"title": cut(head, 200), "text": cut(shown, 18_000)}}
        return (dingtalk_url(url, self._secret, time.time_ns() // 1_000_000) if self._secret else url), told


class WeCom(Robot):
    """WeCom (企业微信) group robot."""

    name = "wecom"

    def request(self, url: str, head: str, text: str) -> tuple[str, dict[str, Any]]:
        return url, {"msgtype": "markdown", "markdown": {"content": cut(f"**{head}**\n{text}", 4096)}}


class Feishu(Robot):
    """Feishu (飞书) custom bot."""

    name = "feishu"
    pace = Pace(per_s=100 / 60, burst=5, parallel=1, by_address=True)

    def request(self, url: str, head: str, text: str) -> tuple[str, dict[str, Any]]:
        told: dict[str, Any] = {"msg_type": "text", "content": {"text": cut(f"{head}\n{text}", 18_000)}}
        if self._secret:
            now_s = int(time.time())
            told = {"timestamp": str(now_s), "sign": feishu_sign(self._secret, now_s)} | told
        return url, told
