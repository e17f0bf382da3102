"""/metrics: Prometheus text of the running server. Totals and stages only, no series per device."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterable, Mapping
from typing import Any

from twin.app.heart import Pulse
from twin.deliver.cases import Cases
from twin.query.desk import Account

Sample = tuple[Mapping[str, str], float]


def family(name: str, kind: str, help_: str, samples: Iterable[Sample]) -> list[str]:
    """One metric family in the text format.

    >>> family("up", "gauge", "Whether.", [({"part": "store"}, 1)])
    ['# HELP up Whether.', '# TYPE up gauge', 'up{part="store"} 1']
    """
    lines = [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inner}}} {_figure(value)}" if inner else f"{name} {_figure(value)}")
    return lines


def render(
    account: Account, health: Mapping[str, Any], pulse: Pulse, cases: Cases, stages: Mapping[str, Mapping[str, float]],
    removed: Mapping[str, int] | None = None,
) -> str:  # fmt: skip
    """Everything that there is to measure, as Prometheus text format 0.0.4."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    readings = [
        ({"fate": name}, float(getattr(account, name)))
        for name in ("received", "journalled", "stored", "duplicate", "late", "out_of_order", "missing", "unstorable")
    ]
    counts = cases.counts()
    lines = [
        *family("citywhistle_readings_total", "counter", "Readings by what became of them.", readings),
        *family("citywhistle_rejected_total", "counter", "Refused readings and values by reason.",
                [({"reason": why}, n) for why, n in sorted(account.rejected.items())]),
        *family("citywhistle_ready", "gauge", "1 when the city is heard and recorded.", [({}, health["ready"])]),
        *family("citywhistle_link_up", "gauge", "1 when connected to the broker.", [({}, health["link"] != "down")]),
        *family("citywhistle_journal_bytes", "gauge", "Bytes of the journal in use.",
                [({}, health["journal"]["bytes"])]),
        *family("citywhistle_journal_full", "gauge", "1 when the journal has no room.",
                [({}, bool(health["journal"]["full"]))]),
        *family("citywhistle_store_behind", "gauge", "Journal entries that the store has yet to keep.",
                [({"store": health["store"]["name"]}, health["store"]["behind"])]),
        *family("citywhistle_store_skipped", "gauge", "Journal entries that were trimmed before the store saw them.",
                [({"store": health["store"]["name"]}, health["store"]["skipped"])]),
        *family("citywhistle_disk_free_bytes", "gauge", "Free bytes of the data directory's disk.",
                [({}, health["disk"]["free_bytes"])]),
        *family("citywhistle_ticks_total", "counter", "Ticks since the start.", [({}, pulse.ticks)]),
        *family("citywhistle_tick_seconds", "gauge", "How long the last tick took, and the longest.",
                [({"which": "last"}, pulse.lag_s), ({"which": "longest"}, pulse.longest_s)]),
        *family("citywhistle_tick_cpu_seconds_total", "counter", "CPU time of all ticks.", [({}, pulse.cpu_s)]),
        *family("citywhistle_cases_open", "gauge", "Open cases without their children.", [({}, counts["open"])]),
        *family("citywhistle_deliveries", "gauge", "Messages by state of the outbox.",
                [({"state": state}, counts[state]) for state in ("pending", "sent", "dead")]),
        *family("citywhistle_case_differences_total", "counter",
                "What replays decided otherwise than what is recorded.", [({}, cases.differences)]),
        *family("citywhistle_stage", "gauge", "Depth, age, rate and CPU of the stages of ingest.",
                [({"stage": s, "figure": f}, v) for s, figures in stages.items() for f, v in figures.items()]),
        *family("citywhistle_retention_removed_total", "counter", "What retention took out, by class of data.",
                [({"class": name}, n) for name, n in (removed or {}).items()]),
        *family("process_cpu_seconds_total", "counter", "CPU time of the server.",
                [({}, usage.ru_utime + usage.ru_stime)]),
        *family("process_max_resident_memory_bytes", "gauge", "Highest resident memory.",
                [({}, usage.ru_maxrss * 1024)]),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    """A value as the format writes it: counts in full (six digits would make rates jump), NaN, +Inf."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
