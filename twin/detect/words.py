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


def clock(hour: float) -> str:
    """An hour of the day as a clock shows it.

    >>> clock(22.5)
    '22:30'
    """
    minutes = round(hour * 60) % 1440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
