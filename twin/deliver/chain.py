"""The tamper-evident journal of transitions: each entry carries the hash of the one before; `verify` reads it all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from twin.deliver.schema import CASES, META, TRANSITIONS
from twin.records import Transition

GENESIS = "0" * 64
PAGE = 5000

FIELDS = ("case_id", "serial", "at_ms", "actor", "event", "before", "after", "reason", "evidence")


def canonical(value: Any) -> str:
    """JSON in one form only: sorted keys, no spaces, no NaN. Raises ValueError for what JSON cannot hold."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return clean(text)


def clean(text: str) -> str:
    """A text that every database holds: no NUL (PostgreSQL has none), no half of a surrogate pair."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def row_of(step: Transition, serial: int) -> dict[str, Any]:
    """The columns that the hash covers."""
    return {
        "case_id": step.case,
        "serial": serial,
        "at_ms": step.at_ms,
        "actor": clean(step.actor),
        "event": step.event,
        "before": step.before,
        "after": step.after,
        "reason": clean(step.reason),
        "evidence": canonical(step.evidence),
    }


def digest(prev: str, row: Mapping[str, Any]) -> str:
    """SHA-256 over the previous hash and the entry's columns, as lower-case hexadecimal."""
    return hashlib.sha256((prev + canonical([row[name] for name in FIELDS])).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verification found: entries checked, the head's hash, and the first flaw ('' when there is none)."""

    checked: int
    head: str
    flaw: str = ""  # "altered" | "missing" | "reordered" | "case"
    n: int = 0
    case: str = ""
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether every entry is as it was written, where it was written."""
        return not self.flaw


def verify(connection: Connection, expected_head: str = "", heads: Mapping[int, str] | None = None) -> Verdict:
    """Read the whole chain and name the first altered, missing or reordered entry.

    An attacker who can write may recompute every hash after his change, or cut the end off; whoever kept an earlier
    head (the command prints it) sees that: give it as `expected_head`, it must still occur in the chain. `heads`: such
    ones with the number of their entry.
    """
    heads = heads or {}
    kept = dict(connection.execute(select(META.c.name, META.c.value)).all())  # where retention left the beginning
    prev, last = str(kept.get("chain_base_hash", GENESIS)), int(kept.get("chain_base_n", 0))
    checked, seen = 0, not expected_head or expected_head == prev
    states: dict[str, str] = {}
    for row in _rows(connection):
        n = int(row["n"])
        flaw = _flaw(connection, row, prev, last)
        if flaw:
            return Verdict(checked, prev, flaw[0], n, row["case_id"], flaw[1])
        if heads.get(n, row["hash"]) != row["hash"]:
            detail = f"entry {n} was another one when its hash was put aside: the history was written anew"
            return Verdict(checked, prev, "altered", n, row["case_id"], detail)
        prev, last, checked = row["hash"], n, checked + 1
        seen = seen or prev == expected_head
        if row["case_id"]:
            states[row["case_id"]] = row["after"]
    meta = dict(connection.execute(select(META.c.name, META.c.value)).all())
    if int(meta.get("chain_n", 0)) != last or meta.get("chain_head", GENESIS) != prev:
        return Verdict(checked, prev, "missing", last + 1, "", f"entries after {last}, up to {meta.get('chain_n')}")
    cut_off = max(heads, default=0)
    if cut_off > last:
        detail = f"entries after {last}, up to {cut_off} at least, whose hash was put aside: the end was cut off"
        return Verdict(checked, prev, "missing", last + 1, "", detail)
    if not seen:
        return Verdict(checked, prev, "altered", 0, "", f"the head {expected_head} is no longer part of the chain")
    return _cases(connection, states, Verdict(checked, prev))


def _rows(connection: Connection) -> Iterable[dict[str, Any]]:
    last = 0
    while True:
        query = select(TRANSITIONS).where(TRANSITIONS.c.n > last).order_by(TRANSITIONS.c.n).limit(PAGE)
        rows = connection.execute(query).mappings().all()
        if not rows:
            return
        yield from (dict(row) for row in rows)
        last = int(rows[-1]["n"])


def _flaw(connection: Connection, row: Mapping[str, Any], prev: str, last: int) -> tuple[str, str] | None:
    n = int(row["n"])
    if digest(row["prev"], row) != row["hash"]:
        return "altered", f"entry {n} ({row['case_id']} step {row['serial']}, {row['event']}) does not fit its hash"
    if row["prev"] == prev:
        return None if n == last + 1 else ("reordered", f"entry {n} should have the number {last + 1}")
    if n != last + 1:
        return "missing", f"entries {last + 1} to {n - 1}"
    elsewhere = connection.execute(select(TRANSITIONS.c.n).where(TRANSITIONS.c.hash == row["prev"])).scalar()
    if elsewhere is not None:
        return "reordered", f"entry {n} belongs after the entry that is now number {elsewhere}"
    return "missing", f"the entry before {n} was replaced or taken out"


def _cases(connection: Connection, states: Mapping[str, str], verdict: Verdict) -> Verdict:
    """Every case stands where its last transition left it."""
    standing = dict(connection.execute(select(CASES.c.id, CASES.c.state)).all())
    for case in sorted(set(states) | set(standing)):
        if states.get(case) != standing.get(case):
            detail = f"{case} is {standing.get(case, 'gone')}, its last transition says {states.get(case, 'nothing')}"
            return Verdict(verdict.checked, verdict.head, "case", 0, case, detail)
    return verdict
