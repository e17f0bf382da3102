"""What a device or a person wrote cannot become a header of a mail."""

from __future__ import annotations

from email import message_from_bytes

import pytest

from twin.channels.mail import Mail
from twin.records import Delivery


@pytest.mark.parametrize("gap", ["\r\n", "\n", "\r", "\x0b", "\x0c", "\u2028", "\x85", "\x00"])
def test_no_header_is_smuggled_in(gap: str) -> None:
    """Title, department and words with line ends of every kind: the headers are ours, the words stay words."""
    nasty = f"lamp out{gap}Bcc: everybody@example.org{gap}{gap}<script>"
    payload = {
        "case": nasty, "title": {"en": nasty, "zh": nasty}, "severity": 3, "text": {"en": nasty, "zh": nasty},
        "department": {"id": "x", "en": nasty, "zh": nasty}, "plate": nasty, "reason": nasty,
        "subject": {"id": "p", "name": {"en": nasty, "zh": nasty}},
    }  # fmt: skip
    mail = Mail({"sender": "city@example.org", "to": "duty@example.org"})
    message = mail._message(
        Delivery("CW-1:dispatch:1:mail", "CW-1", "mail", "", "dispatch", payload), ["duty@example.org"]
    )
    read = message_from_bytes(message.as_bytes())
    assert read["Bcc"] is None
    assert read.get_all("To") == ["duty@example.org"]
    assert read.get_all("Subject") is not None
    assert len(read.get_all("Subject") or []) == 1
    assert read.get_content_type() == "text/plain"
