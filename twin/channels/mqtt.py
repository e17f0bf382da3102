"""MQTT down to the device: commands with QoS 1, never retained, over one long-lived connection.

city/{district}/{kind}/{device}/cmd  {"id": key, "action": "text", "en": ..., "zh": ..., ...}
"Delivered" means that the broker took it; the device's own answer comes in by its ack topic, with the same id.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any

import aiomqtt

from devices.errors import PayloadError
from devices.topics import parse_topic
from twin.channels.protocol import Options, Pace
from twin.errors import DeliveryFailed, SettingsError
from twin.records import Delivery

LARGEST = 16 * 1024


class Mqtt:
    """Publishes commands. The connection is made when it is first needed, and again when it broke."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Keys: host, port, user, password, client_id, tls, ca_file, cert_file, key_file, timeout_s."""
        options = Options("mqtt", told)
        self._host = options.text("host", "127.0.0.1")
        self._port = int(options.number("port", 1883, 1, 65535))
        self._user, self._password = options.text("user", ""), options.text("password", "")
        self._client_id = options.text("client_id", "citywhistle-commands")
        self._timeout_s = options.number("timeout_s", 10, 0.05, 120)
        files = [options.text(key, "") or None for key in ("ca_file", "cert_file", "key_file")]
        tls = options.flag("tls", default=False)
        options.done()
        try:
            self._tls = _context(*files) if tls else None
        except OSError as error:
            raise SettingsError(f"channel mqtt: ca_file, cert_file or key_file cannot be used ({error})") from error
        self._client: aiomqtt.Client | None = None
        self._connecting = asyncio.Lock()
        self.pace = Pace(per_s=200, burst=500, parallel=50, by_address=False)

    async def send(self, delivery: Delivery) -> str:
        topic, body = _command(delivery)
        client: aiomqtt.Client | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                client = await self._connected()
                await client.publish(topic, body, qos=1, retain=False, timeout=self._timeout_s)
        except TimeoutError:
            await self._drop(client)
            raise DeliveryFailed(f"the broker did not acknowledge within {self._timeout_s:g} s") from None
        except (aiomqtt.MqttError, OSError) as error:
            await self._drop(client)
            raise DeliveryFailed(f"broker: {error}"[:300]) from error
        return "taken by the broker"

    async def close(self) -> None:
        await self._drop(self._client)

    async def _connected(self) -> aiomqtt.Client:
        async with self._connecting:
            if self._client is None:
                client = aiomqtt.Client(
                    self._host, self._port, username=self._user or None, password=self._password or None,
                    identifier=self._client_id, tls_context=self._tls, timeout=self._timeout_s,
                )  # fmt: skip
                await client.__aenter__()
                self._client = client
            return self._client

    async def _drop(self, client: aiomqtt.Client | None) -> None:
        """Give a connection up, once; the next send makes a new one."""
        if client is None or client is not self._client:
            return
        self._client = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.__aexit__(None, None, None)
        except (aiomqtt.MqttError, OSError, TimeoutError):
            return  # it was broken before; that is why it is given up


def _context(ca_file: str | None, cert_file: str | None, key_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    return context


def _command(delivery: Delivery) -> tuple[str, bytes]:
    """Topic and body of a command. Raises DeliveryFailed, not to be retried, for what is none."""
    told = delivery.payload
    try:
        topic = parse_topic(str(told.get("topic", "")))
    except PayloadError as error:
        raise DeliveryFailed(f"not a command: {error}", retry=False) from error
    if topic.leaf != "cmd" or not isinstance(told.get("action"), str):
        raise DeliveryFailed("not a command: it needs a topic that ends in cmd, and an action", retry=False)
    arguments = told.get("arguments", {})
    key = str(told.get("id") or delivery.key)
    flat = {"id": key, "action": told["action"]} | {k: v for k, v in dict(arguments).items() if k != "id"}
    body = json.dumps(flat, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if len(body) > LARGEST:
        raise DeliveryFailed(f"a command of {len(body)} bytes (at most {LARGEST})", retry=False)
    return str(topic), body
