"""What a whistle says: names of case types in both languages, and the messages' payloads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from devices.places import Department
from twin.records import Case, State, Why
from twin.whistle.places import Places

TYPE_WORDS: dict[str, tuple[str, str]] = {
    "lamp_out": ("lamp out", "路灯不亮"),
    "day_burner": ("lamp burning by day", "白天亮灯"),
    "lamp_degraded": ("lamp degraded or meter wrong", "灯具衰减或计量异常"),
    "leakage": ("leakage current", "漏电"),
    "leakage_warn": ("leakage current rising", "漏电预警"),
    "supply_lost": ("mains supply lost", "市电中断"),
    "feeder_trip": ("feeder tripped", "馈线跳闸"),
    "cabinet_trip": ("cabinet tripped", "配电箱跳闸"),
    "door_open": ("cabinet door open", "箱门打开"),
    "tilt": ("pole tilted", "灯杆倾斜"),
    "tilt_emergency": ("pole about to fall", "灯杆倾倒危险"),
    "charger_fault": ("charging pile fault", "充电桩故障"),
    "charger_occupied": ("charging bay occupied without charging", "充电车位占用"),
    "night_noise": ("night noise near a site", "夜间施工噪声"),
    "dust": ("dust near a site", "扬尘"),
    "air_episode": ("air pollution episode", "区域空气污染"),
    "sensor_stuck": ("sensor stuck", "传感器卡滞"),
    "sensor_spike": ("sensor spikes", "传感器跳变"),
    "sensor_noise": ("sensor noisy", "传感器噪声"),
    "sensor_drift": ("sensor drifts", "传感器漂移"),
    "sensor_bias": ("sensor biased", "传感器偏差"),
    "clock_skew": ("device clock wrong", "设备时钟偏差"),
    "behaviour": ("unusual behaviour", "行为异常"),
    "device_silent": ("device silent", "设备失联"),
    "gateway_loss": ("gateway lost", "网关失联"),
    "cell_down": ("cell down", "基站退服"),
    "backhaul_down": ("backhaul down", "回传中断"),
    "sleeping_cell": ("sleeping cell", "睡眠小区"),
    "congestion": ("cell congested", "小区拥塞"),
    "access_failures": ("access failures", "接入失败"),
    "handover_failures": ("handover failures", "切换失败"),
    "coverage_loss": ("coverage lost", "覆盖下降"),
    "cell_overheated": ("cell overheated", "基站过热"),
    "interference": ("interference", "干扰"),
    "no_permit": ("laden without permit", "无证运输"),
    "outside_hours": ("laden outside permitted hours", "超时段运输"),
    "off_route": ("off the permitted route", "偏离线路"),
    "illegal_dumping": ("illegal dumping", "偷倒渣土"),
    "unpermitted_loading": ("loading outside a permitted site", "违规装载"),
    "cover_open": ("cover open while laden", "未密闭运输"),
    "overload": ("overloaded", "超载"),
    "speeding": ("speeding", "超速"),
    "terminal_tampering": ("terminal tampered with", "终端破坏"),
    "phantom_trip": ("load that never arrived", "渣土未到消纳场"),
}


STATES_ZH: dict[State, str] = {
    "found": "发现", "filed": "立案", "dispatched": "派遣", "accepted": "受理", "handled": "处置", "verified": "核查",
    "closed": "结案", "evaluated": "评价", "cancelled": "作废",
}  # fmt: skip


def reasons(why: str) -> dict[str, str]:
    """A reason as a message carries it: `reason`, and `reason_zh` where the system gave it.

    >>> reasons("parts"), reasons(Why("the fault is back", "故障再次出现"))
    ({'reason': 'parts'}, {'reason': 'the fault is back', 'reason_zh': '故障再次出现'})
    """
    return {"reason": str(why)} | ({"reason_zh": why.zh} if isinstance(why, Why) else {})


def title(type: str, language: str) -> str:  # noqa: A002 - the records' own word
    """A case type's name; its own word where the table has none."""
    words = TYPE_WORDS.get(type, (type.replace("_", " "), type))
    return words[1] if language == "zh" else words[0]


def stamp(at_ms: int) -> str | None:
    """An instant as RFC 3339 in UTC; None for none."""
    if at_ms <= 0:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message(
    case: Case, office: Department, places: Places, purpose: str, now_ms: int, more: Mapping[str, Any]
) -> dict[str, Any]:
    """What a department is told about a case; `more` is what this purpose adds. All values are JSON's."""
    known = not (math.isnan(case.lon) or math.isnan(case.lat))
    told: dict[str, Any] = {
        "case": case.id,
        "purpose": purpose,
        "at": stamp(now_ms),
        "type": case.type,
        "title": {"en": title(case.type, "en"), "zh": title(case.type, "zh")},
        "text": {"en": case.en, "zh": case.zh},
        "severity": case.severity,
        "urgent": case.severity >= 3 and not case.past,
        "past": case.past,
        "state": case.state,
        "subject": {
            "id": case.subject,
            "kind": case.subject_kind,
            "name": {"en": places.name(case.subject, "en"), "zh": places.name(case.subject, "zh")},
            "position": [round(case.lon, 6), round(case.lat, 6)] if known else None,  # WGS84, longitude first
        },
        "since": stamp(case.since_ms),
        "opened": stamp(case.opened_ms),
        "deadline": stamp(case.deadline_ms),
        "department": {"id": office.id, "en": office.name, "zh": office.name_zh},
        "children": case.children,
        "evidence": dict(case.evidence),
    }
    return told | dict(more)


# What a device shows or says; short, because a cab display holds a line or two.
COMMANDS: dict[str, tuple[str, str]] = {
    "text": (
        "{title}. Stop when it is safe and wait for instructions. Case {case}.",
        "{title}，请在安全处停车等候处理。工单{case}。",
    ),
    "speak": ("Danger: {title}. Please keep away.", "危险：{title}，请勿靠近。"),
    "lamp": ("Danger: {title}. Please keep away.", "危险：{title}，请勿靠近。"),
}

# Which kinds of device can do what.
ABLE: dict[str, tuple[str, ...]] = {"truck": ("text",), "pole": ("speak", "lamp")}


def command(case: Case, action: str) -> dict[str, Any]:
    """The arguments of a command to the device that a case is about: text in both languages, and the case."""
    en, zh = COMMANDS[action]
    return {
        "en": en.format(title=title(case.type, "en").capitalize(), case=case.id),
        "zh": zh.format(title=title(case.type, "zh"), case=case.id),
        "case": case.id,
    }
