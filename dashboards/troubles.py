"""What an operator must know about the city's own machinery: health into short sentences in two languages. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LAG_MS = 10_000  # a tick later than this is worth a word


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that does not work. `level`: 1 worth knowing, 2 readings are waiting, 3 readings are held back."""

    part: str
    level: int
    en: str
    zh: str


def troubles(health: Mapping[str, Any]) -> list[Trouble]:
    """Everything that is wrong, worst first; empty when all is well. Unknown or absent parts count as well."""
    found: list[Trouble] = []
    for look in LOOKS:
        trouble = look(health)
        if trouble is not None:
            found.append(trouble)
    return sorted(found, key=lambda trouble: -trouble.level)


def _part(health: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = health.get(name)
    return part if isinstance(part, Mapping) else {}


def _journal(health: Mapping[str, Any]) -> Trouble | None:
    if not _part(health, "journal").get("full"):
        return None
    return Trouble(
        "journal", 3,
        "The journal is full: new readings wait at the broker, none is lost. Make room on the disk or bring the "
        "store back; it goes on by itself.",
        "日志已满：新读数在消息代理处等待，不会丢失。请释放磁盘空间或恢复存储，系统将自动继续。",
    )  # fmt: skip


def _ingest(health: Mapping[str, Any]) -> Trouble | None:
    stalled = _part(health, "ingest").get("stalled", "")
    if not stalled or _journal(health) is not None:
        return None
    return Trouble(
        "ingest", 3,
        f"New readings wait at the broker, none is lost: they cannot be made durable just now ({stalled}).",
        f"新读数在消息代理处等待，不会丢失：目前无法持久保存（{stalled}）。",
    )  # fmt: skip


def _disk(health: Mapping[str, Any]) -> Trouble | None:
    disk = _part(health, "disk")
    if not disk.get("low"):
        return None
    free = disk.get("free_bytes")
    left = f"{free / 1e6:,.0f} MB" if isinstance(free, int | float) else "?"
    return Trouble("disk", 2, f"The disk is nearly full ({left} left).", f"磁盘空间不足（剩余{left}）。")


def _link(health: Mapping[str, Any]) -> Trouble | None:
    if health.get("link", "up") in ("up", "drained"):
        return None
    return Trouble(
        "link", 3,
        "No connection to the MQTT broker: the city is not heard. Trying again.",
        "与MQTT消息代理的连接已断开：暂时收不到城市数据，正在重连。",
    )  # fmt: skip


def _store(health: Mapping[str, Any]) -> Trouble | None:
    store = _part(health, "store")
    if store.get("up", True):
        return _unreadable(store.get("unreadable")) or _skipped(store.get("skipped", 0))
    name, behind = store.get("name", "store"), store.get("behind", 0)
    return Trouble(
        "store", 2,
        f"The store ({name}) cannot be reached: {behind} batches wait in the journal, charts end where it stopped.",
        f"存储（{name}）无法访问：{behind}批数据在日志中等待，曲线停在中断处。",
    )  # fmt: skip


def _unreadable(files: Any) -> Trouble | None:
    if not files:
        return None
    names = ", ".join(files[:3]) + (" …" if len(files) > 3 else "")
    return Trouble(
        "store", 1,
        f"{len(files)} files of the store cannot be read, what they held is missing in charts: {names}. Restore them "
        "from a backup and restart.",
        f"存储中有{len(files)}个文件无法读取，曲线缺少其中的数据：{names}。请从备份恢复后重启。",
    )  # fmt: skip


def _skipped(entries: int) -> Trouble | None:
    if not entries:
        return None
    return Trouble(
        "store", 1,
        f"{entries} batches were trimmed from the journal before this store could take them: charts lack them, and the "
        "account still counts their readings as stored.",
        f"有{entries}批数据在存储接收之前已从日志中清除：曲线缺少这些数据，而对账仍将其计为已入库。",
    )  # fmt: skip


def _tick(health: Mapping[str, Any]) -> Trouble | None:
    stalled = _part(health, "tick").get("stalled", "")
    if stalled:
        return Trouble(
            "tick", 3,
            f"Whistles wait: nothing can be recorded just now ({stalled}). It goes on by itself.",
            f"吹哨暂停：目前无法记录（{stalled}），恢复后将自动继续。",
        )  # fmt: skip
    lag = _part(health, "tick").get("lag_ms", 0)
    if not isinstance(lag, int | float) or lag < LAG_MS:
        return None
    return Trouble(
        "tick", 2,
        f"The city is {lag / 1000:.0f} s behind its own clock: the machine has too much to do.",
        f"系统比城市时钟落后{lag / 1000:.0f}秒：机器负载过高。",
    )  # fmt: skip


def _heartbeat(health: Mapping[str, Any]) -> Trouble | None:
    error = _part(health, "heartbeat").get("error", "")
    if not error:
        return None
    return Trouble(
        "heartbeat", 1,
        f"The heartbeat does not reach its receiver ({error}): nobody would be told if this server went down.",
        f"心跳无法送达接收方（{error}）：若本服务器故障将无人得知。",
    )  # fmt: skip


def _tables(health: Mapping[str, Any]) -> Trouble | None:
    trouble = _part(health, "tables").get("trouble")
    if not isinstance(trouble, Mapping) or not trouble:
        return None
    why = "; ".join(str(one) for _, one in sorted(trouble.items()))[:600]
    return Trouble(
        "tables", 2,
        f"A changed table of the city is wrong and not in force, the one before it is: {why}",
        f"城市配置表已改动但有误，未生效，沿用原表：{why}",
    )  # fmt: skip


LOOKS: tuple[Callable[[Mapping[str, Any]], Trouble | None], ...] = (
    _journal, _ingest, _link, _store, _disk, _tick, _tables, _heartbeat,
)  # fmt: skip
