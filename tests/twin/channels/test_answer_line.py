"""The link to answer by survives in every text: before anything that a channel may cut."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from tests.twin.channels.servers import Answer, http_server
from twin.channels.gateway import Gateway
from twin.channels.text import write
from twin.records import Delivery

URL = "https://city.example/answer/" + "x" * 90
PAYLOAD = {
    "case": "CW-20260624-000001",
    "title": {"en": "lamp out", "zh": "路灯不亮"},
    "text": {"en": "It is dark. " * 150, "zh": "灯不亮。" * 300},
    "answer": {"url": URL, "expires_ms": 1},
}


@pytest.mark.parametrize(("languages", "line"), [("zh", f"回复：{URL}"), ("en", f"Answer here: {URL}"),
                                                 ("both", f"回复 / Answer here: {URL}")])  # fmt: skip
def test_the_link_stands_first_and_once(languages: str, line: str) -> None:
    """Mail and robots say the link once, in a line of its own before the sentence; none where there is none."""
    _, text = write(PAYLOAD, "dispatch", languages, ZoneInfo("UTC"))
    assert (text.splitlines()[0], text.count(URL)) == (line, 1)
    bare = {name: value for name, value in PAYLOAD.items() if name != "answer"}
    assert "Answer here" not in write(bare, "dispatch", languages, ZoneInfo("UTC"))[1]


async def test_a_long_sms_keeps_its_link() -> None:
    """An SMS that is cut is cut behind its link."""
    async with http_server(lambda _: Answer(200)) as server:
        channel = Gateway({"url": server.url, "to": "+8613800000000"})
        await channel.send(Delivery("k", "CW-20260624-000001", "sms", "", "dispatch", PAYLOAD))
        await channel.close()
        assert URL in server.requests[0].json["text"]
