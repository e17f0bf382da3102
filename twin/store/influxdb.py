"""InfluxDB 2: line protocol of our own through the client's Flux for every query.

The position is a point in the bucket, written after the rows that it covers have been confirmed: so it goes wherever
the rows go. A bucket that was deleted or restored from an older backup says an older position, and the journal fills it
again; a position in a local file would claim rows that the server no longer has.
"""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import urllib3
from influxdb_client import InfluxDBClient, WriteService
from influxdb_client.rest import ApiException

from twin.errors import StoreDown
from twin.records import F64, I64, Batch
from twin.store import line, shape
from twin.store.aside import Aside, Refusals
from twin.store.protocol import Buckets, Rows, Snapshot, look_back_ms, no_readings

LOT_LINES = 50_000
POSITION = "citywhistle_position"
HOUR_NS = 3_600 * 10**9
LATEST = "-3650d"
SEARCHES = 64  # requests of an append that are halved to find whose lines a partial write left out
DROPPED = re.compile(r"\bdropped=(\d+)")


class InfluxStore:
    """One bucket of an InfluxDB 2 server. `folder` keeps the lines that the server refused."""

    name = "influxdb"

    def __init__(
        self,
        url: str,
        org: str,
        bucket: str,
        token: str,
        folder: Path,
        rows: Rows,
        *,
        journal: str = "",
        timeout_s: float = 30.0,
    ) -> None:
        self._client = InfluxDBClient(url=url, token=token, org=org, timeout=int(timeout_s * 1000), retries=False)
        self._writing = WriteService(self._client.api_client)
        self._asking = self._client.query_api()
        self._org, self._bucket, self._journal = org, bucket, journal or "none"
        self._rows = rows
        self._aside = Aside(folder)
        self._heads = line.Heads(rows)
        self._position: int | None = None
        self._asked = threading.Lock()
        self._searches = 0

    def append(self, n: int, batch: Batch) -> None:
        """Write the readings of entry `n`; again is no harm: equal series and instant overwrite."""
        self.append_many([(n, batch)])

    def append_many(self, entries: Sequence[tuple[int, Batch]]) -> None:
        """Write several entries, then the position that they reach."""
        kept = self.position()
        fresh = [(n, batch) for n, batch in entries if n > kept]
        if not fresh:
            return
        self._aside.begin()
        self._searches = SEARCHES
        for body in self._heads.bodies(fresh, LOT_LINES):
            self._write(body)
        last = fresh[-1][0]
        self._aside.settle(last)
        at = time.time_ns() // HOUR_NS * HOUR_NS  # one point an hour: young enough for any retention
        try:
            self._send(f"{POSITION},journal={line.escape(self._journal)} n={last}i {at}".encode())
        except (StoreDown, ApiException):
            self._position = None  # the answer may have been lost alone: the server is asked anew
            raise
        self._stand_at(last)

    def position(self) -> int:
        """The last entry whose rows were confirmed; asked of the server once, then known."""
        known = self._position
        if known is not None:
            return known
        with self._asked:  # one asks, the others wait: what it says settles which refusals count
            if self._position is not None:
                return self._position
            found = self._ask(
                f"from(bucket: {_text(self._bucket)}) |> range(start: {LATEST}, stop: 3650d)"
                f' |> filter(fn: (r) => r._measurement == "{POSITION}" and r.journal == {_text(self._journal)})'
                " |> max()"
            )
            return self._stand_at(max((int(r["_value"]) for r in found), default=0))

    def refused(self) -> Refusals:
        """How many readings the server refused for good."""
        return self._aside.refusals

    def range(self, kind: str, row: int, quantity: str, start_ms: int, end_ms: int) -> tuple[I64, F64]:
        """Event times and values of one device."""
        if start_ms >= end_ms:
            return no_readings()
        found = self._ask(
            self._series(kind, row, quantity, start_ms, end_ms)
            + ' |> map(fn: (r) => ({t: int(v: r._time), v: r._value})) |> keep(columns: ["t", "v"])'
        )
        pairs = [(int(r["t"]), float(r["v"])) for r in found]
        t, v = np.array([p[0] for p in pairs], np.int64), np.array([p[1] for p in pairs], np.float64)
        by_time = np.argsort(t, kind="stable")
        return t[by_time] // line.NS, v[by_time]

    def downsample(self, kind: str, row: int, quantity: str, start_ms: int, end_ms: int, bucket_ms: int) -> Buckets:
        """The series in steps, reckoned by the server."""
        if start_ms >= end_ms:
            return shape.downsample(*no_readings(), bucket_ms)
        yields = "\n".join(
            f'd |> aggregateWindow(every: {bucket_ms}ms, fn: {fn}, createEmpty: false, timeSrc: "_start")'
            f' |> map(fn: (r) => ({{t: int(v: r._time), v: float(v: r._value)}})) |> yield(name: "{fn}")'
            for fn in ("mean", "min", "max", "count")
        )
        found = self._ask(f"d = {self._series(kind, row, quantity, start_ms, end_ms)}\n{yields}")
        told: dict[str, dict[int, float]] = {fn: {} for fn in ("mean", "min", "max", "count")}
        for r in found:
            at = int(r["t"]) // line.NS
            told[r["result"]][at - at % bucket_ms] = float(r["v"])
        t = np.array(sorted(told["count"]), np.int64)
        mean, low, high, count = (
            np.array([told[fn][at] for at in t.tolist()], np.float64) for fn in ("mean", "min", "max", "count")
        )
        return Buckets(t, mean, low, high, count.astype(np.int64))

    def latest(self, kind: str) -> Snapshot:
        """The newest values of every device of a kind."""
        return self._last(kind, f"start: {LATEST}, stop: 3650d")

    def snapshot(self, kind: str, t_ms: int, within_ms: int | None = None) -> Snapshot:
        """Every device as it was known at `t_ms`."""
        return self._last(kind, _span(t_ms + 1 - look_back_ms(kind, within_ms), t_ms + 1))

    def prune(self, before_ms: int, kind: str | None = None) -> None:
        """Delete readings older than `before_ms`."""
        kinds = [kind] if kind is not None else self._kinds()
        stop = _instant((before_ms - 1) * line.NS + line.NS - 1)  # the server's end is inclusive
        for each in kinds:
            self._call(
                lambda each=each: self._client.delete_api().delete(
                    "1970-01-01T00:00:00Z", stop, f"_measurement={json.dumps(each)}", self._bucket, self._org
                )
            )

    def info(self) -> Mapping[str, Any]:
        """For people."""
        health = self._call(lambda: self._client.api_client.call_api("/health", "GET", response_type=object))
        told = health[0] if isinstance(health, tuple) else {}
        return {
            "backend": self.name,
            "server": told.get("version", "?") if isinstance(told, dict) else "?",
            "bucket": self._bucket,
            "position": self.position(),
            "refused": self._aside.refusals.total,
            "newest_refused": list(self._aside.newest)[-5:],
            "cannot_keep": ["boot, flags (seq is kept inside the nanoseconds)"],
        }

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _write(self, body: bytes) -> None:
        """Write lines, setting aside by bisection those that the server refuses: 400 keeps nothing of a request, 422
        all but `dropped=N` lines. Lines that are there already may be sent again."""
        try:
            self._send(body)
        except ApiException as error:
            reason = reason_of(error)
            if error.status == 422:
                told = DROPPED.search(reason)
                dropped = int(told[1]) if told else 1  # no number: one at least
                if dropped > body.count(b"\n"):
                    self._aside.keep(body, reason)
                    return
                if not self._searches:
                    self._aside.keep_unnamed(dropped, reason)
                    return
                self._searches -= 1
            middle = body.find(b"\n", len(body) // 2)
            middle = middle if middle >= 0 else body.rfind(b"\n")
            if middle < 0:
                self._aside.keep(body, reason)
            else:
                self._write(body[:middle])
                self._write(body[middle + 1 :])

    def _stand_at(self, position: int) -> int:
        self._aside.stand_at(position)
        self._position = position
        return position

    def _send(self, body: bytes) -> None:
        """One request. Raises ApiException for 400, 413 and 422 alone, else StoreDown."""
        try:
            self._writing.post_write(
                self._org, self._bucket, line.pack(body), precision="ns", content_encoding="gzip",
                content_type="text/plain; charset=utf-8",
            )  # fmt: skip
        except ApiException as error:
            if error.status in (400, 413, 422):
                raise
            raise StoreDown(f"InfluxDB refuses to write ({error.status}): {reason_of(error)}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreDown(f"InfluxDB cannot be reached: {error}") from error

    def _series(self, kind: str, row: int, quantity: str, start_ms: int, end_ms: int) -> str:
        return (
            f"from(bucket: {_text(self._bucket)}) |> range({_span(start_ms, end_ms)})"
            f" |> filter(fn: (r) => r._measurement == {_text(kind)} and r._field == {_text(quantity)}"
            f" and r.device == {_text(self._rows.device(kind, row))})"
        )

    def _last(self, kind: str, span: str) -> Snapshot:
        found = self._ask(
            f"from(bucket: {_text(self._bucket)}) |> range({span})"
            f" |> filter(fn: (r) => r._measurement == {_text(kind)}) |> last()"
            " |> map(fn: (r) => ({d: r.device, f: r._field, t: int(v: r._time), v: r._value}))"
        )
        return assemble((self._rows.get(kind, r["d"]), r["f"], int(r["t"]) // line.NS, float(r["v"])) for r in found)

    def _kinds(self) -> list[str]:
        found = self._ask(
            'import "influxdata/influxdb/schema"\n'
            f"schema.measurements(bucket: {_text(self._bucket)}, start: {LATEST}, stop: 3650d)"
        )
        return [r["_value"] for r in found if r["_value"] != POSITION]

    def _ask(self, flux: str) -> list[dict[str, str]]:
        answer = self._call(lambda: self._asking.query_raw(flux).data)
        found: list[dict[str, str]] = []
        for table in answer.decode().replace("\r\n", "\n").split("\n\n"):
            lines = [cells for cells in csv.reader(io.StringIO(table)) if cells]
            named = next((cells for cells in lines if cells[0] == "#default"), [])
            rows = [cells for cells in lines if not cells[0].startswith("#")]
            for cells in rows[1:]:
                record = dict(zip(rows[0], cells, strict=False))
                record["result"] = record.get("result") or (named[1] if len(named) > 1 else "")
                found.append(record)
        return found

    def _call(self, ask: Any) -> Any:
        try:
            return ask()
        except ApiException as error:
            raise StoreDown(f"InfluxDB refuses ({error.status}): {reason_of(error)}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreDown(f"InfluxDB cannot be reached: {error}") from error


def assemble(values: Iterable[tuple[int | None, str, int, float]]) -> Snapshot:
    """Single values (row, quantity, t, value) as a snapshot; `lag` gives a device's time alone."""
    told: dict[int, dict[str, float]] = {}
    times: dict[int, int] = {}
    for row, quantity, t, value in values:
        if row is not None:
            told.setdefault(row, {})[quantity] = value
            times[row] = max(t, times.get(row, t))
    rows = sorted(told)
    names = sorted({name for row in told.values() for name in row} - {"lag"})
    columns = {name: np.array([told[row].get(name, np.nan) for row in rows], np.float64) for name in names}
    return Snapshot(np.array(rows, np.int32), np.array([times[row] for row in rows], np.int64), columns)


def _span(start_ms: int, end_ms: int) -> str:
    return f"start: {_instant(start_ms * line.NS)}, stop: {_instant(end_ms * line.NS)}"


def _instant(ns: int) -> str:
    ns = min(max(ns, -(2**63) + 2), 2**63 - 2)
    seconds, rest = divmod(ns, 10**9)
    return f"{np.datetime64(seconds, 's')}.{rest:09d}Z"


def _text(value: str) -> str:
    """A Flux string literal."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${").replace("\n", "\\n") + '"'


def reason_of(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.body or error.reason)
