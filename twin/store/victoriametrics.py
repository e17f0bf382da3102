"""VictoriaMetrics (and what speaks like it): the same line protocol in, PromQL out. Metric = kind_quantity{device}.

It answers 204 before data is durable, and to lines that it cannot read; it keeps milliseconds and about 15 digits. So
a position counts as durable only a flush margin after its rows, and it is written as a sample of its own with that
margin: what a crash of the server takes, the journal sends again. What it cannot keep: docs/store.md.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from twin.errors import StoreDown
from twin.records import F64, I64, Batch
from twin.store import line, shape
from twin.store.influxdb import assemble
from twin.store.protocol import Buckets, Rows, Snapshot, look_back_ms, no_readings

LOT_LINES = 50_000
POSITION = "citywhistle_position_n"
MARGIN_S = 30.0  # the server writes its memory to disk every few seconds


class VictoriaStore:
    """One VictoriaMetrics server. `margin_s`: how long after a write it is taken for durable."""

    name = "victoriametrics"

    def __init__(
        self, url: str, rows: Rows, *, journal: str = "", timeout_s: float = 30.0, margin_s: float = MARGIN_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._client = httpx.Client(base_url=url.rstrip("/"), timeout=timeout_s)
        self._rows = rows
        self._journal = journal or "none"
        self._margin_s = margin_s
        self._monotonic = monotonic
        self._sent: deque[tuple[float, int]] = deque()  # when, up to which entry; not durable yet
        self._durable: int | None = None
        self._heads = line.Heads(rows)

    def append(self, n: int, batch: Batch) -> None:
        """Write the readings of entry `n`."""
        self.append_many([(n, batch)])

    def append_many(self, entries: Sequence[tuple[int, Batch]]) -> None:
        """Write several entries, and the position that is durable by now."""
        durable = self.position()
        fresh = [(n, batch) for n, batch in entries if n > durable]
        if not fresh:
            return
        for body in self._heads.bodies(fresh, LOT_LINES):
            self._send(body)
        self._sent.append((self._monotonic(), fresh[-1][0]))
        name, field = POSITION.rsplit("_", 1)
        self._send(f"{name},journal={line.escape(self._journal)} {field}={durable} {time.time_ns()}".encode())

    def position(self) -> int:
        """The last entry whose rows were sent a flush margin ago."""
        if self._durable is None:
            found = self._query(f"max_over_time({POSITION}{{journal={json.dumps(self._journal)}}}[10y])", time.time())
            self._durable = max((int(float(value)) for _, _, value in found), default=0)
        while self._sent and self._sent[0][0] <= self._monotonic() - self._margin_s:
            self._durable = max(self._durable, self._sent.popleft()[1])
        return self._durable

    def range(self, kind: str, row: int, quantity: str, start_ms: int, end_ms: int) -> tuple[I64, F64]:
        """Event times and values of one device; one value a millisecond is all that the server keeps."""
        if start_ms >= end_ms:
            return no_readings()
        match = self._match(kind, quantity, row)
        given = {"match[]": match, "start": _seconds(start_ms), "end": _seconds(end_ms - 1)}
        text = self._ask("POST", "/api/v1/export", data=given).text
        told = [json.loads(each) for each in text.splitlines() if each]
        t = np.array([at for each in told for at in each["timestamps"]], np.int64)
        v = np.array([value for each in told for value in each["values"]], np.float64)
        inside = (t >= start_ms) & (t < end_ms)
        t, first = np.unique(t[inside], return_index=True)
        return t, v[inside][first]

    def downsample(self, kind: str, row: int, quantity: str, start_ms: int, end_ms: int, bucket_ms: int) -> Buckets:
        """The series in steps: by PromQL where the range is whole steps, else from the readings."""
        if start_ms % bucket_ms or end_ms % bucket_ms or start_ms >= end_ms:
            return shape.downsample(*self.range(kind, row, quantity, start_ms, end_ms), bucket_ms)
        told: dict[str, dict[int, float]] = {}
        for fn in ("avg", "min", "max", "count"):
            # A window is (end - step, end]: evaluated a millisecond before a step's end it is exactly the step.
            given = {
                "query": f"{fn}_over_time({self._match(kind, quantity, row)}[{bucket_ms}ms])",
                "start": _seconds(start_ms + bucket_ms - 1),
                "end": _seconds(end_ms - 1),
                "step": f"{bucket_ms}ms",
                "nocache": "1",
            }
            found = self._ask("GET", "/api/v1/query_range", params=given).json()["data"]["result"]
            values = found[0]["values"] if found else []
            told[fn] = {round(float(at) * 1000) + 1 - bucket_ms: float(value) for at, value in values}
        t = np.array(sorted(told["count"]), np.int64)
        mean, low, high, count = (
            np.array([told[fn].get(at, np.nan) for at in t.tolist()], np.float64)
            for fn in ("avg", "min", "max", "count")
        )
        return Buckets(t, mean, low, high, count.astype(np.int64))

    def latest(self, kind: str) -> Snapshot:
        """The newest values of every device of a kind."""
        return self._last(kind, "10y", time.time() + 86_400)

    def snapshot(self, kind: str, t_ms: int, within_ms: int | None = None) -> Snapshot:
        """Every device as it was known at `t_ms`."""
        return self._last(kind, f"{look_back_ms(kind, within_ms)}ms", t_ms / 1000)

    def prune(self, before_ms: int, kind: str | None = None) -> None:
        """Does nothing: retention is the server's own (-retentionPeriod); it can delete whole series only."""

    def info(self) -> Mapping[str, Any]:
        """For people."""
        return {
            "backend": self.name,
            "position": self.position(),
            "margin_s": self._margin_s,
            "cannot_keep": [
                "equal milliseconds of one device",
                "exact duplicates apart (run it with -dedup.minScrapeInterval=1ms)",
                "a snapshot at the first millisecond of a UTC day",
                "boot, seq, flags",
                "more than about 15 digits",
                "lines that it cannot read (it answers 204 to them too)",
            ],
        }

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _send(self, body: bytes) -> None:
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"}
        self._ask("POST", "/write", params={"precision": "ns"}, content=line.pack(body), headers=headers)

    def _match(self, kind: str, quantity: str, row: int) -> str:
        device = json.dumps(self._rows.device(kind, row), ensure_ascii=False)
        return f"{{__name__={json.dumps(kind + '_' + quantity)}, device={device}}}"

    def _last(self, kind: str, within: str, at_s: float) -> Snapshot:
        match = f'{{__name__=~{json.dumps(_literal(kind) + "_.*")}, device!=""}}[{within}]'
        values = self._query(f"last_over_time({match}) keep_metric_names", at_s)
        times = self._query(f"tlast_over_time({match}) keep_metric_names", at_s)
        when = {(name, device): round(float(t) * 1000) for name, device, t in times}
        strip = len(kind) + 1
        return assemble(
            (self._rows.get(kind, device), name[strip:], when.get((name, device), 0), float(value))
            for name, device, value in values
        )

    def _query(self, query: str, at_s: float) -> list[tuple[str, str, str]]:
        given = {"query": query, "time": f"{at_s:.3f}", "nocache": "1"}
        found = self._ask("POST", "/api/v1/query", data=given).json()["data"]["result"]
        return [(r["metric"].get("__name__", ""), r["metric"].get("device", ""), r["value"][1]) for r in found]

    def _ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **given)
        except httpx.HTTPError as error:
            raise StoreDown(f"VictoriaMetrics cannot be reached: {error}") from error
        if answer.status_code >= 300:
            raise StoreDown(f"VictoriaMetrics refuses ({answer.status_code}): {answer.text[:300]}")
        return answer


def _literal(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "_" else "\\" + letter for letter in text)


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.3f}"
