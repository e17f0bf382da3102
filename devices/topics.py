"""MQTT topics by place: city/{district}/{kind}/{device}/{leaf}. Built and taken apart here only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from devices.errors import PayloadError

Leaf = Literal["telemetry", "state", "event", "cmd", "ack", "mark"]
LEAVES: tuple[Leaf, ...] = ("telemetry", "state", "event", "cmd", "ack", "mark")

# What a device may write; the rest is the server's.
UPWARD: tuple[Leaf, ...] = ("telemetry", "state", "event", "ack")

# What the server subscribes to (without a $share prefix).
SUBSCRIPTIONS: tuple[str, ...] = tuple(f"city/+/+/+/{leaf}" for leaf in UPWARD)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Topic:
    """One address: district code, device kind, device id and the leaf."""

    district: str
    kind: str
    device: str
    leaf: Leaf

    def __str__(self) -> str:
        return topic_of(self.district, self.kind, self.device, self.leaf)


def topic_of(district: str, kind: str, device: str, leaf: Leaf) -> str:
    """The text of one address, where many are built."""
    return f"city/{district}/{kind}/{device}/{leaf}"


def parse_topic(text: str) -> Topic:
    """Take a topic apart. Raises PayloadError (`topic`) for anything else than a well-formed device topic.

    >>> parse_topic("city/d1/pole/p-7/telemetry").device
    'p-7'
    """
    parts = text.split("/")
    if len(parts) != 5 or parts[0] != "city":
        raise PayloadError("topic", f"{text[:120]!r} is not city/district/kind/device/leaf")
    _, district, kind, device, leaf = parts
    if not (NAME.match(district) and NAME.match(kind) and NAME.match(device)):
        raise PayloadError("topic", f"{text[:120]!r} has a name with letters that topics may not hold")
    for known in LEAVES:
        if leaf == known:
            return Topic(district, kind, device, known)
    raise PayloadError("topic", f"{text[:120]!r} ends in none of {', '.join(LEAVES)}")
