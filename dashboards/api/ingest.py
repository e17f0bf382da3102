"""POST /api/ingest: readings of devices without MQTT, down the very path that MQTT's take."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from dashboards.api.errors import Refused, refusals
from dashboards.api.subject import Given, answer

routes = APIRouter(tags=["ingest"])

LINES = ("application/x-ndjson", "application/json-lines", "application/jsonl")
SENML = ("application/senml+json", "application/senml+cbor")
MOST_LINES = 10_000
DURABLE_S = 20.0
NAMED = 100  # refused lines that an answer names
FORM = '{"topic": "city/DISTRICT/KIND/DEVICE/telemetry", "payload": {...}}'


@routes.post(
    "/api/ingest", responses=refusals(413, 415, 422, 503), summary="Hand in readings",
    openapi_extra={"requestBody": {"required": True, "content": {
        "application/x-ndjson": {"schema": {"type": "string"}},
        "application/senml+json": {"schema": {"type": "array", "items": {"type": "object"}}},
        "application/senml+cbor": {"schema": {"type": "string", "format": "binary"}},
    }}},
)  # fmt: skip
async def ingest(
    request: Request, given: Given, topic: Annotated[str | None, Query(min_length=1, max_length=256)] = None
) -> Response:
    """Lines of {"topic", "payload"} (`application/x-ndjson`), or one SenML pack with `?topic=`.

    Answers when everything is durable: {"durable": n, "refused_count": n, "refused": [{"line", "detail"}]} with the
    first 100 refused lines. What the decoder rejects later is counted under /api/accounting, as with MQTT.
    """
    if given.ingest is None:
        raise Refused(503, "no_ingest", "This server takes no readings by HTTP.", "Send them by MQTT.", retry_s=60)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise Refused(415, "content_encoding", f"{coding} is not read here.", "Send the body uncompressed.")
    body = await request.body()
    refused: list[dict[str, object]] = []
    if kind in LINES:
        messages = list(_lines(body, refused))
    elif kind in SENML:
        if topic is None:
            raise Refused(
                422, "topic", "A SenML pack needs a topic.", "Add ?topic=city/DISTRICT/KIND/DEVICE/telemetry."
            )
        messages = [(topic, body)]
    else:
        raise Refused(415, "content_type", f"{kind or 'nothing'} is not read here.",
                      f"Send {LINES[0]}, {SENML[0]} or {SENML[1]}.")  # fmt: skip
    waiting = [asyncio.wrap_future(given.ingest(where, payload)) for where, payload in messages]
    done, late = await asyncio.wait(waiting, timeout=DURABLE_S) if waiting else (set(), set())
    failed = Counter(type(task.exception()).__name__ for task in done if task.exception() is not None)
    if late or failed:
        reasons = ", ".join(f"{n} {name}" for name, n in failed.items()) or "not durable in time"
        raise Refused(503, "held_back", f"{len(late) + failed.total()} of {len(waiting)} not durable: {reasons}.",
                      "Send the same lines again; what came through already is a duplicate.", retry_s=5)  # fmt: skip
    told = {"durable": len(done), "refused_count": len(refused), "refused": refused[:NAMED]}
    if messages or not refused:
        return answer(told)
    wrong = {"error": "lines", "detail": f"None of {len(refused)} lines can be read.", "fix": f"Send lines of {FORM}."}
    return answer(wrong | told, 422)


def _lines(body: bytes, refused: list[dict[str, object]]) -> Iterable[tuple[str, bytes]]:
    """The good lines as (topic, payload); the bad ones are named in `refused` and lose nothing else."""
    lines = body.splitlines()
    if len(lines) > MOST_LINES:
        raise Refused(413, "too_large", f"{len(lines)} lines are too many.", f"Send at most {MOST_LINES} at once.")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            told: Any = json.loads(line)
            if not isinstance(told, dict) or not told.keys() >= {"topic", "payload"}:
                raise ValueError(f"not of the form {FORM}")
            topic, payload = told["topic"], told["payload"]
            if not isinstance(topic, str) or not 0 < len(topic) <= 256:
                raise ValueError("`topic` is no text of 1 to 256 letters")
            raw = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
        except (ValueError, RecursionError) as error:
            refused.append({"line": number, "detail": f"{type(error).__name__}: {error}"[:200]})
            continue
        yield topic, raw
