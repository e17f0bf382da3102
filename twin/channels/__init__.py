"""Every channel, in an explicit table: one new channel is one new file here and one line in CHANNELS."""

from __future__ import annotations

from twin.channels.gateway import Gateway, Voice
from twin.channels.mail import Mail
from twin.channels.mqtt import Mqtt
from twin.channels.protocol import Opener
from twin.channels.robots import DingTalk, Feishu, WeCom
from twin.channels.webhook import Webhook

CHANNELS: dict[str, Opener] = {
    "webhook": Webhook,
    "mqtt": Mqtt,
    "mail": Mail,
    "dingtalk": DingTalk,
    "wecom": WeCom,
    "feishu": Feishu,
    "sms": Gateway,
    "voice": Voice,
}
