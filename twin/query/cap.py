"""A case as a public warning: CAP 1.2 (OASIS, 1 July 2010), valid under the strict schema. Pure.

Alert when it is first sent, Update while it changes, Cancel when it ends (or goes under a cause); both refer to all
that went before since the Alert. What is opened again after a Cancel is a new Alert.
Personal data stays out: neither evidence nor subject of a truck is told, only type, place and sentence of the type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as Xml

from twin.records import Case, Transition

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
ATOM = "http://www.w3.org/2005/Atom"
SEVERITY = {1: "Minor", 2: "Minor", 3: "Severe", 4: "Extreme"}
URGENCY = {1: "Expected", 2: "Expected", 3: "Immediate", 4: "Immediate"}
# What concerns the public, as (category, radius in m, English, Chinese, advice in English, in Chinese).
WARNINGS: dict[str, tuple[str, float, str, str, str, str]] = {
    "leakage": ("Safety", 50, "Leakage current at a street pole", "灯杆漏电",
                "Do not touch the pole; keep children and animals away.", "请勿触碰灯杆，看护好儿童和动物。"),
    "tilt_emergency": ("Infra", 50, "Street pole about to fall", "灯杆倾倒危险",
                       "Keep away from the pole.", "请远离该灯杆。"),
    "air_episode": ("Env", 2000, "Air pollution episode", "区域空气污染",
                    "Reduce effort outdoors; keep windows closed.", "减少户外活动，关闭门窗。"),
    "feeder_trip": ("Infra", 500, "Street lighting and supply interrupted", "供电中断",
                    "Take care in dark streets.", "道路照明中断，请注意安全。"),
    "illegal_dumping": ("Transport", 100, "Dumped construction waste", "违规倾倒渣土",
                        "Drive with care near the place.", "途经请小心驾驶。"),
}  # fmt: skip
ENDS = ("close", "cancel", "merge")  # of the warning: a case under a cause is the cause's business
SENDS = ("dispatch", "transfer", "worsen", *ENDS)
VALID = timedelta(hours=24)
CORNERS = 16
EARTH_M = 111_320.0


def is_public(case: Case) -> bool:
    """Whether a case concerns the public: of such a type, placed, and present. What was never sent has no messages."""
    placed = math.isfinite(case.lon) and math.isfinite(case.lat)
    return case.type in WARNINGS and placed and not case.past


def messages(case: Case, history: Sequence[Transition], sender: str) -> list[Xml.Element]:
    """Every CAP message of a case, oldest first; none while it was not sent. `sender` has no blank, comma, < or &."""
    told: list[Xml.Element] = []
    references: list[str] = []
    for step in history:
        if step.event not in SENDS or (not references and step.event not in ("dispatch", "transfer")):
            continue
        kind = "Alert" if not references else "Cancel" if step.event in ENDS else "Update"
        name, sent = f"{_word(case.id)}.{step.serial}", stamp(step.at_ms)
        told.append(_alert(case, step.at_ms, (name, _word(sender), sent), kind, references))
        references = [] if kind == "Cancel" else [*references, f"{_word(sender)},{name},{sent}"]
    return told


def _alert(case: Case, at_ms: int, head: tuple[str, str, str], kind: str, references: Sequence[str]) -> Xml.Element:
    """One message: its head, then an info in each language."""
    alert = Xml.Element("alert", xmlns=NAMESPACE)
    for tag, value in zip(("identifier", "sender", "sent"), head, strict=True):
        _add(alert, tag, value)
    for tag, value in (("status", "Actual"), ("msgType", kind), ("scope", "Public")):
        _add(alert, tag, value)
    if references:
        _add(alert, "references", " ".join(references))
    _add(alert, "incidents", _word(case.id))
    for language in ("zh-CN", "en-US"):
        _info(alert, case, at_ms, language, over=kind == "Cancel")
    return alert


def _info(alert: Xml.Element, case: Case, at_ms: int, language: str, *, over: bool) -> None:
    category, radius_m, english, chinese, advice_en, advice_zh = WARNINGS[case.type]
    zh = language == "zh-CN"
    event, advice = (chinese, advice_zh) if zh else (english, advice_en)
    ended = ("已解除：" if zh else "Over: ") if over else ""
    info = Xml.SubElement(alert, "info")
    fields = (
        ("language", language),
        ("category", category),
        ("event", event),
        ("responseType", "AllClear" if over else "Avoid"),
        ("urgency", "Past" if over else URGENCY.get(case.severity, "Unknown")),
        ("severity", SEVERITY.get(case.severity, "Unknown")),
        ("certainty", "Observed"),
        ("onset", stamp(case.since_ms)),
        ("expires", stamp(at_ms + round(VALID.total_seconds() * 1000))),
        ("headline", f"{ended}{event}"),
        ("instruction", "" if over else advice),
    )
    for tag, value in fields:
        if value:
            _add(info, tag, value)
    area = Xml.SubElement(info, "area")
    _add(area, "areaDesc", f"{case.lat:.4f}, {case.lon:.4f}")
    _add(area, "polygon", polygon(case.lon, case.lat, radius_m))


def polygon(lon: float, lat: float, radius_m: float) -> str:
    """A ring around a place: "lat,lon" pairs with blanks between, first and last the same (CAP 1.2, 3.2.4)."""
    ring = []
    for i in range(CORNERS):
        angle = 2 * math.pi * i / CORNERS
        north, east = radius_m * math.cos(angle) / EARTH_M, radius_m * math.sin(angle) / EARTH_M
        ring.append(f"{lat + north:.6f},{lon + east / max(0.01, math.cos(math.radians(lat))):.6f}")
    return " ".join([*ring, ring[0]])


def feed(entries: Sequence[tuple[Case, Xml.Element]], address: str, now_ms: int) -> Xml.Element:
    """An Atom feed (RFC 4287) of the newest message of each warning, each with a link to its CAP document."""
    root = Xml.Element("feed", xmlns=ATOM)
    _add(root, "id", f"{address}/api/cap")
    _add(root, "title", "CityWhistle: public warnings / 公共预警")
    _add(root, "updated", max((message.findtext("sent") or "" for _, message in entries), default=stamp(now_ms)))
    Xml.SubElement(root, "link", {"rel": "self", "type": "application/atom+xml", "href": f"{address}/api/cap"})
    _add(Xml.SubElement(root, "author"), "name", "CityWhistle")
    for case, message in entries:
        entry = Xml.SubElement(root, "entry")
        _add(entry, "id", f"urn:citywhistle:cap:{message.findtext('identifier')}")
        english, chinese = WARNINGS[case.type][2:4]
        _add(entry, "title", f"{message.findtext('msgType')}: {chinese} / {english}")
        _add(entry, "updated", message.findtext("sent") or "")
        link = {"rel": "alternate", "type": "application/cap+xml", "href": f"{address}/api/cap/{_word(case.id)}"}
        Xml.SubElement(entry, "link", link)
        _add(entry, "summary", message.findtext("info/headline") or "")
    return root


def document(root: Xml.Element) -> bytes:
    """The element as an XML document in UTF-8."""
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode").encode()


def stamp(at_ms: int) -> str:
    """An instant as CAP wants it: whole seconds and an offset, never Z (3.3.2)."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S-00:00")


def _word(text: str) -> str:
    """A text without what identifiers and senders may not hold."""
    return re.sub(r"[\s,&<]", "_", text) or "_"


def _add(parent: Xml.Element, tag: str, text: str) -> None:
    Xml.SubElement(parent, tag).text = text
