"""For those who watch the server: /healthz, /readyz, /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from dashboards.api.errors import refusals
from dashboards.api.subject import Given, answer

routes = APIRouter(tags=["probes"])


@routes.get("/healthz", summary="The process lives")
def healthz() -> Response:
    return PlainTextResponse("ok\n")


@routes.get("/readyz", responses=refusals(503), summary="The city is heard and recorded")
def readyz(given: Given) -> Response:
    """200 when the desk says ready, else 503; no more is told to strangers."""
    ready = bool(given.desk.health().get("ready"))
    return answer({"ready": ready}, 200 if ready else 503)


@routes.get("/metrics", responses=refusals(), response_class=PlainTextResponse, summary="Prometheus text")
def metrics(given: Given) -> Response:
    return PlainTextResponse(given.desk.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
