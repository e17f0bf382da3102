"""Every channel, in an explicit table: one new channel is one new file here and one line in CHANNELS."""

from __future__ import annotations

from twin.channels.mqtt import Mqtt
from twin.channels.protocol import Opener
from twin.channels.webhook import Webhook

CHANNELS: dict[str, Opener] = {
    "webhook": Webhook,
    "mqtt": Mqtt,
}
