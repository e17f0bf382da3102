"""The city and its devices: names, clock, kinds; every device as binary columns or JSON; one device; its series."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from dashboards.api.errors import Refused, no_device, refusals
from dashboards.api.moments import At, at_ms
from dashboards.api.subject import Given, Subject, Who, answer
from dashboards.columns import encode_devices, rows_as_json
from devices.kinds import KINDS
from devices.orders import ORDERS

routes = APIRouter(tags=["city"])

DAY_MS = 86_400_000
MOST_DAYS = 400
BINARY = "application/octet-stream"


def centre_of(city: Any) -> tuple[float, float]:
    """The city's centre: longitude, latitude."""
    lon, lat = city["centre"]
    return float(lon), float(lat)


def _kinds() -> dict[str, Any]:
    return {
        kind.name: {
            "en": kind.en, "zh": kind.zh, "cadence_s": kind.cadence_s, "orders": _orders(kind.name),
            "quantities": [
                {"name": q.name, "unit": q.unit, "role": q.role, "states": q.states, "decimals": q.decimals,
                 "low": q.low, "high": q.high, "en": q.en, "zh": q.zh}
                for q in kind.quantities
            ],
        }
        for kind in KINDS.values()
    }  # fmt: skip


def _orders(kind: str) -> dict[str, Any]:
    """What devices of a kind can be told: names, and each argument with its bounds (text has none)."""
    return {
        name: {
            "en": order.en, "zh": order.zh,
            "arguments": {
                argument: {"low": bound.low, "high": None if bound.low is None else bound.high, "needed": bound.needed}
                for argument, bound in order.arguments.items()
            },
        }
        for name, order in ORDERS.get(kind, {}).items()
    }  # fmt: skip


@routes.get("/api/city", responses=refusals(), summary="The city: names, clock, kinds, departments")
def city(given: Given, who: Who) -> Response:
    """Names in both languages, centre, attribution, clock, every device kind with its quantities and orders."""
    told = {key: value for key, value in given.desk.city().items() if key not in ("basemap", "kinds")}
    told["kinds"] = _kinds()
    told["basemap"] = _basemap(given) is not None
    view = given.view(who)
    if view is not None:
        told["version"] = view.version
    return answer(told)


@routes.get("/api/devices", responses=refusals(), summary="Every device: id, kind, position, origin, state")
def devices(request: Request, given: Given, who: Who) -> Response:
    """Binary columns for `Accept: application/octet-stream` (docs/api.md draws them), else a JSON list.

    A department's people get those that they need (docs/privacy.md).
    """
    told, view = given.desk.city(), given.view(who)
    rows = given.desk.devices() if view is None else view.fresh(given.desk.devices())
    if BINARY in request.headers.get("accept", ""):
        version = int(told["version"]) if view is None else view.version
        return Response(encode_devices(rows, centre_of(told), version), media_type=BINARY)
    return answer(rows_as_json(rows))


@routes.get("/api/devices/{device}", responses=refusals(404), summary="One device with its last values")
def device(device: str, given: Given, who: Who) -> Response:
    """Relations, last values beside what was expected, open cases; of a truck its plate's pseudonym."""
    given.since_ms(who, device)
    told = given.desk.device(device)
    if told is None:
        raise no_device(device)
    mine = {"cases": [case for case in told["cases"] if given.sees(who, case)]}
    plate = given.veil.plate(given.veil.plate_of(device))
    return given.answer({**told, **mine, **({"plate": plate} if plate else {})})


@routes.get(
    "/api/devices/{device}/series", responses=refusals(404, 422, 503), summary="One quantity, observed and expected"
)
async def series(
    device: str,
    given: Given,
    who: Who,
    quantity: Annotated[str, Query(min_length=1, max_length=64)],
    start_ms: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    end_ms: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    points: Annotated[int, Query(ge=2, le=5000)] = 1000,
) -> Response:
    """From `start_ms` to `end_ms` of event time (default: the last 24 h of the city's clock), thinned to `points`.

    A department's people get a truck's from some hours before their open case on.
    """
    since = given.since_ms(who, device)
    end = int(given.desk.city()["clock"]["city_ms"]) if end_ms is None else end_ms
    start = end - DAY_MS if start_ms is None else start_ms
    if not 0 <= end - start <= MOST_DAYS * DAY_MS:
        raise Refused(422, "range", f"{start} to {end} is no range of at most {MOST_DAYS} days.",
                      "Give start_ms before end_ms, in milliseconds since 1970 UTC.")  # fmt: skip
    start = min(max(start, since), end)
    async with given.at_once:
        try:
            return answer(await asyncio.to_thread(given.desk.series, device, quantity, start, end, points))
        except KeyError:
            raise Refused(404, "no_series", f"Device {device!r} does not say {quantity!r}.",
                          "See /api/devices/{id} for what it says.") from None  # fmt: skip


@routes.get("/api/basemap", responses=refusals(404), summary="The base map's features (GeoJSON)")
async def basemap(given: Given, at: At = None) -> Response:
    """Roads, water, parks, buildings as the city's files hold them; `at`: as they held them then."""
    moment = at_ms(at)
    path = _basemap(given) if moment is None else await asyncio.to_thread(given.desk.register.basemap, moment)
    if path is None:
        raise Refused(
            404, "no_basemap", "This city has no base map (of then).", "Build one with `citywhistle city build`."
        )
    headers = {"Content-Encoding": "gzip"} if path.suffix == ".gz" else {}
    return FileResponse(path, media_type="application/geo+json", headers=headers)


def _basemap(given: Subject) -> Path | None:
    named = given.desk.city().get("basemap")
    path = Path(str(named)) if named else None
    return path if path is not None and path.is_file() else None
