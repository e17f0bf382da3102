"""Whether a broker takes a user: one log-in and out again, by paho-mqtt."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of a TLS connection, PEM; empty: the system's authorities, no certificate of our own."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class Silent(TimeoutError):
    """Somebody listens there and says nothing to an MQTT CONNECT."""


def refusal(host: str, port: int, user: str, password: str, tls: Certificates | None = None) -> str:
    """Why the broker does not take this user; empty where it does. `user` empty: without one.

    Raises OSError where nobody listens, and Silent where nobody answers within ANSWER_S.
    """
    answered = threading.Event()
    codes: list[ReasonCode] = []

    def connected(_c: mqtt.Client, _u: object, _f: mqtt.ConnectFlags, code: ReasonCode, _p: Properties | None) -> None:
        codes.append(code)
        answered.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="", protocol=mqtt.MQTTv311)
    client.on_connect = connected
    if user:
        client.username_pw_set(user, password or None)
    if tls is not None:
        client.tls_set(tls.ca_file or None, tls.cert_file or None, tls.key_file or None)
    client.connect(host, port, keepalive=10)
    client.loop_start()
    try:
        answered.wait(ANSWER_S)
        client.disconnect()
    finally:
        client.loop_stop()
    if not codes:
        raise Silent(f"no answer to MQTT CONNECT in {ANSWER_S:g} s")
    return str(codes[0]) if codes[0].is_failure else ""
