"""DingTalk, WeCom and Feishu robots: signatures as documented, their own codes understood, texts in bounds."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from twin.channels.robots import DingTalk, Feishu, Robot, WeCom, dingtalk_url, feishu_sign
from twin.errors import DeliveryFailed
from twin.records import Delivery

from .servers import Answer, http_server

PAYLOAD = {
    "case": "CW-20260624-000001",
    "title": {"en": "lamp out", "zh": "路灯不亮"},
    "text": {"en": "It is dark at pole 3.", "zh": "3号灯杆不亮。"},
    "severity": 3,
    "deadline": "2026-06-24T06:00:00.000Z",
    "children": 12,
    "subject": {"name": {"en": "smart pole pole-0003", "zh": "智慧灯杆 pole-0003"}},
    "department": {"id": "lighting", "en": "Lighting", "zh": "照明"},
}
DELIVERY = Delivery("CW-20260624-000001:dispatch:1:x", "CW-20260624-000001", "x", "", "dispatch", PAYLOAD)


async def test_dingtalk_is_signed_and_reads_well() -> None:
    """Timestamp and signature stand in the URL; the text has both languages, local time and the children."""
    async with http_server(lambda _: Answer(200, b'{"errcode":0,"errmsg":"ok"}')) as server:
        robot = DingTalk({"url": f"http://127.0.0.1:{server.port}/robot/send?access_token=t", "secret": "SEC"})
        assert await robot.send(DELIVERY) == "0 ok"
        await robot.close()
    (request,) = server.requests
    query = parse_qs(urlsplit(request.path).query)
    stamp = query["timestamp"][0]
    mac = hmac.new(b"SEC", f"{stamp}\nSEC".encode(), hashlib.sha256).digest()
    assert query["sign"] == [base64.b64encode(mac).decode()]
    assert query["access_token"] == ["t"]
    shown = request.json["markdown"]
    assert shown["title"] == "【紧急】新哨单：路灯不亮 / [urgent] New whistle: lamp out"
    for part in ("3号灯杆不亮。", "It is dark", "期限：2026-06-24 14:00", "Explains: 12", "部门：照明"):
        assert part in shown["text"]


async def test_feishu_signs_in_the_body_and_wecom_in_its_url() -> None:
    """Feishu's key is timestamp and secret; WeCom gets plain markdown within 4,096 bytes."""
    async with http_server(lambda _: Answer(200, b'{"code":0,"msg":"success"}')) as server:
        robot = Feishu({"url": server.url, "secret": "s3", "language": "zh"})
        await robot.send(DELIVERY)
        await robot.close()
    told = server.requests[0].json
    mac = hmac.new(f"{told['timestamp']}\ns3".encode(), b"", hashlib.sha256).digest()
    assert told["sign"] == base64.b64encode(mac).decode()
    assert told["content"]["text"].startswith("【紧急】新哨单：路灯不亮\n3号灯杆不亮。")
    long = Delivery("k", "c", "wecom", "", "dispatch", PAYLOAD | {"text": {"zh": "渣" * 5000, "en": "x"}})
    async with http_server(lambda _: Answer(200, b'{"errcode":0,"errmsg":"ok"}')) as server:
        robot = WeCom({"url": server.url})
        await robot.send(long)
        await robot.close()
    content = server.requests[0].json["markdown"]["content"]
    assert 4000 < len(content.encode()) <= 4096
    assert content.endswith("…")


def test_signatures_against_fixed_vectors() -> None:
    """The same input gives the same signature for ever; made with openssl dgst -sha256 -hmac."""
    url = dingtalk_url("http://h/?a=1", "this is secret", 1_700_000_000_000)
    assert url == "http://h/?a=1&timestamp=1700000000000&sign=sSFWELbV2YwjdDQhWZwTcWlX5BWUx5J6TPpsZmuPii0%3D"
    assert feishu_sign("demo", 1_599_360_473) == "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="


@pytest.mark.parametrize(
    ("robot", "answer", "retry"),
    [
        (DingTalk, {"errcode": 310000, "errmsg": "sign not match"}, False),
        (DingTalk, {"errcode": 130101, "errmsg": "send too fast"}, True),
        (DingTalk, {"errcode": -1, "errmsg": "system busy"}, True),
        (WeCom, {"errcode": 93000, "errmsg": "invalid webhook url"}, False),
        (WeCom, {"errcode": 45009, "errmsg": "api freq out of limit"}, True),
        (Feishu, {"code": 19021, "msg": "sign match fail"}, False),
        (Feishu, {"code": 11232, "msg": "frequency limited"}, True),
    ],
)
async def test_a_refusal_in_a_200_is_a_refusal(robot: type[Robot], answer: dict[str, object], retry: bool) -> None:
    """Only code 0 is a success; being asked too often may be better in a minute, a wrong key never."""
    async with http_server(lambda _: Answer(200, json.dumps(answer).encode())) as server:
        channel = robot({"url": server.url})
        with pytest.raises(DeliveryFailed) as refused:
            await channel.send(DELIVERY)
        await channel.close()
    assert refused.value.retry is retry
    assert refused.value.after_s == (60 if retry else None)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"errcode": "x"}'])
async def test_an_answer_that_is_not_the_robots_is_no_success(body: bytes) -> None:
    """A proxy's page or an empty object must not count as delivered."""
    async with http_server(lambda _: Answer(200, body)) as server:
        channel = DingTalk({"url": server.url})
        with pytest.raises(DeliveryFailed):
            await channel.send(DELIVERY)
        await channel.close()
