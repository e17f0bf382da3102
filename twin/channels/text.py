"""A message as a few lines of text, in Chinese, English or both: for mail, robots, SMS and voice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from twin.errors import SettingsError

PURPOSES: dict[str, tuple[str, str]] = {
    "dispatch": ("New whistle", "新哨单"),
    "joint": ("New whistle, joint", "新哨单（联合）"),
    "update": ("Got worse", "情况加重"),
    "warn": ("Deadline near", "即将超时"),
    "escalate": ("Overdue", "已超时"),
    "extended": ("Extension granted", "同意延期"),
    "denied": ("Extension denied", "不同意延期"),
    "redo": ("Not accepted, again please", "核查未通过"),
    "returned": ("Returned by its department", "部门退回"),
    "merged": ("Put under its cause, nothing more to do", "已并入原因案件，无需处置"),
    "withdraw": ("Given to another department", "已转派"),
    "undelivered": ("A whistle could not be delivered", "哨单未送达"),
    "close": ("Closed", "已结案"),
    "cancel": ("Cancelled", "已作废"),
    "digest": ("Many whistles", "哨单汇总"),
    "test": ("Test of this channel", "通道测试"),
    "server_silent": ("The server is silent", "服务器失联"),
    "server_back": ("The server is back", "服务器已恢复"),
}
SEVERITIES: dict[int, tuple[str, str]] = {
    1: ("info", "提示"),
    2: ("normal", "一般"),
    3: ("urgent", "紧急"),
    4: ("emergency", "特急"),
}


def zone(name: str) -> ZoneInfo:
    """The time zone in which people read times. Raises SettingsError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SettingsError(f"unknown time zone {name!r} (give an IANA name like Asia/Shanghai)") from error


def _pick(told: Any, language: str) -> str:
    """The text in a language of {"en", "zh"}; '' for none."""
    return str(told.get(language) or told.get("en") or "") if isinstance(told, Mapping) else ""


def _local(stamp: Any, where: ZoneInfo) -> str:
    if not isinstance(stamp, str):
        return ""
    try:
        return datetime.fromisoformat(stamp).astimezone(where).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def headline(payload: Mapping[str, Any], purpose: str, language: str) -> str:
    """One line: what it is about, how urgent."""
    index = 1 if language == "zh" else 0
    what = PURPOSES.get(purpose, (purpose, purpose))[index]
    severity = payload.get("severity")
    urgency = SEVERITIES[severity][index] if isinstance(severity, int) and severity in SEVERITIES else ""
    title = _pick(payload.get("title"), language)
    head = f"【{urgency}】{what}" if index and urgency else f"[{urgency}] {what}" if urgency else what
    if not title:
        return head
    return f"{head}：{title}" if index else f"{head}: {title}"


def lines(payload: Mapping[str, Any], language: str, where: ZoneInfo) -> list[str]:
    """The message's lines below its headline; nothing that is not known is mentioned."""
    zh = language == "zh"
    subject = payload.get("subject")
    place = _pick(subject.get("name"), language) if isinstance(subject, Mapping) else ""
    children = payload.get("children")
    found = [
        ("工单" if zh else "Case", payload.get("case")),
        ("对象" if zh else "Where", place),
        ("车牌" if zh else "Plate", payload.get("plate")),
        ("自" if zh else "Since", _local(payload.get("since"), where)),
        ("期限" if zh else "Deadline", _local(payload.get("deadline"), where)),
        ("部门" if zh else "Department", _department(payload.get("department"), language)),
        ("关联" if zh else "Explains", f"{children}" if isinstance(children, int) and children > 0 else ""),
        ("原因" if zh else "Reason", (zh and payload.get("reason_zh")) or payload.get("reason")),
    ]
    colon = "：" if zh else ": "
    told = [_pick(payload.get("text"), language)] + [f"{k}{colon}{v}" for k, v in found if isinstance(v, str) and v]
    return [line for line in told if line]


def answer_line(payload: Mapping[str, Any], languages: str) -> str:
    """Where to answer, by the link that the message carries; '' for none."""
    told = payload.get("answer")
    url = told.get("url") if isinstance(told, Mapping) else ""
    if not isinstance(url, str) or not url:
        return ""
    words = {"zh": "回复：", "en": "Answer here: "}.get(languages, "回复 / Answer here: ")
    return words + url


def _department(told: Any, language: str) -> str:
    return _pick(told, language) if isinstance(told, Mapping) else ""


def write(payload: Mapping[str, Any], purpose: str, languages: str, where: ZoneInfo) -> tuple[str, str]:
    """Headline and text in "zh", "en" or "both" (Chinese first)."""
    wanted = ("zh", "en") if languages == "both" else (languages,)
    heads = [headline(payload, purpose, language) for language in wanted]
    blocks = ["\n".join(lines(payload, language, where)) for language in wanted]
    answer = answer_line(payload, languages)  # first, so that no cut takes it
    return " / ".join(heads), "\n\n".join([answer, *blocks] if answer else blocks)


LARGE = (
    "font:22px/1.6 'Noto Sans CJK SC','Microsoft YaHei',sans-serif;color:#111;background:#fff;max-width:38em;"
    "padding:12px"
)
BUTTON = "display:inline-block;padding:14px 22px;background:#00439c;color:#fff;font-weight:700;text-decoration:none"


def write_large(payload: Mapping[str, Any], purpose: str, languages: str, where: ZoneInfo) -> str:
    """The same message as an HTML page in large letters, the link to answer by as a button; nothing is loaded."""
    wanted = ("zh", "en") if languages == "both" else (languages,)
    told = payload.get("answer")
    url = told.get("url") if isinstance(told, Mapping) else ""
    parts = []
    for language in wanted:
        head = escape(headline(payload, purpose, language))
        rows = "".join(f'<p style="margin:8px 0">{escape(line)}</p>' for line in lines(payload, language, where))
        word = "回复" if language == "zh" else "Answer"
        link = f'<p><a style="{BUTTON}" href="{escape(url)}">{word}</a></p>' if isinstance(url, str) and url else ""
        tongue = "zh-CN" if language == "zh" else "en"
        parts.append(f'<div lang="{tongue}"><h1 style="font-size:28px;margin:16px 0 8px">{head}</h1>{rows}{link}</div>')
    return f'<!doctype html><html><body><div style="{LARGE}">{"".join(parts)}</div></body></html>'


def cut(text: str, most_bytes: int) -> str:
    """A text of at most so many bytes of UTF-8, never cut inside a letter; an ellipsis says that it was cut."""
    raw = text.encode()
    if len(raw) <= most_bytes:
        return text
    return raw[: most_bytes - 3].decode("utf-8", "ignore") + "…"
