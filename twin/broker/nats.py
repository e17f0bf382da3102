"""The embedded fallback: nats-server as an MQTT 3.1.1 broker, with the same users and rights as Mosquitto's files say.

Lost by it: MQTT 5 (reason codes, `$share` groups of several servers), Mosquitto's speed, and the configuration's
limits, which NATS names otherwise (docs/broker.md). Kept: QoS 1, persistent sessions, retained marks, access rights.
"""

from __future__ import annotations

import json
import os

from twin.broker.conf import BrokerFiles
from twin.broker.passwords import parse_pairs

CONF = "nats.conf"

LOST = (
    "embedded broker (NATS), MQTT 3.1.1 only, no reason codes, no $share groups; slower than Mosquitto",
    "内置消息代理（NATS）：仅支持 MQTT 3.1.1，无原因码，无 $share 共享订阅，比 Mosquitto 慢",
)


def subject(topic_filter: str) -> str:
    """The NATS subject of an MQTT topic filter: levels by dots, `*` for one level, `>` for the rest, `//` for a dot.

    >>> subject("city/+/pole/p.7/telemetry")
    'city.*.pole.p//7.telemetry'
    """
    levels = [level.replace(".", "//") for level in topic_filter.split("/")]
    return ".".join({"+": "*", "#": ">"}.get(level, level) for level in levels)


def rights(acl: str, users: list[str]) -> dict[str, tuple[list[str], list[str]]]:
    """(publish, subscribe) subjects by user, read from Mosquitto's access list as `access_list` writes it."""
    found: dict[str, tuple[list[str], list[str]]] = {user: ([], []) for user in users}
    speaking = ""
    for line in acl.splitlines():
        word, _, rest = line.partition(" ")
        if word == "user":
            speaking = rest
            continue
        may, _, topic = rest.partition(" ")
        if word not in ("topic", "pattern"):
            continue
        for user in users if word == "pattern" else [u for u in (speaking,) if u in found]:
            told = subject(topic.replace("%u", user))
            if may in ("write", "readwrite"):
                found[user][0].append(told)
            if may in ("read", "readwrite"):
                found[user][1].append(told)
    return found


def write_conf(files: BrokerFiles, host: str, port: int) -> None:
    """Write nats.conf (0600: it holds the passwords) from the provisioned users and access list."""
    plain = parse_pairs(files.credentials.read_text(encoding="utf-8"))
    may = rights(files.acl.read_text(encoding="utf-8"), list(plain))
    users = [
        {
            "user": user,
            "password": password,
            "permissions": {"publish": may[user][0], "subscribe": [*may[user][1], "$MQTT.sub.>"]},
        }
        for user, password in plain.items()
    ]
    conf = {
        "server_name": "citywhistle",
        "listen": "127.0.0.1:-1",
        "jetstream": {"store_dir": str(files.data / "nats"), "max_memory_store": 64 << 20, "max_file_store": 4 << 30},
        "mqtt": {"listen": f"{host}:{port}", "max_ack_pending": 20_000, "ack_wait": "60s"},
        "authorization": {"users": users},
    }
    aside = files.dir / (CONF + ".new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        json.dump(conf, out, indent=1)
    aside.replace(files.dir / CONF)
