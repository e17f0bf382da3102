"""Numbers and spans of time as an operator reads them, in English and Chinese."""

from __future__ import annotations


def span(ms: float) -> tuple[str, str]:
    """A span of time in words, English and Chinese.

    >>> span(90_000), span(3 * 3_600_000), span(3 * 86_400_000)
    (('90 s', '90秒'), ('3 h', '3小时'), ('3 days', '3天'))
    """
    seconds = max(0.0, ms / 1000.0)
    if seconds < 120:
        return f"{seconds:.0f} s", f"{seconds:.0f}秒"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min", f"{seconds / 60:.0f}分钟"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h", f"{seconds / 3600:.0f}小时"
    return f"{seconds / 86_400:.0f} days", f"{seconds / 86_400:.0f}天"


def number(x: float) -> str:
    """A number with as many digits as mean something.

    >>> number(1234.56), number(62.04), number(0.0312), number(float("nan"))
    ('1235', '62', '0.031', '?')
    """
    if x != x:
        return "?"
    if abs(x) >= 1000:
        return f"{x:.0f}"
    text = f"{x:.3g}" if abs(x) >= 10 else f"{x:.2g}"
    return text if "e" not in text else f"{x:.4f}".rstrip("0").rstrip(".")


# What is written otherwise in a sentence than in data (SenML units).
_WRITTEN = {"/": "", "Cel": "°C", "ug/m3": "µg/m³", "deg": "°", "lat": "°", "lon": "°"}


def measured(x: float, unit: str) -> tuple[str, str]:
    """A number with its unit as people write it, in an English and in a Chinese sentence.

    >>> measured(76.2, "ug/m3"), measured(21.5, "Cel"), measured(3.0, "/")
    (('76.2 µg/m³', '76.2µg/m³'), ('21.5 °C', '21.5°C'), ('3', '3'))
    """
    written = _WRITTEN.get(unit, unit)
    return f"{number(x)}{' ' if written and written != '°' else ''}{written}", f"{number(x)}{written}"


# Why readings are refused (devices.errors.REASONS), for a sentence.
_REFUSED: dict[str, tuple[str, str]] = {
    "syntax": ("not readable", "无法解析"),
    "shape": ("of a wrong form", "格式不符"),
    "envelope": ("with a wrong time or number", "时间或序号错误"),
    "device": ("naming another device", "设备不符"),
    "quantity": ("with unknown quantities", "未知指标"),
    "unit": ("in a wrong unit", "单位不符"),
    "type": ("no numbers", "类型错误"),
    "range": ("out of range", "超出量程"),
    "topic": ("on a foreign topic", "主题不符"),
    "unknown_device": ("of an unknown device", "未登记设备"),
    "too_large": ("too large", "报文过大"),
    "empty": ("with nothing usable in them", "无有效内容"),
    "flood": ("far too many at once", "上报过于频繁"),
}


def refused(reason: str) -> tuple[str, str]:
    """Why readings are refused, in English and Chinese.

    >>> refused("unit")
    ('in a wrong unit', '单位不符')
    """
    return _REFUSED.get(reason, (reason, reason))


def clock(hour: float) -> str:
    """An hour of the day as a clock shows it.

    >>> clock(22.5)
    '22:30'
    """
    minutes = round(hour * 60) % 1440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
